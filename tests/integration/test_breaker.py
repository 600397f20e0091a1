"""When nobody calls an issuer, and when one batch alone does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import update

from models.messages import CreditBatch
from models.storage import Database
from models.tables import Issuer, Run
from tests.builders import TIJUANA, a_programme, a_released_run, an_issuer, batches_of, families, vouchers_of
from tests.installation import Installation
from tests.ledger import assert_books_agree, pass_time
from workers.credit import take_batch
from workers.issuers.simulated import SimulatedIssuer
from workers.issuers.slots import BREAKER_FAILURES, PAUSE_S_MAX


@contextmanager
def two_batches(database: Database, url: str) -> Iterator[tuple[str, Run]]:
    """A released run of a programme with this issuer, which takes many calls at once; and the programme's code."""
    programme = a_programme(database)
    an_issuer(database, programme, url, calls_max=640)
    families(database, programme, 20, location=TIJUANA)
    yield programme.code, a_released_run(database, programme, batch_lines=10)
    assert_books_agree(database)


def test_issuer_that_was_silent_is_probed_by_one_batch_at_a_time(database: Database) -> None:
    with two_batches(database, "http://127.0.0.1:9") as (_, run):
        first, second = batches_of(database, run)
        with database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(failures=BREAKER_FAILURES))

        probe = take_batch(database, first.id)
        assert probe is not None
        assert probe.access is not None
        assert probe.access.probing
        assert take_batch(database, second.id) is None

        pass_time(database)  # the prober died
        assert take_batch(database, second.id) is not None


def test_issuer_that_asks_for_an_hour_is_left_alone_by_all_for_minutes(installation: Installation) -> None:
    database = installation.database
    with (
        SimulatedIssuer({"too_many": "all"}, retry_after_s=3600) as issuer,
        two_batches(database, issuer.url) as (programme, run),
    ):
        installation.write_token(programme)
        first, second = batches_of(database, run)
        installation.receive(CreditBatch(first.id))
        with database.transaction() as tx:
            until, now = tx.get(Issuer).breaker_until, tx.now
        assert until is not None
        assert timedelta(seconds=PAUSE_S_MAX - 30) < until - now <= timedelta(seconds=PAUSE_S_MAX)

        issuer.set_faults({})
        requests = issuer.requests
        installation.receive(CreditBatch(second.id))
        assert issuer.requests == requests

        pass_time(database)
        installation.receive(CreditBatch(second.id))
        assert len(vouchers_of(database, run)) == 10
