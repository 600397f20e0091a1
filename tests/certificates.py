"""Certificates for tests, made without a database: signed as told, also where they lie."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from models.certificate import FORMAT, Head, cycle_key, family_hmac, public_key_text, sign
from models.keys import KEY_BYTES, Key

KEY = Key(1, bytes(range(KEY_BYTES)))
PUBLIC = public_key_text(KEY)
AMOUNT_MINOR = 60_000
AT = "2026-12-01T20:00:00.000000Z"


def hmacs_of(registrations: Sequence[str], *, key: Key = KEY, cycle: str = "2026-12") -> list[str]:
    """The families' lines, ascending."""
    secret = cycle_key(key, programme="northern-mexico", cycle=cycle)
    return sorted(family_hmac(secret, each).hex() for each in registrations)


def head_of(lines: Sequence[str], *, location: str = "02004", cycle: str = "2026-12", key: Key = KEY, seq: int = 9,
            runs: Sequence[tuple[str, int]] = ()) -> dict[str, Any]:  # fmt: skip
    """What a certificate of these families says; `runs` are others of the month, with their families."""
    run, count = f"{cycle}/{location}", len(lines)
    paid, none = {"families": count, "amount_minor": count * AMOUNT_MINOR}, {"families": 0, "amount_minor": 0}
    listed = {run: count, **dict(runs)}
    return {
        "format": FORMAT, "public_key": public_key_text(key), "key_version": key.version, "created_at": AT,
        "programme": "northern-mexico", "programme_name": "Norte", "location": location, "location_name": "Juárez",
        "cycle": cycle, "part": 1, "run": run, "state": "completed", "currency": "MXN", "planned": paid,
        "credited": paid, "cases_open": none, "not_owed": none,
        "rate": {"from_currency": "USD", "millionths": 17_500_000, "source": "Banxico", "date": "2026-11-30"},
        "funds": [{"fund": "fund-a", "donor": "Donor", **paid}], "lines_digest": digest_of(run), "planned_by": "ana",
        "planned_at": AT, "approvals": [{"level": 1, "by": "luz", "at": AT, "how": "person"}], "released_by": "ana",
        "released_at": AT, "completed_at": AT, "journal": {"seq": seq, "hash": digest_of(str(seq))},
        "released_runs": [
            {"run": each, "families": families, "amount_minor": families * AMOUNT_MINOR,
             "lines_digest": digest_of(each)}
            for each, families in sorted(listed.items())
        ],
        "families_sha256": hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest(),
    }  # fmt: skip


def digest_of(text: str) -> str:
    """Some digest, the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()


def written(
    path: Path,
    registrations: Sequence[str] = ("R-1", "R-2", "R-3"),
    *,
    key: Key = KEY,
    lines: Sequence[str] | None = None,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
    **head: Any,
) -> Path:
    """A certificate of these families, or of these lines. `change` is what whoever has the key makes it say."""
    lines = hmacs_of(registrations, key=key, cycle=head.get("cycle", "2026-12")) if lines is None else lines
    values = head_of(lines, key=key, **head)
    change(values)
    line = Head.model_validate(values).line()
    path.write_bytes(line + "".join(f"{each}\n" for each in lines).encode() + sign(key, line))
    return path


def head_in(path: Path) -> dict[str, Any]:
    """What a file says."""
    return dict(orjson.loads(path.read_bytes().splitlines()[0]))
