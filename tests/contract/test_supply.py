"""What is shipped beside our own code: locked by hash, audited, under known licences, on pinned images."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from packaging.requirements import Requirement

from tests.supply import DEV_LOCK, ROOT, RUN_LOCK, licences, read_lock
from tests.supply.audit import CANARY, CLEAN, NOT_AUDITED, VULNERABLE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@dataclass
class Osv:
    """An advisory service that knows what it is told to know."""

    url: str
    known: set[tuple[str, str]] = field(default_factory=lambda: {CANARY})
    broken: bool = False


@pytest.fixture
def osv() -> Iterator[Osv]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            package = (asked["package"]["name"], asked["version"])
            vulns = [_advisory(*package)] if package in service.known else []
            body = b"gone" if service.broken else orjson.dumps({"vulns": vulns} if vulns else {})
            self.send_response(503 if service.broken else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = Osv(f"http://127.0.0.1:{server.server_port}/v1/query")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()


def _advisory(name: str, version: str) -> dict[str, object]:
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"}, "versions": [version],
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
    }  # fmt: skip
    return {"id": "PYSEC-2020-96", "summary": "planted", "details": "planted", "aliases": [], "affected": [affected]}


def audit(osv: Osv, lock: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.supply.audit", "--osv-url", osv.url, str(lock)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def short_lock(tmp_path: Path) -> Path:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "attrs==26.1.0 \\\n    --hash=sha256:00\ncolorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    return lock


@pytest.mark.long
def test_a_clean_lock_passes_and_says_how_much_was_audited(osv: Osv, short_lock: Path) -> None:
    audited = audit(osv, short_lock)

    assert (audited.returncode, audited.stdout) == (
        CLEAN, "requirements.lock: 2 packages audited, 0 known to be vulnerable\n",
    )  # fmt: skip


@pytest.mark.long
def test_a_vulnerable_package_is_named_with_what_mends_it(osv: Osv, short_lock: Path) -> None:
    osv.known.add(("attrs", "26.1.0"))

    audited = audit(osv, short_lock)

    assert audited.returncode == VULNERABLE
    assert "attrs 26.1.0: PYSEC-2020-96, mended in 99" in audited.stdout


@pytest.mark.long
def test_a_service_that_knows_nothing_is_not_believed(osv: Osv, short_lock: Path) -> None:
    osv.known.clear()

    assert audit(osv, short_lock).returncode == NOT_AUDITED


@pytest.mark.long
def test_a_service_that_fails_is_no_clean_bill(osv: Osv, short_lock: Path) -> None:
    osv.broken = True

    assert audit(osv, short_lock).returncode == NOT_AUDITED


@pytest.mark.long
def test_a_service_that_is_not_there_is_no_clean_bill(short_lock: Path) -> None:
    assert audit(Osv("http://127.0.0.1:9/v1/query"), short_lock).returncode == NOT_AUDITED


@pytest.mark.long
def test_an_empty_lock_is_no_clean_bill(osv: Osv, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# nothing\n")

    assert audit(osv, lock).returncode == NOT_AUDITED


@pytest.mark.long
def test_a_package_that_the_service_skips_is_no_clean_bill(osv: Osv, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("attrs==not-a-version \\\n    --hash=sha256:00\n")

    assert audit(osv, lock).returncode == NOT_AUDITED


@pytest.mark.parametrize("lock", [RUN_LOCK, DEV_LOCK], ids=lambda lock: lock.name)
def test_every_package_is_locked_by_hash(lock: Path) -> None:
    locked = list(read_lock(lock))

    assert len(locked) > 40
    assert [each.name for each in locked if each.hashes == 0] == []


def test_the_locks_hold_what_the_project_asks_for() -> None:
    """Whoever changes pyproject.toml locks anew; both locks hold the same of what runs."""
    run = {each.name: each.version for each in read_lock(RUN_LOCK)}
    dev = {each.name: each.version for each in read_lock(DEV_LOCK)}

    for asked, locked in ((PROJECT["project"]["dependencies"], run), (PROJECT["dependency-groups"]["dev"], dev)):
        for text in asked:
            requirement = Requirement(text)
            assert requirement.specifier.contains(locked[requirement.name.lower()]), text
    assert run.items() <= dev.items()


def test_the_page_of_licences_is_that_of_the_lock() -> None:
    assert (ROOT / "deploy" / "LICENCES.md").read_text() == licences.page()


def test_a_licence_that_nobody_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "ACCEPTED", licences.ACCEPTED - {"LGPL-3.0-only"})

    with pytest.raises(LookupError, match="psycopg is under LGPL-3"):
        licences.page()


IMAGE = re.compile(r"^\s*(?:FROM(?: --\S+)*|COPY --from=|ARG BASE=|-?\s*image:)\s*\"?(?P<image>[^\s\"]+)", re.MULTILINE)
#: Our own images, stages of the same file, and the base, which an argument names.
OURS = {"despensa", "despensa-backup", "despensa-logs", "build", "${BASE}"}
PINNED = re.compile(r"^[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}$")


def images() -> Iterator[tuple[str, str]]:
    """Every image that something under deploy/ pulls, and where; Kubernetes' are rendered by test_kubernetes."""
    for path in sorted((ROOT / "deploy").rglob("*")):
        named = path.suffix in (".yaml", ".yml") or path.name == "Dockerfile"
        if named and "kubernetes" not in path.parts:
            for found in IMAGE.finditer(path.read_text()):
                yield str(path.relative_to(ROOT)), found["image"]


def test_no_image_can_change_under_its_name() -> None:
    others = [(where, image) for where, image in images() if image.partition(":")[0] not in OURS]

    assert len(others) > 3
    assert [each for each in others if not PINNED.match(each[1])] == []
