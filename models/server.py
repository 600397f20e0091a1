"""What a database server is set to and how full it is: for `despensa doctor`, which changes nothing."""

from dataclasses import dataclass
from typing import Any

from models.storage import Query, Tx

GET_DURABILITY = Query(
    """
-- get_durability: what a commit survives, as this session has it
SELECT current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes
""",
    sqlite="""
-- get_durability: what a commit survives, as this connection has it
SELECT (SELECT journal_mode FROM pragma_journal_mode) AS journal_mode,
       (SELECT synchronous FROM pragma_synchronous) AS synchronous,
       (SELECT foreign_keys FROM pragma_foreign_keys) AS foreign_keys
""",
)
#: What each setting must be. Every credit rests on a commit being kept: of a call to an issuer that is about to be
#: made, too, which a database that forgets it would make again.
DURABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "postgresql": {
        "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
        "fsync": ("on",),
        "full_page_writes": ("on",),
    },
    "sqlite": {"journal_mode": ("wal",), "synchronous": ("2", "3"), "foreign_keys": ("1",)},
}

COUNT_CONNECTIONS = Query("""
-- count_connections: clients of a PostgreSQL server, and how many it takes beside those kept for its administrators
SELECT (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - COALESCE(current_setting('reserved_connections', true)::int, 0) AS usable
""")

ANSWER = Query("""
-- answer: nothing but a round trip
SELECT 1
""")


GET_LOGIN = Query("""
-- get_login: who this session is to a PostgreSQL server, what that login may do beyond its work, and whether it is TLS
SELECT session_user AS login, (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AS superuser,
       pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = to_regclass('voucher')), 'MEMBER') AS owner,
       has_table_privilege(session_user, to_regclass('voucher'), 'UPDATE') AS may_change_vouchers,
       COALESCE((SELECT string_agg(r.rolname, ' ' ORDER BY r.rolname) FROM pg_roles r
                 WHERE r.rolname IN ('despensa_enrol', 'despensa_plan', 'despensa_approve', 'despensa_work')
                   AND pg_has_role(session_user, r.oid, 'MEMBER')), '') AS roles,
       COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE) AS encrypted,
       COALESCE(inet_client_addr() <> inet_server_addr(), FALSE) AS other_host
""")


@dataclass(frozen=True, slots=True)
class Login:
    """Of this session."""

    name: str
    owns: bool  #: a superuser, or one who could change the schema
    may_change_vouchers: bool
    encrypted: bool
    other_host: bool
    verified: bool  #: whether the client checks who answers, by name and authority
    roles: frozenset[str] = frozenset()  #: of despensa's that write, those that it is a member of


@dataclass(frozen=True, slots=True)
class Connections:
    """Of a PostgreSQL server."""

    used: int
    usable: int


def durability(tx: Tx) -> dict[str, str]:
    """The settings of DURABLE as they are."""
    row = tx.one(GET_DURABILITY)
    return {name: str(getattr(row, name)) for name in DURABLE[tx.dialect]}


def connections(tx: Tx) -> Connections | None:
    """None on SQLite, which has no server."""
    if tx.dialect == "sqlite":
        return None
    row = tx.one(COUNT_CONNECTIONS)
    return Connections(int(row.used), int(row.usable))


def login(tx: Tx) -> Login | None:
    """None on SQLite. Only of a database that has its tables."""
    if tx.dialect == "sqlite":
        return None
    row = tx.one(GET_LOGIN)
    driver: Any = tx.connection.connection.driver_connection
    modes = [option.val for option in driver.pgconn.info if option.keyword == b"sslmode"]
    return Login(
        str(row.login), bool(row.superuser or row.owner), bool(row.may_change_vouchers), bool(row.encrypted),
        bool(row.other_host), modes == [b"verify-full"], frozenset(str(row.roles).split()),
    )  # fmt: skip
