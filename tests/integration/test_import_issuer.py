"""The [issuer] table of programme.toml: which programme is credited from outside, and how."""

import shutil
from pathlib import Path

import pytest

from models.errors import RefusedInput
from models.intake.load import load
from models.storage import Database
from models.tables import Issuer, Programme
from scheduler.plan import ISSUER_BATCH_LINES
from tests.builders import TIJUANA, a_planned_run, batches_of, families

SAMPLE = Path(__file__).parents[2] / "deploy" / "programmes" / "northern-mexico"
ISSUER = '\n[issuer]\nurl = "https://issuer.example/api/"\ncalls_max = 48\nkey_window_hours = 168\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample programme, to be changed."""
    shutil.copytree(SAMPLE, tmp_path / "programme")
    return tmp_path / "programme"


def import_with(database: Database, folder: Path, issuer: str) -> None:
    """The folder, its programme with this table."""
    (folder / "programme.toml").write_text((SAMPLE / "programme.toml").read_text() + issuer)
    load(database, folder, programme=None, dry_run=False, show=lambda _: None)


def issuers(database: Database) -> list[Issuer]:
    """What is known of them."""
    with database.reading() as tx:
        return tx.list(Issuer)


def test_programme_with_an_issuer_is_credited_from_outside(database: Database, folder: Path) -> None:
    import_with(database, folder, ISSUER)

    assert [(each.url, each.calls_max, each.key_window_hours) for each in issuers(database)] == [
        ("https://issuer.example/api", 48, 168)
    ]


def test_programme_without_one_is_closed_loop(database: Database, folder: Path) -> None:
    import_with(database, folder, "")

    assert issuers(database) == []


def test_issuer_may_move_and_before_the_first_run_come_and_go(database: Database, folder: Path) -> None:
    import_with(database, folder, ISSUER)
    import_with(database, folder, ISSUER.replace("issuer.example", "other.example").replace("48", "12"))
    assert [(each.url, each.calls_max) for each in issuers(database)] == [("https://other.example/api", 12)]

    import_with(database, folder, "")
    assert issuers(database) == []


@pytest.mark.parametrize("first", ["", ISSUER])
def test_whether_there_is_an_issuer_is_fixed_by_the_first_run(database: Database, folder: Path, first: str) -> None:
    """The closed loop knows nothing of what an issuer credited, nor the other way round."""
    import_with(database, folder, first)
    with database.reading() as tx:
        programme = tx.get(Programme)
    a_planned_run(database, programme, location=TIJUANA)

    with pytest.raises(RefusedInput, match=r"programme.toml.*issuer.url: is fixed"):
        import_with(database, folder, "" if first else ISSUER)

    assert len(issuers(database)) == (1 if first else 0)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (ISSUER.replace("https", "http"), r"issuer.url: must begin with https"),
        (ISSUER.replace("https://issuer", "https://user@issuer"), r"issuer.url: must begin with https"),
        (ISSUER.replace("48", "0"), r"issuer.calls_max: must be a whole number from 1 to 1024"),
        (ISSUER.replace("168", '"168"'), r"issuer.key_window_hours: must be a whole number"),
        (ISSUER.replace("calls_max = 48\n", ""), r"issuer.calls_max: is missing"),
        (ISSUER + 'token = "secret"\n', r"issuer.token: is not known here"),
    ],
)
def test_broken_issuer_is_refused_by_line_and_rule(database: Database, folder: Path, broken: str, said: str) -> None:
    with pytest.raises(RefusedInput, match=said) as refused:
        import_with(database, folder, broken)

    assert "secret" not in str(refused.value)
    with database.reading() as tx:
        assert tx.list(Programme) == []


def test_batches_of_an_issuer_are_small_enough_for_a_lease(database: Database, folder: Path) -> None:
    import_with(database, folder, ISSUER)
    with database.reading() as tx:
        programme = tx.get(Programme)

    families(database, programme, 2 * ISSUER_BATCH_LINES, location=TIJUANA, prefix="M")
    run = a_planned_run(database, programme, location=TIJUANA, batch_lines=1000)

    assert max(batch.lines for batch in batches_of(database, run)) == ISSUER_BATCH_LINES
