"""The usual code, which despensa is measured against: one Dramatiq message and one transaction a voucher.

Nothing in it is slower than it has to be: plain psycopg, one connection a thread, statements that PostgreSQL prepares
once, one look for line, fund and earlier voucher, and the fund last, since its row is locked until the commit.
Dramatiq is as it comes, with its own middleware.
"""

import os
import threading

import dramatiq
import psycopg
from dramatiq.brokers.redis import RedisBroker

QUEUE = "usual"

#: No row comes back where the line has its voucher: the message was sent, or worked on, twice.
FIND_LINE = """
SELECT d.amount_minor, f.id, f.currency FROM disbursement d JOIN fund f ON f.programme_id = d.programme_id
WHERE d.id = %(id)s AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
"""
#: Its primary key is the line: of two workers that are both past the look, one rolls back.
INSERT_VOUCHER = "INSERT INTO voucher (id, key_version) VALUES (%(id)s, 1)"
#: now() is the begin of the transaction: when the message was picked up.
INSERT_TRANSFER = """
INSERT INTO transfer (kind, fund_id, run_id, amount_minor, currency, transferred_at)
VALUES ('credit', %(fund_id)s, %(id)s / 10000000, %(amount_minor)s, %(currency)s, now())
"""
TAKE_FROM_FUND = """
UPDATE fund SET balance_minor = balance_minor - %(amount_minor)s
WHERE id = %(fund_id)s AND balance_minor >= %(amount_minor)s
"""


def make_broker() -> RedisBroker:
    """The broker of this environment, by the names that despensa's own processes know it by."""
    namespace = os.environ["DESPENSA_NAMESPACE"]
    return RedisBroker(url=os.environ["DESPENSA_REDIS_URL"], namespace=namespace)


def message(disbursement_id: int) -> "dramatiq.Message[None]":
    """What asks for a line's voucher."""
    return dramatiq.Message(
        queue_name=QUEUE, actor_name="credit_voucher", args=(disbursement_id,), kwargs={}, options={}
    )


def ready_key(namespace: str) -> str:
    """Counts the processes that are ready."""
    return f"{namespace}:ready"


def begin_key(namespace: str) -> str:
    """A list: each process takes one word from it before it begins."""
    return f"{namespace}:begin"


def start() -> None:
    """In each worker process: declare the actor, then wait until all processes are to begin."""
    broker = make_broker()
    database_url = os.environ["DESPENSA_DATABASE_URL"]
    mine = threading.local()

    @dramatiq.actor(broker=broker, queue_name=QUEUE)
    def credit_voucher(disbursement_id: int) -> None:
        if not hasattr(mine, "connection"):
            mine.connection = psycopg.connect(database_url, autocommit=True)
        _credit(mine.connection, disbursement_id)

    dramatiq.set_broker(broker)
    namespace = os.environ["DESPENSA_NAMESPACE"]
    broker.client.incr(ready_key(namespace))
    broker.client.blpop([begin_key(namespace)])


def _credit(connection: "psycopg.Connection[tuple[int, int, str]]", disbursement_id: int) -> None:
    with connection.transaction():
        line = connection.execute(FIND_LINE, {"id": disbursement_id}).fetchone()
        if line is None:
            return
        values = {"id": disbursement_id, "amount_minor": line[0], "fund_id": line[1], "currency": line[2]}
        connection.execute(INSERT_VOUCHER, values)
        connection.execute(INSERT_TRANSFER, values)
        if connection.execute(TAKE_FROM_FUND, values).rowcount != 1:
            raise RuntimeError("the fund is too small")
