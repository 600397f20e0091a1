"""Outside issuers: which programme has one, what was called, and what it answered.

Why: workers record an intent before each call and its answer after it.
"""

import sqlalchemy as sa
from alembic import op

import models.columns

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
PHASE = "expand"

#: Rows of these are evidence: never updated, never deleted.
APPEND_ONLY = ("intent", "answer")


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "issuer",
        sa.Column("programme_id", big, autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("calls_max", sa.Integer(), nullable=False),
        sa.Column("key_window_hours", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("breaker_until", models.columns.UtcInstant(timezone=True), nullable=True),
        sa.CheckConstraint("calls_max BETWEEN 1 AND 1024", name=op.f("ck_issuer_calls_max")),
        sa.CheckConstraint("key_window_hours BETWEEN 1 AND 8784", name=op.f("ck_issuer_key_window_hours")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_issuer_programme_id")),
        sa.PrimaryKeyConstraint("programme_id", name=op.f("pk_issuer")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_table(
        "intent",
        sa.Column("id", big, nullable=False),
        sa.Column("disbursement_id", big, autoincrement=False, nullable=False),
        sa.Column("batch_id", big, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("recorded_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('send', 'ask')", name=op.f("ck_intent_kind")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_intent_batch_id")),
        sa.ForeignKeyConstraint(["disbursement_id"], ["disbursement.id"], name=op.f("fk_intent_disbursement_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("intent", schema=None) as batch_op:
        batch_op.create_index("ix_intent_disbursement_id", ["disbursement_id"], unique=False)
    op.create_table(
        "answer",
        sa.Column("intent_id", big, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("credit_id", sa.Text(), nullable=False),
        sa.Column("answered_at", models.columns.UtcInstant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('credited', 'rejected', 'later', 'absent', 'unknown')", name=op.f("ck_answer_outcome")
        ),
        sa.ForeignKeyConstraint(["intent_id"], ["intent.id"], name=op.f("fk_answer_intent_id")),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_answer")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    for table in APPEND_ONLY:
        _guard(table)


def _guard(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} rows are never changed'); END"
            )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    raise NotImplementedError("evidence is not taken back: restore a backup instead")
