"""No person is active twice in a programme: a unique key says so, and finds who is active already.

Why: an import compares, and two imports wait for each other; but what must never be, the database refuses, whoever
writes. Two registrations that two operators found to be two people have seats of their own.
"""

from models.migrations.online import create_index

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
PHASE = "expand"


def upgrade() -> None:
    create_index(
        "uq_enrolment_person", "enrolment", ["programme_id", "person_hash", "person_seat"], unique=True,
        where="status = 'active' AND person_hash IS NOT NULL",
    )  # fmt: skip


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
