"""What a restored database must know: where it lies, whether it may pay, what it forgot.

Why: a database that was restored has forgotten payments. It pays nothing until `db restored` has
compared it with the logs; then runs that it forgot wait for a person, and an outside issuer is asked first.
"""

import sqlalchemy as sa
from alembic import op

import models.columns

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = models.columns.UtcInstant(timezone=True)
    op.create_table(
        "custody",
        sa.Column("id", big, autoincrement=False, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("held", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_custody_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_custody")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.execute("INSERT INTO custody (id, place, held) VALUES (1, '', '')")
    op.create_table(
        "lost_run",
        sa.Column("run_id", big, autoincrement=False, nullable=False),
        sa.Column("programme_id", big, autoincrement=False, nullable=False),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("planned_minor", big, autoincrement=False, nullable=False),
        sa.Column("credited", sa.Integer(), nullable=False),
        sa.Column("credited_minor", big, autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("exported", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", instant, nullable=True),
        sa.CheckConstraint(
            "cycle >= '2000-01' AND cycle < '2200-01' AND length(cycle) = 7", name=op.f("ck_lost_run_cycle")
        ),
        sa.CheckConstraint("planned_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_lost_run_planned_minor")),
        sa.CheckConstraint("credited_minor BETWEEN 0 AND 10000000000000", name=op.f("ck_lost_run_credited_minor")),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('handed_over', 'not_handed_over')", name=op.f("ck_lost_run_outcome")
        ),
        sa.CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name=op.f("ck_lost_run_decided")),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_lost_run_programme_id")),
        sa.ForeignKeyConstraint(["location_code"], ["location.code"], name=op.f("fk_lost_run_location_code")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_lost_run")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.add_column("issuer", sa.Column("forgotten_cycle", sa.Text(), nullable=False, server_default=""))
    op.add_column("issuer", sa.Column("forgotten_from", instant, nullable=True))
    op.add_column("issuer", sa.Column("forgotten_until", instant, nullable=True))


def downgrade() -> None:
    raise NotImplementedError("what a restore left open is not taken back: restore a backup instead")
