"""What an issuer says that it credited, and where it differs from our books; and what the close of a run found.

Why: an outside issuer's statement is the only witness beside us. Each of its lines is held against our books, again
with every statement, and what differs is kept until it agrees or a person says why. And the books of a run are compared
when it closes: here stands for which close that was done.
"""

import sqlalchemy as sa
from alembic import op

import models.columns

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
PHASE = "expand"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = models.columns.UtcInstant(timezone=True)
OPEN = sa.text("state = 'open'")
REVERSED = sa.text("kind = 'reversed'")
REASONS = (
    "'unknown_to_us', 'twice', 'other_amount', 'not_owed', 'not_settled', 'reversed_without_original', 'reversed', "
    "'unknown_to_them'"
)


def upgrade() -> None:
    _make_statements()
    _make_credits()
    _make_differences()
    for table in ("statement", "statement_credit", "difference"):
        _refuse_delete(table)
    op.add_column("run", sa.Column("reconciled_close_at", INSTANT, nullable=True))
    op.add_column("run", sa.Column("differences", sa.Integer(), nullable=True))
    # What closed before is not compared now, month by month: `run reconcile` looks at everything.
    op.execute("UPDATE run SET reconciled_close_at = completed_at WHERE completed_at IS NOT NULL")


def _make_statements() -> None:
    op.create_table(
        "statement",
        sa.Column("id", BIG, nullable=False),
        sa.Column("programme_id", BIG, autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("from_at", INSTANT, nullable=False),
        sa.Column("to_at", INSTANT, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("credited_minor", BIG, autoincrement=False, nullable=False),
        sa.Column("reversals", sa.Integer(), nullable=False),
        sa.Column("reversed_minor", BIG, autoincrement=False, nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column("imported_at", INSTANT, nullable=False),
        sa.CheckConstraint("from_at < to_at", name=op.f("ck_statement_period")),
        sa.CheckConstraint("lines >= credits + reversals", name=op.f("ck_statement_lines")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_statement_programme_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement")),
        sa.UniqueConstraint(
            "programme_id", "digest", "from_at", "to_at", name=op.f("uq_statement_programme_id_digest_from_at_to_at")
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def _make_credits() -> None:
    op.create_table(
        "statement_credit",
        sa.Column("programme_id", BIG, autoincrement=False, nullable=False),
        sa.Column("credit_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("amount_minor", BIG, autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("booked_at", INSTANT, nullable=False),
        sa.Column("reverses", sa.Text(), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("statement_id", BIG, autoincrement=False, nullable=False),
        sa.CheckConstraint("kind IN ('credited', 'reversed')", name=op.f("ck_statement_credit_kind")),
        sa.CheckConstraint("amount_minor BETWEEN 1 AND 10000000000000", name=op.f("ck_statement_credit_amount_minor")),
        sa.CheckConstraint("(kind = 'reversed') = (reverses <> '')", name=op.f("ck_statement_credit_reverses")),
        sa.CheckConstraint("listed >= 0", name=op.f("ck_statement_credit_listed")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_statement_credit_programme_id")),
        sa.ForeignKeyConstraint(["statement_id"], ["statement.id"], name=op.f("fk_statement_credit_statement_id")),
        sa.PrimaryKeyConstraint("programme_id", "credit_id", name=op.f("pk_statement_credit")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.create_index("ix_statement_credit_reference", "statement_credit", ["programme_id", "reference"])
    op.create_index(
        "ix_statement_credit_reverses", "statement_credit", ["programme_id", "reverses"], sqlite_where=REVERSED,
        postgresql_where=REVERSED,
    )  # fmt: skip


def _make_differences() -> None:
    op.create_table(
        "difference",
        sa.Column("id", BIG, nullable=False),
        sa.Column("programme_id", BIG, autoincrement=False, nullable=False),
        sa.Column("statement_id", BIG, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("credit_id", sa.Text(), nullable=False),
        sa.Column("disbursement_id", BIG, autoincrement=False, nullable=True),
        sa.Column("expected_minor", BIG, autoincrement=False, nullable=True),
        sa.Column("expected_currency", sa.Text(), nullable=False),
        sa.Column("found_minor", BIG, autoincrement=False, nullable=True),
        sa.Column("found_currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT, nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.CheckConstraint(f"reason IN ({REASONS})", name=op.f("ck_difference_reason")),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_difference_state")),
        sa.CheckConstraint("(state = 'open') = (closed_at IS NULL)", name=op.f("ck_difference_closed_at")),
        sa.CheckConstraint("closed_by IS NULL OR evidence <> ''", name=op.f("ck_difference_evidence")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_difference_programme_id")),
        sa.ForeignKeyConstraint(["statement_id"], ["statement.id"], name=op.f("fk_difference_statement_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_difference")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index(
        "uq_difference_open", "difference", ["programme_id", "reason", "reference", "credit_id"], unique=True,
        sqlite_where=OPEN, postgresql_where=OPEN,
    )  # fmt: skip
    op.create_index("ix_difference_reference", "difference", ["programme_id", "reference"])
    op.create_index("ix_difference_open", "difference", ["disbursement_id"], sqlite_where=OPEN, postgresql_where=OPEN)


def _refuse_delete(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {table}_refuses_delete BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} rows are never deleted'); END"
        )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_delete BEFORE DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete()"
        )


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
