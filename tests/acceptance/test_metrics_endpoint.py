"""The endpoints of real processes: what they expose, and that they stand in nobody's way."""

import os
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from models.deadlines import SHUTDOWN_S
from models.messages import CreditBatch
from models.storage import Database
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.commands import despensa, kill, running, start
from tests.installation import Installation
from tests.processes import children_of, is_running
from tests.scraping import exposing, free_port, samples, scrape, value_of
from tests.waiting import until
from workers.metrics import PREFIX
from workers.serve import EMBEDDED_THREADS

pytestmark = pytest.mark.long

distributed = pytest.mark.parametrize("profile", ["distributed"], indirect=True)


def folders(place: Path) -> list[Path]:
    """Of the figures that processes share."""
    return list(place.glob(f"{PREFIX}*"))


@distributed
def test_worker_counts_the_attempts_of_all_its_processes(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    programme = a_programme(installation.database)
    families(installation.database, programme, 200, location=TIJUANA)
    run = a_released_run(installation.database, programme)

    with exposing(installation, "worker", "--processes", "2", "--threads", "3") as (_, port):
        installation.ticker().work()
        until(lambda: len(vouchers_of(installation.database, run)) == 200, what="the vouchers")
        until(lambda: _credited(port) == 20, what="twenty attempts that credited")
        text = scrape(port)
        assert len(folders(tmp_path)) == 1

    assert value_of(text, "despensa_attempt_duration_seconds_bucket", actor="credit_batch", le="+Inf") >= 20  # type: ignore[operator]
    assert value_of(text, "despensa_attempts_total", actor="send_notice", outcome="delivered") == 0
    assert value_of(text, "despensa_attempts_under_way", actor="credit_batch") == 0
    assert value_of(text, "despensa_worker_threads") == 6
    assert [dict(labels)["service"] for name, labels in samples(text) if name == "despensa_build_info"] == [
        "despensa-worker"
    ]
    assert folders(tmp_path) == []


def _credited(port: int) -> float | None:
    return value_of(scrape(port), "despensa_attempts_total", actor="credit_batch", outcome="credited")


@distributed
@pytest.mark.parametrize("service", ["worker", "scheduler"])
def test_endpoint_answers_on_loopback_and_for_metrics_only(installation: Installation, service: str) -> None:
    with exposing(installation, service) as (_, port):
        listening = _listening(port)
        assert scrape(port, path="/") == ""

    assert listening == {"0100007F"}


def _listening(port: int) -> set[str]:
    """The addresses of this host on which somebody listens on a port, as the kernel writes them."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


@distributed
def test_no_port_no_endpoint_and_no_files(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with running("worker", environment=installation.environment) as worker:
        until(lambda: len(children_of(worker.pid)) == 1, what="its one process")
        assert folders(tmp_path) == []


@pytest.mark.parametrize(
    ("profile", "service"), [("distributed", "worker"), ("embedded", "scheduler")], indirect=["profile"]
)
def test_taken_port_is_refused_at_the_start(installation: Installation, service: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        ended = despensa(service, environment={**installation.environment, "DESPENSA_METRICS_PORT": port})

    assert ended.code == 2
    assert f"metrics cannot be exposed on 127.0.0.1:{port}: Address already in use" in ended.err
    assert "DESPENSA_METRICS_PORT" in ended.err


@distributed
@pytest.mark.parametrize("service", ["worker", "scheduler"])
def test_a_client_that_hangs_delays_no_end(installation: Installation, service: str) -> None:
    with exposing(installation, service) as (process, port), closing(socket.create_connection(("127.0.0.1", port))):
        told = time.monotonic()
        os.kill(process.pid, 15)
        until(lambda: not is_running(process.pid), what="the end")
        took_s = time.monotonic() - told
        assert scrape(port) == ""

    assert took_s < SHUTDOWN_S / 2  # a service ends within a second or two; a busy machine takes its time


@distributed
def test_comparison_of_the_books_that_hangs_delays_neither_dispatch_nor_the_end(installation: Installation) -> None:
    """Every run's credit writes transfers, and the comparison waits for whoever holds the table."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE run SET state = 'paused'"))
    with database.engine.connect() as other:
        other.execute(text("LOCK TABLE transfer IN ACCESS EXCLUSIVE MODE"))
        with exposing(installation, "scheduler") as (process, port):
            until(lambda: _waiting_for_a_lock(database), what="a comparison that waits")
            with database.transaction() as tx:
                tx.connection.execute(text("UPDATE run SET state = 'released'"))
            until(lambda: value_of(scrape(port), "despensa_batches_sent_total") == 2, what="both batches sent")
            assert _waiting_for_a_lock(database)
            told = time.monotonic()
            os.kill(process.pid, 15)
            until(lambda: not is_running(process.pid), what="the end")
            took_s = time.monotonic() - told
        other.rollback()

    assert took_s < SHUTDOWN_S  # the comparison itself waits for an hour
    assert len(batches_of(database, run)) == 2


def _waiting_for_a_lock(database: Database) -> bool:
    waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.reading() as tx:
        return bool(tx.connection.execute(text(waiting)).scalar_one())


@distributed
def test_killed_master_leaves_nobody_on_the_port_and_its_files_are_removed_by_the_next(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    environment = {**installation.environment, "DESPENSA_METRICS_PORT": str(port)}
    worker = start("worker", environment=environment)
    until(lambda: scrape(port), what="an answer")
    family = children_of(worker.pid)

    os.kill(worker.pid, 9)  # the master alone
    until(lambda: not [pid for pid in family if is_running(pid)], what="the end of all", within_s=SHUTDOWN_S)
    left = folders(tmp_path)
    kill(worker)
    with running("worker", environment=environment):
        until(lambda: scrape(port), what="an answer of the next")
        assert len(left) == 1
        assert left[0] not in folders(tmp_path)


@distributed
def test_folder_of_a_master_at_work_is_left_to_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with exposing(installation, "worker") as (_, first):
        with exposing(installation, "worker"):
            assert len(folders(tmp_path)) == 2
        assert len(folders(tmp_path)) == 1
        assert value_of(scrape(first), "despensa_worker_threads") == 4


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_embedded_scheduler_tells_of_the_database_and_of_its_own_workers(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 20, location=TIJUANA)
    a_released_run(installation.database, programme)

    with exposing(installation, "scheduler") as (_, port):
        until(lambda: _credited(port) == 2, what="two attempts that credited")
        until(lambda: value_of(scrape(port), "despensa_events_unsealed") is not None, what="a look at the database")
        text = scrape(port)

    assert value_of(text, "despensa_batches_sent_total") == 2
    assert value_of(text, "despensa_seen", role="worker") is None
    assert value_of(text, "despensa_worker_threads") == EMBEDDED_THREADS


@distributed
def test_command_that_ticks_once_needs_no_port(installation: Installation) -> None:
    """A timer's command beside the service, with the same settings."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        ended = despensa("scheduler", "--once", environment={**installation.environment, "DESPENSA_METRICS_PORT": port})

    assert ended.code == 0, ended.err


def test_attempt_that_fails_is_counted_apart(installation: Installation) -> None:
    """And none stays under way."""
    from prometheus_client import CollectorRegistry, generate_latest

    from workers.attempts import AttemptLog
    from workers.metrics import WorkerMetrics

    registry = CollectorRegistry()
    watch = next(each for each in installation.broker.middleware if isinstance(each, AttemptLog))
    watch._metrics = WorkerMetrics(registry)
    installation.receive(CreditBatch(7))
    proxy = installation.broker.actors["credit_batch"].message(batch_id=7)
    watch.before_process_message(installation.broker, proxy)
    watch.after_process_message(installation.broker, proxy, exception=TypeError())

    text = generate_latest(registry).decode()

    assert value_of(text, "despensa_attempts_total", actor="credit_batch", outcome="nothing") == 1
    assert value_of(text, "despensa_attempts_total", actor="credit_batch", outcome="failed") == 1
    assert value_of(text, "despensa_attempts_under_way", actor="credit_batch") == 0
