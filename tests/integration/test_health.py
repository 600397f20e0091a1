"""A service is well only while it really does its part."""

from pathlib import Path

import pytest
from sqlalchemy import text

from models import health
from models.storage import Database
from tests.commands import despensa, running
from tests.installation import Installation
from tests.unit.test_health import probe
from tests.waiting import until
from workers import serve
from workers.serve import be_seen_once

pytestmark = pytest.mark.long

distributed = pytest.mark.parametrize("profile", ["distributed"], indirect=True)
SERVICES = pytest.mark.parametrize(
    ("profile", "service"),
    [("embedded", "scheduler"), ("distributed", "scheduler"), ("distributed", "worker")],
    indirect=["profile"],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A health file of a service that has just been started."""
    path = tmp_path / "health"
    health.begin(path)
    return path


def lose_sightings(database: Database) -> None:
    """The database answers, and cannot record that somebody was seen."""
    with database.transaction() as tx:
        tx.connection.execute(text("ALTER TABLE sighting RENAME TO lost"))


def is_well(file: Path) -> bool:
    return probe(file).returncode == 0


@SERVICES
def test_service_becomes_well_once_it_was_seen(installation: Installation, service: str, tmp_path: Path) -> None:
    file = tmp_path / "health"
    environment = {**installation.environment, "DESPENSA_HEALTH_FILE": str(file)}

    with running(service, environment=environment):
        until(lambda: is_well(file), what="a service that is well", poll_s=0.2)


@SERVICES
def test_service_whose_health_file_cannot_be_touched_does_not_start(
    installation: Installation, service: str, tmp_path: Path
) -> None:
    environment = {**installation.environment, "DESPENSA_HEALTH_FILE": str(tmp_path / "none" / "health")}

    ended = despensa(service, environment=environment)

    assert ended.code == 2
    assert f"the health file {tmp_path}/none/health cannot be touched: No such file or directory" in ended.err


def test_scheduler_that_was_not_recorded_is_not_well(installation: Installation, file: Path) -> None:
    ticker = installation.ticker()
    ticker.health_file = file
    lose_sightings(installation.database)

    ticker.work()

    assert not is_well(file)


def test_command_that_ticks_beside_a_scheduler_does_not_speak_for_it(installation: Installation, file: Path) -> None:
    """cron's `run start` has the services' settings."""
    environment = {**installation.environment, "DESPENSA_HEALTH_FILE": str(file)}

    ended = despensa("scheduler", "--once", environment=environment)

    assert ended.code == 0
    assert not is_well(file)


@distributed
def test_worker_that_fetches_and_is_recorded_is_well(installation: Installation, file: Path) -> None:
    installation.broker.answered.set()

    be_seen_once(installation.database, installation.broker, installation.log, file)

    assert is_well(file)


@distributed
def test_worker_that_cannot_fetch_is_not_well(
    installation: Installation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "ANSWERED_WITHIN_S", 0.01)

    be_seen_once(installation.database, installation.broker, installation.log, file)

    assert not is_well(file)


@distributed
def test_worker_that_was_not_recorded_is_not_well(installation: Installation, file: Path) -> None:
    installation.broker.answered.set()
    lose_sightings(installation.database)

    with pytest.raises(Exception, match="sighting"):
        be_seen_once(installation.database, installation.broker, installation.log, file)

    assert not is_well(file)


@distributed
def test_health_file_that_is_lost_later_stops_nothing(installation: Installation, tmp_path: Path) -> None:
    installation.broker.answered.set()
    ticker = installation.ticker()
    ticker.health_file = tmp_path / "none" / "health"

    be_seen_once(installation.database, installation.broker, installation.log, tmp_path / "none" / "health")
    result = ticker.work()

    assert result.errors == []
    assert [line["event"] for line in installation.lines()] == ["worker.seen", "scheduler.seen"]
