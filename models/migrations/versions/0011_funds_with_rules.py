"""What a fund may pay for, and how much of a month.

Why: every peso is accounted for, and every decision has a name.
"""

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
