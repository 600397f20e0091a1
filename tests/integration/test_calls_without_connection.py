"""No connection to the database is out of its pool while an issuer or a store is called: slow ones use up no pool.

What is asked while a call is under way is the pool itself, so that a transaction open anywhere shows.
"""

from sqlalchemy.pool import QueuePool

from models.messages import CreditBatch, SendNotice
from models.storage import Database
from scheduler.close import close
from tests.builders import (
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    families,
    notices_of,
    vouchers_of,
)
from tests.installation import Installation
from workers.issuers.simulated import Served, SimulatedIssuer
from workers.stores.simulated import Answered, SimulatedStores


def test_no_connection_is_held_while_an_issuer_or_a_store_is_called(installation: Installation) -> None:
    database = installation.database
    held: list[tuple[str, int]] = []

    def look(request: Served | Answered) -> None:
        held.append((request.verb if isinstance(request, Served) else "notice", connections_held(database)))

    with (
        SimulatedIssuer({"lost_before": "2"}, watch=look) as issuer,
        SimulatedStores({"*": "error:1"}, watch=look) as stores,
    ):
        programme = a_programme(database, store_url=stores.url_of("{store}"))
        an_issuer(database, programme, issuer.url)
        installation.write_token(programme.code)
        families(database, programme, 10, location=TIJUANA)
        run = a_released_run(database, programme, batch_lines=10)

        installation.receive(CreditBatch(batches_of(database, run)[0].id))
        with database.transaction() as tx:
            assert connections_held(database) == 1
            assert close(tx, run.id)
        installation.receive(SendNotice(notices_of(database, run)[0].id))

    assert len(vouchers_of(database, run)) == 10
    assert {verb for verb, _ in held} == {"POST", "GET", "notice"}
    assert {connections for _, connections in held} == {0}


def connections_held(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()
