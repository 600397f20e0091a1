"""Two sessions stopped at named points, so that a race is shown and not hoped for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import event, text

from models.storage import Database, Query, Tx
from tests.waiting import until

T = TypeVar("T")
LIMIT_S = 20


class Racer(Generic[T]):
    """One session, in a thread, with a database of its own; it may be stopped right after a named query."""

    def __init__(self, url: str, action: Callable[[Database], T], *, stop_after: Query | None = None) -> None:
        self._database = Database(url)
        self._action = action
        self._stop_after = stop_after.name if stop_after else None
        self._reached, self._go = threading.Event(), threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        event.listen(self._database.engine, "after_cursor_execute", self._look)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Racer[T]":
        """Begin; where there is a point to stop at, return when it is reached."""
        self._thread.start()
        if self._stop_after is not None:
            assert self._reached.wait(LIMIT_S), f"{self._stop_after} was not reached: {self._error!r}"
        return self

    @property
    def ended(self) -> bool:
        """Whether it has come to its end by itself."""
        return not self._thread.is_alive()

    def finish(self) -> T:
        """Let it go on, and return what it came to; raises what it raised."""
        self._go.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the session did not end"
        self._database.close()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None is what it returned

    def _run(self) -> None:
        try:
            self._result = self._action(self._database)
        except BaseException as error:  # handed to whoever calls `finish`
            self._error = error

    def _look(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._stop_after and f"-- {self._stop_after}:" in statement and not self._reached.is_set():
            self._reached.set()
            self._go.wait(LIMIT_S)


def in_transaction(action: Callable[[Tx], T]) -> Callable[[Database], T]:
    """As one transaction of its own."""

    def run(database: Database) -> T:
        with database.transaction() as tx:
            return action(tx)

    return run


def waits_for_a_lock(database: Database) -> bool:
    """Whether a session of this database does (PostgreSQL)."""
    with database.reading() as tx:
        count = tx.connection.execute(
            text(
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        ).scalar_one()
    return bool(count)


def until_blocked(database: Database) -> None:
    """Return when a session of this database waits for a lock (PostgreSQL)."""
    until(lambda: waits_for_a_lock(database), what="a session to wait for a lock", within_s=LIMIT_S)


@contextmanager
def failing_at(database: Database, query: Query, error: Callable[[], BaseException]) -> Iterator[None]:
    """Every execution of a named query raises, as if the process had died there."""

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"-- {query.name}:" in statement:
            raise error()

    event.listen(database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", fail)
