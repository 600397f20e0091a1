"""Stages for tests that play whole months, or programmes, on both databases, in a closed loop and with an issuer."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.storage import Database
from tests.faults.campaign import Stage, five_families

KINDS = ("closed loop", "issuer")
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is the campaign."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("campaign")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In the long form, a seed for each of three rounds, and a number for each of ten big months."""
    for name, times in (("seed", 3), ("month", 10)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, range(times if metafunc.config.getoption("--faults") == "long" else 1))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Who creates the vouchers."""
    return str(request.param)


@pytest.fixture
def open_stage(
    profile: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[Callable[[Database, str], None]], Stage]]:
    """Opens a stage of this profile and kind, whose prepared database the caller fills, until the test ends."""
    server = request.getfixturevalue("postgresql") if profile == "distributed" else ""
    redis_url = request.getfixturevalue("redis_url") if profile == "distributed" else ""
    folder = tmp_path / f"stage-{profile}-{kind.replace(' ', '-')}"
    with ExitStack() as stack:

        def open_(prepare: Callable[[Database, str], None]) -> Stage:
            made = Stage(folder, server=server, redis_url=redis_url, outside=kind == "issuer", prepare=prepare)
            return stack.enter_context(made.open())

        yield open_


@pytest.fixture
def stage(open_stage: Callable[[Callable[[Database, str], None]], Stage]) -> Stage:
    """For months of five families."""
    return open_stage(five_families)
