"""Cases, stores, workers and queues."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from console.dashboard.board import Board
from console.dashboard.show import (
    FORGOTTEN_AFTER_S,
    SILENT_AFTER_S,
    failures_in_row,
    missing_instances,
    show_cases,
    show_errors,
    show_notice,
    typed,
)
from console.dashboard.told import NO_ZONE, NoticeTold
from console.dashboard.traffic import KEPT_S, AttemptTold, InstanceTold
from console.dashboard.views import (
    CasesView,
    Duration,
    InstanceRow,
    OpenBatches,
    Series,
    StoreRow,
    StoresView,
    WorkersView,
)
from models.columns import instant_text

MINUTE_S = 60
TROUBLES_SHOWN = 50


def show_all_cases(board: Board) -> CasesView:
    """What waits for a person first, the oldest first."""
    groups = [group for run in board.told.runs.values() for group in show_cases(run)]
    return CasesView(sorted(groups, key=lambda group: (group.waits_for == "itself", group.oldest_at)))


def show_stores(board: Board, *, now: datetime) -> StoresView:
    """Those with trouble first."""
    rows = [_store(board, store, notices, now=now) for store, notices in sorted(board.told.notices.items())]
    order = ("undelivered", "suspended", "failing", "ok")
    return StoresView(sorted(rows, key=lambda row: (order.index(row.state), row.store)))


def show_workers(board: Board, *, now: datetime) -> WorkersView:
    """The last hour."""
    recent = [each for each in board.traffic.attempts if each.at >= now.timestamp() - KEPT_S]
    worked = [each for each in recent if each.outcome != "nothing"]
    return WorkersView(
        finished=_minutes([each for each in worked if not each.failed], now=now),
        failed=_minutes([each for each in worked if each.failed], now=now),
        durations=[_duration(actor, worked) for actor in sorted({each.actor for each in worked})],
        outcomes=dict(Counter(each.outcome for each in recent).most_common()),
        open_batches=_open_batches(board),
        instances=_instances(board, now=now),
        errors=show_errors(board.traffic.errors),
        troubles=[line.shown() for line in list(board.traffic.troubles)[: -TROUBLES_SHOWN - 1 : -1]],
    )


def _store(board: Board, store: str, notices: Sequence[NoticeTold], *, now: datetime) -> StoreRow:
    told = board.traffic.stores.get(store)
    runs = board.told.runs
    states = Counter(notice.state for notice in notices)
    waiting = [notice for notice in notices if notice.state != "delivered"]
    failures = failures_in_row(board, store)
    suspended = told.suspended_until if told and failures and told.suspended_until > instant_text(now) else ""
    latencies = sorted(
        ms for notice in notices[-50:] for ms in board.traffic.latencies.get(notice.notice_id, ())
    )  # fmt: skip
    last_run = runs.get(notices[-1].run_id)
    location, city, time_zone = (
        (last_run.location, last_run.name, last_run.time_zone) if last_run else ("", "", NO_ZONE)
    )
    name = typed(store)
    return StoreRow(
        store, location, city, time_zone,
        "undelivered" if states["undelivered"] else "suspended" if suspended else "failing" if failures else "ok",
        states["delivered"], states["due"], states["undelivered"], failures, suspended,
        max((notice.ended_at for notice in notices if notice.state == "delivered"), default=""),
        told.last_error if told else "", told.failed_at[-1] if told and told.failed_at else "",
        min((notice.created_at for notice in waiting), default=""), _share(latencies, 50), _share(latencies, 95),
        [show_notice(board, runs[notice.run_id], notice) for notice in waiting[:50] if notice.run_id in runs],
        [f"despensa store test {name}", *([f"despensa store resend {name}"] if states["undelivered"] else [])],
    )  # fmt: skip


def _minutes(attempts: Sequence[AttemptTold], *, now: datetime) -> Series:
    minutes = KEPT_S // MINUTE_S
    start = (int(now.timestamp()) // MINUTE_S - minutes + 1) * MINUTE_S
    values = [0] * minutes
    for each in attempts:
        place = (int(each.at) - start) // MINUTE_S
        if 0 <= place < minutes:
            values[place] += 1
    return Series(start, MINUTE_S, values)


def _duration(actor: str, attempts: Sequence[AttemptTold]) -> Duration:
    mine = [each for each in attempts if each.actor == actor]
    lengths = sorted(each.duration_ms for each in mine)
    failed = sum(each.failed for each in mine)
    return Duration(actor, len(mine), failed, _share(lengths, 50) or 0, _share(lengths, 95) or 0, lengths[-1])


def _share(ordered: Sequence[int], percent: int) -> int | None:
    """The value that so many of them do not exceed."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


def _open_batches(board: Board) -> list[OpenBatches]:
    open_ = [run for run in board.told.runs.values() if run.state == "released" and run.remaining]
    rows = [
        OpenBatches(run.run_id, run.run, run.name, run.batches_open, max(run.last_credit_at, run.released_at))
        for run in open_
    ]
    return sorted(rows, key=lambda row: row.since)


def _instances(board: Board, *, now: datetime) -> list[InstanceRow]:
    missing = {each.instance for each in missing_instances(board, now=now)}
    at = now.timestamp()
    return [
        InstanceRow(
            name, told.role, "missing" if name in missing else _health(told, at=at), told.first_at, told.last_at
        )
        for name, told in sorted(board.traffic.instances.items(), key=lambda item: (item[1].role, item[0]))
        if at - max(told.last_s, told.called_s) < FORGOTTEN_AFTER_S
    ]


def _health(told: InstanceTold, *, at: float) -> str:
    return "seen" if at - told.last_s <= SILENT_AFTER_S else "silent"
