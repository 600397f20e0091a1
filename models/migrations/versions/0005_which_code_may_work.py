"""Which code may work on this schema, and of which code whoever was seen is.

Why: a schema is expanded while the release before still works on it, and contracted once nobody of that release does.
So code has to know whether it may work on a schema that is newer than it, and a contraction who is still at work.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    op.create_table(
        "code_floor",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_code_floor_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_floor")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    op.execute("INSERT INTO code_floor (id, revision) VALUES (1, '0005')")
    op.add_column("sighting", sa.Column("revision", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("code from before the first release works on no later schema: restore a backup instead")
