"""From what the log has said to what the page is told: the head, and what several views share."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from console.dashboard.board import Board
from console.dashboard.told import CaseTold, NoticeTold, RunTold
from console.dashboard.traffic import ErrorKey, ErrorTold
from console.dashboard.views import VIEWS_SCHEMA, CaseGroup, CaseRow, ErrorClass, File, Head, Missing, Notice, Restored
from models.calendar import LATE_AFTER
from models.columns import instant_text, parse_instant
from models.log import installed_version
from models.states import CaseReason

#: Two heartbeats missed: schedulers and workers are seen every minute.
SILENT_AFTER_S = 120
#: A roll-call names whom the database saw within two minutes and a half: by then its own line is here, or missing.
MISSING_AFTER_S = 300
#: Instances that nobody has heard of for a day are of no interest: hosts come and go.
FORGOTTEN_AFTER_S = 86_400
CASES_SHOWN, MISSING_SHOWN, RESTORED_SHOWN = 20, 20, 5
SAFE_WORD = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,80}")


def show_head(board: Board, *, now: datetime) -> Head:
    """What stands at the top of every view."""
    chain, traffic = board.chain, board.traffic
    last = chain.lines.get(chain.to_seq)
    books_at, differences = traffic.books
    missing = missing_instances(board, now=now)
    waiting = sum(
        run.stopped.count + sum(not case.next_attempt_at for case in run.cases.values())
        for run in board.told.runs.values()
    )
    return Head(
        schema=VIEWS_SCHEMA,
        version=installed_version(),
        now=instant_text(now),
        files=[
            File(each.path.name, each.state, each.offset, each.torn, each.foreign) for each in board.follower.sources
        ],
        from_seq=chain.first_seq,
        to_seq=chain.to_seq,
        to_at=last.timestamp if last else "",
        last_seq=chain.last_seq,
        gaps=[gap for gap in chain.gaps() if not board.is_forgotten(gap.first_seq, gap.last_seq)],
        faults=chain.faults(),
        restored=show_restored(board),
        books="unknown" if not books_at else "differ" if differences else "agree",
        books_at=books_at,
        books_differences=differences,
        last_line_at=board.last_line[1],
        last_seen_at=traffic.last_seen[1],
        silent_after_s=SILENT_AFTER_S,
        missing=missing[:MISSING_SHOWN],
        missing_more=max(0, len(missing) - MISSING_SHOWN),
        reading_failed=board.failure,
        slots_missing=len(missing_slots(board, now=now)),
        cases_waiting=waiting,
        stores_failing=sum(failures_in_row(board, store) > 0 for store in traffic.stores),
    )


def show_restored(board: Board) -> list[Restored]:
    """The newest first."""
    told = [board.restored[seq] for seq in sorted(board.restored, reverse=True)][:RESTORED_SHOWN]
    return [
        Restored(
            line.timestamp, restore.forgotten_seq - restore.kept_seq, restore.kept_seq, restore.forgotten_seq,
            line.fields["lost_runs"],
        )
        for line, restore in told
    ]  # fmt: skip


def missing_slots(board: Board, *, now: datetime) -> set[tuple[str, str, str]]:
    """Slots whose payday is long over, and that no run was planned for."""
    planned = {(run.programme, run.location, run.cycle) for run in board.told.runs.values()}
    over = {key for key, slot in board.told.slots.items() if now - instant(slot.opens_at) > LATE_AFTER}
    return over - planned


def missing_instances(board: Board, *, now: datetime) -> list[Missing]:
    """Whom a scheduler has seen lately, and whose lines are not here."""
    at = now.timestamp()
    return [
        Missing(name, told.role, told.last_at, told.called_at)
        for name, told in sorted(board.traffic.instances.items())
        if at - told.called_s < FORGOTTEN_AFTER_S and told.called_s - told.last_s > MISSING_AFTER_S
    ]


def failures_in_row(board: Board, store: str) -> int:
    """How often it failed since it last took a notice, or was said to be back."""
    told = board.traffic.stores.get(store)
    if told is None:
        return 0
    delivered = (notice.ended_at for notice in board.told.notices.get(store, []) if notice.state == "delivered")
    well_at = max([told.resumed_at, *delivered])
    return sum(at > well_at for at in told.failed_at)


def show_notice(board: Board, run: RunTold, told: NoticeTold) -> Notice:
    """With its last failure, where it is still due."""
    retry = board.traffic.retries.get(told.notice_id) if told.state == "due" else None
    return Notice(
        told.notice_id, run.run_id, run.run, told.store, told.number, told.state,
        attempts=retry.attempts if retry else told.attempts, created_at=told.created_at, ended_at=told.ended_at,
        error=retry.error if retry else told.error, next_attempt_at=retry.next_attempt_at if retry else "",
    )  # fmt: skip


def show_errors(errors: dict[ErrorKey, ErrorTold]) -> list[ErrorClass]:
    """The latest first."""
    return [
        ErrorClass(*key, told.count, told.given_back, told.first_at, told.last_at, list(told.subjects))
        for key, told in sorted(errors.items(), key=lambda item: item[1].last_at, reverse=True)
    ]


def show_cases(run: RunTold) -> list[CaseGroup]:
    """A run's open cases, by what they wait for, reason and error."""
    groups: dict[tuple[str, str, str], list[CaseTold]] = {}
    for case in run.cases.values():
        waits_for = "itself" if case.next_attempt_at else "person"
        groups.setdefault((waits_for, case.reason, case.error), []).append(case)
    shown = [_case_group(run, key, cases) for key, cases in groups.items()]
    if run.stopped.count:
        shown.append(_stopped_group(run))
    return shown


def _case_group(run: RunTold, key: tuple[str, str, str], cases: Sequence[CaseTold]) -> CaseGroup:
    waits_for, reason, error = key
    rows = [
        CaseRow(case.case_id, case.line, case.attempts, case.amount_minor, case.opened_at, case.next_attempt_at)
        for case in sorted(cases, key=lambda case: case.opened_at)[:CASES_SHOWN]
    ]
    return CaseGroup(
        run.run_id, run.run, run.programme, run.location, run.name, run.time_zone, reason, error, waits_for,
        count=len(cases), amount_minor=sum(case.amount_minor for case in cases), currency=run.currency,
        oldest_at=rows[0].opened_at, next_attempt_at=min(case.next_attempt_at for case in cases),
        commands=commands_for(run, reason, waits_for, first=rows[0].case_id), cases=rows, more=len(cases) - len(rows),
    )  # fmt: skip


def _stopped_group(run: RunTold) -> CaseGroup:
    return CaseGroup(
        run.run_id, run.run, run.programme, run.location, run.name, run.time_zone, CaseReason.STOPPED, "", "person",
        count=run.stopped.count, amount_minor=run.stopped.amount_minor, currency=run.currency,
        oldest_at=run.stopped.opened_at, next_attempt_at="",
        commands=commands_for(run, CaseReason.STOPPED, "person", first=0), cases=[], more=run.stopped.count,
    )  # fmt: skip


def commands_for(run: RunTold, reason: str, waits_for: str, *, first: int) -> list[str]:
    """What mends a group of cases."""
    name = typed(run.run)
    listed = f"despensa run cases {name} --reason {typed(reason)} --each"
    if waits_for == "itself":
        return [listed]
    retry = f"despensa run retry {name} --reason {typed(reason)}"
    commands = [f"{retry} --dry-run", retry]
    if first:
        commands.append(f"despensa run resolve {first} --paid EVIDENCE")
    return [*commands, listed]


def typed(text: str) -> str:
    """For a shell. Whoever wrote the log must not be able to put a command of their own on an operator's clipboard."""
    return text if SAFE_WORD.fullmatch(text) else "…"


def remaining_s(runs: Iterable[RunTold], *, now: datetime) -> int | None:
    """At the rate of the last five minutes; None where nothing moves, or all is done."""
    moving = [run for run in runs if run.state == "released" and run.remaining]
    since = now.timestamp() - 300
    recent = [(at, count) for run in moving for at, count in run.credits[-10_000:] if at >= since]
    credited = sum(count for _, count in recent)
    if not credited:
        return None
    elapsed_s = max(now.timestamp() - min(at for at, _ in recent), 1.0)
    return round(sum(run.remaining for run in moving) * elapsed_s / credited)


def instant(text: str) -> datetime:
    """Of a log's text; the beginning of time for one that is none."""
    try:
        return parse_instant(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
