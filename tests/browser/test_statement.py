"""The plain statement: complete up to where, or what is missing; and how long ago the last line came."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from console.dashboard.views import Fault, File, Gap, Missing
from tests.browser import samples
from tests.browser.conftest import Reader
from tests.browser.stand_in import StandIn

pytestmark = pytest.mark.debian


#: Counts how often what is read out changes.
COUNT_CHANGES = """() => {
    window.changes = 0;
    const count = new MutationObserver(() => { window.changes += 1; });
    count.observe(document.getElementById('spoken-state'), {childList: true, characterData: true, subtree: true});
}"""


def told(reader: Reader, server: StandIn, changes: dict[str, Any]) -> Page:
    """The page of a head."""
    server.tell("months", samples.head(**changes), samples.months())
    return reader.open("#/months")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "✓ Books and log complete up to event 18,204 (Dec 1, 2026, 9:59 PM CST 2026-12-02 03:59:56 UTC)"),
        (
            "es",
            (
                "✓ Libros y bitácora completos hasta el evento 18,204 "
                "(1 dic 2026, 9:59 p.m. GMT-6 2026-12-02 03:59:56 UTC)"
            ),
        ),
    ],
)
def test_complete(reader: Reader, language: str, words: str) -> None:
    page = reader.open("#/months", language=language)

    expect(page.locator("#statement .complete")).to_have_text(words)
    expect(page.locator("#statement .last-line")).to_have_text(
        {"en": "Last line 4 seconds ago", "es": "Última línea hace 4 segundos"}[language]
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gaps": [Gap(17_951, 17_960)]}, "10 events are missing: 17,951 to 17,960. No file has them."),
        ({"gaps": [Gap(17_951, 17_951)]}, "1 event is missing: 17,951. No file has it."),
        ({"faults": [Fault(12, "changed")]}, "Event 12 cannot be trusted: it was changed after it was sealed."),
        ({"faults": [Fault(12, "contradicted")]}, "another line says something else in its place"),
        (
            {"missing": [Missing("worker-3", "worker", samples.before(hours=2), samples.NOW.isoformat())]},
            "worker-3 (worker): its lines are missing since",
        ),
        (
            {"missing": [Missing("worker-3", "worker", "", samples.before())]},
            "worker-3 (worker): there is no line of it.",
        ),
        ({"books": "differ", "books_differences": 3}, "the books do not agree: 3 differences"),
        ({"books": "unknown", "books_at": ""}, "the books have not been compared yet: despensa run reconcile"),
        ({"files": [File("a.jsonl", "unreadable", 0, 0, 0)]}, "The file a.jsonl cannot be read."),
        ({"files": [File("a.jsonl", "followed", 9, 2, 1)]}, "3 lines cannot be read"),
        ({"from_seq": 500}, "These files begin with event 500"),
        ({"slots_missing": 1}, "1 city without its run"),
        ({"cases_waiting": 2}, "2 cases wait for a person"),
        ({"stores_failing": 2}, "2 stores are failing"),
        ({"gaps": [Gap(2 * place, 2 * place) for place in range(1, 40)]}, "and 34 more"),
    ],
)
def test_trouble_is_said_in_plain_words(reader: Reader, server: StandIn, changes: dict[str, Any], words: str) -> None:
    page = told(reader, server, changes)

    expect(page.locator("#statement")).to_contain_text(words)


@pytest.mark.parametrize(
    "changes",
    [
        {"gaps": [Gap(5, 6)]},
        {"faults": [Fault(12, "changed")]},
        {"missing": [Missing("worker-3", "worker", "", samples.before())]},
        {"files": [File("a.jsonl", "unreadable", 0, 0, 0)]},
        {"books": "differ", "books_differences": 1},
        {"books": "unknown", "books_at": ""},
    ],
)
def test_nothing_is_called_complete_that_is_not(reader: Reader, server: StandIn, changes: dict[str, Any]) -> None:
    complete = told(reader, server, changes).locator("#statement .complete")

    expect(complete).not_to_contain_text("✓")
    expect(complete.locator(".good")).to_have_count(0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": []}, "There is nothing to read yet: no log file, or an empty one. despensa run start writes"),
        ({}, "Waiting for the first line; despensa run start writes it."),
    ],
)
def test_before_the_first_line(reader: Reader, server: StandIn, changes: dict[str, Any], words: str) -> None:
    nothing = {"from_seq": 0, "to_seq": 0, "last_seq": 0, "to_at": "", "last_line_at": "", "last_seen_at": ""}

    page = told(reader, server, {**nothing, **changes})

    expect(page.locator("#statement .complete")).to_contain_text(words)
    expect(page.locator("#statement .last-line")).to_have_text("No line yet")


def test_last_line_counts_by_itself_and_turns_red(reader: Reader, server: StandIn) -> None:
    """Not by colour alone: with a sign, and in words. Until the hundred and twentieth second it is no alarm."""
    page = told(reader, server, {"last_line_at": samples.before(seconds=100)})
    last = page.locator("#statement .last-line")

    page.clock.run_for(10_000)
    expect(last).to_have_text("Last line 1 minute ago")

    page.clock.run_for(15_000)
    expect(last).to_have_text("✖ Last line 2 minutes ago The log is silent: more than 2 min have passed")
    assert last.locator(".bad").evaluate("node => getComputedStyle(node).color") == "rgb(179, 32, 31)"
    expect(page.locator("#spoken-state")).to_contain_text("The log is silent.")


def test_new_line_ends_the_alarm(reader: Reader, server: StandIn) -> None:
    server.tell("months", samples.head(last_line_at=samples.before(minutes=9)), samples.months())
    page = reader.open("#/months", language="es")
    last = page.locator("#statement .last-line")
    expect(last).to_have_text("✖ Última línea hace 9 minutos La bitácora calla: pasaron más de 2 min")

    server.tell("months", samples.head(), samples.months())

    expect(last).to_have_text("Última línea hace 4 segundos")


def test_age_is_by_the_servers_clock(reader: Reader) -> None:
    """A reader's own clock may be wrong by hours."""
    page = reader.open("#/months", now=None)

    expect(page.locator("#statement .last-line")).to_contain_text("seconds ago")
    expect(page.locator("#statement .last-line .bad")).to_have_count(0)


def test_what_is_read_out_leaves_out_what_changes_all_the_time(reader: Reader, server: StandIn) -> None:
    page = reader.open("#/months")
    spoken = page.locator("#spoken-state")
    expect(spoken).to_have_text("Books and log complete.")
    page.evaluate(COUNT_CHANGES)

    server.tell("months", samples.head(to_seq=18_300, last_seq=18_300), samples.months())
    expect(page.locator("#statement .complete")).to_contain_text("18,300")
    assert page.evaluate("window.changes") == 0

    server.tell("months", samples.head(gaps=[Gap(3, 4)]), samples.months())
    expect(spoken).to_have_text("The log is incomplete.")
