"""What a fund may pay for, and how much of a month.

Why: a donor gives for a city, for a group, or so much a month, and an auditor asks whether it was kept. So the database
says it, as it says that no fund is overdrawn: a batch draws on a fund that may pay its city and its groups, for good;
no month reserves more than its cap, of a fund or of the programme, whoever releases at the same time; and what covers
lines again, is credited or given back, is of the fund that reserved it: two lines that changed funds with each other
would leave every sum as it is. A release before this one knows no restriction, and is refused where it would break one.
"""

import sqlalchemy as sa
from alembic import op

from models.migrations.search_path import LOOK_AT_TEMPORARY_TABLES_LAST

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
PHASE = "expand"

#: Of NEW, a batch that gets its fund. Without groups of its own it may hold families of all of them.
MAY_NOT_PAY = """
NOT EXISTS (
    SELECT 1 FROM run r JOIN fund f ON f.programme_id = r.programme_id AND f.currency = r.currency
    WHERE r.id = NEW.run_id AND f.id = NEW.fund_id
      AND (NOT EXISTS (SELECT 1 FROM fund_location l WHERE l.fund_id = f.id)
           OR EXISTS (SELECT 1 FROM fund_location l WHERE l.fund_id = f.id AND l.location_code = r.location_code))
      AND (NOT EXISTS (SELECT 1 FROM fund_group g WHERE g.fund_id = f.id)
           OR (EXISTS (SELECT 1 FROM batch_group b WHERE b.batch_id = NEW.id)
               AND NOT EXISTS (SELECT 1 FROM batch_group b WHERE b.batch_id = NEW.id AND NOT EXISTS (
                   SELECT 1 FROM fund_group g WHERE g.fund_id = f.id AND g.group_code = b.group_code)))))
"""
REQUIRE_FUND_THAT_MAY_PAY = f"""
CREATE FUNCTION require_fund_that_may_pay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.fund_id IS NOT NULL THEN
        RAISE EXCEPTION 'a batch keeps its fund' USING ERRCODE = 'restrict_violation';
    END IF;
    IF {MAY_NOT_PAY} THEN
        RAISE EXCEPTION 'a fund pays for what it may' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""

#: The groups of a batch come with its plan, and go with the batch.
NO_OPEN_PLAN = (
    "NOT EXISTS (SELECT 1 FROM batch b JOIN run r ON r.id = b.run_id "
    "WHERE b.id = NEW.batch_id AND r.state = 'planned' AND r.digest = '')"
)
REQUIRE_PLAN_OF_GROUPS = f"""
CREATE FUNCTION require_plan_of_groups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {NO_OPEN_PLAN} THEN
        RAISE EXCEPTION 'the groups of a batch come with its plan' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
REFUSE_DELETE_OF_GROUPS = """
CREATE FUNCTION refuse_delete_of_groups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM batch WHERE id = OLD.batch_id) THEN
        RAISE EXCEPTION 'the groups of a batch go with it' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$
"""

#: Batches that cover lines of a released run again, `added`, are on the fund that these were drawn on. A run of one
#: fund is looked at no further.
KEEP_FUND_OF_LINES = """
CREATE FUNCTION keep_fund_of_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT run_id, fund_id FROM added WHERE state <> 'planned') a
               JOIN batch b ON b.run_id = a.run_id AND b.fund_id IS DISTINCT FROM a.fund_id)
       AND EXISTS (SELECT 1 FROM added a JOIN batch b ON b.run_id = a.run_id
                   WHERE a.state <> 'planned' AND b.first_id <= a.last_id AND b.last_id >= a.first_id
                     AND b.fund_id IS DISTINCT FROM a.fund_id AND NOT EXISTS (SELECT 1 FROM added o WHERE o.id = b.id))
    THEN
        RAISE EXCEPTION 'a line keeps its fund' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""

#: Of NEW, a transfer that credits or gives back for a batch, or for the line of a case.
NOT_OF_ITS_LINES = """
((NEW.batch_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM batch b
                  WHERE b.id = NEW.batch_id AND b.run_id = NEW.run_id AND b.fund_id = NEW.fund_id))
 OR EXISTS (SELECT 1 FROM cases c JOIN batch b ON b.run_id = c.run_id
            WHERE c.id = NEW.case_id AND c.disbursement_id BETWEEN b.first_id AND b.last_id
              AND (b.run_id <> NEW.run_id OR b.fund_id <> NEW.fund_id)))
"""

#: As in 0007, and of each fund apart.
LEFT_OF_RESERVE = (
    "(SELECT COALESCE(SUM(CASE kind WHEN 'reserve' THEN amount_minor ELSE -amount_minor END), 0) "
    "FROM transfer WHERE run_id = NEW.run_id AND fund_id = NEW.fund_id)"
)
KEEP_WITHIN_RESERVE = f"""
CREATE OR REPLACE FUNCTION keep_within_reserve() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {NOT_OF_ITS_LINES} THEN
        RAISE EXCEPTION 'what is credited or given back is of the fund of its lines'
              USING ERRCODE = 'restrict_violation';
    END IF;
    IF {LEFT_OF_RESERVE} < 0 THEN
        RAISE EXCEPTION 'a run credits no more of a fund than it reserved' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""

#: What the runs of a month have reserved, less what went back. `r` is the run of the transfer that comes.
RESERVED = (
    "(SELECT COALESCE(SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END), 0) "
    "FROM run o JOIN transfer t ON t.run_id = o.id AND t.kind IN ('reserve', 'unreserve') "
    "WHERE o.programme_id = {programme} AND o.cycle = {cycle}{of_fund})"
)
#: Two who reserve of one fund wait for each other at its row, and two of one programme at a lock of its month, which
#: models.books takes as well. Only so does each see what the other has reserved; a session that goes on seeing what was
#: before is refused.
KEEP_WITHIN_CAPS = f"""
CREATE FUNCTION keep_within_caps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_fund BIGINT; of_programme BIGINT; whose BIGINT; month TEXT;
BEGIN
    SELECT cycle_max_minor INTO of_fund FROM fund WHERE id = NEW.fund_id FOR NO KEY UPDATE;
    SELECT p.cycle_max_minor, p.id, r.cycle INTO of_programme, whose, month
    FROM run r JOIN programme p ON p.id = r.programme_id WHERE r.id = NEW.run_id;
    IF of_fund IS NULL AND of_programme IS NULL THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'what a cap limits is reserved by READ COMMITTED' USING ERRCODE = 'restrict_violation';
    END IF;
    IF of_programme IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('cap/' || whose || '/' || month, 0));
    END IF;
    IF {RESERVED.format(programme="whose", cycle="month", of_fund=" AND t.fund_id = NEW.fund_id")} > of_fund
       OR {RESERVED.format(programme="whose", cycle="month", of_fund="")} > of_programme THEN
        RAISE EXCEPTION 'a month reserves no more than its cap' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""
ABOVE_CAPS = f"""
NEW.kind = 'reserve' AND EXISTS (
    SELECT 1 FROM run r JOIN programme p ON p.id = r.programme_id JOIN fund f ON f.id = NEW.fund_id
    WHERE r.id = NEW.run_id
      AND ((f.cycle_max_minor IS NOT NULL AND f.cycle_max_minor < NEW.amount_minor
            + {RESERVED.format(programme="r.programme_id", cycle="r.cycle", of_fund=" AND t.fund_id = NEW.fund_id")})
           OR (p.cycle_max_minor IS NOT NULL AND p.cycle_max_minor < NEW.amount_minor
            + {RESERVED.format(programme="r.programme_id", cycle="r.cycle", of_fund="")})))
"""


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    for table in ("fund", "programme"):
        op.add_column(table, sa.Column("cycle_max_minor", big, nullable=True))
        op.add_column(table, sa.Column("rules_after_id", big, nullable=False, server_default="0"))
    _create("fund_location", "fund", "location_code", references="location.code")
    _create("fund_group", "fund", "group_code")
    _create("batch_group", "batch", "group_code", ondelete="CASCADE")
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _create(name: str, owner: str, column: str, *, references: str = "", ondelete: str | None = None) -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    others = [sa.ForeignKeyConstraint([column], [references], name=op.f(f"fk_{name}_{column}"))] if references else []
    op.create_table(
        name,
        sa.Column(f"{owner}_id", big, autoincrement=False, nullable=False),
        sa.Column(column, sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            [f"{owner}_id"], [f"{owner}.id"], name=op.f(f"fk_{name}_{owner}_id"), ondelete=ondelete
        ),
        *others,
        sa.PrimaryKeyConstraint(f"{owner}_id", column, name=op.f(f"pk_{name}")),
        sqlite_autoincrement=False,
        sqlite_strict=True,
    )


def _guard_postgresql() -> None:
    for function in (
        REQUIRE_FUND_THAT_MAY_PAY, REQUIRE_PLAN_OF_GROUPS, REFUSE_DELETE_OF_GROUPS, KEEP_FUND_OF_LINES,
        KEEP_WITHIN_RESERVE, KEEP_WITHIN_CAPS,
    ):  # fmt: skip
        op.execute(function)
    op.execute(
        "CREATE TRIGGER batch_fund_may_pay BEFORE UPDATE OF fund_id ON batch FOR EACH ROW "
        "WHEN (NEW.fund_id IS DISTINCT FROM OLD.fund_id) EXECUTE FUNCTION require_fund_that_may_pay()"
    )
    op.execute(
        "CREATE TRIGGER batch_is_planned_without_fund BEFORE INSERT ON batch FOR EACH ROW "
        "WHEN (NEW.state = 'planned' AND NEW.fund_id IS NOT NULL) EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER batch_keeps_fund_of_lines AFTER INSERT ON batch REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION keep_fund_of_lines()"
    )
    op.execute(
        "CREATE TRIGGER batch_group_requires_plan BEFORE INSERT ON batch_group FOR EACH ROW "
        "EXECUTE FUNCTION require_plan_of_groups()"
    )
    op.execute(
        "CREATE TRIGGER batch_group_refuses_change BEFORE UPDATE OR TRUNCATE ON batch_group FOR EACH STATEMENT "
        "EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER batch_group_refuses_delete BEFORE DELETE ON batch_group FOR EACH ROW "
        "EXECUTE FUNCTION refuse_delete_of_groups()"
    )
    op.execute(
        "CREATE TRIGGER transfer_stays_within_caps AFTER INSERT ON transfer FOR EACH ROW "
        "WHEN (NEW.kind = 'reserve') EXECUTE FUNCTION keep_within_caps()"
    )
    op.execute(LOOK_AT_TEMPORARY_TABLES_LAST)


def _guard_sqlite() -> None:
    op.execute("DROP TRIGGER transfer_stays_within_reserve")
    refusals = (
        ("batch_keeps_its_fund", "UPDATE OF fund_id ON batch",
         "OLD.fund_id IS NOT NULL AND NEW.fund_id IS NOT OLD.fund_id", "a batch keeps its fund"),
        ("batch_fund_may_pay", "UPDATE OF fund_id ON batch",
         f"OLD.fund_id IS NULL AND NEW.fund_id IS NOT NULL AND {MAY_NOT_PAY}", "a fund pays for what it may"),
        ("batch_is_planned_without_fund", "INSERT ON batch", "NEW.state = 'planned' AND NEW.fund_id IS NOT NULL",
         "a fund is fixed at release"),
        ("batch_keeps_fund_of_lines", "INSERT ON batch",
         ("NEW.state <> 'planned' AND EXISTS (SELECT 1 FROM batch b WHERE b.run_id = NEW.run_id "
          "AND b.first_id <= NEW.last_id AND b.last_id >= NEW.first_id AND b.fund_id IS NOT NEW.fund_id)"),
         "a line keeps its fund"),
        ("batch_group_requires_plan", "INSERT ON batch_group", NO_OPEN_PLAN,
         "the groups of a batch come with its plan"),
        ("batch_group_refuses_update", "UPDATE ON batch_group", "1", "the groups of a batch are never changed"),
        ("batch_group_refuses_delete", "DELETE ON batch_group",
         "EXISTS (SELECT 1 FROM batch WHERE id = OLD.batch_id)", "the groups of a batch go with it"),
        ("transfer_is_of_its_lines", "INSERT ON transfer",
         f"NEW.kind IN ('credit', 'unreserve') AND {NOT_OF_ITS_LINES}",
         "what is credited or given back is of the fund of its lines"),
        ("transfer_stays_within_reserve", "INSERT ON transfer",
         f"NEW.kind IN ('credit', 'unreserve') AND {LEFT_OF_RESERVE} < NEW.amount_minor",
         "a run credits no more of a fund than it reserved"),
        ("transfer_stays_within_caps", "INSERT ON transfer", ABOVE_CAPS, "a month reserves no more than its cap"),
    )  # fmt: skip
    for name, event, condition, message in refusals:
        op.execute(f"CREATE TRIGGER {name} BEFORE {event} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END")


def downgrade() -> None:
    raise NotImplementedError("what was decided is not taken back: restore a backup instead")
