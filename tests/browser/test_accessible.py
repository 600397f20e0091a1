"""For everybody: by keyboard, by screen reader, at any width, in both themes, without meaning by colour alone."""

from dataclasses import replace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from console.dashboard.views import MonthsView
from tests.browser import samples
from tests.browser.conftest import Reader
from tests.browser.stand_in import StandIn

pytestmark = pytest.mark.debian

ROUTES = ("#/months", "#/run/17", "#/cases", "#/stores", "#/workers", "#/find/1700007671")
#: WCAG 2.2 AA for text.
CONTRAST_MIN = 4.5
#: Of every text that can be seen, its contrast with what lies behind it.
CONTRASTS = """() => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (node) => {
        for (let each = node; each; each = each.parentElement) {
            const color = parse(getComputedStyle(each).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.nodeValue.trim() || !node.checkVisibility()) continue;
        const both = [parse(getComputedStyle(node).color), ground(node)].map(luminance);
        const [one, two] = both.sort((a, b) => b - a);
        found.push([(one + 0.05) / (two + 0.05), walker.currentNode.nodeValue.trim()]);
    }
    return found;
}"""

#: What reaches beyond the edge. A chart follows its frame a moment later, and is cut off until then.
BEYOND = """(main, width) => [...main.querySelectorAll('*')].filter((node) =>
    node.checkVisibility() && !node.closest('.plot, .bar, .hidden, thead, caption')
    && node.getBoundingClientRect().right > width + 0.5).map((node) => node.outerHTML.slice(0, 120))"""
#: What has the focus, and whether that can be seen.
FOCUSED = """() => {
    const at = document.activeElement;
    return [at.ariaLabel ?? at.innerText ?? '', getComputedStyle(at).outlineStyle];
}"""
#: What has a colour with a meaning, and no sign.
SIGNLESS = """nodes => nodes.filter((node) => node.checkVisibility() && !node.querySelector('.sign'))
    .map((node) => node.outerHTML)"""


def troubled(server: StandIn) -> None:
    """Every sign and colour at once."""
    server.tell("months", samples.troubled_head(), samples.months())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("route", ROUTES)
def test_contrast(reader: Reader, server: StandIn, route: str, dark: bool) -> None:
    troubled(server)
    page = reader.open(route, dark=dark)
    for folded in page.locator("main summary").all():
        folded.click()

    contrasts = page.evaluate(CONTRASTS)

    assert len(contrasts) > 40
    assert [each for each in contrasts if each[0] < CONTRAST_MIN] == []


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("route", ROUTES)
def test_axe_finds_nothing(reader: Reader, server: StandIn, route: str, language: str) -> None:
    troubled(server)
    page = reader.open(route, language=language, now=None)  # axe needs a clock that goes on

    found = Axe().run(page).response["violations"]

    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []


@pytest.mark.parametrize("route", ROUTES)
def test_page_never_scrolls_sideways(reader: Reader, server: StandIn, route: str) -> None:
    troubled(server)
    page = reader.open(route, language="es", height=740, now=None)

    for width in (1360, 1024, 768, 360, 320):
        page.set_viewport_size({"width": width, "height": 740})
        page.wait_for_function("width => innerWidth === width", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("main").evaluate(BEYOND, width) == []


def test_billions_fit_into_a_narrow_desktop(reader: Reader, server: StandIn) -> None:
    december = samples.months().months[0]
    total = replace(december.totals[0], expected_minor=9 * 10**11, credited_minor=8 * 10**11, difference_minor=10**11)
    server.tell("months", samples.head(), MonthsView([replace(december, totals=[total])]))

    page = reader.open("#/months", width=1281)

    expect(page.locator("thead").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1281


def test_rows_are_cards_on_a_phone_and_still_a_table(reader: Reader) -> None:
    page = reader.open("#/months", width=360, height=740)

    card = page.get_by_role("table", name="Cities in December 2026").get_by_role("row").filter(has_text="Tijuana")

    expect(card).to_have_css("display", "grid")
    expect(card.get_by_role("rowheader")).to_contain_text("Tijuana")
    expect(card.get_by_role("cell")).to_have_count(10)
    assert (
        card.get_by_role("cell").nth(1).evaluate("node => getComputedStyle(node, '::before').content") == '"Families"'
    )


def test_everything_is_reached_by_keyboard(reader: Reader) -> None:
    """From the skip link to the copied command, with the focus always to be seen."""
    page = reader.open("#/cases")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    command = "despensa run retry 2026-12/19039 --reason rejected --dry-run"
    menu = ["Months", "Cases", "Stores", "Workers", "Find", "Pause"]
    names = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUSED)
        assert outline != "none", name
        names.append(name.strip())
        if name.startswith("Copy: despensa run retry"):
            break

    assert names[0] == "Skip to the content"
    assert [name for name in names if name in menu] == menu
    page.keyboard.press("Enter")
    expect(page.locator("#spoken")).to_have_text(f"Copied: {command}")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "despensa run retry 2026-12/19039 --reason rejected --dry-run"
    )
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_attribute(
        "aria-label", "Copy: despensa run retry 2026-12/19039 --reason rejected"
    )


def test_skip_link_leads_to_the_content(reader: Reader) -> None:
    page = reader.open("#/months")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert page.url.endswith("#/months")


def test_command_is_copied_where_the_clipboard_is_withheld(reader: Reader) -> None:
    """Over plain HTTP beyond the loopback there is no navigator.clipboard."""
    page = reader.open("#/cases")
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    copy = page.get_by_role("button", name="Copy: despensa run resolve 309 --paid EVIDENCE")

    copy.click()

    expect(page.locator("#spoken")).to_contain_text("Copied: despensa run resolve 309")
    expect(copy).to_be_focused()
    page.locator("#search").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("#search")).to_have_value("despensa run resolve 309 --paid EVIDENCE")


def test_names_for_a_screen_reader(reader: Reader) -> None:
    page = reader.open("#/run/17")

    expect(page.get_by_role("navigation", name="Sections")).to_be_visible()
    expect(page.get_by_role("search").get_by_label("Voucher number, batch or run")).to_be_visible()
    expect(page.get_by_role("region", name="State of the log")).to_be_visible()
    expect(page.get_by_role("img", name="Families credited From 7:46:00 PM")).to_be_visible()
    expect(page.get_by_role("table", name="Notices").get_by_role("columnheader", name="Attempts")).to_be_visible()
    expect(page.get_by_role("region", name="Course")).to_be_visible()


def test_signs_go_with_every_colour(reader: Reader, server: StandIn) -> None:
    troubled(server)
    for route in ROUTES:
        page = reader.open(route)
        bare = page.locator(".good, .warn, .bad, .busy, .wait").evaluate_all(SIGNLESS)
        assert bare == []


@pytest.mark.parametrize(("motion", "seconds"), [("reduce", "0s"), ("no-preference", "0.4s")])
def test_nothing_moves_for_whoever_asked_for_that(reader: Reader, motion: str, seconds: str) -> None:
    page = reader.open("#/months")
    page.emulate_media(reduced_motion="reduce" if motion == "reduce" else "no-preference")

    assert page.locator(".bar > span").first.evaluate("node => getComputedStyle(node).transitionDuration") == seconds


def test_colours_follow_the_system_while_the_page_is_open(reader: Reader) -> None:
    page = reader.open("#/run/17")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(246, 247, 247)"

    page.emulate_media(color_scheme="dark")

    assert page.evaluate(ground) == "rgb(20, 24, 26)"
