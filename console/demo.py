"""`despensa demo`: replay the programme on embedded defaults, break it half-way, and check that nothing shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console import demo_programme as replay
from console.entry import Entry, echo, echo_json, note
from models.errors import DespensaError, Exit

if TYPE_CHECKING:
    from console.demo_checks import Outcome
    from scheduler.tick import Ticker
    from workers.stores.simulated import SimulatedStores

SEED = 2020
#: What goes wrong at stores, by their place in the list: they fail, hang, answer too late, drop, talk nonsense.
FAULTS = {1: "error:1", 3: "hang:1", 6: "late:1", 8: "refuse:1", 12: "garbage:1"}
BATCH_LINES = 10
#: The process is killed in the credit after so many.
CREDITS_BEFORE_KILL = 5
#: So many families have more batches than that, however they are spread.
FAMILIES_FOR_KILL = 100
#: Until the last notice: a store that failed is asked again after ten seconds, then after a minute.
NOTICES_WITHIN_S = 240


@dataclass
class Clock:
    """Stands at each payday."""

    now: datetime

    def __call__(self) -> datetime:
        """The instant."""
        return self.now


def demo(
    families: int = typer.Option(0, min=0, max=1_000_000, help="One month of so many families instead."),
    seed: int = typer.Option(SEED, help="The same seed replays the same programme."),
    folder: Path | None = typer.Option(None, help="Where to work; default a new temporary folder."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Replay the programme: 17 months, seven cities, 3,703 vouchers, with failing stores and a kill half-way."""
    from console.demo_checks import check

    began = time.monotonic()
    home = folder or Path(tempfile.mkdtemp(prefix="despensa-demo-"))
    if (home / "despensa.sqlite3").exists():
        raise DespensaError(f"{home} holds a database already", hint="choose a new folder")
    enrolled = replay.month_of_families(seed, families) if families else replay.programme_families(seed)
    cycles = 1 if families else replay.CYCLES
    note(f"{len(enrolled)} families, {cycles} months, {len(replay.CITIES)} cities, in {home}")
    with _stores() as stores, _installed(home, enrolled, stores) as desk:
        # A small month has fewer credits than that: its process dies in the first.
        credits_before = CREDITS_BEFORE_KILL if len(enrolled) >= FAMILIES_FOR_KILL else 0
        _replay(desk, cycles=cycles, kill_at=cycles // 2, credits_before=credits_before)
        first = check(desk, stores, households=len(enrolled), cycles=cycles)
        note("everything again: import, plan, release, credit, notify")
        _import(desk, home / "programme")
        _replay(desk, cycles=cycles, kill_at=None)
        outcome = check(desk, stores, households=len(enrolled), cycles=cycles, before=first)
    seconds = round(time.monotonic() - began)
    if as_json:
        echo_json(outcome.as_json(seconds=seconds))
    else:
        _show(outcome, home, seconds=seconds)
    return Exit.DONE if outcome.passed else Exit.FAILED


@contextmanager
def demo_entry(home: Path) -> Iterator[Entry]:
    """An embedded installation in this folder, whatever the environment says."""
    from models.log import Log
    from models.outgoing import LOOPBACK
    from models.settings import Settings
    from models.storage import Database

    settings = Settings(home=home, batch_lines=BATCH_LINES, outgoing_networks=LOOPBACK)
    database = Database(settings.database)
    try:
        with Log.to_file(settings.log, "despensa") as log:
            yield Entry(settings, database, log)
    finally:
        database.close()


@contextmanager
def _stores() -> Iterator[SimulatedStores]:
    from workers.stores.simulated import SimulatedStores

    ids = [store for store, _ in replay.store_ids()]
    with SimulatedStores(faults={ids[place]: fault for place, fault in FAULTS.items()}) as stores:
        yield stores


@contextmanager
def _installed(home: Path, enrolled: list[replay.Family], stores: SimulatedStores) -> Iterator[Entry]:
    from models.keys import init_keys
    from models.schema import upgrade

    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    urls = {store: stores.url_of(store) for store, _ in replay.store_ids()}
    replay.write_programme(home / "programme", families=enrolled, store_urls=urls)
    with demo_entry(home) as desk:
        upgrade(desk.database)
        init_keys(desk.settings.keys)
        _import(desk, home / "programme")
        yield desk


def _import(desk: Entry, folder: Path) -> None:
    from models.intake.load import load

    load(
        desk.database, folder, programme=None, dry_run=False, show=lambda _: None, keys=desk.settings.keys,
        outgoing=desk.settings.outgoing,
    )  # fmt: skip


def _replay(desk: Entry, *, cycles: int, kill_at: int | None, credits_before: int = 0) -> None:
    """Month after month, each city at its payday. `kill_at` is the month whose process is killed and resumed."""
    from console.ticking import ticking

    clock = Clock(_paydays(desk, 0)[0])
    with ticking(desk, clock=clock, workers=True) as ticker:
        for month in range(cycles):
            paydays = _paydays(desk, month)
            if month == kill_at:
                _kill_half_way(desk, paydays[-1], credits_before=credits_before)
            for clock.now in paydays:
                _follow(desk, ticker, clock)
            if kill_at is not None:
                note(f"{replay.cycle_text(month)} credited")
        _wait_for_notices(desk, ticker)


def _paydays(desk: Entry, month: int) -> list[datetime]:
    """The instants of a month at which a city's payday comes, in order."""
    from models.calendar import slot_of
    from models.runs import parse_cycle
    from scheduler.due import list_places

    with desk.database.reading() as tx:
        places = list_places(tx)
    cycle = parse_cycle(replay.cycle_text(month))
    return sorted({slot_of(place, cycle).opens_at for place in places})


def _follow(desk: Entry, ticker: Ticker, clock: Clock) -> None:
    from console.follow import follow
    from scheduler.follow import Chosen

    _, code = follow(desk, ticker, Chosen(), since=datetime.now(UTC), timeout_s=NOTICES_WITHIN_S, now=clock)
    if code != Exit.DONE:
        raise DespensaError(f"the month did not end well: exit code {int(code)}", hint="this is a defect: report it")


def _kill_half_way(desk: Entry, payday: datetime, *, credits_before: int) -> None:
    """Let another process begin the month, and kill it in the middle of a credit."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
    command = [sys.executable, "-m", "console.demo_victim", str(desk.settings.home), payday.isoformat()]
    batches = _done_batches(desk)
    ended = subprocess.run(  # noqa: S603  # our own module
        [*command, str(credits_before)], env=environment, cwd=Path(__file__).parents[1], check=False,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    if ended.returncode != -signal.SIGKILL:
        raise DespensaError("the process that was to be killed half-way ended by itself", hint="this is a defect")
    note(f"killed in the middle of a credit, after {_done_batches(desk) - batches} batches; resuming")


def _done_batches(desk: Entry) -> int:
    from models.tables import Batch

    with desk.database.reading() as tx:
        return len(tx.list(Batch, Batch.state == "done", limit=1_000_000))


def _wait_for_notices(desk: Entry, ticker: Ticker) -> None:
    """Later attempts are the database's business: they come when their time has come."""
    import threading

    from models.tables import Notice

    deadline = time.monotonic() + NOTICES_WITHIN_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        with desk.database.reading() as tx:
            if not tx.list(Notice, Notice.state == "due", limit=1):
                break
        ticker.work()
        pause.wait(0.2)
    ticker.work()


def _show(outcome: Outcome, home: Path, *, seconds: int) -> None:
    from console.tables import echo_table
    from models.money import format_amount

    rows = [
        (city.name, city.runs, city.families, city.credited, format_amount(city.amount_minor, outcome.currency),
         f"{city.notices_delivered}/{city.notices}")
        for city in outcome.cities
    ]  # fmt: skip
    total = ("all", outcome.runs, outcome.households, outcome.credited)
    money = format_amount(outcome.amount_minor, outcome.currency)
    rows.append((*total, money, f"{outcome.notices_delivered}/{outcome.notices_due}"))
    echo_table(("city", "runs", "families", "vouchers", "amount", "stores told"), rows, right=" rrrrr")
    echo()
    for each in outcome.checks:
        echo(f"{'ok    ' if each.passed else 'FAILED'}  {each.what}" + (f": {each.found}" if each.found else ""))
    echo()
    echo(f"{'All checks passed' if outcome.passed else 'CHECKS FAILED'} in {seconds} s. To look further:")
    for command in ("run list", "run reconcile", f"logs totals {home}/log/despensa.jsonl", f"dashboard {home}/log"):
        echo(f"  DESPENSA_HOME={home} ./despensa {command}")
