"""Column types that mean the same on PostgreSQL and in SQLite's STRICT tables."""

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, ForeignKey, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field

INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def instant_text(instant: datetime) -> str:
    """An aware instant as `2026-12-01T15:00:00.000000Z`: sorts as it counts. Raises ValueError on a naive one."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC).strftime(INSTANT_FORMAT)


def parse_instant(text: str) -> datetime:
    """What `instant_text` wrote. Raises ValueError for any other text."""
    return datetime.strptime(text, INSTANT_FORMAT).replace(tzinfo=UTC)


class UtcInstant(TypeDecorator[datetime]):
    """An aware instant in UTC: `timestamptz` on PostgreSQL, text that sorts on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The storage type of this dialect."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuses a naive instant."""
        if value is None:
            return None
        text = instant_text(value)
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if value is None:
            return None
        if isinstance(value, str):
            return parse_instant(value)
        return cast(datetime, value).astimezone(UTC)


def identity() -> Any:
    """A 64-bit key that the database counts up and never gives twice, even after a delete."""
    return Field(default=None, primary_key=True, sa_type=_bigint())


def big(*, default: Any = ..., references: str | None = None, key: bool = False, index: bool = False) -> Any:
    """A 64-bit integer."""
    arguments = [] if references is None else [ForeignKey(references)]
    return Field(
        default=default,
        sa_type=_bigint(),
        sa_column_args=arguments,
        sa_column_kwargs={"autoincrement": False},
        primary_key=key,
        index=index,
    )


def text(*, default: Any = ..., references: str | None = None, key: bool = False, unique: bool = False) -> Any:
    """Text of any length."""
    arguments = [] if references is None else [ForeignKey(references)]
    return Field(default=default, sa_type=Text, sa_column_args=arguments, primary_key=key, unique=unique)


def integer(*, default: Any = ...) -> Any:
    """A 32-bit integer."""
    return Field(default=default, sa_type=Integer)


def flag(*, default: Any = ...) -> Any:
    """True or false; 1 or 0 on SQLite."""
    return Field(default=default, sa_type=cast(Any, Boolean().with_variant(Integer(), "sqlite")))


def instant(*, default: Any = ...) -> Any:
    """An aware UTC instant. The name of the column ends in `_at` or `_until`."""
    return Field(default=default, sa_type=UtcInstant)


def _bigint() -> Any:
    return BigInteger().with_variant(Integer(), "sqlite")
