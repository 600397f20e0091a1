"""What pages tell a person to run does what they say, as it is typed."""

from pathlib import Path

import pytest

from tests.tidy.test_links import PAGES, ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scheduler_that_a_person_runs_once_writes_into_the_log(page: Path) -> None:
    """On a terminal the sealed lines are written, for the database, and in no file."""
    told = page.read_text().split("despensa scheduler --once")[1:]

    assert [each[:40] for each in told if not each.startswith(" --log-file ")] == []
