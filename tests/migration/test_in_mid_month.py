"""An upgrade while a month is at work: real services of the release before, on the schema of the next."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from models import schema
from models.deadlines import STOP_S
from models.errors import Exit
from models.storage import Database
from models.tables import Programme, Sighting
from tests.builders import a_programme, families_due
from tests.commands import despensa, end, kill, start
from tests.faults.fleet import Fleet
from tests.installation import Installation
from tests.ledger import assert_books_agree, count, count_credited
from tests.migration.planted import Planted, contract, expand, plant, planted_revision, sql
from tests.waiting import until

FAMILIES, FAMILIES_EMBEDDED = 700, 1000

#: What a release may do to a schema that is at work.
EXPANSIONS = (
    expand(
        sql(
            "CREATE TABLE planted (id BIGINT PRIMARY KEY REFERENCES disbursement (id), note TEXT NOT NULL)",
            "ALTER TABLE batch ADD COLUMN planted TEXT",
        )
    ),
    expand(sql("ALTER TABLE disbursement ADD COLUMN planted TEXT NOT NULL DEFAULT ''")),
    expand('create_index("ix_planted", "disbursement", ["household_id"])'),
)
#: What the code of now cannot work with.
CONTRACTION = contract(sql("ALTER TABLE run DROP COLUMN blocked"))
EXPANDED, CONTRACTED = planted_revision(len(EXPANSIONS)), planted_revision(len(EXPANSIONS) + 1)


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str | None, str]]:
    """`db upgrade` of it; the services are processes of their own, and stay what they are."""

    def upgrade(database: Database, *migrations: Planted, contract: bool = False) -> tuple[str | None, str]:
        with monkeypatch.context() as patched:
            patched.setattr(schema, "MIGRATIONS", plant(tmp_path, *migrations))
            return schema.upgrade(database, contract=contract)

    return upgrade


@pytest.mark.long
def test_month_at_work_goes_on_while_the_schema_is_expanded(
    tmp_path: Path, servers_from: str, next_release: Callable[..., tuple[str | None, str]]
) -> None:
    """Every family once, no attempt failed; also once the services of the release before are started again.

    Then the schema is contracted: services and commands of the release before are refused.
    """
    with Fleet.open(tmp_path, servers_from=servers_from, count=FAMILIES) as fleet:
        fleet.begin()

        upgraded = next_release(fleet.database, *EXPANSIONS)
        assert fleet.credited() < FAMILIES, "the month was over before the upgrade"
        for role in ("scheduler", "worker", "worker"):
            stopped = fleet.processes.pop(0)
            stopped.terminate()
            assert stopped.wait(STOP_S) == Exit.DONE
            fleet.start(role)
        ended = despensa("run", "start", "--json", environment=fleet.environment)
        fleet.logs[0] = Path(fleet.environment["DESPENSA_HOME"]) / "log" / "despensa.jsonl"  # it seals as well
        fleet.finish()

        assert (upgraded[1], ended.code) == (EXPANDED, Exit.DONE), ended.err
        found = fleet.found("upgrade in mid-month")
        assert (found.doubled, found.lost, found.surplus) == (0, 0, 0)
        assert fleet.complaints() == Counter()
        _contract(fleet.database, next_release)
        for words in (["run", "start"], ["worker"], ["scheduler"], ["db", "upgrade"]):
            refused = despensa(*words, environment=fleet.environment)
            assert refused.code == Exit.NO_DATABASE, words
            assert f"needs code that knows {CONTRACTED}" in refused.err


@pytest.mark.long
@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_embedded_month_at_work_goes_on_while_the_schema_is_expanded(
    installation: Installation, next_release: Callable[..., tuple[str | None, str]]
) -> None:
    database = installation.database
    programme = a_programme(database, stores=0)
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    families_due(database, programme, FAMILIES_EMBEDDED, now=datetime.now(UTC))
    installation.batch_lines = 2
    starting = start("run", "start", "--json", environment=installation.environment)
    try:
        until(lambda: count_credited(database) > 20, what="the first vouchers")
        upgraded = next_release(database, *EXPANSIONS)
        assert count_credited(database) < FAMILIES_EMBEDDED, "the month was over before the upgrade"
        ended = end(starting)
    finally:
        kill(starting)

    assert (upgraded[1], ended.code) == (EXPANDED, Exit.DONE), ended.err
    assert count_credited(database) == count(database, "SELECT COUNT(*) FROM voucher") == FAMILIES_EMBEDDED
    assert "attempt.failed" not in {line["event"] for line in installation.lines()}
    assert despensa("run", "start", environment=installation.environment).code == Exit.DONE
    assert_books_agree(database)
    _contract(database, next_release)
    refused = despensa("run", "start", environment=installation.environment)
    assert refused.code == Exit.NO_DATABASE
    assert f"needs code that knows {CONTRACTED}" in refused.err


def _contract(database: Database, next_release: Callable[..., tuple[str | None, str]]) -> None:
    """As if everybody of the release before were gone for so long."""
    with database.transaction() as tx:
        tx.connection.execute(update(Sighting).values(seen_at=tx.now - timedelta(minutes=3)))
    assert next_release(database, *EXPANSIONS, CONTRACTION, contract=True)[1] == CONTRACTED
