"""What a December could look like: objects of every view, as the server makes them."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from console.dashboard.views import (
    VIEWS_SCHEMA,
    CaseGroup,
    CaseRow,
    CasesView,
    City,
    Duration,
    ErrorClass,
    EventLine,
    File,
    FindView,
    Gap,
    Head,
    InstanceRow,
    Missing,
    Month,
    MonthsView,
    Notice,
    OpenBatches,
    RunRow,
    RunView,
    Series,
    StoreRow,
    StoresView,
    Total,
    Value,
    WorkersView,
)

#: Eight in the evening in Tijuana, on the payday of December.
NOW = datetime(2026, 12, 2, 4, 0, tzinfo=UTC)
VALUE_MINOR = 720_000
CITIES = (
    ("02004", "Tijuana", "America/Tijuana", 1_240),
    ("08037", "Ciudad Juárez", "America/Ojinaga", 980),
    ("08052", "Ojinaga", "America/Ojinaga", 120),
    ("19039", "Monterrey", "America/Monterrey", 760),
    ("26030", "Hermosillo", "America/Hermosillo", 310),
    ("28022", "Matamoros", "America/Matamoros", 415),
)


def text(at: datetime) -> str:
    """As the log writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def before(**parts: float) -> str:
    """So long before NOW."""
    return text(NOW - timedelta(**parts))


def after(**parts: float) -> str:
    """So long after NOW."""
    return text(NOW + timedelta(**parts))


def head(**changes: object) -> Head:
    """All is well, unless a test changes it."""
    whole = Head(
        schema=VIEWS_SCHEMA,
        version="0.1.0",
        now=text(NOW),
        files=[
            File("despensa.jsonl", "followed", 48_310_210, 0, 0),
            File("despensa.jsonl.1.gz", "packed", 9_120_411, 0, 0),
        ],
        from_seq=1,
        to_seq=18_204,
        to_at=before(seconds=4),
        last_seq=18_204,
        gaps=[],
        faults=[],
        restored=[],
        books="agree",
        books_at=before(minutes=22),
        books_differences=0,
        last_line_at=before(seconds=4),
        last_seen_at=before(seconds=21),
        silent_after_s=120,
        missing=[],
        missing_more=0,
        reading_failed="",
        slots_missing=0,
        cases_waiting=0,
        stores_failing=0,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def troubled_head() -> Head:
    """What is missing, in every way at once."""
    return head(
        to_seq=17_950,
        last_seq=18_204,
        gaps=[Gap(17_951, 17_960)],
        missing=[Missing("worker-3", "worker", before(hours=2), before(seconds=40))],
        slots_missing=1,
        cases_waiting=14,
        stores_failing=2,
    )


def run_row(**changes: object) -> RunRow:
    """Tijuana's December, under way."""
    whole = RunRow(
        17,
        "2026-12/02004",
        1,
        "released",
        False,
        "",
        1_240,
        806,
        2,
        1,
        1_240 * VALUE_MINOR,
        806 * VALUE_MINOR,
        3,
        2,
        1,
        310,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def city(place: int, state: str, *, run_id: int = 0, credited: int = 0, cases: int = 0, **changes: object) -> City:
    """One of CITIES."""
    location, name, zone, families = CITIES[place]
    expected, paid = families * VALUE_MINOR, credited * VALUE_MINOR
    stores = 3 if credited == families else 0
    states = {"running": "released", "expected": "planned", "blocked": "approved"}
    rows = (
        [
            RunRow(
                run_id,
                f"2026-12/{location}",
                1,
                states.get(state, state),
                False,
                "",
                families,
                credited,
                cases,
                0,
                expected,
                paid,
                stores,
                stores,
                0,
                None,
            )
        ]
        if run_id
        else []
    )
    whole = City(
        "mpp-north",
        location,
        name,
        zone,
        before(hours=11 - place),
        state,
        False,
        "",
        "MXN",
        families,
        credited,
        cases,
        0,
        expected,
        paid,
        expected - paid,
        stores,
        stores,
        0,
        310 if state == "running" else None,
        rows,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def months() -> MonthsView:
    """December under way, and November done."""
    tijuana = city(
        0, "running", run_id=17, credited=806, cases=2, not_owed=1, stores=3, stores_told=2, stores_undelivered=1
    )
    december = [
        tijuana,
        city(1, "completed", run_id=18, credited=980),
        city(2, "missing"),
        city(3, "completed_with_cases", run_id=19, credited=748, cases=12, late=True),
        city(4, "blocked", run_id=20, blocked="approval: no policy for this amount"),
        city(5, "expected", opens_at=after(hours=14)),
    ]
    november = [
        replace(city(place, "completed", run_id=10 + place, credited=each[3]), opens_at=before(days=31))
        for place, each in enumerate(CITIES)
    ]
    return MonthsView([Month("2026-12", december, [total(december)]), Month("2026-11", november, [total(november)])])


def total(cities: list[City]) -> Total:
    """Of one programme and currency."""

    def of(name: str) -> int:
        return sum(int(getattr(each, name)) for each in cities)

    counted = (
        "families",
        "credited",
        "cases",
        "not_owed",
        "expected_minor",
        "credited_minor",
        "difference_minor",
        "stores",
        "stores_told",
    )
    return Total("mpp-north", "MXN", len(cities), remaining_s=None, **{name: of(name) for name in counted})


def event(event: str, *, seq: int = 0, level: str = "info", at: str = "", **fields: Value) -> EventLine:
    """A line of the log."""
    return EventLine(seq, at or before(seconds=30), level, event, "" if seq else "worker-1", fields)


def notice(**changes: object) -> Notice:
    """One that a store has taken."""
    whole = Notice(
        41, 17, "2026-12/02004", "TIJ-CENTRO", 1, "delivered", 1, before(minutes=9), before(minutes=8), "", ""
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def case_group(**changes: object) -> CaseGroup:
    """Twelve that wait for a person."""
    rows = [
        CaseRow(300 + place, 190_000_101 + place * 7, 2, VALUE_MINOR, before(hours=5, minutes=place), "")
        for place in range(10)
    ]
    whole = CaseGroup(
        19,
        "2026-12/19039",
        "mpp-north",
        "19039",
        "Monterrey",
        "America/Monterrey",
        "rejected",
        "account_closed",
        "person",
        12,
        12 * VALUE_MINOR,
        "MXN",
        before(hours=5, minutes=9),
        "",
        [
            "despensa run retry 2026-12/19039 --reason rejected --dry-run",
            "despensa run retry 2026-12/19039 --reason rejected",
            "despensa run resolve 309 --paid EVIDENCE",
            "despensa run cases 2026-12/19039 --reason rejected --each",
        ],
        rows,
        2,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def retried_group() -> CaseGroup:
    """Two that are tried again by themselves."""
    rows = [
        CaseRow(320 + place, 170_000_500 + place, 1, VALUE_MINOR, before(minutes=12), after(minutes=3))
        for place in range(2)
    ]
    return case_group(
        run_id=17,
        run="2026-12/02004",
        location="02004",
        name="Tijuana",
        time_zone="America/Tijuana",
        reason="unknown",
        error="TimeoutError",
        waits_for="itself",
        count=2,
        amount_minor=2 * VALUE_MINOR,
        oldest_at=before(minutes=12),
        next_attempt_at=after(minutes=3),
        commands=["despensa run cases 2026-12/02004 --reason unknown --each"],
        cases=rows,
        more=0,
    )


def cases() -> CasesView:
    """Both kinds."""
    return CasesView([case_group(), retried_group()])


def error(**changes: object) -> ErrorClass:
    """Of batches."""
    whole = ErrorClass(
        "credit_batch", "OperationalError", "40P01", "", 5, 5, before(minutes=14), before(minutes=3), [803, 811]
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def run(**changes: object) -> RunView:
    """Tijuana's, under way."""
    values = [max(0, round(9 + 6 * math.sin(place / 7) + 4 * math.cos(place / 2.3))) for place in range(84)]
    for place in range(806 - sum(values)):
        values[20 + place % 60] += 1
    whole = RunView(
        row=run_row(),
        programme="mpp-north",
        location="02004",
        name="Tijuana",
        time_zone="America/Tijuana",
        cycle="2026-12",
        currency="MXN",
        opens_at=before(hours=11),
        planned_at=before(days=3),
        approved_at=before(days=2, hours=4),
        released_at=before(minutes=15),
        first_credit_at=before(minutes=14, seconds=4),
        last_credit_at=before(seconds=5),
        completed_at="",
        batches=32,
        batches_done=21,
        batches_open=11,
        batches_retried=2,
        batches_split=1,
        attempts=27,
        attempts_failed=6,
        course=Series(int(NOW.timestamp()) - 840, 10, values),
        errors=[error()],
        notices=[
            notice(),
            notice(notice_id=42, store="TIJ-PLAYAS"),
            notice(notice_id=43, store="TIJ-OTAY", state="undelivered", attempts=12, error="HTTP 503"),
        ],
        cases=[retried_group()],
        events=[
            event(
                "batch.credited",
                seq=18_204,
                at=before(seconds=5),
                run_id=17,
                batch_id=821,
                first_id=170_000_767,
                last_id=170_000_806,
                credited=40,
                credited_minor=40 * VALUE_MINOR,
                currency="MXN",
                attempt=1,
            ),
            event(
                "case.opened",
                seq=18_190,
                level="warning",
                at=before(minutes=12),
                run_id=17,
                case_id=320,
                disbursement_id=170_000_500,
                reason="unknown",
                amount_minor=VALUE_MINOR,
                currency="MXN",
                error="TimeoutError",
            ),
            event(
                "run.released",
                seq=18_101,
                at=before(minutes=15),
                run_id=17,
                planned=1_240,
                planned_minor=1_240 * VALUE_MINOR,
                currency="MXN",
                batches=32,
                operator="ana",
            ),
        ],
        more=61,
        commands=["despensa run status 2026-12/02004 --watch", "despensa run pause 2026-12/02004"],
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def store(**changes: object) -> StoreRow:
    """One that takes its notices."""
    whole = StoreRow(
        "TIJ-CENTRO",
        "02004",
        "Tijuana",
        "America/Tijuana",
        "ok",
        12,
        0,
        0,
        0,
        "",
        before(minutes=8),
        "",
        "",
        "",
        180,
        640,
        [],
        ["despensa store test TIJ-CENTRO"],
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def stores() -> StoresView:
    """Two with trouble first."""
    undelivered = notice(
        notice_id=43,
        store="TIJ-OTAY",
        state="undelivered",
        attempts=12,
        error="HTTP 503",
        created_at=before(minutes=50),
        ended_at=before(minutes=4),
    )
    due = notice(
        notice_id=44,
        run_id=18,
        run="2026-12/08037",
        store="CJS-SUR",
        state="due",
        attempts=4,
        error="TimeoutError",
        ended_at="",
        next_attempt_at=after(minutes=2),
    )
    return StoresView(
        [
            store(
                store="TIJ-OTAY",
                state="undelivered",
                delivered=9,
                undelivered=1,
                failures=12,
                last_error="HTTP 503",
                last_error_at=before(minutes=4),
                last_delivered_at=before(days=31),
                oldest_waiting_at=before(minutes=50),
                latency_p50_ms=None,
                latency_p95_ms=None,
                notices=[undelivered],
                commands=["despensa store test TIJ-OTAY", "despensa store resend TIJ-OTAY"],
            ),
            store(
                store="CJS-SUR",
                location="08037",
                name="Ciudad Juárez",
                time_zone="America/Ojinaga",
                state="suspended",
                due=1,
                failures=5,
                suspended_until=after(minutes=2),
                last_error="TimeoutError",
                last_error_at=before(seconds=50),
                oldest_waiting_at=before(minutes=9),
                latency_p50_ms=2_400,
                latency_p95_ms=7_900,
                notices=[due],
                commands=["despensa store test CJS-SUR"],
            ),
            store(),
            store(store="TIJ-PLAYAS", latency_p50_ms=95, latency_p95_ms=210),
            store(store="MTY-CENTRO", location="19039", name="Monterrey", time_zone="America/Monterrey"),
        ]
    )


def workers() -> WorkersView:
    """An hour of two workers, and of one that is silent."""
    start = int(NOW.timestamp()) // 60 * 60 - 59 * 60
    finished = [0] * 44 + [round(14 + 5 * math.sin(place)) for place in range(16)]
    failed = [0] * 46 + [2, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    return WorkersView(
        finished=Series(start, 60, finished),
        failed=Series(start, 60, failed),
        durations=[Duration("credit_batch", 214, 5, 84, 310, 1_204), Duration("send_notice", 22, 8, 190, 2_400, 8_003)],
        outcomes={"credited": 203, "delivered": 14, "failed": 6, "lease lost": 1, "nothing": 12},
        open_batches=[OpenBatches(17, "2026-12/02004", "Tijuana", 11, before(seconds=5))],
        instances=[
            InstanceRow("scheduler-1", "scheduler", "seen", before(days=4), before(seconds=21)),
            InstanceRow("worker-1", "worker", "seen", before(days=4), before(seconds=33)),
            InstanceRow("worker-2", "worker", "silent", before(days=4), before(minutes=9)),
            InstanceRow("worker-3", "worker", "missing", before(days=4), before(hours=2)),
        ],
        errors=[
            error(),
            error(actor="send_notice", error="TimeoutError", sqlstate="", count=8, given_back=0, subjects=[44]),
        ],
        troubles=[
            event(
                "store.suspended",
                level="error",
                at=before(seconds=50),
                store="CJS-SUR",
                failures=5,
                until=after(minutes=2),
            )
        ],
    )


def found(**changes: object) -> FindView:
    """A voucher, by the events of its batch."""
    whole = FindView(
        "1700007671",
        "voucher",
        "",
        "2026-12/02004",
        17,
        "Tijuana",
        "America/Tijuana",
        170_000_767,
        170_000_767,
        events=list(reversed(run().events)),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def refused(refusal: str, asked: str = "1700007670") -> FindView:
    """Nothing was found."""
    return FindView(asked, "nothing", refusal, "", 0, "", "UTC", 0, 0)
