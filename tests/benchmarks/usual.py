"""What a team would usually write, a message and a transaction for each voucher, against despensa's credit."""

from collections.abc import Sequence

from dramatiq.brokers.redis import RedisBroker

from models.settings import Settings
from models.storage import Database
from tests.benchmarks import usual_worker
from tests.benchmarks.month import CREDITS, WORKERS, Tell, released, work_month
from tests.benchmarks.samples import Sample, alternate, table
from tests.benchmarks.site import ENDS_WITHIN_S, LOOK_S, Crew, Site, seconds_between
from tests.fakes import FakeStore
from tests.ledger import count
from tests.waiting import until

#: The usual code gets one of so many families: with all of them it would be at work for most of an hour.
SHARE = 50
FEW_MIN = 200
#: From the first message that was picked up to the last one.
PICKED_UP = "(SELECT MAX(transferred_at) - MIN(transferred_at) FROM transfer WHERE kind = 'credit')"
USUAL = "usual: a message a voucher"


def usual(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """The usual code on a part of the families, and despensa on all of them; ratios are to the usual code.

    Both write into the tables of despensa with all their indexes and foreign keys, from the lines of despensa's own
    plan, into the same PostgreSQL and Redis, with two processes of as many threads each. The usual code has the easier
    part: its messages lie in Redis before the clock starts, it has no scheduler beside it, and it keeps no journal,
    no lease and no reserve. The last transaction is not in its time.
    """
    few = max(FEW_MIN, families // SHARE)
    with (
        FakeStore.open() as store,
        released(site, store, families) as many,
        released(site, store, few) as waiting,
    ):

        def as_usual() -> Sample:
            with site.database(template=waiting) as (name, database):
                return _work(site, name, database, families=few)

        def ours() -> Sample:
            with site.database(template=many) as (name, database):
                return work_month(site, name, database, families=families, lasting=CREDITS)

        samples = alternate({USUAL: as_usual, f"despensa, {WORKERS} workers": ours}, rounds=rounds, tell=tell)
    tell(f"{USUAL}: {few:,} families; despensa: {families:,}")
    for line in table(samples, against=USUAL):
        tell(line)


def _work(site: Site, name: str, database: Database, *, families: int) -> Sample:
    with Crew.open(site, name) as crew:
        namespace = crew.environment["DESPENSA_NAMESPACE"]
        broker = RedisBroker(url=site.redis_url, namespace=namespace)
        try:
            _enqueue(broker, _lines(site, name))
            crew.start_python("usual", "-m", "dramatiq", "tests.benchmarks.usual_worker:start", *_size())
            ready = usual_worker.ready_key(namespace)
            until(lambda: int(broker.client.get(ready) or 0) == WORKERS, what="workers")
            wal, cpu, theirs = site.wal_bytes(), site.cpu_s(), crew.cpu_s()
            broker.client.rpush(usual_worker.begin_key(namespace), *(["begin"] * WORKERS))
            _wait_for_vouchers(database, families)
            sample = Sample(
                families, seconds_between(database, PICKED_UP), site.cpu_s() - cpu, crew.cpu_s() - theirs,
                site.wal_bytes() - wal,
            )  # fmt: skip
        finally:
            broker.close()
    verify_usual(database, families=families)
    return sample


def _size() -> list[str]:
    return ["--processes", str(WORKERS), "--threads", str(Settings().worker_threads)]


def _lines(site: Site, name: str) -> list[int]:
    with site.connect(name) as connection:
        return [int(str(row[0])) for row in connection.execute("SELECT id FROM disbursement ORDER BY id")]


def _enqueue(broker: RedisBroker, lines: Sequence[int]) -> None:
    broker.declare_queue(usual_worker.QUEUE)
    for line in lines:
        broker.enqueue(usual_worker.message(line))


def _wait_for_vouchers(database: Database, families: int) -> None:
    vouchers = "SELECT COUNT(*) FROM voucher"
    until(lambda: count(database, vouchers) >= families, what="the usual code", within_s=ENDS_WITHIN_S, poll_s=LOOK_S)


def verify_usual(database: Database, *, families: int) -> None:
    """Every line has one voucher and one transfer of its amount, and the fund has paid their sum, once."""
    checks = {
        "lines": "SELECT COUNT(*) FROM disbursement",
        "lines with a voucher": "SELECT COUNT(*) FROM disbursement d JOIN voucher v ON v.id = d.id",
        "vouchers": "SELECT COUNT(*) FROM voucher",
        "transfers": "SELECT COUNT(*) FROM transfer WHERE kind = 'credit'",
    }
    found = {what: count(database, statement) for what, statement in checks.items()}
    assert set(found.values()) == {families}, f"{families} families, {found}"
    owed = count(database, "SELECT SUM(amount_minor) FROM disbursement")
    credited = count(database, "SELECT SUM(amount_minor) FROM transfer WHERE kind = 'credit'")
    free = "SELECT SUM(CASE kind WHEN 'deposit' THEN amount_minor WHEN 'reserve' THEN -amount_minor END) FROM transfer"
    paid = count(database, free) - count(database, "SELECT SUM(balance_minor) FROM fund")
    assert owed == credited == paid, f"{owed} owed, {credited} credited, {paid} paid by the fund"
