"""Alembic's entry: runs on the connection that models.schema passes, never on one of its own."""

from alembic import context

from models.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    user_module_prefix="models.columns.",
)
with context.begin_transaction():
    context.run_migrations()
