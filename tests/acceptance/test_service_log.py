"""A service's log in a file, which rotation renames."""

from pathlib import Path

import orjson
import pytest

from tests.builders import TIJUANA, a_programme, a_released_run, families, vouchers_of
from tests.commands import despensa, running
from tests.installation import Installation
from tests.waiting import until

distributed = pytest.mark.parametrize("profile", ["distributed"], indirect=True)


def events(path: Path) -> list[str]:
    """What a log speaks of."""
    return [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()] if path.exists() else []


@distributed
def test_worker_goes_on_in_a_new_file_once_its_log_was_renamed(installation: Installation, tmp_path: Path) -> None:
    path, renamed = tmp_path / "log" / "worker.jsonl", tmp_path / "log" / "worker.jsonl-20261201"
    programme = a_programme(installation.database)
    families(installation.database, programme, 40, location=TIJUANA)

    words = ("worker", "--processes", "2", "--log-file", str(path))
    with running(*words, environment=installation.environment) as service:
        # One that waited for Redis for ten seconds, on a busy machine, says so first, and is seen a minute later.
        until(lambda: events(path).count("worker.seen") >= 2, what="both processes", within_s=120)
        path.rename(renamed)
        run = a_released_run(installation.database, programme)
        installation.ticker().work()
        until(lambda: len(vouchers_of(installation.database, run)) == 40, what="the vouchers")

    assert service.output == ""
    assert "worker.seen" in events(renamed)
    assert "attempt.finished" not in events(renamed)
    assert events(path).count("attempt.finished") >= 4
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("service", ["scheduler", "worker"])
@distributed
def test_log_that_cannot_be_written_is_refused_at_the_start(
    installation: Installation, tmp_path: Path, service: str
) -> None:
    ended = despensa(service, "--log-file", str(tmp_path), environment=installation.environment)

    assert ended.code == 1
    assert f"Is a directory: {tmp_path}" in ended.err
