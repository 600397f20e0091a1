"""From a file of log lines, through the real server, to what somebody sees in a browser."""

import gzip
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from models.events import RunPaused, WorkerSeen
from models.keys import voucher_number
from models.tables import LINES_PER_RUN
from tests.browser.conftest import Reader
from tests.browser.written import JUAREZ, TIJUANA, WrittenLog, credit_batch, of_run, write_december
from tests.dashboards import Dashboard, a_dashboard

pytestmark = pytest.mark.debian


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    """A December under way."""
    log = WrittenLog(tmp_path / "log" / "despensa.jsonl")
    log.path.parent.mkdir()
    write_december(log)
    return log


@pytest.fixture
def dashboard(log: WrittenLog) -> Iterator[Dashboard]:
    """Over the folder of the log."""
    with a_dashboard(log.path.parent) as dashboard:
        yield dashboard


@pytest.fixture
def at_dashboard(browser: Browser, dashboard: Dashboard) -> Iterator[Reader]:
    """A reader of the real server; its policy must be breached nowhere."""
    reader = Reader(browser, lambda: dashboard.url)
    yield reader
    reader.close()
    for watched in reader.watched:
        assert (watched.errors, watched.dialogs, watched.strayed, watched.console) == ([], [], [], [])


@pytest.mark.parametrize(
    ("language", "width", "words"),
    [
        ("en", 1360, ["running", "completed", "run is missing", "late", "240", "400", "MX$2,880,000.00"]),
        ("es", 360, ["en curso", "terminada", "falta su corrida", "con retraso", "240", "400", "$2,880,000.00"]),
    ],
)
def test_month_in_progress(at_dashboard: Reader, language: str, width: int, words: list[str]) -> None:
    page = at_dashboard.open(now=None, language=language, width=width)

    for word in words:
        expect(page.locator("main")).to_contain_text(word)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_run_goes_on_before_the_readers_eyes(at_dashboard: Reader, log: WrittenLog) -> None:
    page = at_dashboard.open("#/run/17", now=None)
    expect(page.locator(".numbers")).to_contain_text("240")

    credit_batch(log, 17, TIJUANA, 6, ago=timedelta(0))

    expect(page.locator(".numbers")).to_contain_text("280", timeout=2_000)
    expect(page.locator(".event").first).to_contain_text("batch.credited")
    log.write(RunPaused(**of_run(17, TIJUANA), reason="funds", operator="ana"))
    expect(page.locator("main")).to_contain_text("paused")
    expect(page.locator("main code").first).to_have_text("despensa run resume 2026-12/02004")


def test_failing_stores_are_first_with_what_mends_them(at_dashboard: Reader) -> None:
    page = at_dashboard.open("#/stores", now=None)

    articles = page.locator("article")
    expect(articles).to_have_count(2)
    expect(articles.nth(0)).to_contain_text("CJS-SUR")
    expect(articles.nth(0).locator("code").last).to_have_text("despensa store resend CJS-SUR")
    expect(articles.nth(1)).to_contain_text("suspended")
    expect(page.locator("#statement")).to_contain_text("failing")


def test_case_leads_to_its_disbursement(at_dashboard: Reader) -> None:
    page = at_dashboard.open("#/cases", now=None)

    page.locator("article summary").click()
    page.get_by_role("link", name=str(17 * LINES_PER_RUN + 300)).click()

    expect(page.locator(".events")).to_contain_text("case.opened")
    expect(page.locator(".events")).to_contain_text("run.released")


def test_voucher_is_found_and_a_mistyped_one_is_refused(at_dashboard: Reader) -> None:
    number = voucher_number(18 * LINES_PER_RUN + 5)
    page = at_dashboard.open(now=None)

    page.locator("#search").fill(number)
    page.locator("#search").press("Enter")
    expect(page.locator("main")).to_contain_text("Ciudad Juárez")
    expect(page.locator(".events")).to_contain_text("batch.credited")

    page.locator("#search").fill(number[:-1] + str((int(number[-1]) + 1) % 10))
    page.locator("#search").press("Enter")
    expect(page.locator("main")).to_contain_text("the check digit does not fit")


def test_workers_are_seen(at_dashboard: Reader) -> None:
    page = at_dashboard.open("#/workers", now=None)

    expect(page.locator("main")).to_contain_text("host-b:977")
    expect(page.locator("main .plot canvas")).to_be_visible()
    expect(page.locator("main")).to_contain_text("OperationalError")


def test_broken_line_and_gap_are_said(at_dashboard: Reader, log: WrittenLog) -> None:
    page = at_dashboard.open(now=None)
    expect(page.locator("#statement .complete")).to_contain_text(f"up to event {log.seq}")
    to_seq = log.seq

    log.write_raw(b'{"event": "run.pl\n')
    log.seq += 3
    log.write(RunPaused(**of_run(17, TIJUANA), reason="funds", operator="ana"))

    expect(page.locator("#statement")).to_contain_text("1 line cannot be read")
    expect(page.locator("#statement")).to_contain_text(f"3 events are missing: {to_seq + 1} to {to_seq + 3}")
    expect(page.locator("#statement .complete")).to_contain_text(f"up to event {to_seq}")


def test_rotation_is_followed(at_dashboard: Reader, log: WrittenLog) -> None:
    page = at_dashboard.open("#/run/17", now=None)

    log.rotate()
    credit_batch(log, 17, TIJUANA, 6, ago=timedelta(0))

    expect(page.locator(".numbers")).to_contain_text("280")
    expect(page.locator("#statement .complete")).to_contain_text(f"up to event {log.seq}")
    rotated = log.path.with_name(f"{log.path.name}.1")
    packed = gzip.compress(rotated.read_bytes())
    rotated.with_name(f"{rotated.name}.gz").write_bytes(packed)
    rotated.unlink()
    credit_batch(log, 17, TIJUANA, 7, ago=timedelta(0))
    expect(page.locator(".numbers")).to_contain_text("320")


def test_hostile_line_is_text(at_dashboard: Reader, log: WrittenLog) -> None:
    markup = "<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}"
    log.write(RunPaused(**of_run(17, TIJUANA), reason=markup + "W" * 10_000, operator=markup))

    page = at_dashboard.open("#/run/17", now=None, width=360)

    expect(page.locator(".event").first).to_contain_text("<img src=x onerror=alert(1)>\\u202e")
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_silent_log_is_said(browser: Browser, tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "despensa.jsonl")
    log.write(WorkerSeen(), ago=timedelta(minutes=7))
    with a_dashboard(log.path) as dashboard:
        reader = Reader(browser, lambda: dashboard.url)
        last = reader.open(now=None).locator("#statement .last-line")

        expect(last).to_contain_text("✖ Last line 7 minutes ago")
        log.write(WorkerSeen())
        expect(last).to_contain_text("seconds ago")
        expect(last).not_to_contain_text("silent")
        reader.close()


def test_token_is_asked_for_at_the_door(browser: Browser, log: WrittenLog, tmp_path: Path) -> None:
    token = "a-token-of-thirty-two-characters-at-least"
    token_file = tmp_path / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    with a_dashboard(log.path, "--token-file", token_file) as dashboard:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        page.goto(dashboard.url)
        page.get_by_label("Token").fill("a wrong one")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("alert")).to_have_text("✖ This is not the token.")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Enter").click()

        expect(page.locator("main")).to_contain_text("Juárez")
        page.get_by_role("link", name="Stores", exact=True).click()
        expect(page.locator("main")).to_contain_text("CJS-SUR")
        context.clear_cookies()
        page.get_by_role("link", name="Cases", exact=True).click()
        page.wait_for_url("**/login")
        context.close()


def test_nothing_yet_says_what_writes_the_first_line(browser: Browser, tmp_path: Path) -> None:
    log = tmp_path / "despensa.jsonl"
    log.touch()
    with a_dashboard(log) as dashboard:
        reader = Reader(browser, lambda: dashboard.url)

        page = reader.open(now=None)

        expect(page.locator("#statement .complete")).to_contain_text("despensa run start writes the first line")
        written = WrittenLog(log)
        credit_batch(written, 18, JUAREZ, 0, ago=timedelta(0))
        expect(page.locator("#statement .complete")).to_contain_text("up to event 1")
        reader.close()
