"""`despensa statement`: a file, or the issuer itself; what operators see; exit 13 where anything differs."""

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console.main import app
from models.columns import instant_text
from models.errors import DespensaError, Exit, RefusedInput
from models.messages import CreditBatch
from models.states import BatchState
from models.tables import Run
from tests.builders import TIJUANA, a_programme, a_released_run, an_issuer, batches_of, families, vouchers_of
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.ledger import events, pass_time
from tests.statements import Books, entry
from workers.issuers.simulated import SimulatedIssuer

pytestmark = pytest.mark.long

JANUARY = ("--from", "2026-01-01", "--to", "2026-02-01")


@pytest.fixture
def desk(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def books(installation: Installation, tmp_path: Path) -> Books:
    return Books.open(installation.database, tmp_path)


def a_month_at(installation: Installation, url: str) -> Run:
    """Ten families of a programme with this issuer, to be credited."""
    programme = a_programme(installation.database)
    an_issuer(installation.database, programme, url)
    installation.write_token(programme.code)
    families(installation.database, programme, 10, location=TIJUANA)
    return a_released_run(installation.database, programme, batch_lines=10)


def credit_open_batches(installation: Installation, run: Run) -> None:
    for batch in batches_of(installation.database, run):
        if batch.state == BatchState.OPEN:
            installation.receive(CreditBatch(batch.id))


def period(start: datetime, end: datetime) -> tuple[str, ...]:
    return "--from", instant_text(start), "--to", instant_text(end)


def test_file_is_imported_listed_and_its_differences_closed(desk: CommandLine, books: Books) -> None:
    books.credit(0, 1)
    file = books.write(entry("c0", books.reference(0), "600"), entry("c9", "f" * 64, "5"))

    rehearsed = desk.run(app, "statement", "import", file, *JANUARY, "--dry-run")
    done = desk.run(app, "statement", "import", file, *JANUARY)
    again = desk.run(app, "statement", "import", file, *JANUARY, "--json")
    listed = desk.run(app, "statement", "differences")
    written = desk.run(app, "statement", "differences", "--reason", "unknown_to_us", "--csv")
    found: Any = desk.run(app, "statement", "differences", "--json").json["differences"]
    both = [
        desk.run(app, "statement", "close", each["difference"], "--evidence", "=letter", "--yes").code for each in found
    ]

    assert (rehearsed.code, done.code, again.code) == (Exit.BOOKS_DISAGREE,) * 3
    assert "nothing was changed" in rehearsed.stderr and "2 differences are open" in done.stderr
    assert (again.json["applied"], again.json["known"], again.json["lines"]) == (False, True, 2)
    assert again.json["open"] == {"unknown_to_them": 1, "unknown_to_us": 1}
    assert "unknown_to_them" in listed.stdout and "700.00 MXN" in listed.stdout and "ask the issuer" in listed.stdout
    (row,) = csv.DictReader(io.StringIO(written.stdout))
    assert (row["reason"], row["found_minor"], row["expected_minor"]) == ("unknown_to_us", "500", "")
    assert both == [Exit.DONE, Exit.DONE]
    assert desk.run(app, "statement", "import", file, *JANUARY).code == Exit.DONE
    assert desk.run(app, "statement", "differences").stdout == "no difference\n"
    closed = desk.run(app, "statement", "differences", "--all", "--csv").stdout
    assert [row["evidence"] for row in csv.DictReader(io.StringIO(closed))] == ["'=letter"] * 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("2026-01-01", "2026-01-01"), "--from must lie before --to"),
        (("1 January", "2026-02-01"), "--from must be a day"),
        (("2026-01-01", "2026-02-01T00:00:00"), "--to must be a day"),
    ],
)
def test_period_is_stated_plainly(desk: CommandLine, books: Books, words: tuple[str, str], error: str) -> None:
    refused = desk.run(app, "statement", "import", books.write(), "--from", words[0], "--to", words[1])

    assert isinstance(refused.error, RefusedInput)
    assert error in str(refused.error)


def test_statement_that_the_issuer_gives_shows_a_line_whose_answer_was_lost(
    desk: CommandLine, installation: Installation
) -> None:
    """It is asked for, as ever, and the answer makes its voucher; then the two agree."""
    with SimulatedIssuer({"lost_after": "1", "ask_lost": "all"}, token="rehearsal") as issuer:
        run = a_month_at(installation, issuer.url)
        credit_open_batches(installation, run)
        now = datetime.now(UTC)

        shown = desk.run(app, "statement", "import", "--fetch", *period(now - timedelta(days=1), now), "--json")
        issuer.set_faults({})
        pass_time(installation.database)
        installation.ticker().tick()  # covers the case with a batch
        credit_open_batches(installation, run)
        installation.ticker().tick()  # sees its voucher
        agrees = desk.run(app, "statement", "import", "--fetch", *period(now, datetime.now(UTC)), "--json")

    assert shown.json["open"] == {"not_settled": 1}
    assert len(vouchers_of(installation.database, run)) == 10
    assert [each["closed"] for each in events(installation.database, "difference.closed")] == ["voucher"]
    assert (agrees.code, agrees.json["agrees"]) == (Exit.DONE, True)


def test_issuer_that_gives_no_statement_changes_nothing(desk: CommandLine, installation: Installation) -> None:
    with SimulatedIssuer(token="another") as issuer:
        a_month_at(installation, issuer.url)

        refused = desk.run(app, "statement", "import", "--fetch", *JANUARY)

    assert isinstance(refused.error, DespensaError)
    assert "no usable statement: http 401" in str(refused.error)
