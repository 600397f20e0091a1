"""`despensa config`: the settings as they are, and whether an installation can work with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json
from models.errors import EXIT_PRECEDENCE, DespensaError, Exit, Misconfigured

if TYPE_CHECKING:
    from redis import Redis

    from models.settings import Settings
    from models.storage import Database

app = typer.Typer(no_args_is_help=True, help="The settings: show, check.")

JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
MASK = "***"
UNREADABLE = "(cannot be read)"
MENDED_BY = {"ok": "", "warning": "look at", "failed": "mended by"}


@dataclass(frozen=True, slots=True)
class Check:
    """What one check came to."""

    name: str
    state: str  #: ok, warning or failed
    detail: str
    hint: str = ""  #: the command, or the step, that mends it
    exit_code: Exit = Exit.DONE
    latency_ms: float | None = None  #: of a link


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `config show` shows it."""

    name: str
    value: str  #: with passwords masked
    source: str  #: default, environment, or file: the one that NAME_FILE names
    description: str


@app.command()
def show(
    as_json: bool = JSON,
    reference: bool = typer.Option(False, "--reference", help="The page deploy/SETTINGS.md instead."),
) -> None:
    """Every setting, with passwords masked. Needs no database; wrong settings are shown, too, then refused."""
    from console.settings_reference import settings_reference
    from models.settings import read_settings

    if reference:
        echo(settings_reference().rstrip("\n"))
        return
    settings = list_settings(dict(os.environ))
    if as_json:
        echo_json({"settings": [asdict(each) for each in settings]})
    else:
        from console.tables import echo_table

        echo_table(("setting", "value", "from"), [(each.name, each.value, each.source) for each in settings])
    read_settings()


@app.command()
def check(as_json: bool = JSON) -> int:
    """Whether settings, keys, database, schema and Redis are as they must be. Exit 2, 10, 11 or 13 if not."""
    checks = list(run_checks())
    if as_json:
        echo_json({"ok": outcome(checks) == Exit.DONE, "checks": [as_json_object(each) for each in checks]})
    else:
        echo_checks(checks)
    return outcome(checks)


def run_checks() -> Iterator[Check]:
    """Settings first; the others only with settings that are valid."""
    from console.environment import environment_check
    from models.keys import KINDS
    from models.settings import read_settings

    try:
        settings = read_settings()
        # A URL that nobody can read is a wrong setting, not a server that is away.
        with open_database(settings):
            redis_of(settings).close()
    except DespensaError as error:
        yield failed("settings", error)
        return
    yield Check("settings", "ok", "distributed" if settings.distributed else "embedded")
    yield environment_check(os.environ, distributed=settings.distributed)
    yield _outgoing_check(settings)
    for kind in KINDS:
        yield attempt(f"key {kind}", partial(_key_versions, settings, kind))
    yield from _database_checks(settings)
    yield from _issuer_checks(settings)
    if settings.distributed:
        yield attempt("redis", lambda: _redis_answers(settings))


def attempt(name: str, call: Callable[[], str]) -> Check:
    """What a check came to: `call` returns the detail, or raises what is wrong."""
    try:
        return Check(name, "ok", call())
    except DespensaError as error:
        return failed(name, error)


def failed(name: str, error: DespensaError) -> Check:
    """A check that ended in this error."""
    return Check(name, "failed", str(error), error.hint or "", error.exit_code)


def outcome(checks: list[Check]) -> Exit:
    """The exit code of several checks: the first of design.md's order, then misused; warnings count as done."""
    codes = {check.exit_code for check in checks if check.state == "failed"}
    order = [code for code in EXIT_PRECEDENCE if code != Exit.DONE] + [Exit.MISUSED]
    return next((code for code in order if code in codes), Exit.FAILED if codes else Exit.DONE)


def as_json_object(check: Check) -> dict[str, object]:
    """A check for scripts; `latency_ms` of a link only."""
    told: dict[str, object] = {
        "check": check.name, "state": check.state, "detail": check.detail, "hint": check.hint,
    }  # fmt: skip
    return told if check.latency_ms is None else {**told, "latency_ms": check.latency_ms}


def echo_checks(checks: list[Check]) -> None:
    """A line for each check, and under what is not ok the command that mends it."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = "FAILED" if check.state == "failed" else check.state
        echo(f"{state:<7}  {check.name:<{width}}  {check.detail}")
        if check.state != "ok" and check.hint:
            echo(f"{'':<7}  {'':<{width}}  {MENDED_BY[check.state]}: {check.hint}")


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of the settings, there or not. Raises Misconfigured where its URL cannot be read."""
    from sqlalchemy.exc import ArgumentError

    from models.storage import Database

    try:
        database = Database(settings.database)
    except (ArgumentError, ValueError):
        raise Misconfigured(
            f"DESPENSA_DATABASE_URL cannot be read: {mask(settings.database)}",
            hint="write postgresql://USER:PASSWORD@HOST:PORT/NAME, with %40 for @ in a password",
        ) from None
    try:
        yield database
    finally:
        database.close()


def list_settings(environment: dict[str, str]) -> list[Setting]:
    """Every setting from this environment, right or wrong, and the variables that are none."""
    from console.settings_reference import default_text
    from models.settings import FILE_SUFFIX, PREFIX, Settings, about, variable

    home = environment.get("DESPENSA_HOME") or default_text("home")
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    settings = []
    for field_name, field in Settings.model_fields.items():
        name, secret = variable(field_name), about(field_name).secret
        value, source = given.pop(name, ""), "environment"
        file = given.pop(variable(field_name + FILE_SUFFIX), "") if secret else ""
        if file and not value:
            value, source = _from_file(field_name, file), "file"
        shown = _masked(value, secret=secret) if value else default_text(field_name, home=home)
        settings.append(Setting(name, shown, source if value else "default", field.description or ""))
        if file:
            settings.append(Setting(variable(field_name + FILE_SUFFIX), file, "environment", f"The file with {name}."))
    unknown = [Setting(name, MASK, "environment", "UNKNOWN: no setting has this name") for name in sorted(given)]
    return settings + unknown


def mask(url: str) -> str:
    """A URL without its password, or any other text as it is.

    Up to the last @: a password in which somebody forgot to write %40 must not show its end.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    credentials, at, address = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        rest = f"{user}{':' + MASK if colon else ''}@{address}"
    start, question, query = rest.partition("?")
    words = [_masked_word(word) for word in query.split("&")]
    return f"{scheme}://{start}{question}{'&'.join(words)}"


def _outgoing_check(settings: Settings) -> Check:
    """What else than the internet stores and issuers are called in; this machine only for a rehearsal."""
    from models.outgoing import SETTING

    named = settings.outgoing.networks
    detail = ", ".join(["the internet at port 443", *(str(network) for network in named)])
    if any(network.is_loopback for network in named):
        return Check("outgoing requests", "warning", f"{detail}: services of this host, too", f"unset {SETTING}")
    return Check("outgoing requests", "ok", detail)


def _key_versions(settings: Settings, kind: str) -> str:
    from models.keys import DESK_KINDS, key_path, load_keys

    if kind in DESK_KINDS and not os.path.lexists(key_path(settings.keys, kind)):
        return "not on this host: desks have it"
    *earlier, latest = load_keys(settings.keys, kind).versions
    return f"version {latest}" + (f", besides {', '.join(map(str, earlier))}" if earlier else "")


def _issuer_checks(settings: Settings) -> Iterator[Check]:
    """The token of each issuer, where the database can be asked for them; the checks before say where it cannot."""
    from models.errors import NoDatabase
    from models.schema import require_current
    from models.tables import Issuer, Programme

    with open_database(settings) as database:
        try:
            require_current(database)
        except NoDatabase:
            return
        with database.reading() as tx:
            with_issuer = {issuer.programme_id for issuer in tx.list(Issuer)}
            codes = [programme.code for programme in tx.list(Programme) if programme.id in with_issuer]
    for code in codes:
        yield attempt(f"issuer token {code}", partial(_token_read, settings, code))


def _token_read(settings: Settings, programme: str) -> str:
    from models.keys import load_token

    load_token(settings.keys, programme)
    return "readable, and by nobody else"


def _database_checks(settings: Settings) -> Iterator[Check]:
    from console.doctor_database import login_checks
    from models import schema

    def connect() -> str:
        with open_database(settings) as database:
            schema.current_revision(database)
            return database.name

    def compare() -> str:
        with open_database(settings) as database:
            found = schema.require_current(database)
            return f"{found.current}: {found.fact}" + (f"; {found.hint}" if found.hint else "")

    reached = attempt("database", connect)
    yield reached
    if reached.state == "ok":
        compared = attempt("schema", compare)
        yield compared
        if compared.state == "ok":
            yield _custody_check(settings)
            yield from login_checks(settings)


def _custody_check(settings: Settings) -> Check:
    """Whether the database is the one that it was, by its place and by what was kept of its journal."""
    from console.entry import kept_head
    from models.custody import COMPARE, examine

    with open_database(settings) as database, kept_head(settings) as kept:
        found = examine(database, kept)
    if found.reason:
        return Check("custody", "failed", f"nothing is paid: {found.reason}", COMPARE, Exit.BOOKS_DISAGREE)
    kept_text = f"kept up to {found.kept_seq}" if found.kept_seq else "not kept yet"
    return Check("custody", "ok", f"the database is whole: its journal is at {found.head_seq}, {kept_text}")


def _redis_answers(settings: Settings) -> str:
    from models.broker import require_answer

    client = redis_of(settings)
    try:
        require_answer(client)
    finally:
        client.close()
    return mask(settings.redis_url)


def redis_of(settings: Settings) -> Redis:
    """Not connected yet. Raises Misconfigured where its URL cannot be read; embedded, any client does."""
    from models.broker import redis_client

    try:
        return redis_client(settings.redis_url or "redis://")
    except ValueError:
        raise Misconfigured(
            f"DESPENSA_REDIS_URL cannot be read: {mask(settings.redis_url)}",
            hint="write redis://:PASSWORD@HOST:PORT/0, with %40 for @ in a password",
        ) from None


def _from_file(name: str, file: str) -> str:
    """What the file holds; a wrong one is shown, too, and refused afterwards."""
    from pathlib import Path

    from models.settings import read_url_file

    try:
        return read_url_file(name, Path(file))
    except Misconfigured:
        return UNREADABLE


def _masked(value: str, *, secret: bool) -> str:
    """What is no URL where one is expected may be the bare password."""
    return mask(value) if not secret or "://" in value or value == UNREADABLE else MASK


def _masked_word(word: str) -> str:
    name, equals, _ = word.partition("=")
    return f"{name}={MASK}" if equals and "password" in name.lower() else word
