"""Versions of keys: what rests on each, making the next one, and retiring one on which nothing rests any more.

The journal knows every version that was made beside a database, by its fingerprint, and every one that was retired. So
a host with an old key file makes no second version 2, and one with another key under the same version is found.

A version is made in three steps, each of which is whole: staged beside the key file and on the disk; recorded in the
journal; put in the file's place. Who repeats the command goes on with what is staged.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import orjson

from models.calendar import zone
from models.errors import Misconfigured, RefusedByState, RefusedInput
from models.events import KeyMade, KeyRetired
from models.handover import valid_until
from models.journal import append
from models.key_files import held, put, stage, staged_path
from models.keys import KeyRing, fingerprint, key_path, key_text, load_keys, new_key, read_keys
from models.lost import list_lost
from models.person_keys import count_by_person_key_version
from models.storage import Database, Query, Tx

#: The kinds that have versions. References are what an issuer knows credits by: their key stays as it is.
ROTATED_KINDS = ("pin", "webhook", "person", "certificate")

LIST_VOUCHERS_BY_VERSION = Query("""
-- list_vouchers_by_version: each run's vouchers by version of the PIN key; bounded by runs and versions
SELECT v.key_version, l.time_zone, r.validity_days, COUNT(*) AS vouchers,
       MAX(COALESCE(b.credited_at, c.closed_at)) AS last_at
FROM voucher v JOIN run r ON r.id = v.id / 10000000 JOIN location l ON l.code = r.location_code
LEFT JOIN batch b ON b.id = v.batch_id
LEFT JOIN cases c ON c.disbursement_id = v.id AND c.outcome = 'paid' AND v.batch_id IS NULL
GROUP BY v.key_version, r.id, l.time_zone, r.validity_days
""")

LIST_CERTIFICATES = Query("""
-- list_certificates: every certificate's event; bounded by the certificates that were made
SELECT fields FROM journal WHERE event = 'certificate.created'
""")

LIST_KEY_EVENTS = Query("""
-- list_key_events: every version that was made or retired, oldest first; bounded by them
SELECT event, fields FROM journal WHERE event IN ('key.made', 'key.retired') ORDER BY id
""")

LOCK_KEYS = Query(
    """
-- lock_keys: held until the transaction ends, so that two hosts do not make one version; "keys" in ASCII
SELECT pg_advisory_xact_lock(1801812339)
""",
    sqlite="-- lock_keys: there is one writer\nSELECT 1",
)


@dataclass(frozen=True, slots=True)
class Use:
    """What rests on one version of a key."""

    version: int
    count: int
    what: str  #: vouchers, enrolments, certificates
    until: date | None = None  #: of vouchers: the last local day on which one of them is valid
    in_force: bool = True  #: not so once the last voucher has expired

    def __str__(self) -> str:
        ends = "" if self.until is None else f", valid until {self.until}" if self.in_force else ", all expired"
        return f"{self.count:,} {self.what}{ends}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the journal knows of a kind of key."""

    made: dict[int, str]  #: fingerprints by version, of those retired, too
    retired: frozenset[int]

    @property
    def at_work(self) -> set[int]:
        """Versions that were made and not retired."""
        return set(self.made) - self.retired


@dataclass(frozen=True, slots=True)
class Rotation:
    """What `rotate` came to."""

    keys: KeyRing
    made: bool  #: by this call, or by one before that was killed
    left: str  #: what of the last rotation is not carried through; empty after `made`


def uses_of(tx: Tx, kind: str) -> dict[int, Use]:
    """What rests on each version of a key, as far as the database knows: stores tell nobody what they verify with."""
    tx.allow_long_statement()  # all vouchers are gone through
    if kind == "pin":
        return _uses_of_pins(tx)
    if kind == "person":
        found = count_by_person_key_version(tx)
        return {version: Use(version, count, "enrolments") for version, count in found.items()}
    if kind == "certificate":
        versions = [int(orjson.loads(row.fields).get("key_version", 1)) for row in tx.all(LIST_CERTIFICATES)]
        return {each: Use(each, versions.count(each), "certificates") for each in set(versions)}
    return {}


def recorded(tx: Tx, kind: str) -> Recorded:
    """What the journal knows of this kind."""
    made: dict[int, str] = {}
    retired: set[int] = set()
    for row in tx.all(LIST_KEY_EVENTS):
        fields = orjson.loads(row.fields)
        if fields["kind"] != kind:
            continue
        if row.event == "key.made":
            made[fields["version"]] = fields["fingerprint"]
        else:
            retired.add(fields["version"])
    return Recorded(made, frozenset(retired))


def different(keys: KeyRing, known: Recorded) -> list[int]:
    """Versions under which this host has another key than the one that was recorded."""
    return [key.version for key in keys.keys if known.made.get(key.version) not in (None, fingerprint(keys.kind, key))]


def require_same(tx: Tx, keys: KeyRing) -> Recorded:
    """What the journal knows. Raises Misconfigured where this host has another key under one of the versions."""
    known = recorded(tx, keys.kind)
    wrong = different(keys, known)
    if wrong:
        raise Misconfigured(
            f"version {wrong[0]} of the {keys.kind} key on this host is another key than the one that was recorded",
            hint=f"copy {keys.kind}.key from a host on which despensa doctor finds nothing",
        )
    return known


def unfinished(keys: KeyRing, uses: dict[int, Use]) -> str:
    """What of the last rotation is not carried through; empty where the next one may begin.

    It is carried through once something rests on the latest version; of the person key, once nothing rests on an
    earlier one, too; of the webhook key, once the earlier ones are retired.
    """
    *earlier, latest = keys.versions
    if not earlier:
        return ""
    if keys.kind == "webhook":
        return f"version {_listed(earlier)} signs, too, until it is retired"
    resting = [uses[version] for version in earlier if version in uses]
    if keys.kind == "person" and resting:
        return "; ".join(f"{use} rest on version {use.version} yet" for use in resting)
    return "" if latest in uses else f"nothing rests on version {latest} yet"


def make(database: Database | None, folder: Path, kind: str) -> KeyRing:
    """Make the next version of a key, or go on with one that was begun; the first where there is no file.

    Under `held(folder)`. Without a database, which has to be a new one, nothing is recorded. Raises RefusedByState
    where a version was made on another host and is not here.
    """
    path = key_path(folder, kind)
    keys = _load_or_none(folder, kind)
    made = 0
    if database is not None:
        with database.reading() as tx:
            made = max(recorded(tx, kind).made, default=0)
    grown = find_begun(folder, keys)
    if grown is None:
        if database is not None:
            with database.reading() as tx:
                _require_all(keys, require_same(tx, keys))
        grown = KeyRing(kind, (*keys.keys, new_key(max([*keys.versions, made], default=0) + 1)))
        stage(path, key_text(grown))
    if database is not None:
        record(database, grown)
    put(path)
    return grown


def rotate(database: Database, folder: Path, kind: str) -> Rotation:
    """Make the next version of a key, unless the last rotation is not carried through yet."""
    with held(folder):
        keys = load_keys(folder, kind)
        with database.reading() as tx:
            left = unfinished(keys, uses_of(tx, kind))
        if left and find_begun(folder, keys) is None:
            record(database, keys)
            return Rotation(keys, made=False, left=left)
        return Rotation(make(database, folder, kind), made=True, left="")


def record(database: Database, keys: KeyRing) -> None:
    """Tell the journal of versions that it does not know: those made before there was a database, or forgotten by a
    restore. Raises Misconfigured for another key, RefusedByState where a version is not here that was made elsewhere.
    """
    with database.transaction() as tx:
        tx.one(LOCK_KEYS)
        known = require_same(tx, keys)
        _require_all(keys, known)
        for key in keys.keys:
            if key.version not in known.made:
                append(
                    tx,
                    KeyMade(
                        kind=keys.kind, version=key.version, fingerprint=fingerprint(keys.kind, key),
                        operator=tx.operator,
                    ),
                )  # fmt: skip


def retire(database: Database, folder: Path, kind: str, version: int) -> KeyRing:
    """Take a version out of the key file, and record it. Returns what is left; again, and on other hosts, the same.

    A version that was recorded and lost with its file is given up in this way, too. Raises RefusedByState while
    something rests on it, while it is the only one, or while a rotation is not finished.
    """
    with held(folder):
        path = key_path(folder, kind)
        keys = _load_or_none(folder, kind)
        if find_begun(folder, keys) is not None:
            raise RefusedByState(f"the {kind} key is being rotated here", hint=f"despensa keys rotate {kind}")
        rest = KeyRing(kind, tuple(key for key in keys.keys if key.version != version))
        with database.transaction() as tx:
            tx.one(LOCK_KEYS)
            known = require_same(tx, keys)
            if version not in keys.versions and version not in known.made:
                raise RefusedInput(f"there is no version {version} of the {kind} key", hint="despensa config check")
            require_unused(tx, kind, version)
            if keys.versions == [version]:
                hint = f"despensa keys rotate {kind}"
                raise RefusedByState(f"version {version} is the only one of the {kind} key", hint=hint)
            if rest != keys:
                stage(path, key_text(rest))  # a folder that cannot be written records nothing
            if version not in known.retired:
                append(tx, KeyRetired(kind=kind, version=version, operator=tx.operator))
        if rest != keys:
            put(path)
        return rest


def require_unused(tx: Tx, kind: str, version: int) -> None:
    """Raises RefusedByState while something rests on this version of a key."""
    if kind == "pin" and list_lost(tx, undecided=True):
        raise RefusedByState(
            "a restored backup has lost runs, whose hand-over files may rest on any version of the pin key",
            hint="despensa run lost",
        )
    use = uses_of(tx, kind).get(version)
    if use is not None and use.in_force:
        raise RefusedByState(f"{use} rest on version {version} of the {kind} key", hint=_WAIT_FOR[kind])


#: What ends the use of a version.
_WAIT_FOR = {
    "pin": "a version is kept until its last voucher has expired",
    "person": "import every file with a person_key again, then repeat this",
    "certificate": "a version is kept as long as its certificates may have to be made again",
}


def find_begun(folder: Path, keys: KeyRing) -> KeyRing | None:
    """What a killed rotation has staged: these keys and one more. Anything else is torn, or overtaken, and goes."""
    staged = staged_path(key_path(folder, keys.kind))
    if not os.path.lexists(staged):
        return None
    try:
        found = read_keys(staged, keys.kind)
    except Misconfigured:
        found = None
    if found is not None and found.keys[:-1] == keys.keys and found.latest == found.keys[-1]:
        return found
    staged.unlink()
    return None


def _load_or_none(folder: Path, kind: str) -> KeyRing:
    """The keys of a file; none where there is no file, which is not yet made, or lost."""
    return load_keys(folder, kind) if os.path.lexists(key_path(folder, kind)) else KeyRing(kind, ())


def _require_all(keys: KeyRing, known: Recorded) -> None:
    missing = sorted(known.at_work - set(keys.versions))
    if missing:
        raise RefusedByState(
            f"version {_listed(missing)} of the {keys.kind} key was made on another host, and is not here",
            hint=f"copy {keys.kind}.key from there; if it is lost, and nothing rests on it: "
            f"despensa keys retire {keys.kind} {missing[0]}",
        )


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions))


def _uses_of_pins(tx: Tx) -> dict[int, Use]:
    uses: dict[int, Use] = {}
    for row in tx.all(LIST_VOUCHERS_BY_VERSION):
        place = zone(row.time_zone)
        until = valid_until(row.last_at, time_zone=place, validity_days=row.validity_days)
        in_force = until >= tx.now.astimezone(place).date()
        before = uses.get(row.key_version, Use(row.key_version, 0, "vouchers", until, in_force=False))
        uses[row.key_version] = Use(
            row.key_version, before.count + int(row.vouchers), "vouchers",
            max(until, before.until or until), in_force=before.in_force or in_force,
        )  # fmt: skip
    return uses
