"""Who planned, approved and released is who is logged in, and an approval binds what it was given for.

Why: a clerk who may write must not be able to pay what nobody else has looked at: not by approving a plan of one's own,
by another's name, or by changing what was approved. So the database says it, of every statement: a run begins as a plan
and keeps it; lines and batches come with a plan or not at all, come to what it says, and go with their run; a run is
released as it was approved; vouchers are of released runs alone; and a run never reserves more than was planned, nor
credits more than it reserved.

The rules are the same on both databases, but that SQLite knows no login. On PostgreSQL, what a release before this one
leaves out (the approved sum, who released) is filled in.
"""

import sqlalchemy as sa
from alembic import op

import models.columns
from models.migrations.search_path import LOOK_AT_TEMPORARY_TABLES_LAST

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
PHASE = "expand"

LINES_PER_RUN = 10_000_000

#: What a plan is from its first statement on, and what its last statement adds.
PLAN = (
    "id", "programme_id", "location_code", "cycle", "part", "late", "opens_at", "currency", "value_currency",
    "rate_millionths", "rate_source", "rate_date", "round_to_minor", "validity_days", "batch_lines_max", "planned_by",
    "planned_at", "salt",
)  # fmt: skip
TOTALS = ("lines", "planned_minor", "digest")
APPROVAL = (
    "approval", "approved_by", "approved_at", "approved_digest", "approved_minor", "approved_rate_millionths",
)  # fmt: skip
FIRST = ("first_approved_by", "first_approved_at")
RELEASE = ("released_by", "released_at")

APPROVES = "OLD.state = 'planned' AND NEW.state = 'approved'"
RELEASES = "OLD.state = 'approved' AND NEW.state = 'released'"
UNBOUND = (
    "(NEW.approved_digest IS DISTINCT FROM NEW.digest OR NEW.digest = '' OR (NEW.approved_minor IS NOT NULL AND "
    "(NEW.approved_minor <> NEW.planned_minor OR NEW.approved_rate_millionths IS DISTINCT FROM NEW.rate_millionths)))"
)
#: A run that a restored database has forgotten, and that is entered again: `db restored` made its row, as the owner,
#: and whoever enters it has decided that it was handed over.
BY_DECIDER = " AND l.decided_by = session_user"
DECIDED = f"l.outcome = 'handed_over'{BY_DECIDER}"
LOST = (
    "EXISTS (SELECT 1 FROM lost_run l WHERE l.run_id = NEW.id AND l.programme_id = NEW.programme_id "
    f"AND l.location_code = NEW.location_code AND l.cycle = NEW.cycle AND l.part = NEW.part AND {DECIDED})"
)
#: What the rows of a plan come to.
LINES_OF_RUN = f"d.id BETWEEN NEW.id * {LINES_PER_RUN} AND NEW.id * {LINES_PER_RUN} + {LINES_PER_RUN - 1}"
MISCOUNTED = (
    "(NEW.lines, NEW.planned_minor) <> (SELECT COUNT(*), COALESCE(SUM(d.amount_minor), 0) FROM disbursement d "
    f"WHERE {LINES_OF_RUN}) OR (NEW.lines, NEW.planned_minor) <> (SELECT COALESCE(SUM(b.lines), 0), "
    "COALESCE(SUM(b.amount_minor), 0) FROM batch b WHERE b.run_id = NEW.id)"
)
#: What cannot be true of a run that begins. The third one of each is for PostgreSQL alone.
REFUSED_INSERTS = (
    ("a run begins as a plan",
     "NEW.state <> 'planned' OR NEW.digest <> '' OR NEW.completed_at IS NOT NULL OR "
     + " OR ".join(f"NEW.{name} IS NOT NULL" for name in (*APPROVAL, *FIRST, *RELEASE)), ""),
    ("a run is planned by who is logged in", "FALSE", f"NEW.planned_by <> session_user AND NOT {LOST}"),
)  # fmt: skip
#: Nor of one that changes.


def _differ(names: tuple[str, ...]) -> str:
    return "(" + " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in names) + ")"


REFUSED_UPDATES = (
    ("a plan is never changed", _differ(PLAN), ""),
    ("the totals of a plan are never changed", f"OLD.digest <> '' AND {_differ(TOTALS)}", ""),
    ("a plan is ended by its planner", "FALSE",
     f"OLD.digest = '' AND {_differ(TOTALS)} AND NEW.planned_by <> session_user AND NOT {LOST}"),
    ("the totals of a plan are those of its lines, and of its batches",
     f"OLD.digest = '' AND NEW.digest <> '' AND ({MISCOUNTED})", ""),
    ("a run that was lost is not entered with more than was planned",
     ("OLD.digest = '' AND NEW.digest <> '' AND EXISTS (SELECT 1 FROM lost_run l "
      "WHERE l.run_id = NEW.id AND l.planned > 0 AND NEW.planned_minor > l.planned_minor)"), ""),
    ("a run is planned, approved, released, and nothing else in between",
     ("NEW.state <> OLD.state AND ((OLD.state = 'planned' AND NEW.state <> 'approved') OR (OLD.state = 'approved' AND "
     "NEW.state <> 'released') OR (OLD.state <> 'planned' AND NEW.state IN ('planned', 'approved')))"), ""),
    ("an approval is never changed", f"NOT ({APPROVES}) AND {_differ(APPROVAL)}", ""),
    ("a first approval is never changed",
     f"(NEW.state <> 'planned' OR OLD.first_approved_by IS NOT NULL) AND {_differ(FIRST)}", ""),
    ("a release is never changed", f"NOT ({RELEASES}) AND {_differ(RELEASE)}", ""),
    ("a first approval is of a plan, by somebody else than its planner",
     ("NEW.state = 'planned' AND NEW.first_approved_by IS NOT NULL AND (NEW.digest = '' "
      "OR NEW.first_approved_at IS NULL "
     "OR NEW.first_approved_by = NEW.planned_by)"),
     "NEW.first_approved_by IS DISTINCT FROM OLD.first_approved_by AND NEW.first_approved_by <> session_user"),
    ("an approval binds the lines, the total and the rate", f"{APPROVES} AND ({UNBOUND} OR NEW.approved_at IS NULL)",
     ""),
    ("an approval is by a person or by the policy",
     f"{APPROVES} AND (NEW.approved_by IS NULL OR NEW.approval IS NULL OR NEW.approval NOT IN ('person', 'policy'))",
     ""),
    ("a person who approves is neither the planner nor the first to approve",
     (f"{APPROVES} AND NEW.approval = 'person' AND (NEW.approved_by = NEW.planned_by "
     "OR NOT (NEW.approved_by IS DISTINCT FROM NEW.first_approved_by))"),
     f"{APPROVES} AND NEW.approval = 'person' AND NEW.approved_by <> session_user"),
    ("above the threshold of a programme two persons approve",
     (f"{APPROVES} AND NEW.approval = 'person' AND NEW.first_approved_by IS NULL AND NOT {LOST} AND EXISTS (SELECT 1 "
     "FROM programme p WHERE p.id = NEW.programme_id AND NEW.planned_minor > p.two_approvals_above_minor)"), ""),
    ("the policy approves by its own name, and what its guard rails (0008) let it",
     f"{APPROVES} AND NEW.approval = 'policy' AND NEW.approved_by <> 'policy'", ""),
    ("a run is released as it was approved", f"{RELEASES} AND ({UNBOUND} OR NEW.released_at IS NULL)",
     f"{RELEASES} AND NEW.released_by <> session_user"),
)  # fmt: skip

#: What a release before this one does not say is as it must be.
FILL_IN = f"""
    IF TG_OP = 'UPDATE' AND {APPROVES} AND NEW.approved_minor IS NULL THEN
        NEW.approved_minor := NEW.planned_minor;
        NEW.approved_rate_millionths := NEW.rate_millionths;
    END IF;
    IF TG_OP = 'UPDATE' AND {RELEASES} AND NEW.released_by IS NULL THEN
        NEW.released_by := session_user;
    END IF;
"""

#: Whose plan is not ended, and by whom it goes on.
OPEN_PLAN = (
    "r.state = 'planned' AND r.digest = '' AND (r.planned_by = session_user "
    f"OR EXISTS (SELECT 1 FROM lost_run l WHERE l.run_id = r.id AND {DECIDED}))"
)
#: As in 0003. And of lines, in the same look at them: they are of one run, whose plan is being made. It is held, so
#: that it ends with them, or before them.
REQUIRE_HOUSEHOLDS = f"""
CREATE OR REPLACE FUNCTION require_households() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS $$
DECLARE
    lines BIGINT; low BIGINT; high BIGINT; households BIGINT; first_id BIGINT; last_id BIGINT;
BEGIN
    IF TG_TABLE_NAME = 'disbursement' THEN
        SELECT COUNT(*), MIN(household_id), MAX(household_id), MIN(id), MAX(id)
        INTO lines, low, high, first_id, last_id FROM added;
        IF lines > 0 AND (first_id / {LINES_PER_RUN} <> last_id / {LINES_PER_RUN} OR NOT EXISTS (
            SELECT 1 FROM run r WHERE r.id = first_id / {LINES_PER_RUN} AND {OPEN_PLAN} FOR SHARE)) THEN
            RAISE EXCEPTION 'lines come with a plan' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSE
        SELECT COUNT(*), MIN(household_id), MAX(household_id) INTO lines, low, high FROM added;
    END IF;
    SELECT COUNT(*) INTO households FROM added a JOIN household h ON h.id = a.household_id
    WHERE h.id BETWEEN low AND high;
    IF households <> lines THEN
        RAISE EXCEPTION 'a % without its household', TG_TABLE_NAME
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_' || TG_TABLE_NAME || '_household_id';
    END IF;
    RETURN NULL;
END $$
"""

#: As in 0003, but for a run that is not there: its lines were left behind.
REQUIRE_LINES = f"""
CREATE OR REPLACE FUNCTION require_lines() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS $$
DECLARE
    vouchers BIGINT; low BIGINT; high BIGINT; lines BIGINT;
BEGIN
    SELECT COUNT(*), MIN(id), MAX(id) INTO vouchers, low, high FROM added;
    IF low / {LINES_PER_RUN} = high / {LINES_PER_RUN} THEN
        PERFORM 1 FROM run WHERE id = low / {LINES_PER_RUN} AND state NOT IN ('planned', 'approved');
    ELSE
        PERFORM 1 WHERE NOT EXISTS (
            SELECT 1 FROM (SELECT DISTINCT id / {LINES_PER_RUN} AS run_id FROM added) a
            LEFT JOIN run r ON r.id = a.run_id AND r.state NOT IN ('planned', 'approved') WHERE r.id IS NULL);
    END IF;
    IF NOT FOUND AND vouchers > 0 THEN
        RAISE EXCEPTION 'a voucher of a run that is not released' USING ERRCODE = 'restrict_violation';
    END IF;
    SELECT COUNT(*) INTO lines FROM added a JOIN disbursement d ON d.id = a.id WHERE d.id BETWEEN low AND high;
    IF lines <> vouchers THEN
        RAISE EXCEPTION 'a voucher without its line'
              USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_voucher_id';
    END IF;
    RETURN NULL;
END $$
"""

#: A discard deletes its run first, and so holds it: nobody releases what loses its lines.
REFUSE_DELETE_OF_LINES = f"""
CREATE OR REPLACE FUNCTION refuse_delete_of_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM run WHERE id IN (SELECT id / {LINES_PER_RUN} FROM gone)) THEN
        RAISE EXCEPTION 'lines go with their run' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""
TAKE_LINES_ALONG = f"""
CREATE FUNCTION take_lines_along() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM disbursement
               WHERE id BETWEEN OLD.id * {LINES_PER_RUN} AND OLD.id * {LINES_PER_RUN} + {LINES_PER_RUN - 1}) THEN
        RAISE EXCEPTION 'a run goes with its lines' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""

#: Of `a`, a batch that comes, and `r`, its run, if there is one.
STRAY_BATCH = (
    f"r.id IS NULL OR a.first_id / {LINES_PER_RUN} <> a.run_id OR a.last_id / {LINES_PER_RUN} <> a.run_id "
    "OR r.state = 'approved' OR (r.state = 'planned') <> (a.state = 'planned')"
)
REQUIRE_PLAN_OF_BATCHES = f"""
CREATE FUNCTION require_plan_of_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM run r WHERE r.id IN (SELECT run_id FROM added) AND r.state = 'planned' FOR SHARE;
    IF EXISTS (SELECT 1 FROM added a LEFT JOIN run r ON r.id = a.run_id
               WHERE {STRAY_BATCH} OR (r.state = 'planned' AND NOT ({OPEN_PLAN}))) THEN
        RAISE EXCEPTION 'batches come with a plan, or cover lines of a released run'
              USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""
REFUSE_DELETE_OF_BATCHES = """
CREATE FUNCTION refuse_delete_of_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM gone g JOIN run r ON r.id = g.run_id WHERE r.state NOT IN ('planned', 'approved')) THEN
        RAISE EXCEPTION 'batches of a released run are never deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""
#: What a batch is; the rest is how it goes.
BATCH = ("id", "run_id", "first_id", "last_id", "lines", "amount_minor", "digest")

LEFT_OF_RESERVE = (
    "(SELECT COALESCE(SUM(CASE kind WHEN 'reserve' THEN amount_minor ELSE -amount_minor END), 0) "
    "FROM transfer WHERE run_id = NEW.run_id)"
)
RESERVED = (
    "(SELECT COALESCE(SUM(CASE kind WHEN 'reserve' THEN amount_minor ELSE -amount_minor END), 0) "
    "FROM transfer WHERE run_id = NEW.run_id AND kind IN ('reserve', 'unreserve'))"
)
#: Whoever reserves of one run waits for the other.
KEEP_WITHIN_PLAN = f"""
CREATE FUNCTION keep_within_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM run WHERE id = NEW.run_id FOR NO KEY UPDATE;
    IF NOT EXISTS (SELECT 1 FROM run WHERE id = NEW.run_id AND state <> 'planned' AND planned_minor >= {RESERVED}) THEN
        RAISE EXCEPTION 'an approved run reserves no more than was planned' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""
KEEP_WITHIN_RESERVE = f"""
CREATE FUNCTION keep_within_reserve() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {LEFT_OF_RESERVE} < 0 THEN
        RAISE EXCEPTION 'a run credits no more than it reserved' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""

#: What logs said of a run; what a person decided about it is what may be added.
LOST_RUN = (
    "run_id", "programme_id", "location_code", "cycle", "part", "planned", "planned_minor", "credited",
    "credited_minor", "currency", "digest", "exported",
)  # fmt: skip

#: By which a planned run is approved. They stay while one waits, whoever planned it: nobody lowers the number of those
#: who must look, and looks alone.
RULES = ("approval", "policy_run_max_minor", "two_approvals_above_minor")
KEEP_RULES = """
CREATE FUNCTION keep_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM run WHERE programme_id = OLD.id AND state = 'planned') THEN
        RAISE EXCEPTION 'the rules of what waits for approval stay' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = models.columns.UtcInstant(timezone=True)
    op.add_column("run", sa.Column("first_approved_by", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("first_approved_at", instant, nullable=True))
    op.add_column("run", sa.Column("approved_minor", big, nullable=True))
    op.add_column("run", sa.Column("approved_rate_millionths", big, nullable=True))
    op.add_column("run", sa.Column("released_by", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("salt", sa.Text(), nullable=False, server_default=""))
    op.add_column("programme", sa.Column("two_approvals_above_minor", big, nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _guard_postgresql() -> None:
    op.execute(_guard_run())
    for function in (
        REQUIRE_HOUSEHOLDS, REQUIRE_LINES, REFUSE_DELETE_OF_LINES, TAKE_LINES_ALONG, REQUIRE_PLAN_OF_BATCHES,
        REFUSE_DELETE_OF_BATCHES, KEEP_WITHIN_PLAN, KEEP_WITHIN_RESERVE, KEEP_RULES,
    ):  # fmt: skip
        op.execute(function)
    op.execute(
        "CREATE TRIGGER run_has_four_eyes BEFORE INSERT OR UPDATE ON run FOR EACH ROW EXECUTE FUNCTION guard_run()"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER run_takes_its_lines AFTER DELETE ON run DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION take_lines_along()"
    )
    op.execute(
        "CREATE TRIGGER batch_requires_plan AFTER INSERT ON batch REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION require_plan_of_batches()"
    )
    op.execute(
        "CREATE TRIGGER batch_refuses_delete AFTER DELETE ON batch REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete_of_batches()"
    )
    op.execute(
        f"CREATE TRIGGER batch_keeps_its_lines BEFORE UPDATE OF {', '.join(BATCH)} ON batch "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER transfer_stays_within_plan AFTER INSERT ON transfer FOR EACH ROW "
        "WHEN (NEW.kind = 'reserve') EXECUTE FUNCTION keep_within_plan()"
    )
    op.execute(
        "CREATE TRIGGER transfer_stays_within_reserve AFTER INSERT ON transfer FOR EACH ROW "
        "WHEN (NEW.kind IN ('credit', 'unreserve')) EXECUTE FUNCTION keep_within_reserve()"
    )
    op.execute(
        f"CREATE TRIGGER lost_run_keeps_what_was_told BEFORE UPDATE OF {', '.join(LOST_RUN)} ON lost_run FOR EACH ROW "
        f"WHEN ({_differ(LOST_RUN)}) EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER programme_keeps_rules BEFORE UPDATE ON programme FOR EACH ROW WHEN ({_differ(RULES)}) "
        "EXECUTE FUNCTION keep_rules()"
    )
    op.execute(LOOK_AT_TEMPORARY_TABLES_LAST)


def _guard_run() -> str:
    def checks(refused: tuple[tuple[str, str, str], ...]) -> str:
        return "".join(
            f"        IF ({condition}) OR ({by_login or 'FALSE'}) THEN\n"
            f"            RAISE EXCEPTION '{message}' USING ERRCODE = 'restrict_violation';\n        END IF;\n"
            for message, condition, by_login in refused
        )

    return (
        "CREATE FUNCTION guard_run() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN" + FILL_IN
        + f"    IF TG_OP = 'INSERT' THEN\n{checks(REFUSED_INSERTS)}    ELSE\n{checks(REFUSED_UPDATES)}    END IF;\n"
        + "    RETURN NEW;\nEND $$"
    )  # fmt: skip


def _guard_sqlite() -> None:
    for verb, refused in (("INSERT", REFUSED_INSERTS), ("UPDATE", REFUSED_UPDATES)):
        checks = " ".join(
            f"SELECT RAISE(ABORT, '{message}') WHERE {_sqlite(condition)};"
            for message, condition, _ in refused
            if condition != "FALSE"
        )
        op.execute(f"CREATE TRIGGER run_has_four_eyes_at_{verb.lower()} BEFORE {verb} ON run BEGIN {checks} END")
    refusals = (
        ("disbursement_comes_with_a_plan", "INSERT ON disbursement",
         f"NOT EXISTS (SELECT 1 FROM run WHERE id = NEW.id / {LINES_PER_RUN} AND state = 'planned' AND digest = '')",
         "lines come with a plan"),
        ("disbursement_refuses_delete", "DELETE ON disbursement",
         f"EXISTS (SELECT 1 FROM run WHERE id = OLD.id / {LINES_PER_RUN})", "lines go with their run"),
        ("voucher_requires_release", "INSERT ON voucher",
         f"NOT EXISTS (SELECT 1 FROM run WHERE id = NEW.id / {LINES_PER_RUN} AND state NOT IN ('planned', 'approved'))",
         "a voucher of a run that is not released"),
        ("batch_requires_plan", "INSERT ON batch",
         ("EXISTS (SELECT 1 FROM (SELECT NEW.run_id AS run_id, NEW.first_id AS first_id, NEW.last_id AS last_id, "
         "NEW.state AS state) a LEFT JOIN run r ON r.id = a.run_id "
         f"WHERE {STRAY_BATCH} OR (r.state = 'planned' AND r.digest <> ''))"),
         "batches come with a plan, or cover lines of a released run"),
        ("batch_refuses_delete", "DELETE ON batch",
         "(SELECT state FROM run WHERE id = OLD.run_id) NOT IN ('planned', 'approved')",
         "batches of a released run are never deleted"),
        ("batch_keeps_its_lines", f"UPDATE OF {', '.join(BATCH)} ON batch", _differ(BATCH), "a batch keeps its lines"),
        ("transfer_stays_within_plan", "INSERT ON transfer",
         (f"NEW.kind = 'reserve' AND NOT EXISTS (SELECT 1 FROM run WHERE id = NEW.run_id AND state <> 'planned' "
          f"AND planned_minor >= {RESERVED} + NEW.amount_minor)"),
         "an approved run reserves no more than was planned"),
        ("programme_keeps_rules", "UPDATE ON programme",
         (f"{_differ(RULES)} AND EXISTS (SELECT 1 FROM run WHERE programme_id = OLD.id AND state = 'planned')"),
         "the rules of what waits for approval stay"),
        ("transfer_stays_within_reserve", "INSERT ON transfer",
         f"NEW.kind IN ('credit', 'unreserve') AND {LEFT_OF_RESERVE} < NEW.amount_minor",
         "a run credits no more than it reserved"),
        ("lost_run_keeps_what_was_told", "UPDATE ON lost_run", _differ(LOST_RUN), "what logs told is never changed"),
    )  # fmt: skip
    for replaced in ("disbursement_refuses_delete", "voucher_requires_release"):
        op.execute(f"DROP TRIGGER {replaced}")
    for name, event, condition, message in refusals:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} WHEN {_sqlite(condition)} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )


def _sqlite(condition: str) -> str:
    """SQLite before 3.39 says IS NOT, and it knows no login."""
    return condition.replace("IS DISTINCT FROM", "IS NOT").replace(BY_DECIDER, "")


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
