"""Point-in-time recovery, with the settings of deploy/postgresql/pitr.md: what is lost is noticed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from models import schema
from models.custody import find_reason
from models.errors import Exit
from models.kept_head import KeptHead
from models.messages import CreditBatch
from models.storage import Database
from models.tables import Custody, Programme
from tests.builders import NOGALES, TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.commands import despensa
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.recovery import ArchivingServer, settings_of


@pytest.fixture
def server() -> Iterator[ArchivingServer]:
    """With an archive, and an empty database of ours."""
    with ArchivingServer.open() as server:
        with closing(Database(server.url)) as database:
            schema.upgrade(database)
        yield server


@pytest.fixture
def site(
    server: ArchivingServer, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """Its installation."""
    namespace = f"t{abs(hash(request.node.nodeid)):x}"[:30]
    with (
        closing(Database(server.url)) as database,
        Installation.open(
            tmp_path / "home", database, database_url=server.url, redis_url=redis_url, namespace=namespace
        ) as installation,
    ):
        yield installation


def two_cities(database: Database) -> Programme:
    """A programme with ten families in each."""
    programme = a_programme(database)
    for city in (TIJUANA, NOGALES):
        families(database, programme, 10, location=city)
    return programme


def credit(installation: Installation, programme: Programme, location: str) -> None:
    """Ten families of a city, credited and sealed."""
    run = a_released_run(installation.database, programme, location=location)
    for batch in batches_of(installation.database, run):
        installation.receive(CreditBatch(batch.id))
    installation.ticker().work()


def test_page_has_the_settings() -> None:
    assert [line.partition(" = ")[0] for line in settings_of("Archive")] == [
        "wal_level", "archive_mode", "archive_command", "archive_timeout",
    ]  # fmt: skip
    assert [line.partition(" = ")[0] for line in settings_of("Recover")] == [
        "restore_command", "recovery_target_action", "recovery_target_time",
    ]  # fmt: skip


@pytest.mark.debian
def test_what_was_recovered_to_an_instant_before_pays_nothing(server: ArchivingServer, site: Installation) -> None:
    database = site.database
    programme = two_cities(database)
    server.take_base()
    credit(site, programme, TIJUANA)
    with database.transaction() as tx:
        between = tx.now
    credit(site, programme, NOGALES)
    server.archive_all()
    database.engine.dispose()

    server.recover("to an instant", to=between.isoformat())
    forgotten = vouchers_of(database)
    run = a_released_run(database, programme, location=NOGALES)
    ended = despensa("scheduler", environment=site.environment)
    site.receive(CreditBatch(batches_of(database, run)[0].id))

    assert len(forgotten) == 10
    assert ended.code == Exit.BOOKS_DISAGREE, ended.err
    assert '"event":"database.held"' in ended.out
    assert vouchers_of(database) == forgotten
    assert despensa("worker", environment=site.environment).code == Exit.BOOKS_DISAGREE
    with database.reading() as tx:
        assert "it was restored, or lost its end" in tx.get(Custody).held
    database.engine.dispose()


@pytest.mark.debian
def test_what_was_recovered_to_the_end_is_not_held(server: ArchivingServer, site: Installation) -> None:
    database = site.database
    programme = two_cities(database)
    server.take_base()
    for city in (TIJUANA, NOGALES):
        credit(site, programme, city)
    database.engine.dispose()

    server.recover("to the end", with_last_wal=True)

    assert len(vouchers_of(database)) == 20
    assert_books_agree(database)
    assert find_reason(database, KeptHead.of(site.settings, site.broker.client)) == ""
    ended = despensa("scheduler", "--once", environment=site.environment)
    assert ended.code == Exit.DONE, ended.err
    database.engine.dispose()
