"""Following live: what changes is changed in place, and a page says when it no longer follows."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from console.dashboard.views import MonthsView
from tests.browser import samples
from tests.browser.conftest import Reader
from tests.browser.stand_in import StandIn
from tests.waiting import until

pytestmark = pytest.mark.debian

#: As when another tab is looked at.
HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def with_credited(credited: int) -> MonthsView:
    """December, with so many in Tijuana."""
    december = samples.months().months[0]
    tijuana = replace(december.cities[0], credited=credited)
    return MonthsView([replace(december, cities=[tijuana, *december.cities[1:]]), *samples.months().months[1:]])


def pass_time(page: Page, condition: Callable[[], object], *, what: str) -> None:
    """Second by second of the page's clock, until it holds: between them the server answers in real time."""

    def holds() -> object:
        page.clock.run_for(1_000)
        return condition()

    until(holds, what=what)


def test_update_keeps_focus_scroll_and_selection(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months", height=400)
    link = page.get_by_role("link", name="2026-12/02004")
    link.focus()
    page.evaluate("window.scrollTo(0, 150)")
    page.evaluate("() => getSelection().selectAllChildren(document.querySelector('.city'))")
    page.evaluate("() => { document.querySelector('tbody tr').marked = true; }")

    server.tell("months", samples.head(), with_credited(850))

    expect(page.locator("tbody tr").first).to_contain_text("850")
    expect(link).to_be_focused()
    kept = page.evaluate("[window.scrollY, getSelection().toString(), document.querySelector('tbody tr').marked]")
    assert kept == [
        150,
        "Tijuana",
        True,
    ]


@pytest.mark.parametrize("older", [False, True])
def test_focus_stays_on_its_row_when_rows_change_places(reader: Reader, server: StandIn, older: bool) -> None:
    """Older browsers cannot move an element without taking it out."""
    page = reader.open("#/months")
    if older:
        page.evaluate("delete Element.prototype.moveBefore")
    link = page.get_by_role("link", name="2026-12/19039")
    link.focus()
    december = samples.months().months[0]

    server.tell("months", samples.head(), MonthsView([replace(december, cities=december.cities[::-1])]))

    expect(page.locator("tbody tr").first).to_contain_text("Matamoros")
    expect(link).to_be_focused()


def test_row_that_goes_takes_no_other_with_it(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")
    page.evaluate("() => { document.querySelectorAll('tbody tr')[3].marked = true; }")
    december = samples.months().months[0]

    server.tell("months", samples.head(), MonthsView([replace(december, cities=december.cities[1:])]))

    expect(page.locator("tbody tr").first).to_contain_text("Juárez")
    assert page.evaluate("document.querySelectorAll('tbody tr')[2].marked")


def test_details_stay_open_and_the_filter_stays_typed(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/run/17")
    page.locator("article summary").click()
    page.get_by_label("Filter").fill("batch")

    server.tell("run", samples.head(), samples.run(batches_done=22))

    expect(page.locator("main")).to_contain_text("22")
    expect(page.locator("article details")).to_have_attribute("open", "")
    expect(page.get_by_label("Filter")).to_have_value("batch")
    expect(page.get_by_label("Filter")).to_be_focused()
    expect(page.locator(".event")).to_have_count(2)


def test_chart_follows_without_being_made_anew(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/run/17")
    page.evaluate("() => { document.querySelector('.plot canvas').marked = true; }")
    course = samples.run().course

    server.tell("run", samples.head(), samples.run(course=replace(course, values=[*course.values, 34])))

    expect(page.locator("figcaption")).to_contain_text("840 families")
    assert page.evaluate("document.querySelector('.plot canvas').marked")


def test_pause_stops_following_and_the_clock(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")

    page.get_by_role("button", name="Pause").click()

    expect(page.locator("#statement")).to_contain_text("Paused: what you see is of")
    streams = server.streams_of("months")
    server.tell("months", samples.head(), with_credited(900))
    page.clock.run_for(300_000)
    expect(page.locator("#statement .last-line")).to_have_text("Last line 4 seconds ago")
    expect(page.locator("tbody tr").first).to_contain_text("806")
    assert server.streams_of("months") == streams

    page.get_by_role("button", name="Follow live").click()
    expect(page.locator("tbody tr").first).to_contain_text("900")


def test_views_can_be_changed_while_paused(reader: Reader) -> None:
    page = reader.open("#/months")
    page.get_by_role("button", name="Pause").click()

    page.get_by_role("link", name="Stores", exact=True).click()

    expect(page.locator("main")).to_contain_text("TIJ-OTAY")
    expect(page.locator("#statement")).to_contain_text("Paused")


def test_hidden_tab_asks_for_nothing(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")

    page.evaluate(HIDE, True)
    server.tell("months", samples.head(), with_credited(910))
    page.clock.run_for(120_000)
    expect(page.locator("tbody tr").first).to_contain_text("806")
    assert server.streams_of("months") == 1

    page.evaluate(HIDE, False)
    expect(page.locator("tbody tr").first).to_contain_text("910")


def test_server_that_is_gone_is_said_and_found_again(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")

    server.stop()

    expect(page.locator("#statement")).to_contain_text("✖ No connection to the server; trying again.")
    expect(page.locator("tbody tr").first).to_contain_text("806")
    expect(page.locator("#spoken-state")).to_contain_text("The dashboard's server does not answer")
    page.get_by_role("link", name="Cases", exact=True).click()
    expect(page.locator("main")).to_contain_text("If it was stopped, despensa dashboard starts it.")

    server.start()
    pass_time(page, page.locator("article").first.is_visible, what="the view")
    expect(page.locator("main")).to_contain_text("Waiting for a person")
    expect(page.locator("#statement")).not_to_contain_text("No connection")


def test_reader_without_a_token_is_sent_to_the_door(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")

    server.refusing = True
    server.stop()
    server.start()

    pass_time(page, lambda: page.url.endswith("/login"), what="the door")
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.get_by_role("button", name="Enter")).to_be_visible()


def test_door_speaks_spanish_and_says_when_a_token_is_wrong(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months", language="es")

    page.goto(f"{server.url}login?refused")

    expect(page.get_by_label("Clave de acceso")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("✖ Esta clave no es la correcta.")


def test_stream_that_says_nothing_for_a_minute_is_opened_again(reader: Reader, server: StandIn) -> None:
    """A connection that died in a tunnel raises no error. The server says something every quarter of a minute."""
    page = reader.open("#/months")

    page.clock.run_for(50_000)
    assert server.streams_of("months") == 1
    pass_time(page, lambda: server.streams_of("months") == 2, what="a second stream")
    expect(page.locator("#statement")).not_to_contain_text("No connection")


def test_view_is_left_when_another_is_asked_for(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")

    page.get_by_role("link", name="Workers", exact=True).click()

    expect(page).to_have_title("Workers · despensa")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    server.tell("months", samples.head(), with_credited(999))
    expect(page.get_by_role("link", name="Workers", exact=True)).to_have_attribute("aria-current", "page")
    expect(page.locator("main")).not_to_contain_text("999")
