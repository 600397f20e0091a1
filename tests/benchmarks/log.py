"""What the log costs a month, and how fast its totals are, against DuckDB's own scan of the file."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import orjson

from console.log_totals import COLUMNS
from models.events import CATALOGUE, Journalled, Observed
from models.journal import append
from models.log import Log
from models.storage import Database
from scheduler.seal import emit, seal
from tests.benchmarks.log_file import write_log
from tests.benchmarks.month import MONTH, Tell, enrolled, work_month
from tests.benchmarks.samples import Sample, alternate_s, spread, table_s
from tests.benchmarks.site import ENDS_WITHIN_S, Site
from tests.commands import ROOT, despensa
from tests.fakes import FakeStore

#: Lines of the file that totals are made from: five million where the other benchmarks have 350,000 families.
LINES_TIMES = Fraction(100, 7)
#: On every line, and written by the log itself.
HEAD = frozenset({"timestamp", "level", "event", "schema", "service.name", "service.version", "service.instance.id"})
TOTALS, EVERY_FIELD, ONE_FIELD = "despensa logs totals", "DuckDB: every field of totals", "DuckDB: one field"
#: Its own process, as the command has. All columns are told it, also where one is asked for: DuckDB takes twice as long
#: where it is told of one alone.
SCAN = """
import json, sys, duckdb
columns = json.loads(sys.argv[2])
counts = ", ".join(f"COUNT({name})" for name in sys.argv[3:])
scan = f"SELECT {counts} FROM read_json($file, format = 'newline_delimited', columns = $columns)"
quiet = duckdb.connect()
quiet.execute("SET enable_progress_bar = false")
print(quiet.execute(scan, {"file": sys.argv[1], "columns": columns}).fetchone()[0])
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one month's log; processor time is PostgreSQL's and ours."""

    month: Sample
    lines: int
    bytes: int
    append_s: float
    seal_s: float
    observe_s: float

    @property
    def share(self) -> float:
        """Of the processor time of the whole month."""
        total_s = self.month.postgresql_cpu_s + self.month.worker_cpu_s
        return (self.append_s + self.seal_s + self.observe_s) / total_s


def log(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """The cost, then the totals.

    The cost is measured by doing the very same once more, alone, in the month's own database: every event of its
    journal is appended again, sealed and emitted in as many transactions as the month took for it, and every other
    line of its services is observed again. What a tick asks that finds nothing to seal is not in it. Linux tells
    PostgreSQL's share in steps of 10 ms, which a few thousand families do not fill.
    """
    with FakeStore.open() as store, enrolled(site, store, families) as template:
        costs = [_cost(site, template, families=families) for _ in range(rounds)]
    lines = spread([cost.lines / families for cost in costs], ".4f")
    tell(f"of all services, a family: {lines} lines, {spread([cost.bytes / families for cost in costs], '.2f')} bytes")
    for what, seconds in {
        "append to the journal": [cost.append_s for cost in costs],
        "seal and emit": [cost.seal_s for cost in costs],
        "lines that are not sealed": [cost.observe_s for cost in costs],
    }.items():
        tell(f"  CPU µs a family: {what}: {spread([each / families * 1e6 for each in seconds], '.3f')}")
    tell(f"  share of the month's CPU: {spread([cost.share * 100 for cost in costs], '.2f')} %")
    _totals(site, lines=int(families * LINES_TIMES), rounds=rounds, tell=tell)


def _cost(site: Site, template: str, *, families: int) -> Cost:
    home = site.folder / "home"
    for path in home.glob("*.log"):
        path.unlink()  # of other months
    with site.database(template=template) as (name, database):
        month = work_month(site, name, database, families=families, lasting=MONTH)
        lines = b"".join(path.read_bytes() for path in home.glob("*.log")).splitlines(keepends=True)
        observed = [_observed(parsed) for parsed in map(orjson.loads, lines) if "seq" not in parsed]
        journalled, sizes = _sealed(site, name)
        assert len(observed) + len(journalled) == len(lines), "not every event has one line"
        with Log.to_file(site.folder / "again.jsonl", "despensa-scheduler") as again:
            append_s = _cpu_s(site, lambda: _append_again(database, journalled))
            seal_s = _cpu_s(site, lambda: _seal_again(database, again, sizes))
            observe_s = _cpu_s(site, lambda: _observe_again(again, observed))
        (site.folder / "again.jsonl").unlink()
    return Cost(month, len(lines), sum(map(len, lines)), append_s, seal_s, observe_s)


def _observed(line: dict[str, object]) -> Observed:
    event = CATALOGUE[str(line["event"])](**{name: value for name, value in line.items() if name not in HEAD})
    assert isinstance(event, Observed)
    return event


def _sealed(site: Site, name: str) -> tuple[list[Journalled], list[int]]:
    """The events of the journal, and how many of them each transaction sealed."""
    journalled: list[Journalled] = []
    with site.connect(name) as connection:
        for event_name, fields in connection.execute("SELECT event, fields FROM journal ORDER BY id"):
            event = CATALOGUE[str(event_name)](**orjson.loads(str(fields)))
            assert isinstance(event, Journalled)
            journalled.append(event)
        sizes = connection.execute("SELECT COUNT(*) FROM seal GROUP BY xmin::text ORDER BY MIN(seq)").fetchall()
    return journalled, [int(str(size)) for (size,) in sizes]


def _append_again(database: Database, journalled: list[Journalled]) -> None:
    # In one transaction: each rides in the transaction of its fact, whose commit is not the log's.
    with database.transaction() as tx:
        for event in journalled:
            append(tx, event)


def _seal_again(database: Database, again: Log, sizes: list[int]) -> None:
    for size in sizes:
        assert seal(database, limit=size) == size
        assert emit(database, again) == size


def _observe_again(again: Log, observed: list[Observed]) -> None:
    for event in observed:
        again.observe(event)


def _cpu_s(site: Site, act: Callable[[], object]) -> float:
    server, ours = site.cpu_s(), time.process_time()
    act()
    return time.process_time() - ours + site.cpu_s() - server


def _totals(site: Site, *, lines: int, rounds: int, tell: Tell) -> None:
    path = site.folder / "years.jsonl"
    vouchers = write_log(path, lines=lines)
    with path.open("rb") as file:
        count = sum(1 for _ in file)  # which also has the file in memory for all
    tell(f"totals of {count:,} lines, {path.stat().st_size / 1e6:,.0f} MB:")
    seconds = alternate_s(
        {
            TOTALS: lambda: _totalled_s(path, vouchers=vouchers),
            EVERY_FIELD: lambda: _scanned_s(path, *COLUMNS, lines=count),
            ONE_FIELD: lambda: _scanned_s(path, "event", lines=count),
        },
        rounds=rounds,
    )
    path.unlink()
    for against in (EVERY_FIELD, ONE_FIELD):
        pair = {name: seconds[name] for name in (TOTALS, against)}
        for row in table_s(pair, against=against):
            tell("  " + row)


def _totalled_s(path: Path, *, vouchers: int) -> float:
    began = time.perf_counter()
    ended = despensa("logs", "totals", "--json", str(path), environment={}, within_s=ENDS_WITHIN_S)
    seconds = time.perf_counter() - began
    assert ended.code == 0, ended.err
    totals = ended.json["totals"]
    assert isinstance(totals, dict)
    assert totals["credited"] == vouchers, f"{vouchers} vouchers, {totals['credited']} in the totals"
    return seconds


def _scanned_s(path: Path, *names: str, lines: int) -> float:
    began = time.perf_counter()
    words = [sys.executable, "-c", SCAN, str(path), orjson.dumps(COLUMNS).decode(), *names]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    assert done.stdout == f"{lines}\n"
    return seconds
