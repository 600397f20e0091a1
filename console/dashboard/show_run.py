"""A run with its course; and every event of a voucher, a batch or a run."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from console.dashboard.board import Board
from console.dashboard.lines import Line
from console.dashboard.show import show_cases, show_errors, show_notice, typed
from console.dashboard.show_months import show_row
from console.dashboard.told import RunTold
from console.dashboard.views import FindView, RunView, Series
from models.errors import RefusedInput
from models.keys import parse_voucher_number
from models.tables import LINES_PER_RUN

#: Events of a run, and of what was looked for, that are shown.
EVENTS_MAX = 300
#: Steps of a run's course.
STEPS_MAX = 240
#: Events of a run that say something of every one of its lines.
OF_EVERY_LINE = frozenset(
    {"run.planned", "run.first_approved", "run.approved", "run.blocked", "run.released", "run.paused", "run.resumed",
     "run.stopped", "run.cancelled", "run.retried", "run.completed", "vouchers.exported"}
)  # fmt: skip


def show_run(board: Board, of: str, *, now: datetime) -> RunView | None:
    """By its id, or as operators type it; None where the log does not know it."""
    run = _find_run(board, of)
    if run is None:
        return None
    attempts = {failed: board.traffic.of_run.get((run.run_id, failed), 0) for failed in (False, True)}
    return RunView(
        row=show_row(run, now=now), programme=run.programme, location=run.location, name=run.name,
        time_zone=run.time_zone, cycle=run.cycle, currency=run.currency, opens_at=run.opens_at,
        planned_at=run.planned_at, approved_at=run.approved_at, released_at=run.released_at,
        first_credit_at=run.first_credit_at, last_credit_at=run.last_credit_at, completed_at=run.completed_at,
        batches=run.batches, batches_done=run.batches_done, batches_open=run.batches_open,
        batches_retried=run.batches_again, batches_split=run.batches_split, attempts=sum(attempts.values()),
        attempts_failed=attempts[True], course=course(run.credits),
        errors=show_errors(board.traffic.errors_of_run.get(run.run_id, {})),
        notices=[show_notice(board, run, notice) for notice in run.notices.values()], cases=show_cases(run),
        events=[board.chain.lines[seq].shown() for seq in run.seqs[: -EVENTS_MAX - 1 : -1]],
        more=max(0, len(run.seqs) - EVENTS_MAX), commands=_commands(run),
    )  # fmt: skip


def show_find(board: Board, asked: str) -> FindView:
    """A voucher's number; `disbursement` and its id, as cases have it; `batch 17`; or a run as operators type it."""
    word = asked.strip()
    run = _find_run(board, word) if "/" in word else None
    if run is not None:
        return _found(run, asked, "run", 0, 0, _lines_of(board, run.seqs))
    kind, _, number = word.rpartition(" ")
    if not (number.isascii() and number.isdigit() and len(number) <= 19):
        return _refused(asked, "not_a_number" if "/" not in word else "unknown")
    if kind == "batch":
        return _find_batch(board, asked, int(number))
    if kind == "disbursement":
        return _find_voucher(board, asked, int(number))
    if kind not in {"", "voucher"}:
        return _refused(asked, "not_a_number")
    try:
        disbursement_id = parse_voucher_number(number)
    except RefusedInput:
        return _refused(asked, "check_digit")
    return _find_voucher(board, asked, disbursement_id)


def course(credited: Sequence[tuple[float, int]]) -> Series:
    """Families credited, in steps of whole seconds."""
    if not credited:
        return Series(0, 1, [])
    start = int(min(at for at, _ in credited))
    length = int(max(at for at, _ in credited)) - start + 1
    step = -(-length // STEPS_MAX)
    values = [0] * -(-length // step)
    for at, count in credited:
        values[(int(at) - start) // step] += count
    return Series(start, step, values)


def _find_voucher(board: Board, asked: str, disbursement_id: int) -> FindView:
    run = board.told.runs.get(disbursement_id // LINES_PER_RUN)
    if run is None:
        return _refused(asked, "unknown")
    seqs = [seq for seq in run.seqs if _covers(board.chain.lines[seq], disbursement_id)]
    batches = {batch for batch, (first, last) in run.batch_lines.items() if first <= disbursement_id <= last}
    lines = _lines_of(board, seqs) + _attempts(board, batches)
    return _found(run, asked, "voucher", disbursement_id, disbursement_id, lines)


def _find_batch(board: Board, asked: str, batch_id: int) -> FindView:
    attempts = _attempts(board, [batch_id])
    run = next((run for run in board.told.runs.values() if batch_id in run.batch_lines), None)
    run = run or next((run for line in attempts if (run := board.told.runs.get(line.fields["run_id"]))), None)
    if run is None:
        return _refused(asked, "unknown")
    first_id, last_id = run.batch_lines.get(batch_id, (0, 0))
    seqs = [seq for seq in run.seqs if board.chain.lines[seq].fields.get("batch_id") == batch_id]
    if first_id:  # what happened to one of its lines afterwards
        seqs = sorted({*seqs, *(seq for seq in run.seqs if _lies_in(board.chain.lines[seq], first_id, last_id))})
    return _found(run, asked, "batch", first_id, last_id, _lines_of(board, seqs) + attempts)


def _covers(line: Line, disbursement_id: int) -> bool:
    """Whether a line says something of this disbursement, alone or with others."""
    if "first_id" in line.fields:
        return bool(line.fields["first_id"] <= disbursement_id <= line.fields["last_id"])
    return line.fields.get("disbursement_id") == disbursement_id or line.event in OF_EVERY_LINE


def _lies_in(line: Line, first_id: int, last_id: int) -> bool:
    """Whether a line is about one of these disbursements."""
    return "disbursement_id" in line.fields and bool(first_id <= line.fields["disbursement_id"] <= last_id)


def _attempts(board: Board, batches: Iterable[int]) -> list[Line]:
    return [line for batch in batches for line in board.traffic.of_subject.get(("credit_batch", batch), ())]


def _lines_of(board: Board, seqs: Iterable[int]) -> list[Line]:
    return [board.chain.lines[seq] for seq in seqs]


def _found(run: RunTold, asked: str, kind: str, first_id: int, last_id: int, lines: list[Line]) -> FindView:
    ordered = sorted(lines, key=lambda line: (line.at, line.seq))
    return FindView(
        asked, kind, "", run.run, run.run_id, run.name, run.time_zone, first_id, last_id,
        [line.shown() for line in ordered[:EVENTS_MAX]], more=max(0, len(ordered) - EVENTS_MAX),
    )  # fmt: skip


def _refused(asked: str, refusal: str) -> FindView:
    return FindView(asked, "nothing", refusal, "", 0, "", "UTC", 0, 0)


def _find_run(board: Board, of: str) -> RunTold | None:
    """The newest of that name: a plan that was discarded had the same."""
    if of.isascii() and of.isdigit() and len(of) <= 19:
        return board.told.runs.get(int(of))
    programme, _, name = of.rpartition("/") if of.count("/") == 2 else ("", "", of)
    if programme:
        programme, _, cycle = of.partition("/")
        name = cycle
    runs = board.told.runs.values()
    named = [run for run in runs if run.run == name and programme in ("", run.programme)]
    return max(named, key=lambda run: run.run_id, default=None)


def _commands(run: RunTold) -> list[str]:
    """What an operator may want to do now."""
    name = typed(run.run)
    by_state = {
        "planned": [f"despensa run plan --cycle {typed(run.cycle)} --dry-run", f"despensa run approve {name}"],
        "approved": [f"despensa run release {name}"],
        "released": [f"despensa run status {name} --watch", f"despensa run pause {name}"],
        "paused": [f"despensa run resume {name}", f"despensa run cancel {name}"],
        "completed": [f"despensa voucher export {name}"],
        "completed_with_cases": [f"despensa run cases {name}", f"despensa voucher export {name}"],
        "cancelled": [f"despensa run cases {name}"],
    }
    return by_state.get(run.state, [])
