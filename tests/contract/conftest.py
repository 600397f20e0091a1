"""What the endpoints of a real scheduler and a real worker expose, once something has happened."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from models.storage import Database
from models.tables import Programme
from tests.builders import CITIES, a_programme, an_issuer, families, families_due, vouchers_of
from tests.copies import create_copy, drop_copy
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.scraping import exposing, scrape, value_of
from tests.waiting import until

CREDITED, WAITING = 14, 7


@pytest.fixture(scope="session")
def scrapes(
    postgresql: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[dict[str, str]]:
    """The text of a scrape, by service: a month that was credited, and one that waits for its approval."""
    name = f"scrapes_{worker_id}"
    url = create_copy(postgresql, name)
    home = tmp_path_factory.mktemp("scrapes") / "home"
    with (
        closing(Database(url)) as database,
        FakeStore.open() as store,
        Installation.open(home, database, database_url=url, redis_url=redis_url, namespace=name.replace("_", "-"))
        as installation,
    ):  # fmt: skip
        yield _scrape(installation, store)
    drop_copy(postgresql, name)


def _scrape(installation: Installation, store: FakeStore) -> dict[str, str]:
    database, ticker = installation.database, installation.ticker()
    now = installation.clock.now = datetime.now(UTC)
    credited, waiting = (
        a_programme(database, code=code, approval=approval, store_url=store.url)
        for code, approval in (("credited", "policy"), ("waiting", "person"))
    )
    an_issuer(database, a_programme(database, code="issued", stores=0), "https://issuer.example")  # it has no families
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    cycle = families_due(database, credited, CREDITED, now=now)
    families(database, waiting, WAITING, first_cycle=cycle, cycles=1, prefix="W")
    ticker.decide()
    with exposing(installation, "worker", "--processes", "2") as (_, port):

        def delivered() -> bool:
            ticker.work()
            counted = value_of(scrape(port), "despensa_attempts_total", actor="send_notice", outcome="delivered")
            return counted == 2 * len(CITIES)  # each city has a store of either programme

        until(delivered, what="vouchers and notices")
        worker = scrape(port)
    assert len(vouchers_of(database)) == CREDITED
    with exposing(installation, "scheduler") as (_, port):
        until(lambda: value_of(scrape(port), "despensa_books_differences") is not None, what="a look at the books")
        until(lambda: value_of(scrape(port), "despensa_events_unsealed") is not None, what="a look at the database")
        return {"worker": worker, "scheduler": scrape(port)}
