"""What libraries read from the environment by themselves, where no setting of ours says so."""

from __future__ import annotations

from collections.abc import Mapping

from console.config import Check

#: What libraries read by themselves, and what we make of it.
LIBRARY_VARIABLES = (
    ("PGPASSFILE", "PostgreSQL's client", "A file with passwords, instead of one in the URL; `~/.pgpass` without it."),
    (
        "PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY",
        "PostgreSQL's client",
        "TLS where the URL does not say it. Better in the URL: `config show` shows that.",
    ),
    (
        "PG… (all others)",
        "PostgreSQL's client",
        "Read where the URL is silent, and not tested: write it into the URL. `config check` names those that are set.",
    ),
    (
        "SSL_CERT_FILE",
        "issuers, stores",
        "Certificates of the authorities to trust, instead of the system's: for one of your own.",
    ),
    (
        "SSLKEYLOGFILE",
        "issuers, stores, Redis",
        "Writes what opens every TLS connection into a file. `config check` warns.",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
        "nobody",
        "Not read: workers call issuers and stores directly.",
    ),
    (
        "dramatiq_queue_prefetch, dramatiq_delay_queue_prefetch",
        "worker",
        "Messages that a worker takes at once. `config check` warns: leave them out.",
    ),
    ("NO_COLOR", "all commands", "No colour on a terminal."),
    ("COLUMNS", "all commands", "Width of tables."),
    ("HOME", "all commands", "Under which `DESPENSA_HOME` lies by default."),
    ("TMPDIR", "worker", "Where its processes share their figures for metrics, as long as it runs."),
    ("TZ", "nobody", "Not read: a location has its own time zone, and the log is UTC."),
    ("PYTHONTZPATH", "scheduler, `run`", "Where time-zone data is looked for before the package `tzdata`."),
)

#: Of PostgreSQL's client: those that the tests use.
POSTGRESQL_TESTED = {"PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"}
#: Of Dramatiq: how many messages a worker takes at once, by which its leases were measured.
UNWANTED = ("SSLKEYLOGFILE", "dramatiq_queue_prefetch", "dramatiq_delay_queue_prefetch")


def environment_check(environment: Mapping[str, str], *, distributed: bool) -> Check:
    """Names what is set beside our settings and changes what we do: nothing may do so silently."""
    read = _read_by_postgresql() if distributed else set()
    untested = sorted(name for name in read - POSTGRESQL_TESTED if environment.get(name))
    unwanted = [name for name in UNWANTED if environment.get(name)]
    found = sorted(name for name in (read & POSTGRESQL_TESTED) | {"SSL_CERT_FILE"} if environment.get(name))
    if unwanted:
        return Check("environment", "warning", f"set: {', '.join(unwanted + untested)}", f"unset {' '.join(unwanted)}")
    if untested:
        detail = f"{', '.join(untested)}: PostgreSQL's client reads it where DESPENSA_DATABASE_URL is silent"
        return Check(
            "environment", "warning", detail, "write it into the URL; deploy/SETTINGS.md says which are tested"
        )
    return Check("environment", "ok", ", ".join(found) or "nothing is set beside the settings")


def _read_by_postgresql() -> set[str]:
    from psycopg.pq import Conninfo

    return {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
