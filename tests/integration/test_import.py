"""Import: strict, all or nothing, told before it is applied; a refusal names file, line, field and rule, no value."""

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import NotFound, RefusedInput, UnknownZone
from models.intake.load import load
from models.intake.report import FileReport
from models.intake.rows import SMALL_FILE_BYTES_MAX
from models.keys import init_keys
from models.storage import Database
from models.tables import (
    Enrolment,
    ExchangeRate,
    Fund,
    Household,
    Journal,
    Location,
    Programme,
    ProgrammeLocation,
    Store,
    Table,
    Transfer,
)
from tests.builders import TIJUANA, a_planned_run
from tests.ledger import assert_books_agree

SAMPLE = Path(__file__).parents[2] / "deploy" / "programmes" / "northern-mexico"
HEADER = "registration_id,location,members,group,first_cycle,cycles,status"
TABLES = (Programme, Location, ProgrammeLocation, Store, Fund, ExchangeRate, Household, Enrolment, Transfer, Journal)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample programme, to be changed."""
    shutil.copytree(SAMPLE, tmp_path / "programme")
    return tmp_path / "programme"


def import_(database: Database, path: Path, *, dry_run: bool = False, keys: Path | None = None) -> list[FileReport]:
    """As the command does."""
    return load(database, path, programme=None, dry_run=dry_run, show=lambda _: None, keys=keys)


def snapshot(database: Database) -> list[list[Table]]:
    """Everything that an import could change."""
    with database.reading() as tx:
        return [list(tx.list(table, limit=100_000)) for table in TABLES]


def families_file(folder: Path, *lines: str) -> Path:
    """A households file of these lines."""
    path = folder / "households.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def test_sample_programme_is_loaded_whole(database: Database) -> None:
    reports = import_(database, SAMPLE)

    assert [(report.kind, report.added) for report in reports] == [
        ("programme", 1), ("locations", 16), ("stores", 14), ("rates", 3), ("households", 70), ("funds", 2),
    ]  # fmt: skip
    with database.reading() as tx:
        assert len(tx.list(Household)) == len(tx.list(Enrolment)) == 70
        assert [fund.balance_minor for fund in tx.list(Fund)] == [1_000_000_000, 500_000_000]
        assert len(tx.list(ProgrammeLocation)) == 7
    assert_books_agree(database)


def test_same_folder_again_changes_nothing(database: Database) -> None:
    import_(database, SAMPLE)
    before = snapshot(database)

    reports = import_(database, SAMPLE)

    assert not any(report.changes_anything for report in reports)
    assert snapshot(database) == before


def test_dry_run_tells_everything_and_changes_nothing(database: Database) -> None:
    before = snapshot(database)

    reports = import_(database, SAMPLE, dry_run=True)

    assert sum(report.added for report in reports) == 106
    assert snapshot(database) == before


def test_changed_rows_are_told_by_line_and_field_before_they_are_applied(database: Database, folder: Path) -> None:
    import_(database, folder)
    text = (folder / "households.csv").read_text().splitlines()
    text[1] = text[1].replace("02004", "26043")
    text[2] = text[2].replace("active", "held:documents")
    (folder / "households.csv").write_text("\n".join(text) + "\n")
    told: list[tuple[int, str]] = []
    stood: list[int] = []

    def show(reports: list[FileReport]) -> None:
        told.extend((change.line, change.fields) for report in reports for change in report.changes)
        stood.append(len(told))

    load(database, folder / "households.csv", programme=None, dry_run=False, show=show)

    assert told == [(2, "location"), (3, "status")]
    assert stood == [2]
    with database.reading() as tx:
        assert tx.get(Household, Household.registration_id == "SAMPLE-0001").location_code == "26043"


def test_row_that_is_absent_from_a_newer_file_is_unchanged(database: Database, folder: Path) -> None:
    import_(database, folder)
    path = families_file(folder, "NEW-1,02004,3,pregnant,2026-12,3,active")

    report = import_(database, path)[0]

    assert (report.added, report.changed) == (1, 0)
    with database.reading() as tx:
        assert len(tx.list(Household)) == 71


def test_held_family_of_a_plan_that_is_not_released_is_pointed_out(database: Database, folder: Path) -> None:
    import_(database, folder)
    with database.reading() as tx:
        programme = tx.get(Programme)
    a_planned_run(database, programme, location=TIJUANA)
    path = families_file(folder, "SAMPLE-0001,02004,1,mpp_asylum_seeker,2026-12,,stopped:left_programme")

    report = import_(database, path)[0]

    assert len(report.notes) == 1
    assert "2026-12/02004 is planned with 1 lines" in report.notes[0]


def test_window_cannot_shift_once_a_line_exists(database: Database, folder: Path) -> None:
    import_(database, folder)
    with database.reading() as tx:
        programme = tx.get(Programme)
    a_planned_run(database, programme, location=TIJUANA)
    before = snapshot(database)

    for window in ("2027-01,3", "2026-12,4"):
        path = families_file(folder, f"SAMPLE-0001,02004,1,mpp_asylum_seeker,{window},active")
        with pytest.raises(RefusedInput, match=r"households.csv line 2, first_cycle: the months of a family are fixed"):
            import_(database, path)

    assert snapshot(database) == before
    import_(database, families_file(folder, "SAMPLE-0002,02002,2,single_caregiver,2027-01,3,active"))


def test_family_is_enrolled_in_each_programme_apart(database: Database, folder: Path) -> None:
    import_(database, folder)
    text = (folder / "programme.toml").read_text()
    (folder / "programme.toml").write_text(text.replace('"northern-mexico"', '"winter"'))

    import_(database, folder)

    with database.reading() as tx:
        assert (len(tx.list(Household)), len(tx.list(Enrolment))) == (70, 140)
    with pytest.raises(RefusedInput, match="several programmes"):
        import_(database, folder / "households.csv")
    reports = load(database, folder / "rates.csv", programme="winter", dry_run=False, show=lambda _: None)
    assert reports[0].unchanged == 3


def test_more_money_is_deposited_and_less_is_refused(database: Database, folder: Path) -> None:
    import_(database, folder)
    funds = folder / "funds.csv"
    funds.write_text("code,donor,currency,amount\nfund-a,Donor A,MXN,10000000.50\n")
    import_(database, funds)
    with database.reading() as tx:
        assert tx.get(Fund, Fund.code == "fund-a").balance_minor == 1_000_000_050

    funds.write_text("code,donor,currency,amount\nfund-a,Donor A,MXN,9999999.00\n")
    with pytest.raises(RefusedInput, match=r"funds.csv line 2, amount: is below what was deposited"):
        import_(database, funds)

    assert_books_agree(database)


GOOD = "R-1,02004,3,pregnant,2026-12,3,active"
HOUSEHOLD_REFUSALS: list[tuple[str, bytes, str]] = [
    ("empty file", b"", r"households.csv: is empty"),
    ("header only", HEADER.encode() + b"\n", r"households.csv: holds a header and no rows"),
    ("wrong column", HEADER.replace("group", "grupo").encode() + b"\n", r"line 1, group: the column is missing"),
    ("one column more", (HEADER + ",name\n" + GOOD + ",x\n").encode(), r"line 1: has columns that are not known"),
    ("doubled column", (HEADER + ",group\n").encode(), r"line 1, group: the column stands twice"),
    ("semicolons", (HEADER + "\n" + GOOD + "\n").replace(",", ";").encode(), r"line 1: its columns .* semicolons"),
    ("Windows-1252", (HEADER + "\n" + GOOD + "\nR-2,02004,3,pregnánt,2026-12,3,active\n").encode("cp1252"),
     r"households.csv line 3: is not UTF-8"),
    ("UTF-16", (HEADER + "\n" + GOOD + "\n").encode("utf-16"), r"line 1: is UTF-16"),
    ("UTF-16 without a mark", (HEADER + "\n" + GOOD + "\n").encode("utf-16-le"), r"line 1: is UTF-16"),
    ("NUL", (HEADER + "\n" + GOOD + "\nR-\x002,02004,3,pregnant,2026-12,3,active\n").encode(), r"line 3: holds a NUL"),
    ("unclosed quote", (HEADER + '\n"R-1,02004,3,pregnant,2026-12,3,active\n').encode(), r"a quote is not closed"),
    ("quote within", (HEADER + '\nR"1",02004,3,pregnant,2026-12,3,"act"ive\n').encode(), r"line 2: is not CSV"),
    ("field missing", (HEADER + "\nR-1,02004,3,pregnant,2026-12,3\n").encode(), r"line 2: has 6 fields .* has 7"),
    ("blank line", (HEADER + "\n" + GOOD + "\n\n").encode(), r"line 3: has 0 fields"),
    ("doubled registration", (HEADER + "\n" + GOOD + "\nR-2,02004,3,pregnant,2026-12,3,active\n" + GOOD).encode(),
     r"line 4, registration_id: stands twice"),
]  # fmt: skip
FIELD_REFUSALS: list[tuple[str, str, str]] = [
    ("registration_id", "Ana Pérez", "letters"),
    ("registration_id", "", "letters"),
    ("location", "99999", "does not run there"),
    ("location", "2004", "five-digit"),
    ("location", "٠٢٠٠٤", "five-digit"),
    ("members", "0", "from 1 to 40"),
    ("members", "41", "from 1 to 40"),
    ("members", "-3", "from 1 to 40"),
    ("members", "3.5", "from 1 to 40"),
    ("members", "1e1", "from 1 to 40"),
    ("members", "٣", "from 1 to 40"),
    ("members", "３", "from 1 to 40"),
    ("members", " 3", "from 1 to 40"),
    ("group", "refugee", "must be one of"),
    ("first_cycle", "2026-13", "YYYY-MM"),
    ("first_cycle", "2026/12", "YYYY-MM"),
    ("cycles", "0", "from 1 to 120"),
    ("cycles", "1e3", "from 1 to 120"),
    ("status", "Active", "must be active, or"),
    ("status", "held", "reason code"),
    ("status", "active:moved", "must be active"),
    ("status", "stopped:Left The Country", "reason code"),
]


@pytest.mark.parametrize(("name", "content", "rule"), HOUSEHOLD_REFUSALS, ids=[row[0] for row in HOUSEHOLD_REFUSALS])
def test_broken_file_is_refused_and_changes_nothing(
    database: Database, folder: Path, name: str, content: bytes, rule: str
) -> None:
    import_(database, folder)
    before = snapshot(database)
    path = folder / "households.csv"
    path.write_bytes(content)

    with pytest.raises(RefusedInput, match=rule) as refused:
        import_(database, path)

    assert str(refused.value).startswith("households.csv")
    assert snapshot(database) == before


@pytest.mark.parametrize(("field", "value", "rule"), FIELD_REFUSALS)
def test_broken_field_is_refused_by_line_and_rule_and_never_repeated(
    database: Database, folder: Path, field: str, value: str, rule: str
) -> None:
    import_(database, folder)
    before = snapshot(database)
    values = dict(zip(HEADER.split(","), ["BAD-1", "02004", "3", "pregnant", "2026-12", "3", "active"], strict=True))
    path = families_file(folder, GOOD, ",".join({**values, field: value}.values()))

    with pytest.raises(RefusedInput, match=rule) as refused:
        import_(database, path)

    message = str(refused.value)
    assert message.startswith(f"households.csv line 3, {field}: ")
    assert "BAD-1" not in message
    assert len(value) < 5 or value not in message
    assert snapshot(database) == before


def _in(name: str, old: str, new: str) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return change


MONEY_REFUSALS: list[tuple[Callable[[Path], Path], str]] = [
    (_in("funds.csv", "10000000.00", "-1"), r"funds.csv line 2, amount: .*digits 0-9"),
    (_in("funds.csv", "10000000.00", "1.001"), r"funds.csv line 2, amount: .*at most two decimal places"),
    (_in("funds.csv", "10000000.00", "1e3"), r"funds.csv line 2, amount"),
    (_in("funds.csv", "10000000.00", "١٠٠"), r"funds.csv line 2, amount"),
    (_in("funds.csv", "10000000.00", "100000000000.01"), r"funds.csv line 2, amount: .*at most"),
    (_in("funds.csv", ",MXN,", ",USD,"), r"funds.csv line 2, currency: must be the programme's, MXN"),
    (_in("funds.csv", "fund-b", "fund-a"), r"funds.csv line 3, code: stands twice"),
    (_in("rates.csv", "18.25", "18.1234567"), r"rates.csv line 2, rate: .*six decimal places"),
    (_in("rates.csv", "18.25", "0"), r"rates.csv line 2, rate: .*above zero"),
    (_in("rates.csv", "USD,MXN", "EUR,MXN"), r"rates.csv line 2, from: must be the currency of the transfer value"),
    (_in("rates.csv", "2026-11-27", "27/11/2026"), r"rates.csv line 2, date: must be a date"),
    (_in("rates.csv", "2027-01,", "2026-12,"), r"rates.csv line 3, cycle: stands twice"),
    (_in("stores.csv", "https://", "http://"), r"stores.csv line 2, url: must begin with https"),
    (_in("stores.csv", "https://store", "https://user@store"), r"stores.csv line 2, url"),
    (_in("stores.csv", ",02004,", ",99999,"), r"stores.csv line 2, location: is not in locations.csv"),
    (_in("stores.csv", ",yes", ",sí"), r"stores.csv line 2, active: must be yes or no"),
    (_in("programme.toml", '"250.00"', "250.00"), r"programme.toml line 10, value.base: must be text in quotes"),
    (_in("programme.toml", '"250.00"', '"2.5e2"'), r"programme.toml line 10, value.base"),
    (_in("programme.toml", '"MXN"', '"ARS"'), r"programme.toml line 4, currency: a currency is one of"),
    (_in("programme.toml", 'time = "09:00"', 'time = "9am"'), r"programme.toml line 17, payday.time"),
    (_in("programme.toml", "day = 1", "day = 29"), r"programme.toml line 16, payday.day: .*from 1 to 28"),
    (_in("programme.toml", "[goods]", "[extras]"), r"programme.toml: .*|programme.toml, extras: is not known here"),
    (_in("programme.toml", "cycles = 3", "cycles = 3 3"), r"programme.toml line 5: is not TOML"),
]


@pytest.mark.parametrize(("change", "rule"), MONEY_REFUSALS, ids=[rule for _, rule in MONEY_REFUSALS])
def test_broken_programme_is_refused_and_changes_nothing(
    database: Database, folder: Path, change: Callable[[Path], Path], rule: str
) -> None:
    import_(database, folder)
    before = snapshot(database)
    path = change(folder)

    with pytest.raises(RefusedInput, match=rule):
        import_(database, path)
    with pytest.raises(RefusedInput, match=rule):
        import_(database, folder)

    assert snapshot(database) == before


def test_unknown_zone_is_refused_with_the_name_of_the_location(database: Database, folder: Path) -> None:
    path = _in("locations.csv", "America/Tijuana", "America/Tihuana")(folder)

    with pytest.raises(UnknownZone, match=r"locations.csv line 2, time_zone: Mexicali"):
        import_(database, folder)

    assert path.exists()
    assert snapshot(database)[0] == []


def test_currency_is_fixed_once_there_is_a_run(database: Database, folder: Path) -> None:
    import_(database, folder)
    with database.reading() as tx:
        programme = tx.get(Programme)
    a_planned_run(database, programme, location=TIJUANA)
    _in("programme.toml", 'currency = "USD"', 'currency = "MXN"')(folder)

    with pytest.raises(RefusedInput, match="currency: is fixed"):
        import_(database, folder / "programme.toml")


CHANGED_ROWS: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("R-1,02002,3,pregnant,2026-12,3,active", {"location_code": "02002"}, {}),
    ("R-1,02004,4,pregnant,2026-12,3,active", {"members": 4}, {}),
    ("R-1,02004,3,disability,2026-12,3,active", {"group_code": "disability"}, {}),
    ("R-1,02004,3,pregnant,2026-11,4,active", {}, {"first_cycle": "2026-11"}),
    ("R-1,02004,3,pregnant,2026-12,4,active", {}, {"last_cycle": "2027-03"}),
    ("R-1,02004,3,pregnant,2026-12,3,held:documents", {}, {"status": "held", "reason_code": "documents"}),
    ("R-1,02002,3,pregnant,2026-12,4,active", {"location_code": "02002"}, {"last_cycle": "2027-03"}),
]


@pytest.mark.parametrize("others", [[], ["R-3,02004,3,pregnant,2026-12,3,active"]], ids=["alone", "with a new family"])
@pytest.mark.parametrize(("row", "household", "enrolment"), CHANGED_ROWS, ids=[row for row, _, _ in CHANGED_ROWS])
def test_changed_row_is_applied(
    database: Database, folder: Path, row: str, household: dict[str, object], enrolment: dict[str, object],
    others: list[str],
) -> None:  # fmt: skip
    """Whichever field it is: statements that would find nothing to do are not run."""
    (folder / "households.csv").unlink()
    import_(database, folder)
    unchanged = "R-2,02004,3,pregnant,2026-12,3,active"
    import_(database, families_file(folder, GOOD, unchanged))
    before = snapshot(database)

    report = import_(database, families_file(folder, row, unchanged, *others))[0]

    assert (report.added, report.changed, report.unchanged) == (len(others), 1, 1)
    with database.reading() as tx:
        families, windows = tx.list(Household), tx.list(Enrolment)
    expected_family, expected_window = before[TABLES.index(Household)][0], before[TABLES.index(Enrolment)][0]
    assert families[0].model_dump() == {**expected_family.model_dump(), **household}
    assert windows[0].model_dump() == {**expected_window.model_dump(), **enrolment}
    assert families[1:2] == before[TABLES.index(Household)][1:]
    assert windows[1:2] == before[TABLES.index(Enrolment)][1:]
    assert len(families) == len(windows) == 2 + len(others)


def test_family_that_moved_between_programmes_is_enrolled_where_it_is_now(database: Database, folder: Path) -> None:
    """New to the one programme, and known from the other with another location."""
    (folder / "households.csv").unlink()
    import_(database, folder)
    import_(database, families_file(folder, GOOD))
    text = (folder / "programme.toml").read_text()
    (folder / "programme.toml").write_text(text.replace('"northern-mexico"', '"winter"'))
    families_file(folder, GOOD.replace("02004", "02002"))

    import_(database, folder)

    with database.reading() as tx:
        assert tx.get(Household).location_code == "02002"
        assert len(tx.list(Enrolment)) == 2


@pytest.mark.parametrize(
    "content",
    [
        "status,cycles,first_cycle,group,members,location,registration_id\nactive,3,2026-12,pregnant,3,02004,R-1\n",
        "\ufeff" + HEADER + "\n" + GOOD + "\n",
        (HEADER + "\n" + GOOD + "\n").replace("\n", "\r\n"),
        HEADER + "\n" + GOOD,
        HEADER + '\n"R-1","02004","3","pregnant","2026-12","3","active"\n',
    ],
    ids=["another order", "BOM", "CRLF", "no newline at the end", "quoted"],
)
def test_harmless_differences_are_accepted(database: Database, folder: Path, content: str) -> None:
    (folder / "households.csv").unlink()
    import_(database, folder)
    path = folder / "households.csv"
    path.write_bytes(content.encode())

    assert import_(database, path)[0].added == 1
    with database.reading() as tx:
        assert tx.get(Household).registration_id == "R-1"


def test_csv_file_needs_its_programme(database: Database, folder: Path) -> None:
    with pytest.raises(NotFound, match="no programme"):
        import_(database, folder / "households.csv")


@pytest.mark.parametrize("name", ["families.xlsx", "nothing.csv"])
def test_other_files_are_refused(database: Database, tmp_path: Path, name: str) -> None:
    if name.endswith("xlsx"):
        (tmp_path / name).write_text("x")
    with pytest.raises(RefusedInput):
        import_(database, tmp_path / name)


@pytest.mark.parametrize("column", ["", "person_key"], ids=["as always", "with persons"])
def test_many_rows_stream_in_flat_memory(database: Database, folder: Path, column: str) -> None:
    """Four times the rows, about the same memory: the file is never held whole."""
    init_keys(folder / "keys")
    (folder / "households.csv").unlink()
    import_(database, folder)
    peaks = []
    for count in (10_000, 40_000):
        path = folder / "households.csv"
        with path.open("w") as file:
            file.write(HEADER + (f",{column}" if column else "") + "\n")
            for number in range(count):
                person = f",{count}-{number:06}" if column else ""
                file.write(f"M-{count}-{number},02004,3,pregnant,2026-12,3,active{person}\n")
        tracemalloc.start()
        assert import_(database, path, keys=folder / "keys")[0].added == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] * 1.5


@pytest.mark.parametrize("name", ["programme.toml", "households.csv"])
def test_pipe_is_no_file(database: Database, folder: Path, name: str) -> None:
    """Nobody may ever write into it, and whoever imports holds the database."""
    (folder / name).unlink()
    os.mkfifo(folder / name)

    with pytest.raises(RefusedInput, match=f"{name}: is no file|{name} is no file"):
        import_(database, folder)


def test_programme_without_an_end_is_refused(database: Database, folder: Path) -> None:
    with (folder / "programme.toml").open("a") as file:
        file.write("# " + "x" * SMALL_FILE_BYTES_MAX)

    with pytest.raises(RefusedInput, match="is larger than 1048576 bytes"):
        import_(database, folder)
