"""One life of a process that runs a whole month by itself, and may be killed at any counted point.

Run as a module it is a server of lives: it has everything imported, holds no thread and no connection, and forks a
life for each line of JSON that it reads. A life ends by itself (0: the month is over; NOT_OVER: its rounds are), or by
SIGKILL; one that ends by an exception tells which.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from dramatiq.broker import MessageProxy
from sqlalchemy import event, text

from models.log import Log
from models.messages import CREDIT_QUEUE, NOTIFY_QUEUE
from models.storage import Database
from tests.builders import PAYDAY
from tests.faults import plants
from tests.installation import FrozenClock, Installation
from tests.ledger import pass_time
from workers import credit
from workers.issuers.http import IssuerClient
from workers.stores import webhook

#: More rounds than any month of the campaign needs; a month that is not over by then is not going to be.
ROUNDS_MAX = 40
NOT_OVER = 3
FAILED = 1
BATCH_LINES = 3

OVER = text(
    "SELECT (SELECT COUNT(*) FROM run WHERE state <> 'completed') + (SELECT COUNT(*) FROM notice WHERE state = 'due')"
    " + (SELECT COUNT(*) FROM cases WHERE state = 'open')"
    " + (SELECT COUNT(*) FROM journal) - (SELECT emitted_seq FROM journal_head)"
)


@dataclass(frozen=True, slots=True)
class Life:
    """What a life begins with."""

    home: str
    database_url: str
    redis_url: str
    namespace: str
    crash_at: int | str  #: the point at which it is killed, by number, or the first one of a name; 0 never
    edges_only: bool  #: count no statements: whatever is killed within a transaction is rolled back alike
    plant: str = ""  #: the bug that it has
    now: str = PAYDAY.isoformat()  #: what its clock shows
    rounds: int = ROUNDS_MAX  #: between two of them time passes


class Points:
    """Counts the points of a life, and kills it at one of them. The name of that point stays in the home folder."""

    def __init__(self, life: Life) -> None:
        self.count = 0
        self._crash_at = life.crash_at
        self._home = Path(life.home)
        self._counting = True
        self._edges_only = life.edges_only

    def reach(self, name: str, *, edge: bool = True) -> None:
        """Another point. At an edge something becomes true, or known outside."""
        if not self._counting or (self._edges_only and not edge):
            return
        self.count += 1
        if self._crash_at in (self.count, name):
            (self._home / "point").write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """For what the test does, and not the program."""
        self._counting = False
        try:
            yield
        finally:
            self._counting = True

    def watch(self, database: Database) -> None:
        """Before and after every statement and every commit."""

        def before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.reach(f"before {_name(statement)}", edge=False)

        def after(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.reach(f"after {_name(statement)}", edge=False)

        event.listen(database.engine, "before_cursor_execute", before)
        event.listen(database.engine, "after_cursor_execute", after)
        commit = database.engine.dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.reach("before commit")
            commit(connection)
            self.reach("after commit")

        plants.plant(database.engine.dialect, "do_commit", do_commit)

    def wrap_async(self, owner: Any, name: str) -> None:
        """Before and after a call over HTTP."""
        call = getattr(owner, name)

        async def wrapped(*arguments: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            result = await call(*arguments, **named)
            self.reach(f"after {name}")
            return result

        setattr(owner, name, wrapped)

    def wrap(self, owner: Any, name: str) -> None:
        """Before and after a call to the broker, or a line of the log."""
        call: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            result = call(*arguments, **named)
            self.reach(f"after {name}")
            return result

        setattr(owner, name, wrapped)


def live(life: Life, points: Points) -> int:
    """The month: plan, release, dispatch, credit, notify, close, seal, until it is over."""
    database = Database(life.database_url)
    points.watch(database)
    points.wrap_async(IssuerClient, "_call")
    points.wrap_async(webhook, "_post")
    points.wrap(Log, "write")
    plants.plant(credit, "return_batch", _fail)
    if life.plant:
        plants.PLANTS[life.plant]()
    with Installation.open(
        Path(life.home), database, database_url=life.database_url, redis_url=life.redis_url, namespace=life.namespace
    ) as installation:
        installation.batch_lines = BATCH_LINES
        installation.clock = FrozenClock(datetime.fromisoformat(life.now))
        points.wrap(installation.broker, "enqueue")
        ticker = installation.ticker()
        for number in range(life.rounds):
            with points.uncounted():
                if number:
                    pass_time(database)
            ticker.tick()
            work_off(installation, reach=points.reach)
            ticker.work()
            with points.uncounted(), database.reading() as tx:
                if tx.connection.execute(OVER).scalar_one() == 0:
                    return 0
    return NOT_OVER


def _fail(_database: Database, _lease: credit.Lease, error: Exception, **_: Any) -> None:
    """A worker would give the batch back, and try again; but nothing that happens to a life here makes an error."""
    raise error


def work_off(installation: Installation, *, reach: Callable[[str], None] = lambda _: None) -> None:
    """As a worker: fetch, do, acknowledge, until the queues are empty."""
    broker = installation.broker
    for queue in (CREDIT_QUEUE, NOTIFY_QUEUE):
        consumer = broker.consume(queue, prefetch=4, timeout=1)
        while (message := next(consumer)) is not None:
            reach("after fetch")
            _do(installation, message)
            reach("before ack")
            consumer.ack(message)
            reach("after ack")


def _do(installation: Installation, message: MessageProxy) -> None:
    broker = installation.broker
    for middleware in broker.middleware:
        middleware.before_process_message(broker, message)
    broker.actors[message.actor_name].fn(**message.kwargs)
    for middleware in broker.middleware:
        middleware.after_process_message(broker, message)


def _name(statement: str) -> str:
    first = statement.strip().splitlines()[0]
    return first.removeprefix("-- ").split(":")[0] if first.startswith("-- ") else " ".join(first.split()[:3])


def serve() -> None:
    """Fork a life for each line; answer how it ended, how many points it reached, and what it failed by."""
    gc.freeze()  # otherwise each life that collects copies the whole heap
    for line in sys.stdin.buffer:
        life = Life(**orjson.loads(line))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            points = Points(life)
            code, failure = FAILED, ""
            try:
                code = live(life, points)
            except BaseException as error:  # a life tells how it ended, and never returns to the loop above
                failure = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            os.write(writing, orjson.dumps({"points": points.count, "failure": failure}))
            os._exit(code)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = orjson.loads(pipe.read() or b'{"points": 0, "failure": ""}')  # who is killed tells nothing
        _, status = os.waitpid(child, 0)
        sys.stdout.buffer.write(orjson.dumps({"code": os.waitstatus_to_exitcode(status), **told}) + b"\n")
        sys.stdout.buffer.flush()


def request(life: Life) -> bytes:
    """The line that asks for a life."""
    return orjson.dumps(asdict(life)) + b"\n"


if __name__ == "__main__":
    serve()
