"""The settings: read once, in an entry point, from `DESPENSA_*` variables, and passed down."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.errors import Misconfigured
from models.outgoing import Outgoing
from models.secret_files import read_secret
from models.storage import sqlite_url

PREFIX = "DESPENSA_"
#: Of a secret setting: the variable that names a file which holds it.
FILE_SUFFIX = "_file"

#: Variables that Kubernetes makes for each Service of the namespace: for one called `despensa-…`, too.
_INJECTED = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")
_INJECTED_VALUES = ("tcp://", "udp://", "sctp://")


@dataclass(frozen=True, slots=True)
class About:
    """What deploy/SETTINGS.md says of a setting besides its description, bounds and default."""

    matters_to: str  #: who reads it
    unit: str = ""
    rule: str = ""  #: where the bounds do not say it
    derived: str = ""  #: the default, where it rests on the home folder
    secret: bool = False  #: it may hold a password; then NAME_FILE may name a file that holds it instead


EVERYTHING = "all but the dashboard"
SERVICES = "worker, scheduler"


class Settings(BaseSettings):
    """Every setting. Unknown `DESPENSA_*` names are refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Annotated[
        Path,
        Field(description="Embedded data: database, keys and log."),
        About("all commands", rule="an absolute path"),
    ] = Path("~/.local/share/despensa").expanduser()
    database_url: Annotated[
        str,
        Field(description="The database: PostgreSQL, or a SQLite file of its own."),
        About(
            EVERYTHING,
            rule="`postgresql://…` or `sqlite:////…`",
            derived="{home}/despensa.sqlite3",
            secret=True,
        ),
    ] = ""
    redis_url: Annotated[
        str,
        Field(description="Redis; needed with PostgreSQL, refused without."),
        About(EVERYTHING, rule="`redis://…`, `rediss://…` or `unix://…`", secret=True),
    ] = ""
    log_file: Annotated[
        Path | None,
        Field(description="Log of every command but worker and scheduler, which log to standard output."),
        About("all other commands; what dashboard and `logs` read by default", derived="{home}/log/despensa.jsonl"),
    ] = None
    keys_dir: Annotated[
        Path | None,
        Field(description="Folder of the key files, and of issuers' tokens; the same files on every host."),
        About("worker, `run start`, `voucher`, `store`, `keys`", derived="{home}/keys"),
    ] = None
    head_file: Annotated[
        Path | None,
        Field(description="Where whoever seals keeps the journal's head, outside the database."),
        About("scheduler, `run start`; compared by all that pays", derived="{home}/journal-head"),
    ] = None
    heads_file: Annotated[
        Path | None,
        Field(description="To which whoever seals adds the journal's head for each run that was closed."),
        About("scheduler, `run start`; compared by `run reconcile`", derived="{home}/journal-heads"),
    ] = None
    batch_lines: Annotated[
        int,
        Field(ge=1, le=10_000, description="Lines of a batch, fixed at plan."),
        About("scheduler, `run start`, `run plan`", unit="lines"),
    ] = 5000
    worker_threads: Annotated[
        int,
        Field(ge=1, le=64, description="Batches at a time of a worker process; each holds a database connection."),
        About("worker", unit="threads"),
    ] = 4
    metrics_host: Annotated[
        str,
        Field(min_length=1, description="Address on which metrics are exposed to Prometheus."),
        About(SERVICES, rule="an address or a name"),
    ] = "127.0.0.1"
    metrics_port: Annotated[
        int | None,
        Field(ge=1, le=65_535, description="Port of /metrics, one for each service; without it, none."),
        About(SERVICES, unit="TCP port"),
    ] = None
    health_file: Annotated[
        Path | None,
        Field(description="Touched every minute in which the service did its part; one for each service."),
        About(SERVICES, rule="an absolute path"),
    ] = None
    namespace: Annotated[
        str,
        Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="Prefix of the Redis keys; one for each environment."),
        About(EVERYTHING),
    ] = "despensa"

    outgoing_networks: Annotated[
        str,
        Field(description="Networks in which stores and issuers may be, besides the internet."),
        About(
            "worker, `run start`, `import`, `store test`, `doctor`",
            rule="networks separated by commas, such as `10.8.0.0/24`; for a rehearsal `127.0.0.0/8`",
        ),
    ] = ""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `read_settings` passes: the environment is read in one place."""
        return (init_settings,)

    @field_validator("home", "health_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgresql+psycopg://", "sqlite:////")):
            raise ValueError("must begin with postgresql:// or be sqlite://// and an absolute path")
        _require_readable(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        _require_readable(url)
        return url

    @field_validator("outgoing_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        Outgoing.parse(text)
        return text

    @model_validator(mode="after")
    def _whole(self) -> "Settings":
        if self.distributed and not self.redis_url:
            raise ValueError("PostgreSQL needs DESPENSA_REDIS_URL")
        if self.redis_url and not self.distributed:
            raise ValueError("DESPENSA_REDIS_URL needs DESPENSA_DATABASE_URL of a PostgreSQL database")
        return self

    @property
    def distributed(self) -> bool:
        """PostgreSQL and Redis, with workers on any number of hosts; otherwise all in one process."""
        return self.database_url.startswith("postgresql")

    @property
    def database(self) -> str:
        """The URL of the database in use."""
        return self.database_url or sqlite_url(self.home / "despensa.sqlite3")

    @property
    def log(self) -> Path:
        """The log file of a command."""
        return self.log_file or self.home / "log" / "despensa.jsonl"

    @property
    def keys(self) -> Path:
        """The folder of the key files."""
        return self.keys_dir or self.home / "keys"

    @property
    def head(self) -> Path:
        """The file of the kept head of the journal."""
        return self.head_file or self.home / "journal-head"

    @property
    def heads(self) -> Path:
        """The file of the journal's heads, one for each run that was closed."""
        return self.heads_file or self.home / "journal-heads"

    @property
    def outgoing(self) -> Outgoing:
        """Where stores and issuers may be."""
        return Outgoing.parse(self.outgoing_networks)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises Misconfigured naming each wrong or unknown variable."""
    environment = os.environ if environment is None else environment
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    _refuse_unknown(given)
    values = {name: value for name, value in given.items() if value != ""}
    from_files = {
        name: Path(values.pop(name + FILE_SUFFIX)) for name in secret_settings() if name + FILE_SUFFIX in values
    }
    for name, path in from_files.items():
        if name in values:
            raise Misconfigured(
                f"both {variable(name)} and {variable(name + FILE_SUFFIX)} are set", hint="leave one of them out"
            )
        values[name] = read_url_file(name, path)
    try:
        # Passed as arguments, so that one reading of the environment decides.
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        reasons = "; ".join(
            _reason(dict(each), from_files) for each in error.errors(include_input=False, include_url=False)
        )
        raise Misconfigured(f"settings: {reasons}", hint="see: despensa config show") from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def about(name: str) -> About:
    """What is to be said of a setting."""
    return next(each for each in Settings.model_fields[name].metadata if isinstance(each, About))


def secret_settings() -> list[str]:
    """Those that may be given as a file."""
    return [name for name in Settings.model_fields if about(name).secret]


def read_url_file(name: str, path: Path) -> str:
    """The one line of a file that holds a setting. Raises Misconfigured, naming variable and file, not the content."""
    what = f"{variable(name + FILE_SUFFIX)}: the file"
    hint = f"write the URL into it, in one line, then: chmod 600 {path}"
    if not path.is_absolute():
        raise Misconfigured(f"{what} {path} is not an absolute path", hint="write the whole path")
    url = read_secret(path, what=what, hint=hint).strip()
    if not url:
        raise Misconfigured(f"{what} {path} is empty", hint=hint)
    if not url.isprintable():
        raise Misconfigured(f"{what} {path} holds more than one line", hint=hint)
    return url


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {*Settings.model_fields, *(name + FILE_SUFFIX for name in secret_settings())}
    # As an escape what would paint on a terminal.
    unknown = sorted(repr(variable(name))[1:-1] for name in given if name not in known)
    # Its own DESPENSA_METRICS_PORT, too, where there is a Service despensa-metrics.
    injected = sorted(
        variable(name) for name, value in given.items()
        if value.startswith(_INJECTED_VALUES) or (name not in known and _INJECTED.search(variable(name)))
    )  # fmt: skip
    if injected:
        raise Misconfigured(
            f"Kubernetes set {', '.join(injected)} for a Service of that name",
            hint="set enableServiceLinks: false in the pod's spec",
        )
    if unknown:
        raise Misconfigured(
            f"unknown setting: {', '.join(unknown)}", hint="the settings are listed by: despensa config show"
        )


def _require_readable(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:  # its own text repeats the URL, which may hold a password
        raise ValueError("has a host or a port that cannot be read") from None


def _reason(error: dict[str, object], from_files: Mapping[str, Path]) -> str:
    where = ".".join(str(part) for part in error["loc"])  # type: ignore[attr-defined]
    rule = str(error["msg"]).removeprefix("Value error, ")
    if where in from_files:
        return f"{variable(where + FILE_SUFFIX)}: what is in {from_files[where]} {rule}"
    return f"{variable(where)}: {rule}" if where else rule
