"""deploy/syslog-ng, run by Debian's syslog-ng: every line comes to Loki, as it was written, with the two labels."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.columns import parse_instant
from models.events import BrokerUnreachable, WorkerSeen
from models.log import Log
from tests.commands import ROOT
from tests.contract.test_logrotate import rotate
from tests.scraping import free_port
from tests.waiting import until

CONFIGURATION = ROOT / "deploy" / "syslog-ng" / "despensa.conf"
LINES = 300

Entry = tuple[str, str, int, str]  # service, level, nanoseconds, line


@contextmanager
def a_loki(port: int) -> Iterator[list[Entry]]:
    """Takes what is pushed, as Loki's HTTP API has it; yields what came."""
    came: list[Entry] = []

    class Push(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pushed = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/loki/api/v1/push" and self.headers["Content-Type"] == "application/json"
            for stream in pushed["streams"]:
                assert set(stream["stream"]) == {"service", "level"}
                labels = stream["stream"]
                came.extend((labels["service"], labels["level"], int(at), line) for at, line in stream["values"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Push)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_folder_in_which_lines_wait_is_made_on_a_host() -> None:
    """User despensa, as which the shipper runs, could not make it."""
    (folder,) = re.findall(r'disk-buffer\(.* dir\("([^"]+)"\)\)', CONFIGURATION.read_text())
    made = [line.split() for line in (ROOT / "deploy/systemd/tmpfiles.conf").read_text().splitlines()]

    assert ["d", folder, "0700", "despensa", "despensa"] in made


@contextmanager
def shipping(folder: Path, port: int) -> Iterator[None]:
    """syslog-ng over this folder's log, with nothing of the configuration changed but where."""
    state = folder.parent / "state"
    state.mkdir(exist_ok=True)
    content = CONFIGURATION.read_text().replace("/var/log/despensa", str(folder)).replace("/var/lib/logs", str(state))
    (folder.parent / "despensa.conf").write_text(content)
    words = ["--foreground", "--stderr", "--no-caps", f"--cfgfile={folder.parent}/despensa.conf"]
    words += [f"--persist-file={state}/shipped", f"--control={state}/control", f"--pidfile={state}/pid"]
    environment = {**os.environ, "LOKI_URL": f"http://127.0.0.1:{port}"}
    with (folder.parent / "stderr").open("wb") as errors:
        process = subprocess.Popen(["/usr/sbin/syslog-ng", *words], env=environment, stdout=errors, stderr=errors)
    try:
        yield
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def write(log: Log, begin: int) -> None:
    """Lines with all that JSON and a shipper could stumble over."""
    for number in range(begin, begin + LINES):
        log.observe(BrokerUnreachable(error=f'{number} "said" \\ n\nü ${{HOST}} $(echo) \t,'))


@pytest.mark.debian
@pytest.mark.timeout(120)
def test_every_line_is_shipped_as_written_through_rotation_restart_and_an_outage(tmp_path: Path) -> None:
    folder, port = tmp_path / "log", free_port()
    with Log.to_file(folder / "worker.jsonl", "despensa-worker") as log:
        log.observe(WorkerSeen())
        write(log, 0)
        with (folder / "worker.jsonl").open("ab") as file:
            file.write(b'{"cut short by a full disk\n')
        with shipping(folder, port):  # nobody listens yet
            write(log, LINES)
            with a_loki(port) as came:
                until(lambda: len(came) >= 1 + 2 * LINES, what="what was written while Loki was away", within_s=90)
                rotate(folder)
                write(log, 2 * LINES)
                until(lambda: len(came) >= 1 + 3 * LINES, what="what was written after the rotation")
        write(log, 3 * LINES)
        with a_loki(port) as later, shipping(folder, port):
            until(lambda: len(later) >= LINES, what="what was written while nobody shipped")
    shipped = came + later
    written = [line for file in sorted(folder.iterdir()) for line in file.read_text().splitlines() if "cut" not in line]

    assert sorted({line for *_, line in shipped}) == sorted(written)
    assert len(shipped) == len(written) == 1 + 4 * LINES
    for service, level, at, line in shipped:
        values = json.loads(line)
        assert (service, level) == (values["service.name"], values["level"])
        assert (
            at == int(parse_instant(values["timestamp"]).timestamp()) * 10**9 + int(values["timestamp"][20:26]) * 1000
        )


@pytest.mark.debian
def test_labels_are_those_that_the_dashboards_ask_for() -> None:
    asked = (ROOT / "deploy/grafana/dashboards/despensa-log.json").read_text()

    assert '{service=~\\"despensa' in asked
    assert '"stream":{"service":"${.line.service.name}","level":"${.line.level}"}' in CONFIGURATION.read_text()
