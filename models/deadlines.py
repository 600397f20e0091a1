"""Every time-out that another one rests on, in one place. A test keeps their order.

From the inside out: a statement ends before the client gives its connection up; the client gives up before the lease
of its batch runs out; a worker told to stop has time for a lease; and whoever told it waits longer than that.
"""

import time

#: PostgreSQL ends a statement, or a wait for a lock, or an idle transaction, after so long.
STATEMENT_S = 12
LOCK_S = 10
IDLE_S = 10
#: A database that does not answer a statement within this is given up: nothing below TCP notices a black hole.
DATABASE_S = 13
DATABASE_CONNECT_S = 5
#: A host that is gone answers nothing at all: TCP ends its connections then, here and at the server, where otherwise a
#: transaction that plans a city would keep its locks for an hour.
SILENCE_S = 15
#: Planning, discarding and importing whole locations are one statement each.
LONG_STATEMENT_S = 3_600
#: The scheduler looks through all families once a minute.
SCAN_S = 60
#: SQLite's one writer is waited for.
SQLITE_BUSY_S = 60

#: One Redis command. It takes microseconds; whoever waits longer waits for a dead server.
REDIS_S = 3

#: One call to an issuer, and one to a store, with all that belongs to it.
ISSUER_CALL_S = 5
STORE_CALL_S = 8
#: One page of an issuer's statement. Nothing waits for it.
ISSUER_PAGE_S = 60

#: How long a worker owns a batch, or a notice, that it took.
LEASE_S = 15

#: An issuer, or a store, may ask us to wait; it is believed so far.
RETRY_AFTER_S_MAX = 3_600

#: Before a failed or given-back batch is taken again, unless the database struck it for the first time.
RETRY_AFTER_S = 5

#: A worker told to stop finishes what it holds within this: a lease, and the messages it has to put back.
SHUTDOWN_S = 20
#: TimeoutStopSec of systemd, terminationGracePeriodSeconds of Kubernetes: then SIGKILL, which loses seconds.
STOP_S = 30

#: What whoever deploys has to match, by name: for deploy/SETTINGS.md.
TO_MATCH = {
    "STOP_S": (
        "How long a supervisor waits between SIGTERM and SIGKILL, at least: `TimeoutStopSec=` of systemd, "
        "`terminationGracePeriodSeconds` of Kubernetes, `stop_grace_period` of Compose."
    ),
    "SHUTDOWN_S": "A worker or scheduler that was told to end has ended within this; less than the time above.",
    "STATEMENT_S": "Every session sets it itself: a pooler between must pass `options` of a connection on.",
    "DATABASE_S": "No proxy before PostgreSQL may cut a silent connection sooner.",
    "LONG_STATEMENT_S": "Planning and importing a whole location is one statement; no proxy may cut it sooner.",
    "REDIS_S": "A Redis that takes longer counts as away.",
    "ISSUER_CALL_S": "An issuer must answer within this; what comes later is asked for again by its reference.",
    "STORE_CALL_S": "And a store.",
    "LEASE_S": "So long a killed worker's batch waits for another.",
}

#: Linux's monotonic clock stands still in suspend; this one does not.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """A clock that only goes forward, and goes on while the machine is suspended: a lease does."""
    return time.clock_gettime(_STEADY)
