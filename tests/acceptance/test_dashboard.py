"""The dashboard as operators run it: over files alone, live, and closed to whoever should not read it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.events import WorkerSeen
from models.log import Log
from tests.commands import despensa, end
from tests.dashboards import Dashboard, a_dashboard
from tests.unit.test_dashboard_lines import sealed

pytestmark = pytest.mark.long

#: Of this host.
EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is tested is that it wants a token
TOKEN = "a-token-of-thirty-two-characters-at-least"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three business events."""
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(b"".join(line.raw + b"\n" for line in sealed(3)))
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """That only its owner may read."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def dashboard(log: Path) -> Iterator[Dashboard]:
    """Over the log, on the loopback."""
    with a_dashboard(log) as dashboard:
        yield dashboard


def test_it_needs_nothing_but_files(log: Path) -> None:
    """It can stand where the logs stand: no home, no database, not even the settings of one."""
    with a_dashboard(log, environment={"DESPENSA_HOME": "/nowhere", "DESPENSA_DATABASE_URL": "nonsense"}) as dashboard:
        head = dashboard.ask("/api/months").json["head"]

    assert (head["to_seq"], head["gaps"], head["faults"]) == (3, [], [])
    assert not Path("/nowhere").exists()


def test_line_is_shown_as_it_is_written(dashboard: Dashboard, log: Path) -> None:
    with dashboard.stream("/stream?view=months") as events, Log.to_file(log, "despensa") as writer:
        assert next(events)["head"]["to_seq"] == 3
        writer.write(sealed(4)[3].fields)

        head = next(event["head"] for event in events if event["head"]["to_seq"] == 4)

    assert head["last_line_at"] == head["to_at"]


def test_lines_after_a_rotation_are_shown(dashboard: Dashboard, log: Path) -> None:
    with dashboard.stream("/stream?view=workers") as events, Log.to_file(log, "despensa") as writer:
        next(events)
        log.rename(log.with_name("despensa.jsonl.1"))
        writer.observe(WorkerSeen())

        shown = next(event for event in events if event["view"]["instances"])

    assert [file["name"] for file in shown["head"]["files"]] == ["despensa.jsonl.1", "despensa.jsonl"]
    assert shown["head"]["to_seq"] == 3


def test_broken_and_hostile_lines_are_counted_and_passed_over(dashboard: Dashboard, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"cut off\n["no object"]\n\xff\xfe\n' + b'{"event":"run.planned","run_id":"<script>"}\n')
        file.write(sealed(4)[3].raw + b"\n")

    with dashboard.stream("/stream?view=months") as events:
        head = next(event["head"] for event in events if event["head"]["to_seq"] == 4)

    assert (head["files"][0]["torn"], head["files"][0]["foreign"]) == (2, 2)


def test_missing_lines_are_said(dashboard: Dashboard, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"".join(line.raw + b"\n" for line in sealed(9)[6:]))

    with dashboard.stream("/stream?view=months") as events:
        head = next(event["head"] for event in events if event["head"]["last_seq"] == 9)

    assert (head["to_seq"], head["gaps"]) == (3, [{"first_seq": 4, "last_seq": 6}])


@pytest.mark.parametrize(
    "view", ["months", "run?of=1", "cases", "stores", "workers", "find?of=1", "run?of=%00", "find"]
)
def test_every_view_is_there_over_any_log(dashboard: Dashboard, view: str) -> None:
    answer = dashboard.ask(f"/api/{view}")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"head", "view"}


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/stream?view=nothing", "/stream", "/static/../server.py", "/nothing"]
)
def test_what_is_not_there_is_said(dashboard: Dashboard, path: str) -> None:
    assert dashboard.ask(path).status == 404


@pytest.mark.parametrize("path", ["/", "/api/months", "/stream?view=months", "/static/app.js"])
def test_it_only_reads(dashboard: Dashboard, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert dashboard.ask(path, method=method, body=b"x").status == 405


def test_every_answer_carries_the_policy(dashboard: Dashboard) -> None:
    """A hostile line must find nothing to run, nowhere to send, and no page to be framed in."""
    for path in ("/api/months", "/nothing", "/stream?view=nothing"):
        headers = dashboard.ask(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_page_of_another_site_cannot_read_it_through_a_name_of_its_own(dashboard: Dashboard, host: str) -> None:
    """A name that its owner points at the loopback."""
    answer = dashboard.ask("/api/months", headers={"host": host})

    assert answer.status == 400
    assert b'"head"' not in answer.body


def test_beyond_the_loopback_it_wants_a_token(log: Path) -> None:
    refused = despensa("dashboard", str(log), "--host", EVERYWHERE, environment={})

    assert refused.code == 2
    assert "must know a token" in refused.err
    assert "--token-file" in refused.err


@pytest.mark.parametrize(
    ("mode", "text", "why"), [(0o644, TOKEN, "read by others"), (0o600, "so-few", "shorter than 32")]
)
def test_poor_token_is_refused(log: Path, tmp_path: Path, mode: int, text: str, why: str) -> None:
    path = tmp_path / "poor"
    path.write_text(text)
    path.chmod(mode)

    refused = despensa("dashboard", str(log), "--token-file", str(path), environment={})

    assert refused.code == 2
    assert why in refused.err
    assert text not in refused.err


def test_only_who_knows_the_token_reads(log: Path, token_file: Path) -> None:
    with a_dashboard(log, "--host", EVERYWHERE, "--token-file", token_file) as dashboard:
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"cookie": f"despensa_dashboard={TOKEN}"}):
            assert dashboard.ask("/api/months", headers=headers).status == 401
            assert dashboard.ask("/stream?view=months", headers=headers).status == 401
        assert dashboard.ask("/").headers["location"] == "/login"
        assert dashboard.ask("/api/months", headers={"authorization": f"Bearer {TOKEN}"}).status == 200


def test_probe_needs_no_token_and_is_told_nothing(log: Path, token_file: Path) -> None:
    with a_dashboard(log, "--host", EVERYWHERE, "--token-file", token_file) as dashboard:
        answer = dashboard.ask("/healthz", headers={"host": "10.0.0.7:8080"})

    assert (answer.status, answer.body) == (200, b"ok\n")


def test_login_gives_a_cookie_that_holds_no_token(log: Path, token_file: Path) -> None:
    with a_dashboard(log, "--host", EVERYWHERE, "--token-file", token_file) as dashboard:
        refused = dashboard.ask("/login", method="POST", body=b"token=nonsense")
        let_in = dashboard.ask("/login", method="POST", body=f"token={TOKEN}".encode())
        too_long = dashboard.ask("/login", method="POST", body=b"token=" + b"x" * 10_000)
        cookie = let_in.headers["set-cookie"].partition(";")[0]
        read = dashboard.ask("/api/months", headers={"cookie": cookie})

    assert (refused.status, refused.headers["location"]) == (303, "/login?refused")
    assert "set-cookie" not in refused.headers
    assert too_long.status == 413
    assert TOKEN not in let_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in let_in.headers["set-cookie"].split(";")}
    assert read.status == 200


def test_port_that_is_taken_is_said(dashboard: Dashboard, log: Path) -> None:
    refused = despensa("dashboard", str(log), "--port", str(dashboard.port), environment={})

    assert refused.code == 2
    assert "Address already in use" in refused.err


def test_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    refused = despensa("dashboard", str(tmp_path / "nothing.jsonl"), environment={})

    assert refused.code == 2
    assert "there is no file" in refused.err


def test_log_of_the_settings_is_waited_for(tmp_path: Path) -> None:
    with a_dashboard(environment={"DESPENSA_HOME": str(tmp_path)}) as dashboard:
        assert dashboard.ask("/api/months").json["head"]["last_line_at"] == ""
        with (
            Log.to_file(tmp_path / "log" / "despensa.jsonl", "despensa") as log,
            dashboard.stream("/stream?view=months") as events,
        ):
            log.observe(WorkerSeen())
            assert next(event["head"] for event in events if event["head"]["last_line_at"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_when_it_is_told_to(log: Path, number: signal.Signals) -> None:
    """With a reader on its stream, who would stay for ever."""
    with a_dashboard(log) as dashboard, dashboard.stream("/stream?view=months") as events:
        next(events)
        dashboard.process.send_signal(number)
        ended = end(dashboard.process, within_s=20)

    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err
