"""What migrations do to big tables while everybody writes to them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic import op
from sqlalchemy import text


def create_index(
    name: str, table: str, columns: Sequence[str], *, unique: bool = False, where: str | None = None
) -> None:
    """On PostgreSQL CONCURRENTLY: nobody waits for it. It waits for every transaction that has begun. `where` is the
    condition of the rows that are in it.

    It cannot be part of a transaction, so it is alone in its migration, and may be repeated: what an attempt that was
    broken off left behind, PostgreSQL calls it invalid, is dropped first.
    """
    context = op.get_context()
    condition = None if where is None else text(where)
    if context.dialect.name == "sqlite":
        op.create_index(name, table, columns, unique=unique, sqlite_where=condition)
        return
    with context.autocommit_block(), _patient():
        if not context.as_sql and op.get_bind().execute(_IS_INVALID, {"name": name}).scalar_one():
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.create_index(
            name, table, columns, unique=unique, if_not_exists=True, postgresql_concurrently=True,
            postgresql_where=condition,
        )  # fmt: skip


@contextmanager
def _patient() -> Iterator[None]:
    """The short time-out of models.schema is for who holds up writers while he waits; nobody does here."""
    if op.get_context().as_sql:
        yield
        return
    usual = op.get_bind().execute(text("SHOW lock_timeout")).scalar_one()
    op.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        op.execute(f"SET lock_timeout = '{usual}'")


_IS_INVALID = text("SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)")
