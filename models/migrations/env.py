"""Alembic's entry: runs on the connection that models.schema passes, never on one of its own; `--sql` has none."""

from typing import Any

from alembic import context

from models.tables import Table


def _raise_floor(ctx: Any, step: Any, *_more: object, **_named: object) -> None:
    """In the migration's own transaction: code that does not know a contraction must not work on what it leaves."""
    if step.up_revision.module.PHASE == "contract":
        ctx.execute(f"UPDATE code_floor SET revision = '{step.up_revision_id}' WHERE id = 1")


connection = context.config.attributes.get("connection")
context.configure(
    connection=connection,
    dialect_name=None if connection else "postgresql",
    target_metadata=Table.metadata,
    render_as_batch=True,
    user_module_prefix="models.columns.",
    transaction_per_migration=True,
    on_version_apply=_raise_floor,
)
with context.begin_transaction():
    context.run_migrations()
