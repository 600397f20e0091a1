"""One Chromium for the tests of this folder, and for each test a reader of its own before a stand-in for the server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import samples
from tests.browser.browser import Watched, chromium, new_context, stand_still, watch
from tests.browser.screenshots import tell_samples
from tests.browser.stand_in import StandIn, stand_in


# Playwright keeps an event loop running in this thread: it must end before tests that have one of their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[StandIn]:
    """That tells of every view what is in samples, until the test tells it something else."""
    with stand_in() as server:
        tell_samples(server)
        server.tell("months", samples.head(), samples.months())
        yield server


class Reader:
    """Opens pages as somebody would, and watches that none does what it must not."""

    def __init__(self, browser: Browser, url: Callable[[], str]) -> None:
        self._browser = browser
        self._url = url
        self._stack = ExitStack()
        self.watched: list[Watched] = []

    def open(
        self,
        route: str = "#/months",
        *,
        language: str = "en",
        dark: bool = False,
        width: int = 1360,
        height: int = 900,
        now: datetime | None = samples.NOW,
        zone: str = "America/Mexico_City",
    ) -> Page:
        """Returns once the view is there."""
        context = new_context(self._browser, language=language, dark=dark, width=width, height=height, zone=zone)
        self._stack.callback(context.close)
        page = context.new_page()
        if now is not None:
            stand_still(page, now)
        self.watched.append(watch(page, self._url()))
        page.goto(self._url() + route)
        page.locator("#statement .last-line").wait_for()
        return page

    def close(self) -> None:
        """Every page."""
        self._stack.close()


@pytest.fixture
def reader(browser: Browser, server: StandIn) -> Iterator[Reader]:
    """Of the stand-in. No page may raise an error, open a dialog, or ask anybody but its server."""
    reader = Reader(browser, lambda: server.url)
    yield reader
    reader.close()
    for watched in reader.watched:
        assert watched.errors == []
        assert watched.dialogs == []
        assert watched.strayed == []
