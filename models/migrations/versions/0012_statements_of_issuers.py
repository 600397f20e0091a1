"""What an issuer says that it credited, and where it differs from our books.

Why: every peso is accounted for, and every decision has a name.
"""

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
