"""A person who is enrolled twice is seen, by a keyed hash of the person's key.

Why: one person under two registration ids was two families, each paid. Whether two registrations are one person two
operators decide; a seat of one's own beside another of the same hash only they can give, and the database asks.
"""

import sqlalchemy as sa
from alembic import op

import models.columns
from models.migrations.search_path import LOOK_AT_TEMPORARY_TABLES_LAST

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
PHASE = "expand"

DECISIONS = "'same', 'different'"

REQUIRE_DECIDED_SEAT = """
CREATE FUNCTION require_decided_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM enrolment_conflict c
                   WHERE c.id = NEW.person_seat AND c.programme_id = NEW.programme_id
                     AND c.household_id = NEW.household_id AND c.outcome = 'different') THEN
        RAISE EXCEPTION 'a seat that two operators have not given' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""

#: A name that stands in a decision is the session's own, and each decision is a statement of its own.
REQUIRE_DECIDERS = """
CREATE FUNCTION require_deciders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.first_decision IS NOT NULL OR NEW.outcome IS NOT NULL THEN
            RAISE EXCEPTION 'a conflict begins undecided' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.programme_id, NEW.household_id, NEW.other_household_id, NEW.found_at)
       IS DISTINCT FROM (OLD.id, OLD.programme_id, OLD.household_id, OLD.other_household_id, OLD.found_at)
       OR OLD.outcome = 'different' THEN
        RAISE EXCEPTION 'a conflict is what it was found to be' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.outcome IS NOT NULL THEN
        IF OLD.outcome IS NOT NULL OR NEW.decided_by IS DISTINCT FROM session_user::TEXT
           OR (NEW.first_decision, NEW.first_decided_by, NEW.first_decided_at)
              IS DISTINCT FROM (OLD.first_decision, OLD.first_decided_by, OLD.first_decided_at) THEN
            RAISE EXCEPTION 'a second decision is the session''s own' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NEW.first_decided_by IS DISTINCT FROM session_user::TEXT THEN
        RAISE EXCEPTION 'a decision is the session''s own' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    _make_conflicts()
    if op.get_bind().dialect.name == "sqlite":
        _upgrade_sqlite()
    else:
        _upgrade_postgresql()


def _make_conflicts() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = models.columns.UtcInstant(timezone=True)
    op.create_table(
        "enrolment_conflict",
        sa.Column("id", big, nullable=False),
        sa.Column("programme_id", big, autoincrement=False, nullable=False),
        sa.Column("household_id", big, autoincrement=False, nullable=False),
        sa.Column("other_household_id", big, autoincrement=False, nullable=False),
        sa.Column("found_at", instant, nullable=False),
        sa.Column("first_decision", sa.Text(), nullable=True),
        sa.Column("first_decided_by", sa.Text(), nullable=True),
        sa.Column("first_decided_at", instant, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", instant, nullable=True),
        *(
            sa.CheckConstraint(rule, name=op.f(f"ck_enrolment_conflict_{name}"))
            for name, rule in (
                ("two_households", "household_id <> other_household_id"),
                ("first_decision", f"first_decision IN ({DECISIONS})"),
                ("first_decided_by", "(first_decision IS NULL) = (first_decided_by IS NULL)"),
                ("first_decided_at", "(first_decision IS NULL) = (first_decided_at IS NULL)"),
                ("outcome", "outcome IS NULL OR (first_decision IS NOT NULL AND outcome = first_decision)"),
                ("decided_by", "(outcome IS NULL) = (decided_by IS NULL)"),
                ("decided_at", "(outcome IS NULL) = (decided_at IS NULL)"),
                ("four_eyes", "decided_by <> first_decided_by"),
            )
        ),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_enrolment_conflict_{column}"))
            for column, table in (
                ("programme_id", "programme"), ("household_id", "household"), ("other_household_id", "household"),
            )
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_conflict")),
        sa.UniqueConstraint(
            "programme_id", "household_id", "other_household_id",
            name=op.f("uq_enrolment_conflict_programme_id_household_id_other_household_id"),
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )  # fmt: skip


def _upgrade_sqlite() -> None:
    op.execute(
        "ALTER TABLE enrolment ADD COLUMN person_hash TEXT "
        "CONSTRAINT ck_enrolment_person_hash CHECK (length(person_hash) = 64)"
    )
    op.execute(
        "ALTER TABLE enrolment ADD COLUMN person_key_version INTEGER CONSTRAINT ck_enrolment_person_key_version "
        "CHECK ((person_hash IS NULL) = (person_key_version IS NULL))"
    )
    op.execute("ALTER TABLE enrolment ADD COLUMN person_seat INTEGER NOT NULL DEFAULT 0")
    undecided = (
        "NEW.person_seat <> 0 AND NOT EXISTS (SELECT 1 FROM enrolment_conflict c WHERE c.id = NEW.person_seat "
        "AND c.programme_id = NEW.programme_id AND c.household_id = NEW.household_id AND c.outcome = 'different')"
    )
    for name, verb in (("insert", "INSERT"), ("update", "UPDATE OF person_seat")):
        op.execute(
            f"CREATE TRIGGER enrolment_requires_decided_seat_at_{name} BEFORE {verb} ON enrolment WHEN {undecided} "
            "BEGIN SELECT RAISE(ABORT, 'a seat that two operators have not given'); END"
        )
    op.execute(
        "CREATE TRIGGER enrolment_conflict_refuses_delete BEFORE DELETE ON enrolment_conflict "
        "BEGIN SELECT RAISE(ABORT, 'enrolment_conflict rows are never deleted'); END"
    )


def _upgrade_postgresql() -> None:
    op.execute("ALTER TABLE enrolment ADD COLUMN person_hash TEXT")
    op.execute("ALTER TABLE enrolment ADD COLUMN person_key_version INTEGER")
    op.execute("ALTER TABLE enrolment ADD COLUMN person_seat BIGINT NOT NULL DEFAULT 0")
    # Every row has none yet: what would be validated is known, and need not be read.
    op.execute(
        "ALTER TABLE enrolment ADD CONSTRAINT ck_enrolment_person_hash CHECK (length(person_hash) = 64) NOT VALID"
    )
    op.execute(
        "ALTER TABLE enrolment ADD CONSTRAINT ck_enrolment_person_key_version "
        "CHECK ((person_hash IS NULL) = (person_key_version IS NULL)) NOT VALID"
    )
    for function in (REQUIRE_DECIDED_SEAT, REQUIRE_DECIDERS, LOOK_AT_TEMPORARY_TABLES_LAST):
        op.execute(function)
    for name, verb in (("insert", "INSERT"), ("update", "UPDATE OF person_seat")):
        op.execute(
            f"CREATE TRIGGER enrolment_requires_decided_seat_at_{name} BEFORE {verb} ON enrolment FOR EACH ROW "
            "WHEN (NEW.person_seat <> 0) EXECUTE FUNCTION require_decided_seat()"
        )
    op.execute(
        "CREATE TRIGGER enrolment_conflict_requires_deciders BEFORE INSERT OR UPDATE ON enrolment_conflict "
        "FOR EACH ROW EXECUTE FUNCTION require_deciders()"
    )
    op.execute(
        "CREATE TRIGGER enrolment_conflict_refuses_delete BEFORE DELETE OR TRUNCATE ON enrolment_conflict "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete()"
    )


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
