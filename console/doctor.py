"""`despensa doctor`: everything that can be looked at without changing anything, and what mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json
from models.errors import DespensaError, Exit

if TYPE_CHECKING:
    from console.config import Check
    from models.settings import Settings
    from models.storage import Database

#: What `doctor` looks at, in the order of its lines. A line that means nothing in an installation is left out.
CHECKS = (
    "settings", "environment", "outgoing requests", "keys", "home folder", "disk space", "log folder", "database",
    "schema", "custody", "database login", "database TLS", "database version", "database durability",
    "database connections", "clock skew", "time-zone data", "time zones", "Redis", "Redis version", "Redis policy",
    "Redis persistence", "Redis memory", "Redis clock skew", "links", "schedulers", "workers", "reference key",
    "late slots", "undelivered notices",
)  # fmt: skip
MIB = 1024 * 1024
DISK_WARNING_MIB = 1024
DISK_FAILED_MIB = 100


def doctor(as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output.")) -> int:
    """Look at everything, and change nothing: each line ok, warning or failed, with what mends it.

    Settings with passwords masked, keys, disk, database, clocks, time zones, Redis, every link with its latency,
    workers, schedulers, late slots, notices. To issuers and stores it connects, and sends nothing.
    """
    from console.config import as_json_object, echo_checks, list_settings, outcome
    from console.tables import echo_table

    checks = list(examine())
    settings = list_settings(dict(os.environ))
    if as_json:
        echo_json(
            {
                "ok": outcome(checks) == Exit.DONE,
                "looks_at": list(CHECKS),
                "checks": [as_json_object(check) for check in checks],
                "settings": [asdict(each) for each in settings],
            }
        )
    else:
        echo(f"doctor looks at: {', '.join(CHECKS)}")
        echo_checks(checks)
        echo()
        echo_table(("setting", "value", "from"), [(each.name, each.value, each.source) for each in settings])
    return outcome(checks)


def examine() -> Iterator[Check]:
    """Every check that can be made: those of the database only where it answers, of Redis where it is used."""
    from console.config import run_checks
    from console.doctor_database import database_checks
    from console.doctor_links import link_checks
    from console.doctor_redis import checks_of_redis
    from models.settings import read_settings

    basic = list(run_checks())
    yield from (check for check in basic if not check.name.startswith(("database", "schema", "custody", "redis")))
    if basic[0].state != "ok":
        return
    settings = read_settings()
    yield _home(settings)
    yield _disk(settings)
    yield _log_folder(settings)
    states = {check.name: check.state for check in basic}
    yield from (check for check in basic if check.name in {"database", "schema", "custody"})
    answers, usable = states["database"] == "ok", states.get("schema") == "ok"
    if answers:
        yield from (check for check in basic if check.name.startswith("database "))
        yield from database_checks(settings, usable=usable)
    yield from (check for check in basic if check.name == "redis")
    if states.get("redis") == "ok":
        yield from checks_of_redis(settings, database_skew=_skew(settings) if answers else None)
    if answers and states.get("redis", "ok") == "ok":
        yield from link_checks(settings, usable=usable)
    if usable:
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


def _log_folder(settings: Settings) -> Check:
    """Of every command's log. A disk that is full does not stop the vouchers, but the log that tells of them."""
    from console.config import Check

    if os.access(settings.log, os.W_OK) and not (os.path.isfile(settings.log) or os.path.isdir(settings.log)):
        return Check("log folder", "ok", f"{settings.log} is a pipe: whoever reads it keeps the log")
    folder = settings.log.parent
    place = next(each for each in (folder, *folder.parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        hint = "make it a folder of whoever runs despensa, or mend DESPENSA_LOG_FILE"
        return Check("log folder", "failed", f"{place} cannot be written", hint, Exit.MISUSED)
    free_mib = shutil.disk_usage(place).free // MIB
    detail = f"{free_mib:,} MiB free for {folder}"
    if free_mib < DISK_FAILED_MIB:
        hint = "make room, rotate, or mend DESPENSA_LOG_FILE; nothing is lost: despensa logs emit writes it again"
        return Check("log folder", "failed", detail, hint, Exit.FAILED)
    return Check("log folder", "ok", detail if folder.exists() else f"{detail}, which the first command makes")


def _skew(settings: Settings) -> timedelta:
    from console.config import open_database
    from console.doctor_database import database_skew

    with open_database(settings) as database:
        return database_skew(database)


def _flow(settings: Settings) -> Iterator[Check]:
    """What of the month waits, as of now."""
    from console.config import open_database
    from console.doctor_database import if_allowed
    from console.doctor_keys import key_use_checks

    with open_database(settings) as database:
        if settings.distributed:
            yield _seen(database, "scheduler", "despensa scheduler")
            yield _seen(database, "worker", "despensa worker")
        yield if_allowed("reference key", lambda: _reference_key(settings, database))
        yield from key_use_checks(settings, database)
        yield if_allowed("late slots", lambda: _late_slots(database, now=datetime.now(UTC)))
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
    from console.tables import age_text
    from models.sightings import SEEN_WITHIN_S, last_sighting, seen_lately

    count = seen_lately(database, role)
    ago = last_sighting(database, role)
    last = "none was ever seen" if ago is None else f"the last one {age_text(ago)} ago"
    detail = f"{count or 'none'} seen in the last {SEEN_WITHIN_S} s, {last}"
    return Check(f"{role}s", "ok" if count else "warning", detail, "" if count else command)


def _late_slots(database: Database, *, now: datetime) -> Check:
    from console.config import Check
    from console.doctor_database import named
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
        return Check("late slots", "warning", f"{len(late)} without a run: {named(late)}", "despensa run start")
    return Check("late slots", "ok", f"none at {len(places)} locations")


def _undelivered(database: Database) -> Check:
    from console.config import Check
    from console.doctor_database import named
    from models.handover import list_stores

    with database.reading() as tx:
        stores = [store for store in list_stores(tx) if store.notices_undelivered]
    count = sum(store.notices_undelivered for store in stores)
    if not count:
        return Check("undelivered notices", "ok", "none")
    detail = f"{count}, of {named([store.store for store in stores])}"
    return Check(
        "undelivered notices", "warning", detail, "despensa store test STORE, then: despensa store resend STORE"
    )
