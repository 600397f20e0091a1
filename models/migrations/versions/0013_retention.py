"""After the stated time a family's group and location are sums of its runs, and its registration is nowhere.

Why: what is not kept can neither leak nor be demanded. So the database says what a reduction is: whole, for good, and
of families alone to whom nothing is owed and of whom nothing happened for as long as each of their programmes keeps
them. Otherwise a registration never changes: a hand-over file would give one family's voucher to another.
"""

import sqlalchemy as sa
from alembic import op

from models.migrations.search_path import LOOK_AT_TEMPORARY_TABLES_LAST

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
PHASE = "expand"

#: Of NEW, a household: that it is not to be reduced yet. By programmes first, of which there are few.
KEPT = """
NOT EXISTS (SELECT 1 FROM programme p JOIN enrolment e ON e.programme_id = p.id AND e.household_id = NEW.id)
OR EXISTS (SELECT 1 FROM programme p JOIN enrolment e ON e.programme_id = p.id AND e.household_id = NEW.id
           WHERE p.retention_months IS NULL OR e.last_cycle >= {month})
OR EXISTS (SELECT 1 FROM programme p JOIN disbursement d ON d.programme_id = p.id AND d.household_id = NEW.id
           JOIN run r ON r.id = d.id / 10000000
           WHERE r.completed_at IS NULL OR r.completed_at >= {instant}
              OR EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                         AND (c.closed_at IS NULL OR c.closed_at >= {instant})))
OR EXISTS (SELECT 1 FROM enrolment_conflict c
           WHERE (c.household_id = NEW.id OR c.other_household_id = NEW.id) AND c.outcome IS NULL)
"""
KEPT_POSTGRESQL = KEPT.format(
    month="to_char(now() AT TIME ZONE 'UTC' - make_interval(months => p.retention_months), 'YYYY-MM')",
    instant="now() - make_interval(months => p.retention_months)",
)
KEPT_SQLITE = KEPT.format(
    month="strftime('%Y-%m', 'now', 'start of month', '-' || p.retention_months || ' months')",
    instant="strftime('%Y-%m-%dT%H:%M:%S', 'now', '-' || p.retention_months || ' months')",
)
#: Also whatever would undo it: that leaves one of these behind, or changes the registration.
REDUCES = "(NEW.registration_id <> OLD.registration_id OR NEW.location_code = '00000' OR NEW.group_code = 'reduced')"
REDUCED = "NEW.registration_id = 'reduced:' || NEW.id AND NEW.location_code = '00000' AND NEW.group_code = 'reduced'"

#: Whoever may write `members` enrols families; a scheduler may not, and reduces.
KEEP_HOUSEHOLD = f"""
CREATE FUNCTION keep_household() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {REDUCES} THEN
        IF NOT ({REDUCED}) THEN
            RAISE EXCEPTION 'a household is reduced whole' USING ERRCODE = 'restrict_violation';
        END IF;
        IF {KEPT_POSTGRESQL} THEN
            RAISE EXCEPTION 'a household is kept for the stated time' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NOT has_column_privilege(TG_RELID, 'members', 'UPDATE') THEN
        RAISE EXCEPTION 'who enrols families moves them' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""
#: Acts as the owner: whoever reduces may write no enrolment.
FORGET_PERSON = """
CREATE FUNCTION forget_person() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN UPDATE enrolment SET person_hash = NULL, person_key_version = NULL
    FROM programme p WHERE enrolment.programme_id = p.id AND enrolment.household_id = NEW.id
                       AND enrolment.person_hash IS NOT NULL;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("programme", sa.Column("retention_months", sa.Integer(), nullable=True))
    op.create_table(
        "reduced_group",
        sa.Column("run_id", big, autoincrement=False, nullable=False),
        sa.Column("group_code", sa.Text(), nullable=False),
        sa.Column("uncredited", sa.Integer(), nullable=False),
        sa.Column("uncredited_minor", big, autoincrement=False, nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_reduced_group_run_id")),
        sa.PrimaryKeyConstraint("run_id", "group_code", name=op.f("pk_reduced_group")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _guard_postgresql() -> None:
    for function in (KEEP_HOUSEHOLD, FORGET_PERSON, LOOK_AT_TEMPORARY_TABLES_LAST):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER household_is_kept BEFORE UPDATE OF registration_id, location_code, group_code ON household "
        "FOR EACH ROW EXECUTE FUNCTION keep_household()"
    )
    op.execute(
        "CREATE TRIGGER household_forgets_person AFTER UPDATE OF registration_id ON household "
        "FOR EACH ROW WHEN (NEW.group_code = 'reduced') EXECUTE FUNCTION forget_person()"
    )


def _guard_sqlite() -> None:
    for name, condition, message in (
        ("household_is_reduced_whole", f"{REDUCES} AND NOT ({REDUCED})", "a household is reduced whole"),
        ("household_is_kept", f"{REDUCES} AND ({KEPT_SQLITE})", "a household is kept for the stated time"),
    ):
        op.execute(
            f"CREATE TRIGGER {name} BEFORE UPDATE OF registration_id, location_code, group_code ON household "
            f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        "CREATE TRIGGER household_forgets_person AFTER UPDATE OF registration_id ON household "
        "WHEN NEW.group_code = 'reduced' BEGIN "
        "UPDATE enrolment SET person_hash = NULL, person_key_version = NULL WHERE household_id = NEW.id; END"
    )


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
