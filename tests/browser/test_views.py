"""Every view shows what it is told, in the reader's language, numbers, money and times."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from console.dashboard.views import CasesView, Month, MonthsView, Series, StoresView
from tests.browser import samples
from tests.browser.conftest import Reader
from tests.browser.stand_in import StandIn

pytestmark = pytest.mark.debian

NARROW = "\N{NARROW NO-BREAK SPACE}"


def cells(reader_page: object, row: str) -> dict[str, str]:
    """A city's row by its columns."""
    texts = reader_page.locator("tbody tr", has_text=row).first.evaluate(  # type: ignore[attr-defined]
        "row => Object.fromEntries([...row.children].map((cell) => [cell.dataset.label, cell.innerText]))"
    )
    return {label: " ".join(text.split()) for label, text in texts.items()}


def test_month_in_english(reader: Reader) -> None:
    page = reader.open("#/months")

    assert cells(page, "Tijuana") == {
        "City": "Tijuana 02004 2026-12/02004",
        "State": "▸ running",
        "Families": "1,240",
        "Credited": "806",
        "Cases": "▲ 2",
        "Stores told": "✖ 2 of 3",
        "Expected": "MX$8,928,000.00",
        "Amount credited": "MX$5,803,200.00",
        "Difference": "MX$3,124,800.00 1 not owed",
        "Still takes": "5 min 10 sec",
        "Payday": "Dec 1, 2026, 9:00 AM PST 2026-12-01 17:00:00 UTC",
    }
    expect(page).to_have_title("Months · despensa")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_month_in_spanish(reader: Reader) -> None:
    page = reader.open("#/months", language="es")

    assert cells(page, "Tijuana") == {
        "Ciudad": "Tijuana 02004 2026-12/02004",
        "Estado": "▸ en curso",
        "Familias": "1,240",
        "Abonadas": "806",
        "Casos": "▲ 2",
        "Tiendas avisadas": "✖ 2 de 3",
        "Previsto": "$8,928,000.00",
        "Abonado": "$5,803,200.00",
        "Diferencia": "$3,124,800.00 1 no debida",
        "Falta aún": "5 min 10 s",
        "Día de pago": "1 dic 2026, 9:00 a.m. GMT-8 2026-12-01 17:00:00 UTC",
    }
    expect(page).to_have_title("Meses · despensa")
    expect(page.locator("html")).to_have_attribute("lang", "es")


def test_missing_slot_is_red_and_says_so(reader: Reader) -> None:
    page = reader.open("#/months")
    row = page.locator("tr.row-bad")

    expect(row).to_have_count(1)
    expect(row).to_contain_text("Ojinaga")
    expect(row).to_contain_text("✖ run is missing")
    assert row.locator(".state.bad").evaluate("node => getComputedStyle(node).color") == "rgb(179, 32, 31)"
    expect(page.locator("h2").first).to_contain_text("1 city without its run")


def test_late_and_blocked_are_said(reader: Reader) -> None:
    page = reader.open("#/months")

    assert "▲ late" in cells(page, "Monterrey")["State"]
    assert cells(page, "Hermosillo")["State"] == "▲ blocked waits for approval: no policy for this amount"


def test_totals_are_of_each_programme_and_currency(reader: Reader, server: StandIn) -> None:
    december = samples.months().months[0]
    dollars = replace(december.totals[0], programme="pilot", currency="USD", credited_minor=123_456_789_012_34)
    server.tell("months", samples.head(), MonthsView([replace(december, totals=[*december.totals, dollars])]))

    totals = reader.open("#/months").locator("tfoot tr")

    expect(totals).to_have_count(2)
    expect(totals.nth(0)).to_contain_text("MX$18,244,800.00")
    expect(totals.nth(1)).to_contain_text("$123,456,789,012.34")


def test_older_months_open_by_hand(reader: Reader) -> None:
    page = reader.open("#/months")
    november = page.get_by_role("button", name="November 2026")
    expect(november).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("table")).to_have_count(1)

    november.click()

    expect(november).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("table", name="Cities in November 2026")).to_be_visible()


def test_amounts_are_exact_up_to_the_last_centavo(reader: Reader, server: StandIn) -> None:
    """Divided by a hundred as binary fractions, the last digits of such a sum would be wrong."""
    december = samples.months().months[0]
    city = replace(december.cities[0], expected_minor=9_007_199_254_740_991, credited_minor=-5, difference_minor=7)
    server.tell("months", samples.head(), MonthsView([replace(december, cities=[city])]))

    shown = cells(reader.open("#/months"), "Tijuana")

    assert shown["Expected"] == "MX$90,071,992,547,409.91"
    assert shown["Amount credited"] == "-MX$0.05"
    assert shown["Difference"].startswith("MX$0.07")


def test_currency_without_minor_units(reader: Reader, server: StandIn) -> None:
    december = samples.months().months[0]
    server.tell(
        "months", samples.head(), MonthsView([replace(december, cities=[samples.city(1, "completed", currency="CLP")])])
    )

    assert cells(reader.open("#/months"), "Juárez")["Expected"] == "CLP 705,600,000".replace(" ", " ")


@pytest.mark.parametrize(
    ("opens_at", "shown"),
    [
        # Tijuana's clocks go back on 1 November: half past one happens twice.
        ("2026-11-01T08:30:00.000000Z", "Nov 1, 2026, 1:30 AM PDT 2026-11-01 08:30:00 UTC"),
        ("2026-11-01T09:30:00.000000Z", "Nov 1, 2026, 1:30 AM PST 2026-11-01 09:30:00 UTC"),
        ("2026-03-08T10:30:00.000000Z", "Mar 8, 2026, 3:30 AM PDT 2026-03-08 10:30:00 UTC"),
    ],
)
def test_payday_is_local_to_the_city_across_daylight_saving(
    reader: Reader, server: StandIn, opens_at: str, shown: str
) -> None:
    city = samples.city(0, "expected", opens_at=opens_at)
    server.tell("months", samples.head(), MonthsView([Month("2026-11", [city], [])]))

    assert cells(reader.open("#/months", zone="Asia/Tokyo"), "Tijuana")["Payday"] == shown


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["released", "Payday", "Batches and attempts", "Show as a table", "notices", "Unknown", "not yet"]),
        (
            "es",
            [
                "liberada",
                "Día de pago",
                "Lotes e intentos",
                "Ver como tabla",
                "Avisos",
                "Respuesta desconocida",
                "aún no",
            ],
        ),
    ],
)
def test_run_with_its_course(reader: Reader, language: str, words: list[str]) -> None:
    main = reader.open("#/run/17", language=language).locator("main")

    for word in words:
        expect(main).to_contain_text(word)
    expect(main.locator(".plot canvas")).to_be_visible()
    expect(main.locator(".plot")).to_have_attribute("role", "img")
    expect(main).to_contain_text("OperationalError")
    expect(main).to_contain_text("SQLSTATE 40P01")
    expect(main).to_contain_text("TIJ-OTAY")
    expect(main.locator("code").first).to_have_text("despensa run status 2026-12/02004 --watch")


def test_course_is_also_a_table(reader: Reader) -> None:
    page = reader.open("#/run/17")

    page.get_by_role("button", name="Show as a table").click()

    course = page.get_by_role("table", name="Families credited")
    expect(course.locator("tbody tr")).to_have_count(84)
    expect(course.locator("tbody tr").last).to_contain_text("806")


def test_course_of_a_single_step_shows_seconds(reader: Reader, server: StandIn) -> None:
    """A small city is credited within one second."""
    server.tell("run", samples.head(), samples.run(course=Series(int(samples.NOW.timestamp()) - 60, 1, [806])))
    page = reader.open("#/run/17")

    shown = page.locator(".plot").evaluate("node => [node.despensaPlot.scales.x.min, node.despensaPlot.scales.x.max]")

    assert shown == [samples.NOW.timestamp() - 61, samples.NOW.timestamp() - 59]


def test_events_are_filtered(reader: Reader) -> None:
    page = reader.open("#/run/17")

    page.get_by_label("Filter").fill("TimeoutError")

    expect(page.locator(".event")).to_have_count(1)
    expect(page.locator(".event")).to_contain_text("case.opened")
    expect(page.locator(".event")).to_contain_text("720000 (MX$7,200.00)")
    expect(page.get_by_text("1 of 3")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "person", "itself", "reason", "amount"),
    [
        ("en", "Waiting for a person (12)", "Tried again by themselves (2)", "Rejected", "MX$86,400.00"),
        ("es", "Esperan a una persona (12)", "Se reintentan solos (2)", "Rechazado", "$86,400.00"),
    ],
)
def test_cases_are_grouped_with_what_mends_them(
    reader: Reader, language: str, person: str, itself: str, reason: str, amount: str
) -> None:
    page = reader.open("#/cases", language=language)

    expect(page.get_by_role("heading", level=2)).to_have_text([person, itself])
    group = page.locator("article").first
    expect(group.locator("h3")).to_contain_text(reason)
    expect(group.locator("h3")).to_contain_text(amount)
    expect(group.locator("code").first).to_have_text("despensa run retry 2026-12/19039 --reason rejected --dry-run")
    group.locator("summary").click()
    expect(group.locator("tbody tr")).to_have_count(10)
    group.get_by_role("link", name="190000101").click()
    expect(page).to_have_url(f"{page.url.partition('#')[0]}#/find/disbursement%20190000101")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["With trouble (2)", "notices undelivered", "suspended", "in 2 minutes", "180 ms · 640 ms", "2.4 sec"]),
        (
            "es",
            ["Con fallas (2)", "avisos no entregados", "suspendida", "dentro de 2 minutos", "180 ms · 640 ms", "2.4 s"],
        ),
    ],
)
def test_stores_with_trouble_stand_first(reader: Reader, language: str, words: list[str]) -> None:
    main = reader.open("#/stores", language=language).locator("main")

    for word in words:
        expect(main).to_contain_text(word)
    expect(main.locator("article").first.locator("code").last).to_have_text("despensa store resend TIJ-OTAY")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["its lines are missing", "silent", "credit a batch", "84 ms", "lease lost", "store.suspended"]),
        ("es", ["faltan sus líneas", "callado", "abonar un lote", "84 ms", "arriendo perdido", "store.suspended"]),
    ],
)
def test_workers_and_their_troubles(reader: Reader, language: str, words: list[str]) -> None:
    main = reader.open("#/workers", language=language).locator("main")

    for word in words:
        expect(main).to_contain_text(word)
    expect(main.locator(".plot canvas")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ["Voucher", "170000767", "3 events", "batch.credited"]), ("es", ["Vale", "170000767", "3 eventos"])],
)
def test_voucher_is_found_by_its_number(reader: Reader, language: str, words: list[str]) -> None:
    page = reader.open("#/months", language=language)

    page.locator("#search").fill(" 1700007671 ")
    page.locator("#search").press("Enter")

    for word in words:
        expect(page.locator("main")).to_contain_text(word)
    assert "#/find/1700007671" in page.url


@pytest.mark.parametrize(
    ("refusal", "english", "spanish"),
    [
        ("check_digit", "the check digit does not fit", "el dígito verificador no coincide"),
        ("not_a_number", "this is no voucher number", "no es un número de vale"),
        ("unknown", "the log does not know it", "la bitácora no lo conoce"),
    ],
)
def test_refused_search_says_why(reader: Reader, server: StandIn, refusal: str, english: str, spanish: str) -> None:
    server.tell("find", samples.head(), samples.refused(refusal))

    for language, words in (("en", english), ("es", spanish)):
        expect(reader.open("#/find/1700007670", language=language).locator("main")).to_contain_text(words)


def test_states_that_help(reader: Reader, server: StandIn) -> None:
    """Nobody is left before an empty page."""
    server.tell("cases", samples.head(), CasesView([]))
    server.tell("stores", samples.head(), StoresView([]))
    server.tell("months", samples.head(), MonthsView([]))
    server.tell("run", samples.head(), None)

    expect(reader.open("#/cases").locator("main")).to_contain_text("Nothing waits for a person")
    expect(reader.open("#/stores").locator("main")).to_contain_text("told when its first run is completed")
    expect(reader.open("#/months").locator("main")).to_contain_text("seven days before the payday")
    unknown = reader.open("#/run/99").locator("main")
    expect(unknown).to_contain_text("The log knows no run 99")
    expect(unknown.get_by_role("link", name="Months")).to_be_visible()


def test_code_that_the_page_does_not_know_is_shown_as_it_is(reader: Reader, server: StandIn) -> None:
    """A newer server must not break an older page that a browser still has."""
    december = samples.months().months[0]
    odd = samples.city(0, "levitating", run_id=17, currency="not a currency", time_zone="Mars/Olympus", opens_at="soon")
    server.tell("months", samples.head(books="unheard"), MonthsView([replace(december, cities=[odd])]))

    shown = cells(reader.open("#/months"), "Tijuana")

    assert shown["State"] == "· levitating"
    assert shown["Expected"] == "892,800,000 not a cu"
    assert shown["Payday"] == "soon"


def test_language_is_chosen_and_kept(reader: Reader) -> None:
    page = reader.open("#/months")

    page.get_by_label("Language").select_option("es")

    expect(page.get_by_role("heading", level=1)).to_have_text("Meses")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Meses")
    expect(page.locator("html")).to_have_attribute("lang", "es")


def test_theme_is_chosen_and_kept(reader: Reader) -> None:
    page = reader.open("#/months")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(246, 247, 247)"

    page.get_by_label("Theme").select_option("dark")

    assert page.evaluate(ground) == "rgb(20, 24, 26)"
    page.reload()
    assert page.evaluate(ground) == "rgb(20, 24, 26)"
