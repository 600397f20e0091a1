"""What `doctor` asks the database: version, durability, connections, clock, and the zones of its locations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from console.config import Check, open_database
from models.errors import INSUFFICIENT_PRIVILEGE, Exit

if TYPE_CHECKING:
    from models.server import Connections, Login
    from models.settings import Settings
    from models.storage import Database

#: Stores accept a webhook's timestamp within five minutes (Standard Webhooks); paydays are decided by the host's clock.
SKEW_WARNING, SKEW_FAILED = timedelta(seconds=5), timedelta(seconds=60)
#: A worker process holds a connection a thread; so many more must be to be had when one is started.
CONNECTIONS_FREE_MIN = 10
#: The first that knows that Mexico gave daylight saving up, and that Ciudad Juárez has a zone of its own.
ZONES_MIN = "2022g"
NAMED_MAX = 5


def database_checks(settings: Settings, *, usable: bool) -> Iterator[Check]:
    """`usable`: the schema is this code's, so that the tables can be asked."""
    from models.server import connections, durability

    with open_database(settings) as database:
        yield _version(database)
        with database.reading() as tx:
            durable, connected = durability(tx), connections(tx)
        yield durability_check(durable, dialect=database.dialect)
        if connected is not None:
            yield connections_check(connected)
        yield (
            skew_check(database_skew(database))
            if database.dialect != "sqlite"
            else Check("clock skew", "ok", "the database has the clock of this host")
        )
        yield zone_data_check(*zone_data())
        if usable:
            yield _zones(database)


def if_allowed(name: str, look: Callable[[], Check]) -> Check:
    """What a check comes to, or that this login's role may not look: most of them see no family."""
    from sqlalchemy.exc import DBAPIError

    try:
        return look()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        return Check(name, "ok", "not looked at: this login sees no family")


def login_checks(settings: Settings) -> Iterator[Check]:
    """Who we are to PostgreSQL, and over what; nothing on SQLite. Only with the tables there."""
    from models.server import login

    with open_database(settings) as database, database.reading() as tx:
        found = login(tx)
    if found is not None:
        yield login_check(found)
        yield encryption_check(found)


def login_check(found: Login) -> Check:
    """Who could take the guards away, and who holds more than one person or one service should."""
    page = "deploy/SECURITY.md"
    if found.owns:
        hint = f"deploy/postgresql/roles.sql, then a login that is a member of no more than it needs: {page}"
        return Check("database login", "warning", f"{found.name} owns the schema, or the server", hint)
    if found.may_change_vouchers:
        hint = "despensa db upgrade, as a member of despensa_owner: it gives every role its rights anew"
        return Check("database login", "warning", f"{found.name} may change vouchers", hint)
    if {"despensa_work", "despensa_approve"} <= found.roles:
        hint = f"a service needs no despensa_approve, and no person despensa_work: {page}"
        return Check("database login", "warning", f"{found.name} approves, and credits", hint)
    if {"despensa_plan", "despensa_approve"} <= found.roles:
        hint = f"of two persons one plans and the other approves; nobody approves a run that he planned: {page}"
        return Check("database login", "warning", f"{found.name} plans, and approves", hint)
    return Check("database login", "ok", found.name)


def encryption_check(found: Login) -> Check:
    """Between hosts a password, and families, can be read or changed on the way."""
    hint = "?sslmode=verify-full&sslrootcert=FILE in DESPENSA_DATABASE_URL: deploy/SECURITY.md"
    if not found.other_host:
        return Check("database TLS", "ok", "TLS" if found.encrypted else "the database is on this host")
    if not found.encrypted:
        return Check("database TLS", "warning", "the database is on another host, and nothing is encrypted", hint)
    if not found.verified:
        return Check("database TLS", "warning", "encrypted, but nobody checks who answers", hint)
    return Check("database TLS", "ok", "encrypted, and checked who answers")


def durability_check(found: dict[str, str], *, dialect: str) -> Check:
    """What a commit survives: nothing less than a crash of the machine will do."""
    from models.server import DURABLE

    wrong = [f"{name} is {found[name]}" for name, wanted in DURABLE[dialect].items() if found[name] not in wanted]
    said = ", ".join(f"{name} {value}" for name, value in found.items())
    if not wrong:
        return Check("database durability", "ok", said)
    where = "postgresql.conf, or ALTER ROLE" if dialect == "postgresql" else "a local disk: no network file system"
    wanted = ", ".join(f"{name} {values[0]}" for name, values in DURABLE[dialect].items())
    hint = f"a crash could lose credits: {wanted}; see {where}"
    return Check("database durability", "failed", "; ".join(wrong), hint, Exit.FAILED)


def connections_check(found: Connections) -> Check:
    """Whether another worker finds room."""
    enough = found.usable - found.used >= CONNECTIONS_FREE_MIN
    detail = f"{found.used} of {found.usable} in use"
    hint = "" if enough else "raise max_connections, or run fewer worker processes: a thread holds one"
    return Check("database connections", "ok" if enough else "warning", detail, hint)


def database_skew(database: Database) -> timedelta:
    """The database's clock against this host's; positive where the database is ahead."""
    with database.reading() as tx:
        before = datetime.now(UTC)
        theirs = tx.now
        after = datetime.now(UTC)
    return theirs - (before + (after - before) / 2)


def skew_check(skew: timedelta, *, name: str = "clock skew", whose: str = "the database", besides: str = "") -> Check:
    """Another clock against this host's; positive where it is ahead."""
    size = abs(skew)
    ahead = "ahead of" if skew > timedelta() else "behind"
    detail = f"{whose} is {size.total_seconds():.1f} s {ahead} this host{besides}"
    hint = "set all clocks by NTP: timedatectl status"
    if size >= SKEW_FAILED:
        return Check(name, "failed", detail, hint, Exit.FAILED)
    return Check(name, "warning" if size >= SKEW_WARNING else "ok", detail, "" if size < SKEW_WARNING else hint)


def zone_data() -> tuple[str, str]:
    """The version of the time-zone data that decides paydays, and where it is from. Python takes the system's first."""
    import zoneinfo
    from importlib import import_module

    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "America" / "Tijuana").exists():
            return _stated_version(folder / "tzdata.zi"), str(folder)
    try:
        package = import_module("tzdata")
    except ImportError:
        return "", "nowhere"
    return str(package.IANA_VERSION), f"the package tzdata {package.__version__}"


def _stated_version(path: Path) -> str:
    """The file's first line is `# version 2025b`; some systems have no such file."""
    if not path.exists():
        return ""
    with path.open() as stream:
        words = stream.readline().split()
    return words[-1] if words[:2] == ["#", "version"] else ""


def zone_data_check(version: str, place: str) -> Check:
    """Paydays in Mexico are an hour off with data from before it gave daylight saving up."""
    if place == "nowhere":
        return Check("time-zone data", "failed", "there is none", "pip install tzdata", Exit.MISUSED)
    detail = f"{version or 'of an unstated version'}, from {place}"
    if version and version < ZONES_MIN:
        hint = f"Mexico's own time since October 2022 is in {ZONES_MIN}: apt-get install --only-upgrade tzdata"
        return Check("time-zone data", "failed", detail, hint, Exit.FAILED)
    return Check("time-zone data", "ok", detail)


def named(names: list[str]) -> str:
    """The first few, and how many more."""
    rest = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")


def _version(database: Database) -> Check:
    import sqlite3

    from models.schema import POSTGRESQL_MAX, POSTGRESQL_MIN, server_major

    major = server_major(database)
    if major is None:
        return Check("database version", "ok", f"SQLite {sqlite3.sqlite_version}")
    tested = POSTGRESQL_MIN <= major <= POSTGRESQL_MAX
    hint = "" if tested else f"PostgreSQL {POSTGRESQL_MIN} to {POSTGRESQL_MAX} are tested"
    return Check("database version", "ok" if tested else "warning", f"PostgreSQL {major}", hint)


def _zones(database: Database) -> Check:
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
        detail = f"not in the installed time-zone data: {named(unknown)}"
        return Check(
            "time zones", "failed", detail, "pip install --upgrade tzdata, or correct locations.csv", Exit.MISUSED
        )
    return Check("time zones", "ok", f"{len(places)} locations, all known")
