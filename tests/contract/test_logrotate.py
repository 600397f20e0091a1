"""deploy/logrotate/despensa, run by the real logrotate while the log is written and read: no line is lost."""

import gzip
import os
import pwd
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from console.dashboard.follow import Follower
from models import journal
from models.events import BrokerUnreachable, SecretRotated
from models.log import Log
from tests.commands import ROOT, despensa, running
from tests.installation import Installation
from tests.waiting import pass_really, until

CONFIGURATION = ROOT / "deploy" / "logrotate" / "despensa"
FOLDER = "/var/log/despensa"
ROTATIONS = 6
EVENTS = 400

Line = dict[str, object]


def rotate(folder: Path) -> None:
    """Force one rotation of this folder's logs, with nothing of the configuration changed but where and who."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    content = CONFIGURATION.read_text().replace(FOLDER, str(folder)).replace("su despensa despensa", f"su {me} {me}")
    configuration = folder.parent / "logrotate.conf"
    configuration.write_text(content)
    configuration.chmod(0o644)
    state = folder.parent / "logrotate.state"
    command = ["/usr/sbin/logrotate", "--force", "--state", str(state), str(configuration)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def lines_of(path: Path) -> list[Line]:
    """Of a file, packed or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [orjson.loads(line) for line in content.splitlines() if line]  # none: writers took each other for torn


@contextmanager
def talking(log: Log) -> Iterator[list[int]]:
    """A thread that writes thousands of numbered lines a second; yields a list that holds their count in the end."""
    count: list[int] = []
    stop = threading.Event()

    def talk() -> None:
        number = 0
        while not stop.wait(0.0002):
            log.observe(BrokerUnreachable(error=str(number)))
            number += 1
        count.append(number)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


@contextmanager
def following(folder: Path) -> Iterator[list[Line]]:
    """The dashboard's follower beside it all; yields the lines that it has read."""
    follower, read, stop = Follower([folder]), list[Line](), threading.Event()

    def follow() -> None:
        while not stop.is_set():
            read.extend(orjson.loads(line) for _, line in follower.read())
            stop.wait(0.05)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield read
    finally:
        stop.set()
        thread.join()
        read.extend(orjson.loads(line) for _, line in follower.read())


def numbers(lines: list[Line]) -> list[int]:
    """What the talking thread has said."""
    return [int(str(line["error"])) for line in lines if line["event"] == "broker.unreachable"]


@pytest.mark.debian
@pytest.mark.timeout(120)
def test_no_line_is_lost_or_read_twice_while_the_log_is_rotated_under_load(
    installation: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    path = folder / "scheduler.jsonl"

    def emitted() -> int:
        with installation.database.transaction() as tx:
            return int(tx.connection.execute(text("SELECT emitted_seq FROM journal_head")).scalar_one())

    with running("scheduler", "--log-file", str(path), environment=installation.environment) as service:
        until(path.exists, what="the scheduler's first line")
        with following(folder) as read, Log.to_file(path, "another") as log, talking(log) as count:
            for rotation in range(1, ROTATIONS + 1):
                with installation.database.transaction() as tx:
                    event = SecretRotated(store="TIJ-01", version=rotation, previous_until="", operator="ana")
                    journal.append_all(tx, [event] * EVENTS)
                rotate(folder)
                until(lambda due=rotation * EVENTS: emitted() == due, what="the sealed lines")  # type: ignore[misc]
                pass_really(1)  # the next name is another
    files = sorted(folder.iterdir())
    verified = despensa("logs", "verify", *map(str, files), "--database", environment=installation.environment)
    written = [line for file in files for line in lines_of(file)]

    assert service.output == ""
    assert len(files) == ROTATIONS + 1
    assert [file.suffix for file in files].count(".gz") == ROTATIONS - 1
    assert sorted({int(str(line["seq"])) for line in written if "seq" in line}) == [*range(1, ROTATIONS * EVENTS + 1)]
    assert sorted(numbers(written)) == [*range(count[0])]
    assert sorted(numbers(read)) == [*range(count[0])]
    assert len(read) == len(written)
    assert verified.code == 0, verified.err


@pytest.mark.debian
def test_packed_log_leaves_once_it_is_older_than_what_would_be_restored(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    kept_days = int(re.findall(r"^\s+maxage (\d+)$", CONFIGURATION.read_text(), re.MULTILINE)[0])
    ages = {"old": kept_days + 1, "kept": kept_days - 1}
    for number, (name, days) in enumerate(ages.items()):
        file = folder / f"scheduler.jsonl-2026010{number + 1}-000000.gz"
        file.write_bytes(gzip.compress(name.encode()))
        then = (datetime.now().astimezone() - timedelta(days=days)).timestamp()
        os.utime(file, (then, then))
    (folder / "scheduler.jsonl").write_bytes(b"{}\n")

    rotate(folder)

    assert [gzip.decompress(file.read_bytes()) for file in folder.glob("*.gz")] == [b"kept"]
