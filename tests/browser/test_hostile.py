"""A log line is hostile input: whoever can write one must not act, deceive, or break the page of its reader."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import samples
from tests.browser.conftest import Reader
from tests.browser.screenshots import tell_samples
from tests.browser.stand_in import StandIn

pytestmark = pytest.mark.debian

MARKUP = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)">x</a>'
    "<style>*{display:none}</style>"
)
BIDI = (
    "\N{RIGHT-TO-LEFT OVERRIDE}gnissim\N{POP DIRECTIONAL FORMATTING}\N{LEFT-TO-RIGHT ISOLATE}\N{ZERO WIDTH SPACE}"
    "\x00\x1b[31m\x85"
)
LONG = "W" * 10_000
VIEWS = ("months", "run", "cases", "stores", "workers", "find")
#: What these say decides which parts of a page are shown at all.
CHOOSING = {"kind", "waits_for"}


def poisoned(told: Any, poison: str) -> Any:
    """Every text in it replaced, and the names of fields."""
    if isinstance(told, dict):
        return {
            (poison if name in told.get("fields", {}) else name): each if name in CHOOSING else poisoned(each, poison)
            for name, each in told.items()
        }
    if isinstance(told, list):
        return [poisoned(each, poison) for each in told]
    return poison if isinstance(told, str) else told


@pytest.mark.parametrize("poison", [MARKUP, BIDI, LONG, ""], ids=["markup", "bidi", "long", "empty"])
@pytest.mark.parametrize("view", VIEWS)
def test_text_in_every_field_is_text_and_no_more(reader: Reader, server: StandIn, view: str, poison: str) -> None:
    tell_samples(server)
    told = json.loads(server.once(view) or b"")
    body = {"head": poisoned(asdict(samples.troubled_head()), poison), "view": poisoned(told["view"], poison)}
    server.tell_json(view, body)

    page = reader.open(f"#/{view}/17")

    expect(page.locator("main h1")).to_be_visible()
    assert page.locator("main script, main style, main img, main iframe").count() == 0
    hrefs = page.locator("a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert all(href.startswith("#") for href in hrefs), hrefs
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert reader.watched[-1].console == []  # a breach of the policy would stand here
    for unseen in "\N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT ISOLATE}\N{ZERO WIDTH SPACE}\x00\x1b\x85":
        assert unseen not in page.evaluate("document.documentElement.outerHTML")
    if poison == BIDI:
        expect(page.locator("body")).to_contain_text("\\u202egnissim\\u202c\\u2066\\u200b\\u0000\\u001b[31m\\u0085")


def test_hostile_event_line(reader: Reader, server: StandIn) -> None:
    fields: dict[str, Any] = {MARKUP: MARKUP, "long": LONG, "bidi": BIDI}
    line = samples.event(MARKUP, level=MARKUP, **fields)
    server.tell("run", samples.head(), samples.run(events=[line, samples.event("batch.credited", seq=7, credited=1)]))

    page = reader.open("#/run/17", width=360)

    expect(page.locator(".event").first).to_contain_text(MARKUP)
    expect(page.locator(".event").first).to_contain_text(LONG)
    expect(page.locator(".event").nth(1)).to_contain_text("batch.credited")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert reader.watched[-1].console == []


def test_hostile_search_is_text(reader: Reader, server: StandIn) -> None:
    server.tell("find", samples.head(), samples.refused("not_a_number", MARKUP))
    page = reader.open("#/months")

    page.locator("#search").fill(MARKUP)
    page.locator("#search").press("Enter")

    expect(page.locator("main strong")).to_have_text(MARKUP)
    assert page.locator("main img, main script").count() == 0


def test_route_that_is_none_shows_the_months(reader: Reader) -> None:
    page = reader.open("#/months")

    for route in ("#/constructor", "#/__proto__/1", "#/%", "#nonsense", "#/run/%E0%A4%A"):
        page.evaluate("route => { location.hash = route; }", route)
        expect(page.locator("main table").first).to_be_visible()


def test_policy_forbids_what_an_injected_script_would_do(reader: Reader, server: StandIn) -> None:
    """The second wall: were a text ever parsed as HTML, nothing in it would run."""
    page = reader.open("#/months", now=None)

    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.injected = true';
        document.body.append(script);
        const image = document.createElement('img');
        image.src = 'data:,x';
        image.setAttribute('onerror', 'window.injected = true');
        document.body.append(image);
    }""")

    page.wait_for_function("() => document.querySelector('body > img').complete")
    assert page.evaluate("window.injected") is None
    assert any("Content Security Policy" in line for line in reader.watched[-1].console)


def test_what_is_copied_is_what_is_seen(reader: Reader, server: StandIn) -> None:
    """A shell runs what is pasted at its first line break."""
    server.tell("run", samples.head(), samples.run(commands=["despensa run status\nrm -rf ~\n"]))
    page = reader.open("#/run/17")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy: despensa run status").click()

    expect(page.locator("#spoken")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "despensa run status\\u000arm -rf ~\\u000a"
