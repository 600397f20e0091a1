"""The settings: read once, in an entry point, from `DESPENSA_*` variables, and passed down."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.errors import Misconfigured
from models.storage import sqlite_url

PREFIX = "DESPENSA_"


class Settings(BaseSettings):
    """Every setting. Unknown `DESPENSA_*` names are refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Annotated[Path, Field(description="Embedded data: database, keys and log. Absolute.")] = Path(
        "~/.local/share/despensa"
    ).expanduser()
    database_url: Annotated[str, Field(description="PostgreSQL URL; without it, SQLite in the home folder.")] = ""
    redis_url: Annotated[str, Field(description="Redis URL; needed with PostgreSQL.")] = ""
    log_file: Annotated[
        Path | None,
        Field(description="Log of every command but worker and scheduler; default HOME/log/despensa.jsonl."),
    ] = None
    keys_dir: Annotated[Path | None, Field(description="Folder of the key files; default HOME/keys.")] = None
    batch_lines: Annotated[int, Field(ge=1, le=10_000, description="Lines of a batch, fixed at plan.")] = 5000
    worker_threads: Annotated[int, Field(ge=1, le=64, description="Threads of a worker process.")] = 4
    metrics_host: Annotated[
        str, Field(min_length=1, description="Address on which worker and scheduler expose metrics to Prometheus.")
    ] = "127.0.0.1"
    metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Port of /metrics, one for each service; without it, none.")
    ] = None
    health_file: Annotated[
        Path | None,
        Field(description="Touched every minute by a scheduler or worker that did its part; one a service. Absolute."),
    ] = None
    namespace: Annotated[
        str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="Prefix of the Redis keys; one per environment.")
    ] = "despensa"

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


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises Misconfigured naming each wrong or unknown variable."""
    environment = os.environ if environment is None else environment
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    unknown = sorted(PREFIX + name.upper() for name in given if name not in Settings.model_fields)
    if unknown:
        raise Misconfigured(
            f"unknown setting: {', '.join(unknown)}", hint="the settings are listed by: despensa config show"
        )
    try:
        # Passed as arguments, so that one reading of the environment decides.
        return Settings(**{name: value for name, value in given.items() if value != ""})  # type: ignore[arg-type]
    except ValidationError as error:
        reasons = "; ".join(_reason(dict(each)) for each in error.errors(include_input=False, include_url=False))
        raise Misconfigured(f"settings: {reasons}", hint="see: despensa config show") from None


def _require_readable(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:  # its own text repeats the URL, which may hold a password
        raise ValueError("has a host or a port that cannot be read") from None


def _reason(error: dict[str, object]) -> str:
    where = ".".join(str(part) for part in error["loc"])  # type: ignore[attr-defined]
    rule = str(error["msg"]).removeprefix("Value error, ")
    return f"{PREFIX}{where.upper()}: {rule}" if where else rule
