"""What the policy may approve by itself: its guard rails, and which file enrolled a family.

Why: a clerk who enrols families that are not there needs nobody else while the policy approves whatever fits under one
limit. The rails are one view, so that the scheduler that asks, the person who looks and the database that refuses read
the same rules; a rail whose column is empty is off. `enrolment.file_id` has no foreign key: 0003 says what one costs an
import of a million families.
"""

import sqlalchemy as sa
from alembic import op

import models.columns
from models.migrations.search_path import LOOK_AT_TEMPORARY_TABLES_LAST

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
PHASE = "expand"

LINES_PER_RUN = 10_000_000

#: The columns of a programme that set a rail.
RAILS = (
    "policy_families_percent", "policy_amount_percent", "policy_location_max_minor", "policy_cycle_max_minor",
    "policy_rate_percent", "policy_file_families_max",
)  # fmt: skip
#: As in 0007, and the rails.
RULES = ("approval", "policy_run_max_minor", "two_approvals_above_minor", *RAILS)

#: All parts of a location's month with this run, and the month before it, of runs that somebody released.
THIS_MONTH = "m.location_code = r.location_code AND m.cycle = r.cycle"
#: The month before, as text: 2026-01 comes after 2025-12.
MONTH_BEFORE = (
    "b.location_code = r.location_code AND b.state NOT IN ('planned', 'approved', 'cancelled') AND b.cycle = "
    "CASE WHEN substr(r.cycle, 6, 2) = '01' THEN CAST(CAST(substr(r.cycle, 1, 4) AS INTEGER) - 1 AS TEXT) || '-12' "
    "ELSE substr(r.cycle, 1, 5) || substr(CAST(CAST(substr(r.cycle, 6, 2) AS INTEGER) + 99 AS TEXT), 2) END"
)
#: What a month's total counts towards a limit: what is approved or further, and the run itself.
COUNTED = "(m.id = r.id OR m.state <> 'planned')"


def _sum(column: str, of: str, where: str) -> str:
    return (
        f"(SELECT COALESCE(SUM({of}.{column}), 0) FROM run {of} WHERE {of}.programme_id = r.programme_id AND {where})"
    )


def _changed(percent: str, column: str) -> str:
    now, before = _sum(column, "m", THIS_MONTH), _sum(column, "b", MONTH_BEFORE)
    return f"p.{percent} IS NOT NULL AND {before} > 0 AND ABS({now} - {before}) * 100 > p.{percent} * {before}"


RATE_BEFORE = (
    "(SELECT b.rate_millionths FROM run b WHERE b.programme_id = r.programme_id AND b.cycle < r.cycle "
    "AND b.state NOT IN ('planned', 'approved') AND b.rate_millionths IS NOT NULL "
    "ORDER BY b.cycle DESC, b.id DESC LIMIT 1)"
)
#: Families of this run to whom nothing was released before, whatever their window says.
NEW_FAMILIES = (
    "SELECT 1 FROM disbursement d JOIN enrolment e ON e.programme_id = d.programme_id "
    "AND e.household_id = d.household_id LEFT JOIN imported_file f ON f.id = e.file_id "
    f"WHERE d.id BETWEEN r.id * {LINES_PER_RUN} AND r.id * {LINES_PER_RUN} + {LINES_PER_RUN - 1} "
    "AND NOT EXISTS (SELECT 1 FROM disbursement o JOIN run b ON b.id = o.id / 10000000 "
    "WHERE o.programme_id = d.programme_id AND o.household_id = d.household_id AND o.cycle < d.cycle "
    "AND b.state NOT IN ('planned', 'approved'))"
)
#: Of a file what is there counts, not what its row says.
LARGE_FILES = (
    "SELECT file_id FROM enrolment WHERE programme_id = r.programme_id AND file_id IS NOT NULL "
    "GROUP BY file_id HAVING COUNT(*) > p.policy_file_families_max"
)

#: Where each rail stands, why it refuses, and when. The last ones read lines, and are asked alone (scheduler.approve).
POLICY_RAILS = (
    (10, "approval: a second person", "r.first_approved_by IS NOT NULL"),
    (20, "approval: the programme asks for a person", "p.approval <> 'policy'"),
    (40, "approval: the total is above the policy''s limit", "r.planned_minor > p.policy_run_max_minor"),
    (50, "approval: the total needs two persons", "r.planned_minor > p.two_approvals_above_minor"),
    (60, "approval: no month before to compare with",
     "(p.policy_families_percent IS NOT NULL OR p.policy_amount_percent IS NOT NULL) AND "
     + _sum("lines", "b", MONTH_BEFORE) + " = 0"),
    (70, "approval: the families changed by more than the policy''s limit",
     _changed("policy_families_percent", "lines")),
    (80, "approval: the amount changed by more than the policy''s limit",
     _changed("policy_amount_percent", "planned_minor")),
    (90, "approval: the location''s month is above the policy''s limit",
     f"{_sum('planned_minor', 'm', f'{THIS_MONTH} AND {COUNTED}')} > p.policy_location_max_minor"),
    (100, "approval: the programme''s month is above the policy''s limit",
     f"{_sum('planned_minor', 'm', f'm.cycle = r.cycle AND {COUNTED}')} > p.policy_cycle_max_minor"),
    (110, "approval: no rate before to compare with",
     f"p.policy_rate_percent IS NOT NULL AND r.rate_millionths IS NOT NULL AND {RATE_BEFORE} IS NULL"),
    (120, "approval: the rate changed by more than the policy''s limit",
     (f"p.policy_rate_percent IS NOT NULL AND ABS(r.rate_millionths - {RATE_BEFORE}) * 100 > "
     f"p.policy_rate_percent * {RATE_BEFORE}")),
    (900, "approval: a file enrolled more families than the policy''s limit",
     (f"p.policy_file_families_max IS NOT NULL AND EXISTS ({NEW_FAMILIES} AND (f.added > p.policy_file_families_max "
      f"OR e.file_id IN ({LARGE_FILES})))")),
    (910, "approval: families that no known file enrolled",
     f"p.policy_file_families_max IS NOT NULL AND EXISTS ({NEW_FAMILIES} AND f.id IS NULL)"),
)  # fmt: skip

APPROVES_BY_POLICY = "OLD.state = 'planned' AND NEW.state = 'approved' AND NEW.approval = 'policy'"
#: Two runs that would each fit under a month's limit are looked at one after the other.
KEEP_RAILS = """
CREATE FUNCTION keep_rails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('policy/' || NEW.programme_id || '/' || NEW.cycle, 0));
    IF EXISTS (SELECT 1 FROM policy_rail WHERE run_id = NEW.id) THEN
        RAISE EXCEPTION 'a guard rail of the policy stands before this run' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
REQUIRE_IMPORTER = """
CREATE FUNCTION require_importer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.operator <> session_user THEN
        RAISE EXCEPTION 'a file is imported by who is logged in' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = models.columns.UtcInstant(timezone=True)
    for name in RAILS:
        op.add_column("programme", sa.Column(name, big, nullable=True))
    op.create_table(
        "imported_file",
        sa.Column("id", big, nullable=False),
        sa.Column("programme_id", big, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("imported_at", instant, nullable=False),
        sa.ForeignKeyConstraint(["programme_id"], ["programme.id"], name=op.f("fk_imported_file_programme_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_file")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.add_column("enrolment", sa.Column("file_id", big, nullable=True))
    rails = " UNION ALL ".join(
        f"SELECT r.id AS run_id, {place} AS place, '{reason}' AS reason "
        f"FROM run r JOIN programme p ON p.id = r.programme_id WHERE {condition}"
        for place, reason, condition in POLICY_RAILS
    )
    op.execute(f"CREATE VIEW policy_rail AS {rails}")
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER run_stays_within_rails BEFORE UPDATE ON run WHEN {APPROVES_BY_POLICY} "
            "AND EXISTS (SELECT 1 FROM policy_rail WHERE run_id = NEW.id) "
            "BEGIN SELECT RAISE(ABORT, 'a guard rail of the policy stands before this run'); END"
        )
        changed = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in RAILS)
        op.execute(
            f"CREATE TRIGGER programme_keeps_rails BEFORE UPDATE ON programme WHEN ({changed}) "
            "AND EXISTS (SELECT 1 FROM run WHERE programme_id = OLD.id AND state = 'planned') "
            "BEGIN SELECT RAISE(ABORT, 'the rules of what waits for approval stay'); END"
        )
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER imported_file_refuses_{verb.lower()} BEFORE {verb} ON imported_file "
                "BEGIN SELECT RAISE(ABORT, 'imported_file rows are never changed'); END"
            )
        return
    op.execute(KEEP_RAILS)
    op.execute(REQUIRE_IMPORTER)
    op.execute(
        "CREATE TRIGGER imported_file_is_its_importers BEFORE INSERT ON imported_file FOR EACH ROW "
        "EXECUTE FUNCTION require_importer()"
    )
    op.execute(
        f"CREATE TRIGGER run_stays_within_rails BEFORE UPDATE ON run FOR EACH ROW WHEN ({APPROVES_BY_POLICY}) "
        "EXECUTE FUNCTION keep_rails()"
    )
    op.execute(
        "CREATE TRIGGER imported_file_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON imported_file "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in RULES)
    op.execute("DROP TRIGGER programme_keeps_rules ON programme")
    op.execute(
        f"CREATE TRIGGER programme_keeps_rules BEFORE UPDATE ON programme FOR EACH ROW WHEN ({changed}) "
        "EXECUTE FUNCTION keep_rules()"
    )
    op.execute(LOOK_AT_TEMPORARY_TABLES_LAST)


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
