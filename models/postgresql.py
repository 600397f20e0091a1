"""The PostgreSQL engine: read committed, with a deadline on everything that goes over the network."""

from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from models import deadlines

#: Of one process: more than a worker has threads.
CONNECTIONS_MAX = 72
#: Seconds of silence before TCP asks whether the other side is there, between two questions, and how many it asks.
KEEPALIVES = {"idle": 5, "interval": 2, "count": 3}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up when the server does not answer in time.

    A dead network is not noticed below: what swallows our packets may acknowledge them, so that neither keepalives nor
    TCP's own time-outs run out, and the server's statement time-out cannot reach us.
    """

    deadline_s: float = deadlines.DATABASE_S

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As the parent's, but never longer than the deadline. Raises OperationalError, with the connection closed."""
        try:
            return super().wait(gen, interval, self.deadline_s if timeout is None else timeout)
        except _WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError("the server did not answer in time") from None


def engine(url: URL, *, deadline_s: float) -> Engine:
    """An engine whose connections end what takes too long: on the server, and where that cannot be reached, here."""
    options = (
        # A login may set its own: pg_temp in front, and it would find an empty database.
        "-c search_path=public,pg_temp "
        f"-c statement_timeout={deadlines.STATEMENT_S}s -c lock_timeout={deadlines.LOCK_S}s "
        f"-c idle_in_transaction_session_timeout={deadlines.IDLE_S}s -c tcp_user_timeout={deadlines.SILENCE_S}s "
        + " ".join(f"-c tcp_keepalives_{name}={value}" for name, value in KEEPALIVES.items())
    )
    made = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=CONNECTIONS_MAX - 5,
        pool_timeout=deadlines.DATABASE_CONNECT_S,  # who finds none free gives its batch back within its lease
        hide_parameters=True,  # an error's text must not carry a family
        connect_args={
            "options": options,
            "connect_timeout": deadlines.DATABASE_CONNECT_S,
            **{f"keepalives_{name}": value for name, value in KEEPALIVES.items()},
            "tcp_user_timeout": deadlines.SILENCE_S * 1000,
        },
    )

    @event.listens_for(made, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        connection = BoundedConnection.connect(*arguments, **parameters)
        connection.deadline_s = deadline_s
        return connection

    @event.listens_for(made, "do_execute_no_params")
    def _copy(cursor: Any, statement: str, context: Any) -> bool:
        rows = context.execution_options.get("copied")  # by models.storage's Tx.copy
        if rows is None:
            return False
        with cursor.copy(statement) as copying:
            copying.set_types(["int8" if isinstance(value, int) else "text" for value in rows[0]])
            for row in rows:
                copying.write_row(row)
        return True

    @event.listens_for(made, "checkin")
    def _return(connection: Any, _record: Any) -> None:
        if connection is not None:
            connection.deadline_s = deadline_s

    return made
