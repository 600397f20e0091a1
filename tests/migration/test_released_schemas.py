"""From each released schema, with the data of a month in flight: upgraded, ended, and the next month begun.

What lies in schemas/ was written by `python -m tests.migration.keep VERSION` with the code of that release.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from console.log_totals import read_totals
from console.log_verify import compare, verify
from models import schema
from models.events import FundDeposited
from models.journal import append_all
from models.log import Log
from models.runs import list_summaries
from models.storage import Database, sqlite_url
from models.tables import Fund, JournalHead, Programme, Run, Transfer
from scheduler.seal import emit, emit_again, seal
from tests.builders import CYCLE
from tests.commands import ROOT
from tests.conftest import url_of
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import assert_books_agree, count
from tests.migration.keep import SCHEMAS
from tests.migration.month import AFTER, BEFORE, FAMILIES, FAMILIES_OUTSIDE, finish, write_keys
from tests.migration.shape import shape_of
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

pytestmark = pytest.mark.long

RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)


def not_kept(changelog: str, kept: set[str]) -> set[str]:
    """The released versions whose schema was not kept."""
    return set(RELEASE.findall(changelog)) - kept


@pytest.fixture(params=sorted(SCHEMAS.iterdir()), ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest) -> Path:
    """The folder of a released schema."""
    return Path(request.param)


@pytest.fixture
def released_url(kept: Path, profile: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database as that release left it."""
    if profile == "embedded":
        path = tmp_path / "released.sqlite3"
        with closing(sqlite3.connect(path)) as file:
            file.executescript((kept / "sqlite.sql").read_text())
        yield sqlite_url(path)
        return
    server = request.getfixturevalue("postgresql")
    name = f"released_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = url_of(server, name)
        with psycopg.connect(url) as loading:
            loading.execute((kept / "postgresql.sql").read_text())
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def released(released_url: str) -> Iterator[Database]:
    """That database."""
    database = Database(released_url)
    yield database
    database.close()


def test_month_in_flight_ends_and_the_next_is_paid(
    released: Database, released_url: str, profile: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every family one voucher a month, but for the line that waits for a person; no issuer is sent anything twice."""
    credited_before = count(released, "SELECT COUNT(*) FROM voucher")
    assert 0 < credited_before < count(released, "SELECT COUNT(*) FROM disbursement")
    write_keys(tmp_path / "home" / "keys")
    redis_url = request.getfixturevalue("redis_url") if profile == "distributed" else ""
    namespace = f"t{abs(hash(request.node.nodeid)):x}"

    schema.upgrade(released, contract=True)
    _journal_deposits(released)
    with (
        Installation.open(
            tmp_path / "home", released, database_url=released_url, redis_url=redis_url, namespace=namespace
        ) as installation,
        FakeStore.open() as store,
        SimulatedIssuer() as issuer,
    ):
        finish(installation, store=store, issuer=issuer)

        assert set(issuer.sends.values()) == {1}
        assert len(issuer.book()) == 2 * FAMILIES_OUTSIDE
        assert _families_by_cycle(released) == _families_owed()
        assert count(released, "SELECT COUNT(*) FROM cases WHERE state = 'open'") == 1
        assert len(set(store.webhook_ids)) == len(store.webhook_ids) == 2 * (len(FAMILIES) + 3)  # Tijuana: two stores
        assert_books_agree(released)
        _assert_log_agrees(released, tmp_path / "whole.jsonl")


def test_upgraded_schema_equals_a_fresh_one(released: Database, database: Database) -> None:
    schema.upgrade(released, contract=True)

    upgraded, fresh = shape_of(released), shape_of(database)

    assert upgraded - fresh == set()
    assert fresh - upgraded == set()


def test_every_release_in_the_changelog_has_its_schema_kept() -> None:
    """Otherwise: check the release out, and `python -m tests.migration.keep VERSION`."""
    kept = {folder.name for folder in SCHEMAS.iterdir()}

    assert not_kept((ROOT / "CHANGELOG.md").read_text(), kept) == set()


def test_release_whose_schema_was_not_kept_is_found() -> None:
    changelog = "## [Unreleased]\n\n## [1.1.0] - 2027-03-01\n\n## [1.0.0] - 2027-01-01\n"

    assert not_kept(changelog, {"1.0.0"}) == {"1.1.0"}


def test_kept_schemas_are_small_and_tell_nothing_of_the_machine() -> None:
    files = [path for folder in SCHEMAS.iterdir() for path in folder.iterdir()]

    for path in files:
        assert path.stat().st_size < 150_000
        assert not re.search(r"/(tmp|home|root|usr|var|opt)/", path.read_text())


def _journal_deposits(database: Database) -> None:
    """As every release's import did: what lies in schemas/ was given by a builder, without the events."""
    told = count(database, "SELECT COUNT(*) FROM journal WHERE event = 'fund.deposited'")
    with database.transaction() as tx:
        codes = {programme.id: programme.code for programme in tx.list(Programme)}
        for fund in tx.list(Fund) if not told else ():
            given = tx.list(Transfer, Transfer.fund_id == fund.id, Transfer.kind == "deposit")
            append_all(
                tx,
                [
                    FundDeposited(
                        programme=codes[fund.programme_id], fund=fund.code, amount_minor=each.amount_minor,
                        balance_minor=each.amount_minor, currency=each.currency, operator="builder",
                    )
                    for each in given
                ],
            )  # fmt: skip


def _families_owed() -> dict[str, int]:
    """By month: those of each city that have it, and the issuer's; but for the line that waits for a person."""
    owed = {str(cycle): 0 for cycle in (BEFORE, CYCLE, AFTER)}
    for families, first_cycle in FAMILIES.values():
        for cycle in (BEFORE, CYCLE, AFTER):
            owed[str(cycle)] += families if cycle >= first_cycle else 0
    owed[str(CYCLE)] += FAMILIES_OUTSIDE - 1
    owed[str(AFTER)] += FAMILIES_OUTSIDE
    return owed


def _families_by_cycle(database: Database) -> dict[str, int]:
    with database.reading() as tx:
        cycles = {run.cycle for run in tx.list(Run)}
    counted = (
        "SELECT COUNT(DISTINCT d.household_id) FROM voucher v JOIN disbursement d ON d.id = v.id WHERE d.cycle = '{}'"
    )
    return {cycle: count(database, counted.format(cycle)) for cycle in sorted(cycles)}


def _assert_log_agrees(database: Database, path: Path) -> None:
    """The log as a reader has it who missed nothing: chain whole, totals equal."""
    with Log.to_file(path, "despensa") as log:
        until(lambda: seal(database) == 0, what="the last events to be sealed")
        with Log.to_file(path.with_suffix(".rest"), "despensa") as rest:
            emit(database, rest)
        emit_again(database, log, from_seq=1)
    proven = verify([path])
    with database.reading() as tx:
        compare(tx, proven)
        summaries = list_summaries(tx, [run.id for run in tx.list(Run)])
        assert tx.get(JournalHead).seq == proven.last_seq
    assert proven.faults == [] and proven.gaps == []
    by_run = {(each.programme, each.run): each for each in summaries}
    assert {(each.programme, each.run): each for each in read_totals([path]).summaries} == by_run
