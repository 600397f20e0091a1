"""What pages tell a person to run does what they say, as it is typed."""

import re
from pathlib import Path

import pytest

from tests.tidy.test_links import PAGES, ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scheduler_that_a_person_runs_once_writes_into_the_log(page: Path) -> None:
    """On a terminal the sealed lines are written, for the database, and in no file."""
    told = page.read_text().split("despensa scheduler --once")[1:]

    assert [each[:40] for each in told if not each.startswith(" --log-file ")] == []


def test_backups_are_kept_as_long_everywhere_and_logs_longer() -> None:
    """`db restored` needs every line since the backup: pages, units and manifests must agree on how old that is."""
    texts = [
        path.read_text()
        for path in (ROOT / "deploy").rglob("*")
        if path.suffix in {".md", ".yaml", ".service", ""} and path.is_file()
    ]
    kept = {int(found) for text in texts for found in re.findall(r'db[ ,]+backup\b.*--keep[ ,"]+(\d+)', text)}
    (log_days,) = re.findall(r"(?m)^ *maxage (\d+)$", (ROOT / "deploy/logrotate/despensa").read_text())

    assert len(kept) == 1
    assert int(log_days) > max(kept)
