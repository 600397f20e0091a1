"""What only a real network can show: where nothing below answers either, TCP itself ends what waits for it.

A proxy acknowledges what it swallows. A host that is gone does not.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from models.deadlines import SILENCE_S
from models.storage import Database
from tests.acceptance import site
from tests.acceptance.site import IN_TRANSACTION, SESSIONS
from tests.network import Network, missing
from tests.waiting import until

pytestmark = pytest.mark.debian
PASSWORDS = {"postgres": "of-the-server", "despensa": "of-the-service"}
#: For a machine that is busy with other tests, and the kernel's timers.
SLACK_S = 8


@pytest.fixture
def network() -> Iterator[Network]:
    """A scheduler's host and a server's."""
    lacking = missing() or site.missing()
    if lacking:
        pytest.fail(f"hosts cannot be built here: {lacking}")
    with Network.open(["scheduler", "postgresql"]) as network:
        yield network


@pytest.fixture
def home(network: Network) -> Iterator[Path]:
    """Where the server lives, which answers."""
    with site.server_folder() as home, site.postgresql(network["postgresql"], home, PASSWORDS):
        yield home


@pytest.fixture
def here(network: Network, home: Path) -> Iterator[Database]:
    """Its database, as the scheduler's host sees it."""
    database = Database(f"postgresql://despensa:{PASSWORDS['despensa']}@{network['postgresql'].address}/despensa")
    yield database
    database.close()


@pytest.fixture
def there(home: Path) -> Iterator[Database]:
    """The same, by a socket that crosses no link."""
    database = Database(site.socket_url(home, PASSWORDS))
    yield database
    database.close()


def test_long_statement_over_a_silent_network_is_given_up_soon(
    network: Network, here: Database, there: Database
) -> None:
    """One that plans a city has an hour; its scheduler is not to wait so long for a network that is gone."""

    def sleep() -> None:
        with here.transaction() as tx:
            tx.allow_long_statement()
            tx.connection.execute(text("SELECT pg_sleep(600)"))

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(network["scheduler"].do, sleep)
        until(lambda: _count(network, there, f"{SESSIONS} AND query LIKE '%pg_sleep%'"), what="the statement to begin")
        network["scheduler"].silence()
        began = time.monotonic()
        with pytest.raises(OperationalError):
            asked.result()

    assert time.monotonic() - began < SILENCE_S + SLACK_S


def test_host_that_vanishes_in_mid_plan_holds_no_lock_for_long(
    network: Network, here: Database, there: Database
) -> None:
    """A transaction that plans a city may be idle for an hour, and another scheduler waits for its locks."""
    holds, over = threading.Event(), threading.Event()

    def plan() -> None:
        with suppress(DBAPIError), here.transaction() as tx:
            tx.allow_long_statement()
            tx.connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
            holds.set()
            over.wait()

    with ThreadPoolExecutor(1) as threads:
        planned = threads.submit(network["scheduler"].do, plan)
        try:
            until(holds.is_set, what="the lock")
            network["scheduler"].silence()
            until(lambda: not _count(network, there, IN_TRANSACTION), what="the end of the vanished host's transaction",
                  within_s=SILENCE_S + SLACK_S)  # fmt: skip
        finally:
            over.set()
        planned.result()

    assert _count(network, there, SESSIONS) == 0  # nor does it keep one of the server's connections


def _count(network: Network, there: Database, statement: str) -> int:
    with there.reading() as tx:
        host = {"host": network["scheduler"].address}
        return int(tx.connection.execute(text(statement), host).scalar_one())
