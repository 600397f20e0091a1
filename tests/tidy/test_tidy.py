"""What a machine can keep of the house style."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for name in ("models", "scheduler", "workers", "console") for path in (ROOT / name).rglob("*.py"))
MIGRATIONS = ROOT / "models" / "migrations"
FUNCTION_LINES_MAX, MODULE_LINES_MAX = 60, 400
#: The catalogue of events, the tables and the views are lists: they are read by looking one thing up.
LISTS = {"models/events.py", "models/tables.py", "console/dashboard/views.py"}
BANNED = {
    "datetime.utcnow": "the clock that was passed in",
    "float(": "integer minor units",
    "time.sleep": "waiting for an event, with a limit",
    "ON CONFLICT (id)": "a second voucher is a defect and must roll back",
}
HEAVY = {
    "aiohttp", "alembic", "dramatiq", "duckdb", "fakeredis", "orjson", "prometheus_client", "pydantic", "redis", "rich",
    "sqlalchemy",
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_tidy(path: Path) -> None:
    text = path.read_text()
    if MIGRATIONS in path.parents:
        return
    name = str(path.relative_to(ROOT))
    assert name in LISTS or text.count("\n") <= MODULE_LINES_MAX
    for banned, instead in BANNED.items():
        assert banned not in text, f"{banned!r} is banned, use {instead}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


def test_commands_import_little_until_they_run() -> None:
    """`despensa --help` and a wrong option answer at once. Typer itself imports pydantic for a command's own."""
    code = (
        "import sys\n"
        "from console.main import app\n"
        "for words in (['--help'], ['--nonsense']):\n"
        "    try:\n"
        "        app(words)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "print('imported:', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    imported = done.stdout.partition("imported:")[2].split()
    assert "console" in imported
    assert set(imported) & HEAVY == set()


def test_importing_does_nothing() -> None:
    """No engine, broker, logger set-up or network: a fresh interpreter imports everything without a setting."""
    code = (
        "import importlib, pkgutil, sys, threading, models, scheduler, workers, console\n"
        "for package in (models, scheduler, workers, console):\n"
        "    for info in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not info.name.endswith('migrations.env'):\n"
        "            importlib.import_module(info.name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DESPENSA_NONSENSE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


#: By what a program reaches others. PostgreSQL's and Redis' clients have their own ways; what listens is no request.
CONNECTS = re.compile(
    r"\b(ClientSession|TCPConnector|UnixConnector|aiohttp\.request|urlopen|urllib\.request|urllib3|http\.client|httpx"
    r"|create_connection|open_connection|sock_connect|connect_ex|smtplib|ftplib|telnetlib|xmlrpc)\b"
)


def test_nothing_but_the_guard_connects_to_others() -> None:
    """Stores and issuers are reached through it alone: it decides who may be called."""
    connecting = {str(path.relative_to(ROOT)) for path in SOURCES if CONNECTS.search(path.read_text())}

    assert connecting == {"workers/guard.py"}
    guard = (ROOT / "workers" / "guard.py").read_text()
    for kept in ("trust_env=False", "auto_decompress=False", "allow_redirects=False", "DummyCookieJar"):
        assert guard.count(kept) == 1, kept


def test_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f'return "{project["version"]}"' in (ROOT / "models" / "log.py").read_text()


def test_locks_name_no_place() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        assert not re.search(r"https?://|file:|^-", text, re.MULTILINE), lock
        assert "--hash=sha256:" in text


def test_every_package_is_shipped() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for name in ("models", "scheduler", "workers", "console")
        for path in (ROOT / name).rglob("__init__.py")
    }

    assert set(packages) == found
