"""Who planned, approved and released is who is logged in, and an approval binds what it was given for.

Why: every peso is accounted for, and every decision has a name.
"""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
