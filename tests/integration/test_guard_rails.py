"""What the policy leaves to a person: each rail, and that plain SQL does not get past it."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from console.run import app as run_app
from models.calendar import Cycle
from models.errors import Exit
from models.intake.load import load
from models.intake.rows import BadFile
from models.states import RunState
from models.storage import Database
from models.tables import Enrolment, ImportedFile, Programme, Run
from scheduler.approve import approve_by_person, approve_by_policy, list_refusals
from scheduler.discard import discard
from scheduler.due import forecast_slot
from tests.builders import (
    CYCLE,
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    as_if_planned_by_another,
    families,
    run_again,
    without_guards,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.integration.test_four_eyes import POLICY
from tests.ledger import events

pytestmark = pytest.mark.long

BEFORE = CYCLE.previous()
Setting = dict[str, int]


def set_rails(database: Database, programme: Programme, **columns: int) -> None:
    """Whoever planned."""
    for name, value in columns.items():
        setattr(programme, name, value)
    with database.transaction() as tx, without_guards(tx, "programme"):
        tx.update(programme, ["name", *columns])


def refusals(database: Database, run: Run) -> list[str]:
    with database.reading() as tx:
        return list_refusals(tx, run_again(database, run), now=PAYDAY)


def a_month_before(database: Database, programme: Programme, *, count: int = 10) -> None:
    """Released in Tijuana, of families that have no other month."""
    families(database, programme, count, location=TIJUANA, first_cycle=BEFORE, cycles=1, prefix=f"B{programme.id}")
    run = a_planned_run(database, programme, cycle=BEFORE)
    with database.transaction() as tx, without_guards(tx, "run"):
        tx.connection.execute(text("UPDATE run SET state = 'completed' WHERE id = :id"), {"id": run.id})


def this_month(database: Database, programme: Programme, *, count: int = 10, location: str = TIJUANA) -> Run:
    families(database, programme, count, location=location, cycles=1, prefix=f"N{programme.id}")
    return a_planned_run(database, programme, location=location)


MORE_OR_LESS = ["the families changed by more than the policy's limit"]
#: What is set, how many families the month before and this month have, and what is said.
RAILS: list[tuple[str, Setting, int, int, list[str]]] = [
    ("no rail", {}, 0, 10, []),
    ("families, as before", {"policy_families_percent": 0}, 10, 10, []),
    ("families, up to the limit", {"policy_families_percent": 20}, 10, 12, []),
    ("families, up", {"policy_families_percent": 19}, 10, 12, MORE_OR_LESS),
    ("families, down", {"policy_families_percent": 19}, 10, 8, MORE_OR_LESS),
    ("families, first month", {"policy_families_percent": 100}, 0, 10, ["no month before to compare with"]),
    ("amount, up", {"policy_amount_percent": 10}, 10, 12, ["the amount changed by more than the policy's limit"]),
    ("amount, as before", {"policy_amount_percent": 0}, 10, 10, []),
    ("amount, first month", {"policy_amount_percent": 100}, 0, 10, ["no month before to compare with"]),
    ("location", {"policy_location_max_minor": 1}, 0, 10, ["the location's month is above the policy's limit"]),
    ("programme", {"policy_cycle_max_minor": 1}, 0, 10, ["the programme's month is above the policy's limit"]),
    ("two persons", {"two_approvals_above_minor": 1}, 0, 10, ["the total needs two persons"]),
    ("total", {"policy_run_max_minor": 1}, 0, 10, ["the total is above the policy's limit"]),
    ("no rate needed", {"policy_rate_percent": 0}, 0, 10, []),
    ("no file", {"policy_file_families_max": 100}, 0, 10, ["families that no known file enrolled"]),
    ("two rails, in their order", {"policy_cycle_max_minor": 1, "policy_run_max_minor": 1}, 0, 10,
     ["the total is above the policy's limit", "the programme's month is above the policy's limit"]),
]  # fmt: skip


def test_rail_leaves_a_run_to_a_person(database: Database) -> None:
    """And refuses the statement of whoever forges the policy's approval."""
    for number, (name, setting, before, now, said) in enumerate(RAILS):
        programme = a_programme(database, code=f"{number}-rail")
        if before:
            a_month_before(database, programme, count=before)
        set_rails(database, programme, **setting)
        run = this_month(database, programme, count=now)

        assert refusals(database, run) == [f"approval: {reason}" for reason in said], name
        if said:
            with pytest.raises(IntegrityError), database.transaction() as tx:
                tx.connection.execute(text(POLICY), {"run": run.id})
        with database.transaction() as tx:
            reason = approve_by_policy(tx, run.id, now=PAYDAY)
        assert reason == (f"approval: {said[0]}" if said else ""), name
        assert run_again(database, run).state == (RunState.PLANNED if said else RunState.APPROVED), name


def test_parts_of_a_month_count_together(database: Database) -> None:
    """Whoever splits a city over two runs passes no limit by it."""
    programme = a_programme(database)
    first = this_month(database, programme)
    set_rails(database, programme, policy_location_max_minor=first.planned_minor + 1)
    with database.transaction() as tx:
        assert approve_by_policy(tx, first.id, now=PAYDAY) == ""
    families(database, programme, 1, location=TIJUANA, cycles=1, prefix="L")

    second = a_planned_run(database, programme, now=PAYDAY.replace(day=3), part=None)

    assert refusals(database, second) == ["approval: the location's month is above the policy's limit"]


def test_months_of_all_cities_count_together(database: Database) -> None:
    """What is planned and waits does not: otherwise one large city would stop all others."""
    programme = a_programme(database)
    first, second = this_month(database, programme), this_month(database, programme, location=NOGALES)
    set_rails(database, programme, policy_cycle_max_minor=first.planned_minor)

    assert refusals(database, second) == []
    with database.transaction() as tx:
        assert approve_by_policy(tx, first.id, now=PAYDAY) == ""
    assert refusals(database, second) == ["approval: the programme's month is above the policy's limit"]


def with_rate(database: Database, run: Run, millionths: int) -> None:
    with database.transaction() as tx, without_guards(tx, "run"):
        tx.connection.execute(
            text("UPDATE run SET rate_millionths = :rate WHERE id = :id"), {"rate": millionths, "id": run.id}
        )


def test_rate_is_compared_with_the_last_one_that_was_used(database: Database) -> None:
    programme = a_programme(database)
    a_month_before(database, programme)
    set_rails(database, programme, policy_rate_percent=10)
    run = this_month(database, programme)
    with_rate(database, run, 17_500_000)
    assert refusals(database, run) == ["approval: no rate before to compare with"]

    with database.reading() as tx:
        before = tx.get(Run, Run.cycle == str(BEFORE))
    with_rate(database, before, 17_500_000)

    for rate, within in ((17_500_000, True), (19_250_000, True), (19_250_001, False), (15_749_999, False)):
        with_rate(database, run, rate)
        said = [] if within else ["approval: the rate changed by more than the policy's limit"]
        assert refusals(database, run) == said, rate


def enrol(database: Database, folder: Path, count: int, *, programme: Programme, first_cycle: Cycle) -> None:
    """By a file of so many families of Tijuana."""
    path = folder / f"households-{programme.id}.csv"
    lines = [f"F{programme.id}-{number},{TIJUANA},3,pregnant,{first_cycle},,active" for number in range(count)]
    path.write_text("registration_id,location,members,group,first_cycle,cycles,status\n" + "\n".join(lines) + "\n")
    load(database, path, programme=programme.code, dry_run=False, show=lambda _: None)


#: How many families a file enrols, since when, and what is said where five may be.
FILES: list[tuple[int, Cycle, list[str]]] = [
    (5, CYCLE, []),
    (6, CYCLE, ["approval: a file enrolled more families than the policy's limit"]),
    (6, BEFORE, ["approval: a file enrolled more families than the policy's limit"]),
]


def test_file_that_enrols_many_is_looked_at(database: Database, tmp_path: Path) -> None:
    """In the first month that its families get, whichever their file says is their first."""
    for number, (count, first_cycle, said) in enumerate(FILES):
        programme = a_programme(database, code=f"{number}-file")
        enrol(database, tmp_path, count, programme=programme, first_cycle=first_cycle)
        set_rails(database, programme, policy_file_families_max=5)

        run = a_planned_run(database, programme)

        assert refusals(database, run) == said
        with database.reading() as tx:
            file = tx.get(ImportedFile, ImportedFile.programme_id == programme.id)
            enrolled = tx.list(Enrolment, Enrolment.programme_id == programme.id)
        assert (file.added, {each.file_id for each in enrolled}) == (count, {file.id})
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text("UPDATE imported_file SET added = 0"))


def test_file_that_is_said_to_be_smaller_is_counted(database: Database, tmp_path: Path) -> None:
    """Whoever enrols may also write a row for a file; on PostgreSQL in nobody else's name."""
    programme = a_programme(database)
    enrol(database, tmp_path, 6, programme=programme, first_cycle=CYCLE)
    set_rails(database, programme, policy_file_families_max=5)
    with database.transaction() as tx:
        said = tx.get(ImportedFile)
        smaller = ImportedFile(**{**said.model_dump(exclude={"id"}), "added": 1})
        tx.connection.execute(update(Enrolment).values(file_id=tx.add(smaller).id))
    run = a_planned_run(database, programme)

    assert refusals(database, run) == ["approval: a file enrolled more families than the policy's limit"]
    if tx.dialect == "postgresql":
        smaller.id = None  # type: ignore[assignment]
        smaller.operator = "another"
        with pytest.raises(IntegrityError), database.transaction() as tx:
            tx.add(smaller)


def test_families_that_got_a_month_are_no_longer_new(database: Database, tmp_path: Path) -> None:
    programme = a_programme(database)
    enrol(database, tmp_path, 6, programme=programme, first_cycle=CYCLE)
    a_released_run(database, programme)
    set_rails(database, programme, policy_file_families_max=5)

    run = a_planned_run(database, programme, cycle=CYCLE.next(), now=PAYDAY + timedelta(days=31))

    with database.reading() as tx:
        assert list_refusals(tx, run, now=PAYDAY + timedelta(days=31)) == []


def test_forecast_says_approval_where_it_can_know(database: Database) -> None:
    """Seven days before the payday, and so seven days in which a person may look."""
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    for name in (
        "", "two_approvals_above_minor", "policy_location_max_minor", "policy_cycle_max_minor",
        "policy_families_percent", "policy_amount_percent",
    ):  # fmt: skip
        with database.reading() as tx:
            rules = tx.get(Programme)
            if name:
                setattr(rules, name, 1)
            forecast = forecast_slot(tx, rules, location_code=TIJUANA, cycle=CYCLE)

        assert forecast.blocked == ("approval" if name else ""), name


def test_run_before_a_rail_waits_with_its_reason(installation: Installation) -> None:
    """Listed, journalled once, and approved by a person; then the tick goes on by itself."""
    database = installation.database
    programme = a_programme(database)
    run = this_month(database, programme)
    set_rails(database, programme, policy_cycle_max_minor=1)
    reason = "approval: the programme's month is above the policy's limit"
    ticker = installation.ticker()

    for _ in range(2):
        ticker.tick()
    assert (run_again(database, run).state, run_again(database, run).blocked) == (RunState.PLANNED, reason)
    assert [told["blocked"] for told in events(database, "run.blocked")] == [reason]
    as_if_planned_by_another(database, run)
    with database.transaction() as tx:
        approve_by_person(tx, run.id)
    ticker.tick()

    assert run_again(database, run).released_at is not None


def test_person_is_shown_what_the_policy_would_have_refused(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before asking, and who approved first; and is told who still has to."""
    programme = a_programme(database)
    run = this_month(database, programme)
    set_rails(database, programme, policy_cycle_max_minor=1, two_approvals_above_minor=1)
    as_if_planned_by_another(database, run)
    redis = "redis://127.0.0.1:1" if database.dialect == "postgresql" else ""
    command_line = CommandLine(
        monkeypatch,
        {"DESPENSA_HOME": str(tmp_path / "home"), "DESPENSA_DATABASE_URL": database_url, "DESPENSA_REDIS_URL": redis},
    )
    listed = f"{CYCLE}/{TIJUANA}"

    first = command_line.run(run_app, "approve", listed, "--yes")
    status = command_line.run(run_app, "status", listed)
    again = command_line.run(run_app, "approve", listed, "--yes")

    assert first.code == Exit.DONE
    assert "the policy leaves it to a person: the programme's month is above the policy's limit" in first.stdout
    assert "by the first of two persons" in first.stderr
    assert "approval: a second person" in status.stdout
    assert again.code == Exit.FAILED
    assert "approved a first time by" in again.stdout


TOML = Path(__file__).parents[2] / "deploy" / "programmes" / "northern-mexico" / "programme.toml"


def a_file(tmp_path: Path, changes: dict[str, str]) -> Path:
    """The sample, with something else in it."""
    content = TOML.read_text()
    for old, new in changes.items():
        assert old in content
        content = content.replace(old, new)
    path = tmp_path / "programme.toml"
    path.write_text(content)
    return path


def import_(database: Database, path: Path) -> None:
    load(database, path, programme=None, dry_run=False, show=lambda _: None)


def test_sample_programme_has_every_rail(database: Database, tmp_path: Path) -> None:
    """Three of them as comments: they have nothing to compare with in the first month."""
    import_(
        database,
        a_file(tmp_path, {f"# {name}_percent": f"{name}_percent" for name in ("families", "amount", "rate")}),
    )

    with database.reading() as tx:
        programme = tx.get(Programme)
    assert programme.two_approvals_above_minor == 300_000_000
    assert (programme.policy_families_percent, programme.policy_amount_percent) == (25, 25)
    assert programme.policy_location_max_minor == 250_000_000
    assert programme.policy_cycle_max_minor == 1_000_000_000
    assert (programme.policy_rate_percent, programme.policy_file_families_max) == (10, 500)


def test_programme_without_rails_means_what_it_meant(database: Database, tmp_path: Path) -> None:
    new = (
        'two_above = "3000000.00"',
        'location_max = "2500000.00"',
        'cycle_max = "10000000.00"',
        "file_families_max = 500",
    )

    import_(database, a_file(tmp_path, dict.fromkeys(new, "")))

    with database.reading() as tx:
        programme = tx.get(Programme)
    names = [name for name in Programme.model_fields if name.startswith(("policy_", "two_"))]
    assert [name for name in names if getattr(programme, name) is not None] == ["policy_run_max_minor"]


#: What stands in the file, what instead, and of which field that is told.
BROKEN = [
    ("# families_percent = 25", "families_percent = 1001", "families_percent"),
    ("# amount_percent = 25", "amount_percent = 2.5", "amount_percent"),
    ("# rate_percent = 10", "rate_percent = -1", "rate_percent"),
    ('two_above = "3000000.00"', "two_above = 3000000.00", "two_above"),
    ('cycle_max = "10000000.00"', 'cycle_max = "much"', "cycle_max"),
    ("file_families_max = 500", 'file_families_max = "500"', "file_families_max"),
]


def test_broken_rail_is_refused_by_line_and_field(database: Database, tmp_path: Path) -> None:
    for old, new, field in BROKEN:
        with pytest.raises(BadFile) as caught:
            import_(database, a_file(tmp_path, {old: new}))

        assert (caught.value.field, caught.value.line > 0) == (f"approval.{field}", True)


def test_nobody_changes_the_rules_that_a_plan_waits_for(database: Database, tmp_path: Path) -> None:
    """Neither its planner nor whoever approves, who would look alone. Once it is discarded, they may."""
    import_(database, TOML)
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE programme SET value_currency = currency"))
    import_(database, TOML.parent / "locations.csv")
    with database.reading() as tx:
        programme = tx.get(Programme)
    families(database, programme, 3, location=TIJUANA)
    run = a_planned_run(database, programme)
    file = a_file(tmp_path, {'run_max = "5000000.00"': 'run_max = "6000000.00"', "USD": "MXN"})

    for _ in ("its planner", "another"):
        with pytest.raises(BadFile, match="while 2026-12/02004 waits for approval: approve or discard that first"):
            import_(database, file)
        for change in ("two_approvals_above_minor = NULL", "policy_location_max_minor = NULL", "approval = 'person'"):
            with pytest.raises(IntegrityError), database.transaction() as tx:
                tx.connection.execute(text(f"UPDATE programme SET {change}"))
        as_if_planned_by_another(database)
    with database.transaction() as tx:
        discard(tx, run.id)
    import_(database, file)

    with database.reading() as tx:
        assert tx.get(Programme).policy_run_max_minor == 600_000_000


def test_released_run_names_who_released_it(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    run = a_released_run(database, programme)

    with database.reading() as tx:
        operator = tx.operator
    assert run.released_by == operator
    assert [told["operator"] for told in events(database, "run.released")] == [operator]
