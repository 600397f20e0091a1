"""programme.toml: the rules and the money of one programme."""

import json
import re
import tomllib
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import TypeVar

import orjson

from models.cases import count_in_doubt
from models.columns import parse_instant
from models.events import ProgrammeCapped
from models.intake import fields
from models.intake.funding import LAST_TRANSFER
from models.intake.report import FileReport
from models.intake.rows import BadFile, BrokenRule, read_bytes
from models.intake.upsert import upsert
from models.journal import append
from models.money import AMOUNT_MINOR_MAX
from models.outgoing import Outgoing
from models.restores import LIST_RESTORES
from models.retention import MONTHS_MAX, MONTHS_MIN, NOWHERE
from models.states import Approval, RunState
from models.storage import Query, Tx
from models.tables import Fund, Issuer, Location, Programme, Run, run_code

T = TypeVar("T")
GOODS_MAX = 100
PERCENT_MAX = 1_000
FILE_FAMILIES_MAX = 10_000_000
#: The columns by which what waits for approval is approved.
RULES = (
    "approval", "policy_run_max_minor", "two_approvals_above_minor", "policy_families_percent", "policy_amount_percent",
    "policy_location_max_minor", "policy_cycle_max_minor", "policy_rate_percent", "policy_file_families_max",
)  # fmt: skip
#: Every key of the file, by its table; "" is the top.
KEYS = {
    "": ("code", "name", "currency", "cycles", "validity_days"),
    "value": ("currency", "base", "per_member", "cap", "round_to"),
    "payday": ("day", "time"),
    "approval": (
        "by",
        "run_max",
        "two_above",
        "families_percent",
        "amount_percent",
        "location_max",
        "cycle_max",
        "rate_percent",
        "file_families_max",
    ),
    "caps": ("cycle_max",),
    "retention": ("months",),
    "goods": ("permitted", "excluded"),
    "issuer": ("url", "calls_max", "key_window_hours"),
}

COUNT_CALLED_FOR = Query("""
-- count_called_for: batches of a programme that a worker holds, and may call its issuer for
SELECT COUNT(*) FROM batch b JOIN run r ON r.id = b.run_id
WHERE r.programme_id = :programme_id AND b.lease_until >= :now
""")

DELETE_ISSUER = Query("""
-- delete_issuer: of a programme that has no run yet
DELETE FROM issuer WHERE programme_id = :programme_id
""")


def load_programme(tx: Tx, path: Path, outgoing: Outgoing) -> tuple[Programme, FileReport]:
    """Read the file and apply it. Raises BadFile; currency, and whether there is an issuer, are fixed by the first run.

    Another issuer, or the closed loop, would know nothing of what the first was asked to credit: its address cannot
    change while a line is in doubt there.
    """
    document = _Document.read(path)
    programme = _programme(document)
    report = FileReport(path.name, "programme")
    issuer = _issuer(document, outgoing)
    before = tx.find(Programme, Programme.code == programme.code)
    issuer_before: Issuer | None = None
    if before is not None:
        programme.id = before.id
        issuer_before = tx.find(Issuer, Issuer.programme_id == before.id)
        _refuse_what_is_fixed(tx, document, programme, before, issuer, issuer_before)
        _refuse_other_rules(tx, document, programme, before)
    changed = upsert(tx, programme, before)
    cap_before_minor = before.cycle_max_minor if before else None
    programme = tx.get(Programme, Programme.code == programme.code)
    if programme.cycle_max_minor != cap_before_minor:
        _cap(tx, programme)
    if programme.retention_months is not None and tx.find(Location, Location.code == NOWHERE) is None:
        tx.add(Location(code=NOWHERE, name="reduced", state="-", time_zone="UTC"))
    issuer_changed = _write_issuer(tx, programme, issuer, issuer_before)
    report.count(document.line_of("", "code"), None if changed is None else changed + issuer_changed)
    return programme, report


def _cap(tx: Tx, programme: Programme) -> None:
    """Releases wait for it, so that each is by one cap, the one before or this. Of what is reserved nothing changes."""
    tx.list(Fund, Fund.programme_id == programme.id, lock=True)
    programme.rules_after_id = int(tx.scalar(LAST_TRANSFER))
    tx.update(programme, ["rules_after_id"])
    append(
        tx,
        ProgrammeCapped(
            programme=programme.code, capped=programme.cycle_max_minor is not None,
            cycle_max_minor=programme.cycle_max_minor or 0, currency=programme.currency, operator=tx.operator,
        ),
    )  # fmt: skip


def _refuse_what_is_fixed(
    tx: Tx,
    document: "_Document",
    programme: Programme,
    before: Programme,
    issuer: Issuer | None,
    issuer_before: Issuer | None,
) -> None:
    if not tx.list(Run, Run.programme_id == before.id, limit=1):
        return
    if (before.currency, before.value_currency) != (programme.currency, programme.value_currency):
        raise document.refuse("", "currency", "is fixed: the programme has runs in another one")
    if (issuer is None) != (issuer_before is None):
        rule = "is fixed: the programme has runs " + ("with an issuer" if issuer_before else "without one")
        raise document.refuse("issuer", "url", rule)
    if issuer is not None and issuer_before is not None and issuer.url != issuer_before.url:
        _refuse_to_leave(tx, document, issuer_before)


def _refuse_other_rules(tx: Tx, document: "_Document", programme: Programme, before: Programme) -> None:
    """Whoever may lower the number of those who must look would then look alone. The database refuses it as well."""
    if all(getattr(programme, name) == getattr(before, name) for name in RULES):
        return
    waiting = tx.list(Run, Run.programme_id == before.id, Run.state == RunState.PLANNED, limit=1)
    if waiting:
        run = run_code(waiting[0])
        rule = f"stays, with all of its table, while {run} waits for approval: approve or discard that first"
        raise document.refuse("approval", "by", rule)


def _refuse_to_leave(tx: Tx, document: "_Document", issuer: Issuer) -> None:
    """An issuer alone knows what it credited, and what it was asked for: first every line must be settled there."""
    tx.get(Issuer, Issuer.programme_id == issuer.programme_id, lock=True)  # nobody takes a batch until this has ended
    if tx.scalar(COUNT_CALLED_FOR, programme_id=issuer.programme_id, now=tx.now):
        raise document.refuse("issuer", "url", "is fixed while its issuer is being called: pause the runs, then repeat")
    in_doubt = count_in_doubt(tx, issuer)
    if in_doubt:
        rule = f"is fixed while {in_doubt} lines are in doubt at the issuer: it alone knows what it credited"
        raise document.refuse("issuer", "url", rule)


def _write_issuer(tx: Tx, programme: Programme, issuer: Issuer | None, before: Issuer | None) -> list[str]:
    """What changed of it."""
    if issuer is None and before is None:
        return []  # nothing is asked for: whoever only enrols families imports the whole folder, too
    if issuer is None:
        return ["issuer"] if tx.execute(DELETE_ISSUER, programme_id=programme.id) else []
    issuer.programme_id = programme.id
    if before is None:
        _doubt_what_is_forgotten(tx, issuer)
    changed = upsert(tx, issuer, before)
    return ["issuer"] if changed is None else [f"issuer.{name}" for name in changed]


def _doubt_what_is_forgotten(tx: Tx, issuer: Issuer) -> None:
    """A restored database may have forgotten that the programme had this issuer, and what was sent to it."""
    restored = [(orjson.loads(row.fields), row.recorded_at) for row in tx.all(LIST_RESTORES)]
    if restored:
        issuer.forgotten_cycle = max(fields["forgotten_cycle"] for fields, _ in restored)
        issuer.forgotten_from = min(parse_instant(fields["forgotten_from"]) for fields, _ in restored)
        issuer.forgotten_until = max(recorded_at for _, recorded_at in restored)


def _issuer(document: "_Document", outgoing: Outgoing) -> Issuer | None:
    """The outside service that credits the vouchers, if the file names one."""
    if not document.has("issuer"):
        return None
    return Issuer(
        programme_id=0,
        url=document.get("issuer", "url", fields.url(outgoing)).rstrip("/"),
        calls_max=document.number("issuer", "calls_max", 1, 1024),
        key_window_hours=document.number("issuer", "key_window_hours", 1, 8784),
    )


def _programme(document: "_Document") -> Programme:
    currency = document.get("", "currency", fields.currency)
    value_currency = document.get("value", "currency", fields.currency)
    money, value = fields.amount(currency), fields.amount(value_currency)
    cap_minor = document.get("value", "cap", value)
    base_minor = document.get("value", "base", value)
    if cap_minor == 0 or base_minor > cap_minor:
        raise document.refuse("value", "cap", "must be above zero and not below base")
    programme = Programme(
        code=document.get("", "code", _programme_code),
        name=document.get("", "name", fields.plain_text),
        currency=currency,
        value_currency=value_currency,
        base_minor=base_minor,
        per_member_minor=document.get("value", "per_member", value),
        cap_minor=cap_minor,
        round_to_minor=document.get("value", "round_to", _above_zero(money)),
        cycles=document.number("", "cycles", 1, 120),
        validity_days=document.number("", "validity_days", 1, 3660),
        payday_day=document.number("payday", "day", 1, 28),
        payday_time=document.get("payday", "time", _local_time),
        approval=document.get("approval", "by", _approval),
        policy_run_max_minor=document.get("approval", "run_max", money),
        permitted_goods=document.goods("permitted"),
        excluded_goods=document.goods("excluded"),
        cycle_max_minor=document.get("caps", "cycle_max", money) if document.has("caps") else None,
        retention_months=document.number("retention", "months", MONTHS_MIN, MONTHS_MAX)
        if document.has("retention")
        else None,
    )
    if programme.retention_months is not None and programme.validity_days > programme.retention_months * 28:
        raise document.refuse("retention", "months", "must not end while a voucher is valid: see validity_days")
    for name, rail in _rails(document, money).items():
        setattr(programme, name, rail)
    return programme


def _rails(document: "_Document", money: Callable[[str], int]) -> dict[str, int | None]:
    """Above which total two persons approve, and the guard rails of the policy. A key that is not there is off."""

    def amount(key: str) -> int | None:
        return document.get("approval", key, money) if document.has("approval", key) else None

    def number(key: str, high: int) -> int | None:
        return document.number("approval", key, 0, high) if document.has("approval", key) else None

    return {
        "two_approvals_above_minor": amount("two_above"),
        "policy_families_percent": number("families_percent", PERCENT_MAX),
        "policy_amount_percent": number("amount_percent", PERCENT_MAX),
        "policy_location_max_minor": amount("location_max"),
        "policy_cycle_max_minor": amount("cycle_max"),
        "policy_rate_percent": number("rate_percent", PERCENT_MAX),
        "policy_file_families_max": number("file_families_max", FILE_FAMILIES_MAX),
    }


class _Document:
    """The parsed file, and where in it a key stands."""

    def __init__(self, path: Path, text: str, tables: dict[str, object]) -> None:
        self._path = path
        self._text = text
        self._tables = tables

    @classmethod
    def read(cls, path: Path) -> "_Document":
        try:
            text = read_bytes(path).decode("utf-8-sig")
            tables = tomllib.loads(text)
        except UnicodeDecodeError:
            raise BadFile(path, "is not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            raise BadFile(path, "is not TOML", line=int(found[1]) if found else 0) from None
        document = cls(path, text, tables)
        document._refuse_unknown()
        return document

    def get(self, table: str, key: str, parse: Callable[[str], T]) -> T:
        """Text through its parser. Amounts are text, too: TOML's own numbers would be floats."""
        value = self._value(table, key)
        if not isinstance(value, str):
            raise self.refuse(table, key, 'must be text in quotes, such as "250.00"')
        try:
            return parse(value)
        except BrokenRule as error:
            raise self.refuse(table, key, str(error)) from None

    def has(self, table: str, key: str = "") -> bool:
        """Whether the file has this table, or a key in it."""
        section = self._tables.get(table)
        return table in self._tables if not key else isinstance(section, dict) and key in section

    def number(self, table: str, key: str, low: int, high: int) -> int:
        """A whole number."""
        value = self._value(table, key)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(table, key, f"must be a whole number from {low} to {high}")
        return value

    def goods(self, key: str) -> str:
        """A list of goods, as JSON."""
        value = self._value("goods", key)
        if not isinstance(value, list) or len(value) > GOODS_MAX or not all(isinstance(each, str) for each in value):
            raise self.refuse("goods", key, f"must be a list of at most {GOODS_MAX} texts")
        return json.dumps(value, ensure_ascii=False)

    def refuse(self, table: str, key: str, rule: str) -> BadFile:
        """What to raise where a key breaks a rule."""
        name = f"{table}.{key}" if table else key
        return BadFile(self._path, rule, line=self.line_of(table, key), field=name)

    def line_of(self, table: str, key: str) -> int:
        """Where a key stands; 0 where it does not."""
        current = ""
        for number, line in enumerate(self._text.splitlines(), start=1):
            heading = re.match(r"\s*\[(\w+)\]", line)
            if heading:
                current = heading[1]
            if current == table and re.match(rf"\s*{key}\s*=", line):
                return number
        return 0

    def _value(self, table: str, key: str) -> object:
        section = self._tables.get(table, {}) if table else self._tables
        if not isinstance(section, dict) or key not in section:
            raise self.refuse(table, key, "is missing")
        return section[key]

    def _refuse_unknown(self) -> None:
        for name, section in self._tables.items():
            if name in KEYS[""]:
                continue
            if name not in KEYS or not isinstance(section, dict):
                raise self.refuse("", name, "is not known here")
            for key in section:
                if key not in KEYS[name]:
                    raise self.refuse(name, key, "is not known here")


def _programme_code(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", text):
        raise BrokenRule("must be 1 to 40 lower-case letters a-z, digits and hyphens")
    return text


def _approval(text: str) -> str:
    if text not in tuple(Approval):
        raise BrokenRule(f"must be one of {', '.join(Approval)}")
    return text


def _local_time(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise BrokenRule("must be a local time, HH:MM")
    return time.fromisoformat(text).strftime("%H:%M")


def _above_zero(parse: Callable[[str], int]) -> Callable[[str], int]:
    def above_zero(text: str) -> int:
        value = parse(text)
        if not 0 < value <= min(1_000_000, AMOUNT_MINOR_MAX):
            raise BrokenRule("must be above zero and at most 10000")
        return value

    return above_zero
