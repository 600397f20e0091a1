"""Release: one transaction reserves a run's total, fund → run reserve, and opens its batches.

Each batch draws on exactly one fund, fixed here for good, so that every voucher is one donor's. It is the first fund,
by position, that may pay for the batch's location and groups, and that can still pay all of it (models.funds).
"""

from datetime import datetime

from models import books
from models.columns import instant_text
from models.errors import BooksDisagree, FundTooSmall, RefusedByState
from models.events import RunReleased
from models.funds import Share, Wanted, list_sources
from models.journal import append
from models.lost import HALTED, is_halted, refuse_while_lost
from models.runs import lock_run, of_run
from models.states import RunState
from models.storage import Query, Tx
from models.tables import Programme, Run, run_code
from scheduler.batches import digest_of_lines
from scheduler.pause import pause
from scheduler.plan import line_range

LIST_PLANNED_BATCHES = Query("""
-- list_planned_batches: a run's batches in order; bounded by the run's lines over its batch size
SELECT id, amount_minor FROM batch WHERE run_id = :run_id AND state = 'planned' ORDER BY first_id
""")

LIST_GROUPS_OF_BATCHES = Query("""
-- list_groups_of_batches: of a run's batches that hold families of some groups alone; bounded by batches and groups
SELECT g.batch_id, g.group_code FROM batch b JOIN batch_group g ON g.batch_id = b.id WHERE b.run_id = :run_id
""")

OPEN_BATCHES = Query("""
-- open_batches: a range of a run's batches, on one fund
UPDATE batch SET state = 'open', fund_id = :fund_id, next_attempt_at = :now
WHERE run_id = :run_id AND state = 'planned' AND id BETWEEN :first_batch AND :last_batch
""")

SET_RELEASED = Query("""
-- set_released: from here on the run's lines are kept for ever
UPDATE run SET state = 'released', released_at = :now, released_by = :released_by, blocked = ''
WHERE id = :run_id AND state = 'approved'
""")

SUM_LINES = Query("""
-- sum_lines: what a run's lines come to, from the rows as they are now, and how many are of another month or programme
SELECT COUNT(*) AS lines, CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) AS amount_minor,
       COALESCE(SUM(CASE WHEN programme_id <> :programme_id OR cycle <> :cycle THEN 1 ELSE 0 END), 0) AS strays
FROM disbursement WHERE id BETWEEN :first_id AND :last_id
""")


def release(tx: Tx, run_id: int, *, now: datetime) -> Run:
    """Release an approved run from its payday on.

    One that a person had halted before a restore is paused at once, so that nobody is paid against that decision.
    Raises RefusedByState before the payday, and while a run of the programme is lost; FundTooSmall, with nothing
    reserved, if the funds cannot cover it; BooksDisagree if the lines are not those that were approved.
    """
    tx.allow_long_statement()
    run = lock_run(tx, run_id, states=(RunState.APPROVED,), verb="released")
    if now < run.opens_at:
        raise RefusedByState(f"run {run_code(run)} opens at {instant_text(run.opens_at)}: not before")
    refuse_while_lost(tx, run.programme_id)
    reserve(tx, run)
    if is_halted(tx, run):
        pause(tx, run.id, reason=HALTED)
    return tx.get(Run, Run.id == run_id)


def reserve(tx: Tx, run: Run) -> None:
    """Reserve an approved run's total and open its batches. Raises FundTooSmall, and BooksDisagree, as `release`."""
    _require_approved(tx, run)
    shares = _share(tx, run)
    if sum(share.amount_minor for share in shares) != run.planned_minor:
        raise _not_as_approved(run, "batches do not come to what was")
    for fund_id in dict.fromkeys(share.fund_id for share in shares):
        amount_minor = sum(share.amount_minor for share in shares if share.fund_id == fund_id)
        books.reserve(tx, fund_id=fund_id, run_id=run.id, amount_minor=amount_minor, currency=run.currency)
    for share in shares:
        tx.execute(
            OPEN_BATCHES, run_id=run.id, fund_id=share.fund_id, now=tx.now,
            first_batch=share.first_id, last_batch=share.last_id,
        )  # fmt: skip
    if tx.execute(SET_RELEASED, run_id=run.id, now=tx.now, released_by=tx.operator) != 1:
        raise RefusedByState(f"run {run_code(run)} changed while it was being released", hint="repeat the command")
    append(
        tx,
        RunReleased(
            **of_run(tx, run), planned=run.lines, planned_minor=run.planned_minor, currency=run.currency,
            batches=sum(share.count for share in shares), operator=tx.operator,
        ),
    )  # fmt: skip


def _require_approved(tx: Tx, run: Run) -> None:
    """Lines, total and rate against the approval, from the rows. Of a release before 0007 it bound the lines alone."""
    first_id, last_id = line_range(run.id)
    found = tx.one(SUM_LINES, programme_id=run.programme_id, cycle=run.cycle, first_id=first_id, last_id=last_id)
    bound = (run.lines, run.planned_minor if run.approved_minor is None else run.approved_minor, 0)
    if digest_of_lines(tx, run) != run.approved_digest:
        raise _not_as_approved(run, "lines are not those that were")
    if (found.lines, found.amount_minor, found.strays) != bound or run.planned_minor != found.amount_minor:
        raise _not_as_approved(run, "total is not the one that was")
    if run.approved_minor is not None and run.rate_millionths != run.approved_rate_millionths:
        raise _not_as_approved(run, "rate is not the one that was")


def _not_as_approved(run: Run, what: str) -> BooksDisagree:
    return BooksDisagree(
        f"run {run_code(run)}: its {what} approved",
        hint="look, then: despensa run discard " + run_code(run),
    )


def _share(tx: Tx, run: Run) -> list[Share]:
    """Which fund pays which batches. Raises FundTooSmall, and says what stands in the way."""
    programme = tx.get(Programme, Programme.id == run.programme_id)
    wanted = list_wanted(tx, run)
    sources = list_sources(tx, programme, cycle=run.cycle, lock=True).at(run.location_code)
    shares, unpaid = sources.share(wanted)
    if unpaid:
        causes = sources.causes(unpaid)
        # Funds that together would do may each be too small for a whole batch: then what they can cover counts.
        poured_minor = list_sources(tx, programme, cycle=run.cycle).at(run.location_code).pour(wanted)
        covered_minor = sum(share.amount_minor for share in shares)
        raise FundTooSmall(
            run=run_code(run),
            required_minor=run.planned_minor,
            available_minor=poured_minor if poured_minor < run.planned_minor else covered_minor,
            currency=run.currency,
            causes=causes,
        )
    return shares


def list_wanted(tx: Tx, run: Run) -> list[Wanted]:
    """A run's planned batches in order: what each asks of a fund."""
    groups: dict[int, frozenset[str]] = {}
    for row in tx.all(LIST_GROUPS_OF_BATCHES, run_id=run.id):
        groups[row.batch_id] = groups.get(row.batch_id, frozenset()) | {row.group_code}
    return [
        Wanted(int(row.id), int(row.amount_minor), groups.get(row.id, frozenset()))
        for row in tx.all(LIST_PLANNED_BATCHES, run_id=run.id)
    ]
