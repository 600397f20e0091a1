"""What Redis holds while a benchmark runs, looked at from outside."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis

from models.messages import CREDIT_QUEUE

#: Often enough to see the queue full for as long as workers have enough to do; it costs a hundredth of a core.
LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class RedisWatch:
    """Batches in Redis at once, and the memory that they take."""

    #: Batches, bytes that the server uses, and bytes of our keys. The first while workers have nothing to do.
    looks: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def batches_max(self) -> int:
        """The most that it held at once, sent and not acknowledged."""
        return max(batches for batches, _, _ in self.looks)

    @property
    def batch_bytes(self) -> float:
        """The most that one batch took of the keys while there were as many as ever."""
        return max(keys / max(1, batches) for batches, _, keys in self.looks if batches == self.batches_max)

    @property
    def grown_bytes(self) -> int:
        """The server's most less its least: with the buffers of connections, which come and go by themselves."""
        used = [server for _, server, _ in self.looks]
        return max(used) - min(used)

    @classmethod
    @contextmanager
    def open(cls, redis_url: str, namespace: str) -> Iterator["RedisWatch"]:
        """Looks on until the context ends."""
        client = redis.Redis.from_url(redis_url)
        watch = cls([_look(client, namespace)])
        ended = threading.Event()

        def look_on() -> None:
            while not ended.wait(LOOK_EVERY_S):
                watch.looks.append(_look(client, namespace))

        thread = threading.Thread(target=look_on, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            ended.set()
            thread.join()
            client.close()


def _look(client: "redis.Redis", namespace: str) -> tuple[int, int, int]:
    keys = list(client.scan_iter(match=f"{namespace}:*", count=1_000))
    with client.pipeline() as together:
        together.hlen(f"{namespace}:{CREDIT_QUEUE}.msgs")
        together.info("memory")
        for key in keys:
            together.memory_usage(key, samples=0)
        batches, memory, *sizes = together.execute()
    return int(batches), int(memory["used_memory"]), sum(size or 0 for size in sizes)
