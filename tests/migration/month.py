"""A month in flight, as a release leaves it behind; and the end of that month, as the next release makes it.

Kept with the code of the release: this module uses what has been there since revision 0003.
"""

import urllib.request
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from sqlalchemy import text, update

from models.calendar import Cycle
from models.keys import key_path
from models.messages import CreditBatch, SendNotice
from models.storage import Database
from models.tables import Batch, Issuer, Notice, Run, Sighting, Store
from scheduler.approve import approve_by_policy
from scheduler.close import close
from scheduler.release import release
from scheduler.seal import emit, seal
from scheduler.tick import Ticker
from tests.builders import CYCLE, PAYDAY, a_planned_run, a_programme, an_issuer, batches_of, families, notices_of
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import make_dead_case, pass_time
from tests.waiting import until
from workers.credit import take_batch
from workers.issuers.simulated import SimulatedIssuer

CITIES = (
    ("02004", "Tijuana", "America/Tijuana"),
    ("26043", "Nogales", "America/Hermosillo"),
    ("08037", "Juárez", "America/Ciudad_Juarez"),
)
TIJUANA, NOGALES, JUAREZ = (code for code, _, _ in CITIES)
OUTSIDE = "outside"
BEFORE, AFTER = CYCLE.plus(-1), CYCLE.plus(1)
#: Families by their first month; those of Tijuana have all three, so each of the months has something to do.
FAMILIES = {TIJUANA: (18, BEFORE), NOGALES: (5, CYCLE), JUAREZ: (7, CYCLE)}
FAMILIES_OUTSIDE = 9
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


def write_keys(folder: Path) -> None:
    """The same for whoever keeps a month and whoever ends it: an issuer knows its credits by one of them."""
    folder.mkdir(parents=True, mode=0o700)
    for number, kind in enumerate(("pin", "webhook", "reference"), start=1):
        path = key_path(folder, kind)
        path.touch(mode=0o600)
        path.write_text(f"1 {number:064x}\n")


def begin(installation: Installation) -> None:
    """One month is over. Of the next, cities are credited, being credited, and planned; an issuer's answer is missing.

    A batch is held by a worker, a line is a case, and events are not sealed.
    """
    database = installation.database
    with FakeStore.open() as store, SimulatedIssuer({"lost_after": "1", "ask_lost": "all"}) as issuer:
        programme = a_programme(database, cities=CITIES, store_url=store.url)
        for city, (count, first_cycle) in FAMILIES.items():
            families(database, programme, count, location=city, first_cycle=first_cycle)
        month_before = _released(installation, a_planned_run(database, programme, cycle=BEFORE, batch_lines=6))
        _credit(installation, month_before, batches=3)
        with database.transaction() as tx:
            assert close(tx, month_before.id)
        for notice in notices_of(database):
            installation.receive(SendNotice(notice.id))
        seal(database)
        emit(database, installation.log)

        _credit(installation, _released(installation, a_planned_run(database, programme, batch_lines=3)), batches=2)
        slow = _released(installation, a_planned_run(database, programme, location=NOGALES, batch_lines=1))
        make_dead_case(database, slow)
        _credit(installation, slow, batches=1)
        assert take_batch(database, batches_of(database, slow)[-1].id) is not None
        a_planned_run(database, programme, location=JUAREZ)

        outside = a_programme(database, cities=CITIES[:1], store_url=store.url, code=OUTSIDE)
        an_issuer(database, outside, issuer.url)
        installation.write_token(OUTSIDE)
        families(database, outside, FAMILIES_OUTSIDE, location=TIJUANA, prefix="S")
        _credit(installation, _released(installation, a_planned_run(database, outside, batch_lines=3)), batches=1)
    with database.transaction() as tx:
        tx.add(Sighting(role="scheduler", instance="host-1:7", seen_at=tx.now))
        tx.add(Sighting(role="worker", instance="host-2:7", seen_at=tx.now))
    _set_addresses(database, store_url=f"{NOWHERE}/{{store}}", issuer_url=NOWHERE)


def finish(installation: Installation, *, store: FakeStore, issuer: SimulatedIssuer) -> None:
    """The month in flight and the next one, with the code of now."""
    database = installation.database
    installation.write_token(OUTSIDE)
    _remember(issuer, database)
    _set_addresses(database, store_url=store.url, issuer_url=issuer.url)
    for cycle in (CYCLE, AFTER):
        installation.clock.now = PAYDAY.replace(year=cycle.year, month=cycle.month)
        over = partial(_work, installation, installation.ticker(), cycle)
        until(over, what=f"the end of {cycle}", within_s=60)


def _work(installation: Installation, ticker: Ticker, cycle: Cycle) -> bool:
    """A tick, and everything that it sent, in this thread. Whether all runs are over, those of this month as well."""
    database = installation.database
    pass_time(database)
    ticker.tick()
    with database.reading() as tx:
        batches = [batch.id for batch in tx.list(Batch) if batch.state == "open"]
        notices = [notice.id for notice in tx.list(Notice) if notice.state == "due"]
    for batch_id in batches:
        installation.receive(CreditBatch(batch_id))
    for notice_id in notices:
        installation.receive(SendNotice(notice_id))
    with database.reading() as tx:
        runs = tx.list(Run)
        told = all(notice.state == "delivered" for notice in tx.list(Notice))
    over = all(run.completed_at is not None for run in runs)
    return over and told and len([run for run in runs if run.cycle == str(cycle)]) == len(CITIES) + 1


def _released(installation: Installation, run: Run) -> Run:
    with installation.database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == ""
        return release(tx, run.id, now=PAYDAY)


def _credit(installation: Installation, run: Run, *, batches: int) -> None:
    still_open = [batch for batch in batches_of(installation.database, run) if batch.state == "open"]
    for batch in still_open[:batches]:
        installation.receive(CreditBatch(batch.id))


def _set_addresses(database: Database, *, store_url: str, issuer_url: str) -> None:
    with database.transaction() as tx:
        for store in tx.list(Store):
            tx.connection.execute(
                update(Store).where(Store.id == store.id).values(url=store_url.format(store=store.id))  # type: ignore[arg-type]
            )
        tx.connection.execute(update(Issuer).values(url=issuer_url))


def _remember(issuer: SimulatedIssuer, database: Database) -> None:
    """What this issuer was sent before; it was another process, with the same book."""
    sent = text(
        "SELECT DISTINCT i.reference, d.amount_minor, r.currency FROM intent i "
        "JOIN disbursement d ON d.id = i.disbursement_id JOIN run r ON r.id = d.id / 10000000 WHERE i.kind = 'send'"
    )
    with database.reading() as tx:
        made = [dict(row._mapping) for row in tx.connection.execute(sent)]
    for credit in made:
        url = urlsplit(f"{issuer.url}/v1/credits")
        assert url.hostname == "127.0.0.1"
        request = urllib.request.Request(  # noqa: S310  # of this host
            url.geturl(), data=orjson.dumps(credit), headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            assert answer.status in (200, 201)
