"""Retrying cases: close them and cover their lines with new batches, in one transaction under the run's lock."""

from dataclasses import dataclass

from sqlmodel import col

from models import books
from models.errors import RefusedByState
from models.events import BatchRetried, RunRetried
from models.journal import append, append_all
from models.runs import lock_run, of_run
from models.states import RunState
from models.storage import Query, Tx
from models.tables import Fund, Run, run_code
from scheduler.plan import line_range

#: The states in which a run can have open cases.
WITH_CASES = (RunState.RELEASED, RunState.PAUSED, RunState.COMPLETED_WITH_CASES, RunState.CANCELLED)

SUM_CASES = Query("""
-- sum_cases: chosen open cases of a run per fund, and how much of them has no reserve; bounded by the funds
SELECT c.fund_id, COUNT(*) AS cases, CAST(SUM(d.amount_minor) AS BIGINT) AS amount_minor,
       CAST(SUM(CASE WHEN c.reserved = :no THEN d.amount_minor ELSE 0 END) AS BIGINT) AS unreserved_minor
FROM cases c JOIN disbursement d ON d.id = c.disbursement_id
WHERE c.run_id = :run_id AND c.state = 'open' AND (:case_id = 0 OR c.id = :case_id)
  AND (:reason = '' OR c.reason = :reason) AND (:due_only = 0 OR c.next_attempt_at <= :now)
  AND (:any_error = 1 OR c.last_error = :error) AND (:waiting = 0 OR c.next_attempt_at IS NULL)
GROUP BY c.fund_id ORDER BY c.fund_id
""")

COVER_CASES = Query("""
-- cover_cases: batches over exactly the lines of chosen open cases: unbroken stretches of one fund, cut to size
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, fund_id, state, attempts, last_error,
                   next_attempt_at)
SELECT :run_id, MIN(id), MAX(id), COUNT(*), SUM(amount_minor), '', fund_id, 'open', 0, '', :now
FROM (SELECT n.id, n.amount_minor, n.place, c.fund_id,
             n.place - ROW_NUMBER() OVER (PARTITION BY c.fund_id ORDER BY n.place) AS stretch
      FROM (SELECT id, amount_minor, ROW_NUMBER() OVER (ORDER BY id) AS place
            FROM disbursement WHERE id BETWEEN :first_id AND :last_id) n
      JOIN cases c ON c.disbursement_id = n.id
      WHERE c.run_id = :run_id AND c.state = 'open' AND (:case_id = 0 OR c.id = :case_id)
        AND (:reason = '' OR c.reason = :reason) AND (:due_only = 0 OR c.next_attempt_at <= :now)
        AND (:any_error = 1 OR c.last_error = :error) AND (:waiting = 0 OR c.next_attempt_at IS NULL)) covered
GROUP BY fund_id, stretch, place / :batch_lines ORDER BY MIN(id)
""")

CLOSE_CASES = Query("""
-- close_cases: chosen open cases of a run, now covered by batches
UPDATE cases SET state = 'closed', outcome = 'retried', closed_at = :now, closed_by = :closed_by
WHERE run_id = :run_id AND state = 'open' AND (:case_id = 0 OR id = :case_id)
  AND (:reason = '' OR reason = :reason) AND (:due_only = 0 OR next_attempt_at <= :now)
  AND (:any_error = 1 OR last_error = :error) AND (:waiting = 0 OR next_attempt_at IS NULL)
""")

LIST_COVERING = Query("""
-- list_covering: the batches of a run after another one: those that were just made
SELECT id, first_id, last_id, lines, amount_minor FROM batch WHERE run_id = :run_id AND id > :after_id ORDER BY id
""")

LAST_BATCH = Query("""
-- last_batch: a run's newest
SELECT MAX(id) FROM batch WHERE run_id = :run_id
""")

REOPEN_RUN = Query("""
-- reopen_run: it has open batches again; a run whose cancel is not over only asks for what is in doubt
UPDATE run SET state = 'released', completed_at = NULL
WHERE id = :run_id
  AND (state IN ('completed_with_cases', 'released') OR (state = 'cancelled' AND completed_at IS NOT NULL))
""")

RUNS_WITH_DUE_CASES = Query("""
-- runs_with_due_cases: whose cases retry themselves now; those of a paused run wait for its resumption
SELECT DISTINCT c.run_id FROM cases c JOIN run r ON r.id = c.run_id
WHERE c.state = 'open' AND c.next_attempt_at <= :now AND r.state <> 'paused' ORDER BY c.run_id LIMIT 100
""")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which open cases of a run: all, or one, or those of a reason, of an error, that wait for a person, or are due."""

    case_id: int = 0
    reason: str = ""
    error: str | None = None  #: exactly this last error; some have an empty one
    waiting: bool = False  #: only those that wait for a person
    due_only: bool = False  #: only those whose next attempt is due

    def parameters(self) -> dict[str, object]:
        """For the queries of this module."""
        return {
            "case_id": self.case_id, "reason": self.reason, "any_error": int(self.error is None),
            "error": self.error or "", "waiting": int(self.waiting), "due_only": int(self.due_only),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Retry:
    """What a retry comes to."""

    cases: int
    amount_minor: int
    to_reserve_minor: int
    currency: str


def forecast_retry(tx: Tx, run_id: int, choice: Choice) -> Retry:
    """What `retry` would do. Raises RefusedByState for a run that cannot have cases, or whose cancel is not over."""
    run = lock_run(tx, run_id, states=WITH_CASES, verb="retried")
    if run.state == RunState.PAUSED:
        raise RefusedByState(f"run {run_code(run)} is paused", hint=f"despensa run resume {run_code(run)}")
    if run.state == RunState.CANCELLED and run.completed_at is None and not choice.due_only:
        raise RefusedByState(f"run {run_code(run)} is still being cancelled", hint="repeat in a few seconds")
    shares = tx.all(SUM_CASES, run_id=run_id, no=False, now=tx.now, **choice.parameters())
    return Retry(
        cases=sum(share.cases for share in shares),
        amount_minor=sum(share.amount_minor for share in shares),
        to_reserve_minor=sum(share.unreserved_minor for share in shares),
        currency=run.currency,
    )


def retry(tx: Tx, run_id: int, choice: Choice) -> Retry:
    """Cover the chosen cases' lines with new batches, reserving again what had gone back.

    Raises RefusedByState, with nothing changed, if a fund cannot cover it, or for the states that forecast refuses.
    """
    tx.allow_long_statement()
    forecast = forecast_retry(tx, run_id, choice)
    if forecast.cases == 0:
        return forecast
    run = lock_run(tx, run_id, states=WITH_CASES, verb="retried")
    chosen = choice.parameters()
    shares = tx.all(SUM_CASES, run_id=run_id, no=False, now=tx.now, **chosen)
    tx.list(Fund, col(Fund.id).in_([share.fund_id for share in shares]), lock=True)
    for share in shares:
        if share.unreserved_minor:
            books.reserve(
                tx, fund_id=share.fund_id, run_id=run_id, amount_minor=share.unreserved_minor, currency=run.currency
            )
    first_id, last_id = line_range(run_id)
    before_id = int(tx.scalar(LAST_BATCH, run_id=run_id))
    tx.execute(
        COVER_CASES, run_id=run_id, first_id=first_id, last_id=last_id, batch_lines=run.batch_lines_max, now=tx.now,
        **chosen,
    )  # fmt: skip
    closed = tx.execute(CLOSE_CASES, run_id=run_id, now=tx.now, closed_by=tx.operator, **chosen)
    if closed != forecast.cases or closed != sum(share.cases for share in shares):
        # Each statement looks anew. Who changes cases holds the run, so this is a defect; but a line whose case is
        # closed and that no batch covers would be forgotten.
        raise RefusedByState(
            f"the cases of run {run_code(run)} changed while they were being retried", hint="repeat the command"
        )
    tx.execute(REOPEN_RUN, run_id=run_id)
    batches = _journal_batches(tx, run, after_id=before_id)
    append(
        tx,
        RunRetried(
            **of_run(tx, run), state=tx.get(Run, Run.id == run_id).state, cases=forecast.cases,
            reserved_minor=forecast.to_reserve_minor, batches=batches,
            currency=run.currency, operator=tx.operator,
        ),
    )  # fmt: skip
    return forecast


def _journal_batches(tx: Tx, run: Run, *, after_id: int) -> int:
    """Say which lines the new batches cover: their cases are closed by it. Returns how many batches."""
    fields = of_run(tx, run)
    rows = tx.all(LIST_COVERING, run_id=run.id, after_id=after_id)
    append_all(
        tx,
        [
            BatchRetried(
                **fields, batch_id=row.id, first_id=row.first_id, last_id=row.last_id, cases=row.lines,
                amount_minor=row.amount_minor, currency=run.currency,
            )
            for row in rows
        ],
    )  # fmt: skip
    return len(rows)


def runs_with_due_cases(tx: Tx) -> list[int]:
    """Runs with cases that retry themselves now."""
    return [row.run_id for row in tx.all(RUNS_WITH_DUE_CASES, now=tx.now)]
