"""`despensa doctor`: everything that can be looked at without changing anything, and what mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from console.entry import echo, echo_json
from models.errors import DespensaError, Exit

if TYPE_CHECKING:
    from console.config import Check
    from models.settings import Settings
    from models.storage import Database

#: What `doctor` looks at today, in the order of its lines.
CHECKS = (
    "settings", "keys", "home folder", "disk space", "database", "schema", "database version", "clock skew",
    "time zones", "Redis", "Redis version", "Redis policy", "schedulers", "workers", "reference key", "late slots",
    "undelivered notices",
)  # fmt: skip
MIB = 1024 * 1024
DISK_WARNING_MIB = 1024
DISK_FAILED_MIB = 100
#: Stores accept a webhook's timestamp within five minutes (Standard Webhooks); paydays are decided by the host's clock.
SKEW_WARNING_S = 5
SKEW_FAILED_S = 60
REDIS_MIN, REDIS_MAX = (6, 2), (8, 99)
#: Late slots and stores that are named; the rest is counted.
NAMED_MAX = 5


def doctor(as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output.")) -> int:
    """Look at settings, keys, disk, database, clock, time zones, Redis, workers, schedulers, late slots, notices."""
    from console.config import as_json_object, echo_checks, outcome

    checks = list(examine())
    if as_json:
        echo_json(
            {
                "ok": outcome(checks) == Exit.DONE,
                "looks_at": list(CHECKS),
                "checks": [as_json_object(check) for check in checks],
            }
        )
    else:
        echo(f"doctor looks at: {', '.join(CHECKS)}")
        echo_checks(checks)
    return outcome(checks)


def examine() -> Iterator[Check]:
    """Every check that can be made: those of the database only where it answers, of Redis where it is used."""
    from console.config import run_checks
    from models.settings import read_settings

    basic = list(run_checks())
    yield from (check for check in basic if check.name not in {"database", "schema", "redis"})
    if basic[0].state != "ok":
        return
    settings = read_settings()
    yield _home(settings)
    yield _disk(settings)
    states = {check.name: check.state for check in basic}
    yield from (check for check in basic if check.name in {"database", "schema"})
    if states["database"] == "ok":
        yield from _database(settings, usable=states["schema"] == "ok")
    yield from (check for check in basic if check.name == "redis")
    if states.get("redis") == "ok":
        yield from _redis(settings)
    if states.get("schema") == "ok":
        yield from _flow(settings)


def _home(settings: Settings) -> Check:
    from console.config import Check

    if not settings.home.exists():
        hint = "despensa db upgrade"
        return Check("home folder", "warning", f"{settings.home} does not exist yet", hint)
    mode = settings.home.stat().st_mode & 0o777
    if mode & 0o077:
        detail = f"{settings.home} has mode {mode:o}: others of this host can look into it"
        return Check("home folder", "warning", detail, f"chmod 700 {settings.home}")
    if not os.access(settings.home, os.W_OK):
        hint = "run as its owner, or mend DESPENSA_HOME"
        return Check("home folder", "failed", f"{settings.home} cannot be written", hint, Exit.MISUSED)
    return Check("home folder", "ok", str(settings.home))


def _disk(settings: Settings) -> Check:
    from console.config import Check

    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free_mib = shutil.disk_usage(place).free // MIB
    detail, hint = f"{free_mib:,} MiB free for {settings.home}", "make room, or mend DESPENSA_HOME"
    if free_mib < DISK_FAILED_MIB:
        return Check("disk space", "failed", detail, hint, Exit.FAILED)
    enough = free_mib >= DISK_WARNING_MIB
    return Check("disk space", "ok" if enough else "warning", detail, "" if enough else hint)


def _database(settings: Settings, *, usable: bool) -> Iterator[Check]:
    """`usable`: the schema is this code's, so that the tables can be asked."""
    from console.config import open_database

    with open_database(settings) as database:
        yield _database_version(database)
        yield _skew(database)
        if usable:
            yield _zones(database)


def _database_version(database: Database) -> Check:
    import sqlite3

    from console.config import Check
    from models.schema import POSTGRESQL_MAX, POSTGRESQL_MIN, server_major

    major = server_major(database)
    if major is None:
        return Check("database version", "ok", f"SQLite {sqlite3.sqlite_version}")
    tested = POSTGRESQL_MIN <= major <= POSTGRESQL_MAX
    hint = "" if tested else f"PostgreSQL {POSTGRESQL_MIN} to {POSTGRESQL_MAX} are tested"
    return Check("database version", "ok" if tested else "warning", f"PostgreSQL {major}", hint)


def _skew(database: Database) -> Check:
    from console.config import Check

    if database.dialect == "sqlite":
        return Check("clock skew", "ok", "the database has the clock of this host")
    with database.reading() as tx:
        before = datetime.now(UTC)
        theirs = tx.now
        after = datetime.now(UTC)
    return skew_check((theirs - (before + (after - before) / 2)).total_seconds())


def skew_check(skew_s: float) -> Check:
    """The database's clock against this host's; positive where the database is ahead."""
    from console.config import Check

    size_s = abs(skew_s)
    detail = f"the database is {size_s:.1f} s {'ahead of' if skew_s > 0 else 'behind'} this host"
    hint = "set both clocks by NTP: timedatectl status"
    if size_s >= SKEW_FAILED_S:
        return Check("clock skew", "failed", detail, hint, Exit.FAILED)
    return Check("clock skew", "warning" if size_s >= SKEW_WARNING_S else "ok", detail, hint)


def _zones(database: Database) -> Check:
    from console.config import Check
    from models.calendar import zone
    from models.errors import UnknownZone
    from models.tables import Location

    with database.reading() as tx:
        places = tx.list(Location)
    unknown = []
    for place in places:
        try:
            zone(place.time_zone)
        except UnknownZone:
            unknown.append(f"{place.name} ({place.time_zone})")
    if unknown:
        detail = f"not in the installed time-zone data: {_named(unknown)}"
        return Check(
            "time zones", "failed", detail, "pip install --upgrade tzdata, or correct locations.csv", Exit.MISUSED
        )
    return Check("time zones", "ok", f"{len(places)} locations, all known")


def _redis(settings: Settings) -> Iterator[Check]:
    from redis.exceptions import RedisError

    from console.config import Check
    from models.broker import redis_client

    client: Any = redis_client(settings.redis_url)
    try:
        version = str(client.info("server")["redis_version"])
        try:
            policy = {**client.config_get("maxmemory-policy"), **client.config_get("appendonly")}
        except RedisError:
            policy = {}
    except RedisError as error:
        yield Check("Redis version", "warning", f"Redis does not say: {type(error).__name__}", "despensa doctor")
        return
    finally:
        client.close()
    yield from redis_checks(version, policy)


def redis_checks(version: str, policy: dict[str, str]) -> Iterator[Check]:
    """Of a Redis that answers. An empty `policy` means that it keeps its settings to itself."""
    from console.config import Check

    number = tuple(int(part) for part in version.split(".")[:2])
    tested = REDIS_MIN <= number <= REDIS_MAX
    yield Check(
        "Redis version", "ok" if tested else "warning", f"Redis {version}", "" if tested else "6.2 to 8 are tested"
    )
    if not policy:
        hint = "redis-cli CONFIG GET maxmemory-policy; it must be noeviction, and appendonly yes"
        yield Check("Redis policy", "warning", "Redis does not let CONFIG GET be asked", hint)
        return
    wrong = [
        f"{name} is {policy.get(name)}, not {wanted}"
        for name, wanted in (("maxmemory-policy", "noeviction"), ("appendonly", "yes"))
        if policy.get(name) != wanted
    ]
    detail = "; ".join(wrong) or "noeviction, append-only file"
    hint = "set both in redis.conf; until then messages may be lost, which costs seconds, never money"
    yield Check("Redis policy", "warning" if wrong else "ok", detail, hint if wrong else "")


def _flow(settings: Settings) -> Iterator[Check]:
    """What of the month waits, as of now."""
    from console.config import open_database

    with open_database(settings) as database:
        if settings.distributed:
            yield _seen(database, "scheduler", "despensa scheduler")
            yield _seen(database, "worker", "despensa worker")
        yield _reference_key(settings, database)
        yield _late_slots(database, now=datetime.now(UTC))
        yield _undelivered(database)


def _reference_key(settings: Settings, database: Database) -> Check:
    """Whether this host calls the newest line that was called for by the name under which its issuer knows it."""
    from console.config import Check
    from models.cases import NEWEST_CALL
    from models.keys import credit_reference, load_keys

    with database.reading() as tx:
        call = tx.first(NEWEST_CALL)
    if call is None:
        return Check("reference key", "ok", "no issuer was called yet")
    try:
        keys = load_keys(settings.keys, "reference")
    except DespensaError as error:
        return Check("reference key", "failed", str(error), error.hint or "", error.exit_code)
    mine = credit_reference(keys, programme=call.programme, registration_id=call.registration_id, cycle=call.cycle)
    if mine != call.reference:
        hint = f"copy the key files from the host that has credited so far into {settings.keys}"
        detail = "this host has another one than who called the issuer: it will call for nothing"
        return Check("reference key", "failed", detail, hint, Exit.MISUSED)
    return Check("reference key", "ok", "the one that the issuer was called with")


def _seen(database: Database, role: str, command: str) -> Check:
    from console.config import Check
    from models.sightings import SEEN_WITHIN_S, seen_lately

    count = seen_lately(database, role)
    detail = f"{count or 'none'} seen in the last {SEEN_WITHIN_S} s"
    return Check(f"{role}s", "ok" if count else "warning", detail, "" if count else command)


def _late_slots(database: Database, *, now: datetime) -> Check:
    from console.config import Check
    from scheduler.due import has_families, list_due, list_places

    try:
        with database.reading() as tx:
            places = list_places(tx)
            late = [
                f"{due.slot.cycle}/{due.slot.location_code}"
                for due in list_due(tx, places, now=now)
                if due.late and has_families(tx, due.slot)
            ]
    except DespensaError as error:
        return Check("late slots", "failed", str(error), error.hint or "", error.exit_code)
    if not places:
        hint = "despensa import deploy/programmes/northern-mexico"
        return Check("late slots", "warning", "no programme runs anywhere yet", hint)
    if late:
        return Check("late slots", "warning", f"{len(late)} without a run: {_named(late)}", "despensa run start")
    return Check("late slots", "ok", f"none at {len(places)} locations")


def _undelivered(database: Database) -> Check:
    from console.config import Check
    from models.handover import list_stores

    with database.reading() as tx:
        stores = [store for store in list_stores(tx) if store.notices_undelivered]
    count = sum(store.notices_undelivered for store in stores)
    if not count:
        return Check("undelivered notices", "ok", "none")
    detail = f"{count}, of {_named([store.store for store in stores])}"
    return Check(
        "undelivered notices", "warning", detail, "despensa store test STORE, then: despensa store resend STORE"
    )


def _named(names: list[str]) -> str:
    rest = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")
