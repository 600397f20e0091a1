"""The benchmarks run, in the smallest form, and do not print the rate of a wrong month. Nothing is timed here."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from console.log_verify import verify as verify_log
from models.storage import Database
from tests.benchmarks.log_file import write_log
from tests.benchmarks.samples import Sample, table
from tests.benchmarks.site import verify
from tests.benchmarks.usual import verify_usual
from tests.builders import a_planned_run, a_programme, families
from tests.commands import ROOT

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", ["credit", "month"])
def test_a_benchmark_compares_with_the_limit(name: str, servers_from: str) -> None:
    lines = bench(name, servers_from=servers_from)

    for candidate in ("limit: COPY, one client", "limit: COPY, two clients", "despensa, 2 workers"):
        assert any(line.startswith(candidate) for line in lines), lines


@pytest.mark.parametrize(
    ("name", "families", "expected"),
    [
        (
            "issuer", 700,
            ("35 families", "despensa, 1 worker, 64 calls: ", "share of 1,280/s: ", "CPU µs a credit: workers ",
             "despensa, 2 workers, 128 calls: ", "share of 2,560/s: ", "calls a credit: 1.000"),
        ),
        (
            "hosts", 700,
            ("1 worker, 1 scheduler: WAL ", "2 workers, 1 scheduler: WAL ", "4 workers, 1 scheduler: WAL ",
             "2 workers, 2 schedulers: WAL ", "sessions in a transaction", "waiting for another's lock: ", " looks: "),
        ),
        (
            "small", 140,
            ("run start for 250 families in 7 cities, while a scheduler and 2 workers are up", "and no scheduler",
             "wall time of the command", "from its call to the last voucher", "beyond start-up", "despensa --help",
             "import typer", "run status: 1,200 families", "run status: a programme, no run"),
        ),
        (
            "log", 700,
            ("of all services, a family: ", "append to the journal: ", "seal and emit: ", "lines that are not sealed: ",
             "share of the month's CPU: ", "totals of 9,045 lines", "despensa logs totals",
             "DuckDB: every field of totals", "DuckDB: one field"),
        ),
        (
            "dashboard", 1_280,
            ("lines, ", "from the start of the command to the months: ", "from a line's write to its reader: "),
        ),
        (
            "embedded", 700,
            ("limit: executemany, credit ", "despensa, credit ", "limit: executemany, month ", "despensa, month "),
        ),
    ],
)  # fmt: skip
def test_a_benchmark_says_what_it_measured(
    name: str, families: int, expected: tuple[str, ...], servers_from: str
) -> None:
    lines = bench(name, families=families, servers_from=servers_from)

    for words in expected:
        assert any(words in line for line in lines), (words, lines)


def test_the_big_log_is_one_that_a_scheduler_could_have_written(tmp_path: Path) -> None:
    vouchers = write_log(tmp_path / "years.jsonl", lines=2_500)

    found = verify_log([tmp_path / "years.jsonl"])

    assert vouchers == 2_000_000
    assert (found.faults, found.lines, found.from_genesis) == ([], 2_010, True)


def test_the_usual_code_is_the_measure_of_ours(servers_from: str) -> None:
    lines = bench("usual", servers_from=servers_from)

    assert "usual: a message a voucher: 200 families; despensa: 700" in lines
    theirs, ours = lines[-2:]
    assert theirs.startswith("usual: a message a voucher") and "1.000 (1.000–1.000)" in theirs
    assert ours.startswith("despensa, 2 workers")


def test_usual_code_that_lost_a_voucher_has_no_rate(postgresql_database: Database) -> None:
    programme = a_programme(postgresql_database)
    families(postgresql_database, programme, 2)
    a_planned_run(postgresql_database, programme)

    with pytest.raises(AssertionError, match="'lines with a voucher': 0"):
        verify_usual(postgresql_database, families=2)


def test_growth_is_measured_from_the_file_to_the_last_store(servers_from: str) -> None:
    lines = bench("growth", servers_from=servers_from)

    assert any("ratio to 233 (range)" in line for line in lines), lines
    small, large = ([line.split() for line in lines if line.split()[:1] == [size]] for size in ("233", "700"))
    assert "1.000 (1.000–1.000)" in " ".join(small[0])
    for _cost, (_families, batches, *resident, _in_redis, key_bytes, _server) in (small, large):
        assert batches == "7"
        assert [int(each.strip(",")) > 10 for each in resident] == [True] * 3, "import, scheduler and worker were seen"
        assert int(key_bytes.replace(",", "")) > 0


def test_months_go_on_in_one_database(servers_from: str) -> None:
    lines = bench("months", "--months", "4", servers_from=servers_from)

    months = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0].isdigit()]
    assert months == ["1", "2", "3", "4"]
    assert any(line.startswith("time, months 2 to 4: 1.000 (1.000–1.000) of months 2 to 4, ") for line in lines), lines
    rows = {line.split()[0]: line.split()[1] for line in lines if line.startswith(("disbursement", "voucher"))}
    assert rows == {"disbursement": "2,800", "voucher": "2,800"}


def test_fewer_months_than_are_compared_are_refused() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "months", "--months", "3"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "at least 4 are compared" in done.stderr


def test_a_family_without_a_voucher_has_no_rate(postgresql_database: Database) -> None:
    verify(postgresql_database, families=0)

    with pytest.raises(AssertionError, match="1 families, 0 credited"):
        verify(postgresql_database, families=1)


def test_books_that_disagree_have_no_rate(postgresql_database: Database) -> None:
    a_programme(postgresql_database)
    with postgresql_database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor - 1"))

    with pytest.raises(AssertionError, match="fund"):
        verify(postgresql_database, families=0)


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that is twice as fast in one round must not make a ratio."""

    def sample(seconds: float) -> Sample:
        return Sample(1_000, seconds, postgresql_cpu_s=0.002, worker_cpu_s=0.001, wal_bytes=250_000)

    lines = table({"limit": [sample(1), sample(2)], "ours": [sample(2), sample(4)]}, against="limit")

    assert "0.500 (0.500–0.500)" in lines[-1]
    assert "375 (250–500)" in lines[-1]
    assert "2 + 1" in lines[-1]
    assert lines[-1].endswith("250")


def bench(name: str, *options: str, families: int = 700, servers_from: str) -> list[str]:
    """One round in a process of its own; the lines that it printed."""
    words = (name, "--families", str(families), "--rounds", "1", "--servers", servers_from, *options)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
