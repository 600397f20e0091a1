"""Debian's Chromium, driven by Playwright: one for a process of tests, a fresh context for each of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
#: Without these it looks for its maker's hosts at every start.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
]
LOCALES = {"es": "es-MX", "en": "en-US"}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; Playwright gives it an empty profile of its own."""
    assert CHROMIUM.exists(), "Chromium is missing: apt-get install -y --no-install-recommends chromium"
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@dataclass
class Watched:
    """What a page must not do, as far as it did."""

    page: Page
    origin: str
    console: list[str] = field(default_factory=list)  #: warnings and errors: a breach of the policy is one
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def strayed(self) -> list[str]:
        """Requests that left the origin."""
        return [url for url in self.requests if "{0.scheme}://{0.netloc}".format(urlsplit(url)) != self.origin]


def watch(page: Page, url: str) -> Watched:
    """Collect it from now on."""
    watched = Watched(page, url.rstrip("/"))
    page.on("console", lambda message: watched.console.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))

    def dismiss(dialog: object) -> None:
        watched.dialogs.append(str(dialog))

    def note(request: Request) -> None:
        watched.requests.append(request.url)

    page.on("dialog", dismiss)
    page.on("request", note)
    return watched


def new_context(
    browser: Browser,
    *,
    language: str = "en",
    dark: bool = False,
    width: int = 1360,
    height: int = 900,
    zone: str = "America/Mexico_City",
) -> BrowserContext:
    """A reader's browser. It fails soon: pages are on this host."""
    context = browser.new_context(
        locale=LOCALES[language],
        timezone_id=zone,
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": height},
        reduced_motion="no-preference",
    )
    context.set_default_timeout(10_000)
    return context


def stand_still(page: Page, now: datetime) -> None:
    """Before the page opens: its clock says this, and goes on only as a test runs it on."""
    page.clock.install(time=now - timedelta(hours=1))
    page.clock.pause_at(now)
