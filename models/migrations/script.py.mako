"""${message}.

Why: 
"""

import sqlalchemy as sa
from alembic import op

import models.columns
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# "expand": the release before goes on working on the schema that this makes. It adds tables, columns that are nullable
#           or have a default, and indexes; it drops, renames, narrows and rewrites nothing.
# "contract": only once nobody is at work whose newest migration is an earlier one. What follows it waits for it.
PHASE = "expand"

# Big are household, enrolment, disbursement, batch, voucher, intent, answer, transfer, journal and seal. An index on
# one of them is alone in its migration, and built while everybody writes:
#     from models.migrations.online import create_index
#     create_index("ix_TABLE_COLUMN", "TABLE", ["COLUMN"])
# tests/migration/test_rules.py refuses what would lock or rewrite one.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
