"""What a process of either profile works with, in one place, with a clock that stands still until it is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
from dramatiq.broker import MessageProxy

from models.broker import SafeRedisBroker, embedded_client, redis_client
from models.heads_file import HeadsFile
from models.kept_head import KeptHead
from models.keys import init_keys, token_path
from models.log import Log
from models.messages import Message, arguments
from models.settings import Settings
from models.storage import Database
from scheduler.heads import ClosedHeads
from scheduler.tick import Ticker
from tests.fakes import HERE_NAMED
from workers.actors import Workplace, declare
from workers.serve import embedded_workers, worker_broker, workplace


@dataclass
class FrozenClock:
    """An instant that stands still until it is set."""

    now: datetime = field(default_factory=lambda: datetime(2026, 12, 1, 20, tzinfo=UTC))

    def __call__(self) -> datetime:
        """The instant."""
        return self.now


@dataclass
class Installation:
    """One process's share of an installation."""

    settings: Settings
    database: Database
    log: Log
    broker: SafeRedisBroker
    place: Workplace
    clock: FrozenClock
    batch_lines: int = 10

    @classmethod
    @contextmanager
    def open(
        cls, home: Path, database: Database, *, database_url: str, redis_url: str, namespace: str
    ) -> Iterator["Installation"]:
        """Keys made, log open, broker ready."""
        home.mkdir(exist_ok=True)
        settings = Settings(
            home=home, database_url=database_url, redis_url=redis_url, namespace=namespace, outgoing_networks=HERE_NAMED
        )  # fmt: skip
        init_keys(settings.keys)
        with Log.to_file(settings.log, "despensa") as log:
            client = redis_client(redis_url) if redis_url else embedded_client()
            broker = worker_broker(client, settings, log)
            place = workplace(settings, database, log, broker)
            declare(broker, place)
            yield cls(settings, database, log, broker, place, FrozenClock())
            broker.close()

    @property
    def distributed(self) -> bool:
        """Which profile this is."""
        return self.settings.distributed

    @property
    def environment(self) -> dict[str, str]:
        """For a command of this installation in another process."""
        return {
            "DESPENSA_HOME": str(self.settings.home),
            "DESPENSA_DATABASE_URL": self.settings.database_url,
            "DESPENSA_REDIS_URL": self.settings.redis_url,
            "DESPENSA_NAMESPACE": self.settings.namespace,
            "DESPENSA_OUTGOING_NETWORKS": self.settings.outgoing_networks,
            "DESPENSA_BATCH_LINES": str(self.batch_lines),
        }

    def write_token(self, programme: str) -> None:
        """The issuer's access token, as an operator puts it there."""
        path = token_path(self.settings.keys, programme)
        path.touch(mode=0o600)
        path.write_text("rehearsal")

    def ticker(self, *, planners: int = 1) -> Ticker:
        """As a scheduler process has it; with one planner its steps come in the same order each time."""
        return Ticker(
            self.database, self.broker, self.log, self.clock, batch_lines=self.batch_lines, planners=planners,
            kept=KeptHead.of(self.settings, self.broker.client),
            heads=ClosedHeads(HeadsFile(self.settings.heads)), seals=True,
        )  # fmt: skip

    def receive(self, message: Message) -> None:
        """What a worker does with a message, in this thread."""
        actor = self.broker.actors[message.ACTOR]
        proxy = MessageProxy(actor.message(**arguments(message)))
        for middleware in self.broker.middleware:
            middleware.before_process_message(self.broker, proxy)
        try:
            actor.fn(**arguments(message))
        finally:
            for middleware in self.broker.middleware:
                middleware.after_process_message(self.broker, proxy)

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Worker threads while the context lasts."""
        with embedded_workers(self.broker):
            yield

    def lines(self) -> list[dict[str, object]]:
        """What the log says so far."""
        return [orjson.loads(text) for text in self.settings.log.read_bytes().splitlines()]
