"""`python -m tests.browser.screenshots FOLDER`: pictures of the page over the sample objects, to look at."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.browser import samples
from tests.browser.browser import chromium, new_context, stand_still
from tests.browser.stand_in import StandIn, stand_in


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture."""

    name: str
    route: str
    language: str = "en"
    dark: bool = False
    width: int = 1360
    height: int = 900


SHOTS = (
    Shot("months-light", "#/months"),
    Shot("months-dark", "#/months", dark=True),
    Shot("months-spanish", "#/months", language="es"),
    Shot("months-phone", "#/months", language="es", width=360, height=740),
    Shot("run-in-progress", "#/run/17"),
    Shot("run-dark", "#/run/17", dark=True),
    Shot("run-phone", "#/run/17", width=360, height=740),
    Shot("cases", "#/cases"),
    Shot("stores-failing", "#/stores"),
    Shot("workers", "#/workers", language="es", dark=True),
    Shot("find", "#/find/1700007671"),
)


def tell_samples(server: StandIn) -> None:
    """Every view."""
    head = samples.head(slots_missing=1, cases_waiting=12, stores_failing=2)
    server.tell("months", head, samples.months())
    server.tell("run", head, samples.run())
    server.tell("cases", head, samples.cases())
    server.tell("stores", head, samples.stores())
    server.tell("workers", samples.troubled_head(), samples.workers())
    server.tell("find", head, samples.found())


def take(folder: Path) -> None:
    """All of them, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    with stand_in() as server, chromium() as browser:
        tell_samples(server)
        for shot in SHOTS:
            context = new_context(browser, language=shot.language, dark=shot.dark, width=shot.width, height=shot.height)
            page = context.new_page()
            stand_still(page, samples.NOW)
            page.goto(server.url + shot.route)
            page.locator("#statement .last-line").wait_for()
            page.screenshot(path=folder / f"{shot.name}.png", full_page=True, animations="disabled")
            context.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
