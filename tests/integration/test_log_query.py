"""Questions in SQL to log files: right answers, and no way to another file, the network, or a change."""

import gzip
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import duckdb
import orjson
import pytest

from console import log_query, logs
from console.log_examples import examples
from console.log_files import working
from console.log_query import ask, columns, plain
from console.log_recipes import RECIPES
from console.log_reference import HEAD, SEAL
from models.errors import BooksDisagree, Exit, RefusedInput
from models.events import CATALOGUE
from models.journal import hash_of_line
from tests.command_line import CommandLine, Outcome

pytestmark = pytest.mark.long

Line = dict[str, int | str | bool | None]
MONTH = list(examples().values())
SEALED = [line for line in MONTH if "seq" in line]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})


def written(path: Path, lines: list[Line]) -> Path:
    """A log file of these lines, packed if it is called so."""
    content = b"".join(orjson.dumps(each) + b"\n" for each in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def like(event: str, /, **values: int | str | bool | None) -> Line:
    """The example of an event, with something else in it."""
    return {**examples()[event], **values}


def asked(sql: str, *paths: Path) -> list[tuple[object, ...]]:
    """The rows of an answer."""
    with working() as connection:
        return list(ask(connection, sql, paths).rows)


def answered(command_line: CommandLine, sql: str, *words: object) -> Outcome:
    outcome = command_line.run(logs.app, "query", sql, *words)
    assert outcome.error is None, outcome.error
    return outcome


def test_there_is_a_column_for_every_field() -> None:
    names = {each.name for kind in CATALOGUE.values() for each in fields(kind)}
    found = columns()

    assert set(found) == {*HEAD, *SEAL, *names}
    assert list(found)[: len(HEAD) + len(SEAL)] == [*HEAD, *SEAL]
    assert (found["timestamp"], found["amount_minor"], found["late"]) == ("TIMESTAMP", "BIGINT", "BOOLEAN")
    assert (found["opens_at"], found["service.name"], found["seq"]) == ("VARCHAR", "VARCHAR", "BIGINT")


@pytest.mark.parametrize("line", MONTH, ids=lambda line: str(line["event"]))
def test_every_field_of_every_event_comes_out_as_it_went_in(tmp_path: Path, line: Line) -> None:
    """And what an event does not have is NULL, not nothing, zero or an empty text."""
    path = written(tmp_path / "a.jsonl", [line])

    with working() as connection:
        answer = ask(connection, "FROM log", [path])
        (row,) = answer.rows

    read = dict(zip(answer.columns, row, strict=True))
    assert {name: value for name, value in read.items() if name in line} == line
    assert {value for name, value in read.items() if name not in line} <= {None}


def test_a_timestamp_is_counted_with_and_is_utc(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [like("run.paused"), like("run.paused", seq=2, timestamp="yesterday")])

    assert asked("SELECT timestamp, date_trunc('hour', timestamp) FROM log ORDER BY 1", path) == [
        ("2026-12-01T17:09:30.412098Z", "2026-12-01T17:00:00.000000Z"),
        (None, None),
    ]
    assert asked("SELECT count(*) FROM log WHERE timestamp > now() - INTERVAL 1000 YEAR", path) == [(1,)]
    assert asked("SELECT current_setting('TimeZone')", path) == [("UTC",)]


@pytest.mark.parametrize("wrong", [1.5, "7", 10**30, True, [7]])
def test_a_number_that_is_none_is_missing_and_not_rounded(tmp_path: Path, wrong: object) -> None:
    path = tmp_path / "a.jsonl"
    text = orjson.dumps(like("batch.credited", credited_minor=None))
    content = b"1" + b"0" * 30 if wrong == 10**30 else orjson.dumps(wrong)
    path.write_bytes(text.replace(b'"credited_minor":null', b'"credited_minor":' + content))

    assert asked("SELECT credited_minor, credited FROM log", path) == [(None, 10)]


def test_any_number_of_files_plain_packed_and_rotated(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"log[{at}]*.jsonl{'.gz' if at % 2 else ''}", [line]) for at, line in enumerate(MONTH)]

    assert asked("SELECT count(*), count(seq), max(seq) FROM log", *paths) == [
        (len(MONTH), len(SEALED), len(SEALED)),
    ]


def test_a_sealed_line_counts_once_and_an_operational_one_each_time(command_line: CommandLine, tmp_path: Path) -> None:
    """At least once is what is promised of lines: a sum over files that overlap must not be too great."""
    first = written(tmp_path / "a.jsonl", MONTH)
    other: list[Line] = [{**line, "service.instance.id": "host-c:977", "service.version": "9"} for line in MONTH]
    second = written(tmp_path / "b.jsonl.gz", other)

    outcome = answered(command_line, "SELECT count(seq), count(*) FROM log", first, second, "--csv")

    assert outcome.stdout.splitlines()[1] == f"{len(SEALED)},{len(SEALED) + 2 * (len(MONTH) - len(SEALED))}"
    assert outcome.stderr == f"{len(SEALED)} sealed lines are repeated; each counts once\n"


@pytest.mark.parametrize("change", [{"hash": "f" * 64}, {"credited": 9}])
def test_a_place_that_two_lines_fill_differently_is_refused(tmp_path: Path, change: Line) -> None:
    line = like("batch.credited")
    path = written(tmp_path / "a.jsonl", [line, {**line, **change}])

    with pytest.raises(BooksDisagree, match=r"seq 18 is there twice, and differs"):
        asked("SELECT 1", path)


def test_torn_lines_are_passed_over_and_told(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = orjson.dumps(like("run.paused")) + b"\n"
    path.write_bytes(good + b'{"timestamp":"2026\n' + orjson.dumps(like("run.resumed")) + b"\n" + good[:-30])

    outcome = answered(command_line, "SELECT event FROM log ORDER BY event", path, "--csv")

    assert outcome.stdout.splitlines() == ["event", "run.paused", "run.resumed"]
    assert [told.split(":")[0] for told in outcome.stderr.splitlines()] == [f"{path}, line 2", f"{path}, line 4"]


def test_a_line_that_is_none_is_refused_naming_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps(like("run.paused")) + b'\n"text"\n')

    with pytest.raises(RefusedInput, match=r"a\.jsonl, line 2: this is no log line"):
        asked("SELECT 1", path)


@pytest.mark.parametrize(
    "hostile",
    [
        "COPY log TO '{out}'",
        "COPY log TO '{log}'",
        "COPY log FROM '{other}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}'",
        "ATTACH '{out}' AS other (TYPE sqlite)",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{other}'",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "SET lock_configuration = false",
        "SET temp_directory = '{out}'",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "DELETE FROM log",
        "INSERT INTO log SELECT * FROM log",
        "UPDATE log SET event = 'x'",
        "DROP TABLE log",
        "CREATE TABLE other AS FROM log",
        "CREATE TEMP TABLE other AS FROM log",
        "CREATE MACRO whole(x) AS 1",
        "VACUUM",
        "CHECKPOINT",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "EXPLAIN ANALYZE DELETE FROM log",
        "PREPARE p AS DELETE FROM log",
        "SELECT 1; DELETE FROM log",
        "SELECT 1; SELECT 2",
        "WITH gone AS (DELETE FROM log RETURNING *) SELECT * FROM gone",
        "WITH made AS (INSERT INTO log (event) VALUES ('x') RETURNING *) SELECT * FROM made",
        "WITH made AS (COPY log TO '{out}') SELECT * FROM made",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_blob('{other}')",
        "SELECT * FROM read_json('{log}')",
        "SELECT * FROM read_text('{log}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('{other}')",
        "SELECT * FROM parquet_scan('{other}')",
        "SELECT * FROM sqlite_scan('{other}', 'a')",
        "SELECT * FROM read_csv('https://example.org/a.csv')",
        "SELECT * FROM query('SELECT * FROM read_text(''{other}'')')",
        "SELECT getenv('HOME')",
        "SELECT getvariable('x') FROM read_text('{other}')",
    ],
)
def test_a_question_can_neither_change_anything_nor_read_anything_else(
    command_line: CommandLine, tmp_path: Path, hostile: str
) -> None:
    """Each is refused by its own rule, and nothing has changed afterwards."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path = written(folder / "a.jsonl", MONTH)
    before = path.read_bytes()
    other = folder / "other.csv"
    other.write_text("secret\n1\n")

    outcome = command_line.run(
        logs.app, "query", hostile.format(out=folder / "out", log=path, other=other), path, "--json"
    )

    assert isinstance(outcome.error, RefusedInput)
    assert outcome.error.exit_code == Exit.MISUSED
    assert outcome.stdout == ""
    assert "\n" not in str(outcome.error)
    assert sorted(each.name for each in folder.iterdir()) == ["a.jsonl", "other.csv"]
    assert path.read_bytes() == before
    assert "secret" not in str(outcome.error)


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("DELETE FROM log", "read-only"),
        ("SELECT * FROM read_text('{log}')", "disabled by configuration"),
        ("COPY log TO '{log}'", "disabled by configuration"),
        ("SET enable_external_access = true", "locked"),
    ],
)
def test_three_locks_hold_each_alone(tmp_path: Path, statement: str, refusal: str) -> None:
    """Should a later DuckDB count as SELECT what writes: the transaction, the settings and the files are shut, too."""
    path = written(tmp_path / "a.jsonl", MONTH)

    with working() as connection:
        list(ask(connection, "SELECT 1", [path]).rows)
        with pytest.raises(duckdb.Error, match=refusal):
            connection.execute(statement.format(log=path))


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT nonsense FROM log", 'Referenced column "nonsense" not found'),
        ("SELEC", "syntax error"),
        ("", "a question is one SELECT"),
        (" ; ", "a question is one SELECT"),
        ("SELECT CAST(event AS BIGINT) FROM log", "Could not convert"),
        ("SELECT $1", "parameter"),
        ("SELECT now()", "an instant with a time zone"),
        ("SELECT 1 AS a, 2 AS a", "two columns are called 'a'"),
    ],
)
def test_an_error_of_the_question_is_one_line(command_line: CommandLine, tmp_path: Path, sql: str, told: str) -> None:
    outcome = command_line.run(logs.app, "query", sql, written(tmp_path / "a.jsonl", MONTH))

    assert isinstance(outcome.error, RefusedInput)
    assert outcome.error.exit_code == Exit.MISUSED
    assert told in str(outcome.error)
    assert "\n" not in str(outcome.error)
    assert outcome.stdout == ""


def test_more_lines_than_memory_go_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also once DuckDB is shut off from files."""
    monkeypatch.setattr(log_query, "MEMORY_MAX", "250MB")
    text = orjson.dumps(like("batch.credited", seq="SEQ", hash="HASH"))
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        for at in range(1, 350_001):
            file.write(text.replace(b'"SEQ"', b"%d" % at).replace(b"HASH", b"%064x" % at) + b"\n")

    assert asked("SELECT count(*), sum(credited), count(DISTINCT hash) FROM log", path) == [
        (350_000, 3_500_000, 350_000),
    ]


def test_answers_are_a_table_json_or_csv(command_line: CommandLine, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [like("run.planned"), like("run.paused", reason='a "b", c', seq=9)])
    sql = "SELECT event, late, planned, reason FROM log ORDER BY event"

    table = answered(command_line, sql, path).stdout
    told = answered(command_line, sql, path, "--json").json
    text = answered(command_line, sql, path, "--csv").stdout

    assert [line.split() for line in table.splitlines() if "run." in line] == [
        ["run.paused", "a", '"b",', "c"],
        ["run.planned", "false", "298"],
    ]
    assert told == {
        "schema": 1,
        "columns": ["event", "late", "planned", "reason"],
        "rows": [
            {"event": "run.paused", "late": None, "planned": None, "reason": 'a "b", c'},
            {"event": "run.planned", "late": False, "planned": 298, "reason": None},
        ],
    }
    assert text == 'event,late,planned,reason\nrun.paused,,,"a ""b"", c"\nrun.planned,false,298,\n'


def test_an_answer_without_rows_is_one(command_line: CommandLine, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", MONTH)
    sql = "SELECT event FROM log WHERE event = 'x'"

    assert answered(command_line, sql, path, "--json").json["rows"] == []
    assert answered(command_line, sql, path, "--csv").stdout == "event\n"
    assert answered(command_line, sql, path).stdout.split()[0] == "event"


def test_a_long_answer_is_whole_for_programs_and_cut_with_a_word_for_people(
    command_line: CommandLine, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.jsonl", MONTH)
    sql = "SELECT range AS n FROM range(2500)"

    table = answered(command_line, sql, path)

    assert len(table.stdout.splitlines()) == 1_002
    assert table.stderr == "only the first 1,000 rows are shown; --csv and --json give all\n"
    assert len(answered(command_line, sql, path, "--csv").stdout.splitlines()) == 2_501
    rows = answered(command_line, sql, path, "--json").json["rows"]
    assert isinstance(rows, list)
    assert rows[-1] == {"n": 2_499}


@pytest.mark.parametrize("option", [(), ("--csv",)])
def test_an_answer_cannot_paint_on_the_terminal(
    command_line: CommandLine, tmp_path: Path, option: tuple[str, ...]
) -> None:
    path = written(tmp_path / "a.jsonl", [like("run.paused", reason="\x1b[2J\x9b\r\n[red]x")])

    out = answered(command_line, "SELECT reason, [reason] AS list FROM log", path, *option).stdout

    assert out.replace("\n", "").isprintable()
    assert "[red]" in out


def test_two_forms_at_once_are_refused(command_line: CommandLine, tmp_path: Path) -> None:
    outcome = command_line.run(logs.app, "query", "SELECT 1", written(tmp_path / "a.jsonl", []), "--json", "--csv")

    assert isinstance(outcome.error, RefusedInput)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT 170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("SELECT 1.50::DECIMAL(9, 2)", "1.50"),
        ("SELECT DATE '2026-12-01'", "2026-12-01"),
        ("SELECT TIME '17:00'", "17:00:00"),
        ("SELECT INTERVAL 90 SECOND", "0:01:30"),
        ("SELECT [TIMESTAMP '2026-12-01 17:00', NULL]", ["2026-12-01T17:00:00.000000Z", None]),
        ("SELECT {'a': 1, 'b': [TRUE]}", {"a": 1, "b": [True]}),
        ("SELECT 'NaN'::DOUBLE", None),
        ("SELECT 0.5::DOUBLE", 0.5),
    ],
)
def test_every_kind_of_value_has_a_form_in_json(
    command_line: CommandLine, tmp_path: Path, sql: str, value: object
) -> None:
    rows = answered(command_line, f"{sql} AS value", written(tmp_path / "a.jsonl", MONTH), "--json").json["rows"]

    assert rows == [{"value": value}]
    assert plain(True) is True


def story(change: Callable[[], list[Line]]) -> list[Line]:
    """Lines sealed one after the other, in the order given."""
    lines, seq, prev_hash = change(), 0, "0" * 64
    for line in lines:
        if "seq" in line:
            seq += 1
            line["seq"] = seq
            line["hash"] = prev_hash = hash_of_line(prev_hash, line)
    return lines


def a_month() -> list[Line]:
    """What the recipes are asked about."""
    return [
        like("run.planned", run_id=1, location="02004", location_name="Tijuana"),
        like("run.planned", run_id=2, location="08037", location_name="Juárez"),
        like("batch.credited", run_id=1, credited=10, credited_minor=1_000, timestamp="2026-12-01T17:59:59.999999Z"),
        like("batch.credited", run_id=1, credited=20, credited_minor=2_000, timestamp="2026-12-01T17:00:00.000000Z"),
        like("batch.credited", run_id=1, credited=5, credited_minor=500, timestamp="2026-12-01T18:00:00.000000Z"),
        like("batch.credited", run_id=2, credited=1, credited_minor=100, timestamp="2026-12-01T17:30:00.000000Z"),
        like(
            "case.resolved", run_id=1, case_id=1, credited=1, credited_minor=50, timestamp="2026-12-01T18:30:00.000000Z"
        ),
        like("case.resolved", run_id=2, case_id=2, outcome="not_owed", credited=0, credited_minor=0),
        like("attempt.finished", duration_ms=5, subject_id=1),
        like("attempt.failed", duration_ms=900, subject_id=2, error="TimeoutError", sqlstate=""),
        like("attempt.failed", duration_ms=40, subject_id=3, error="OperationalError", sqlstate="08006"),
        like("attempt.failed", duration_ms=30, subject_id=3, error="OperationalError", sqlstate="08006"),
        like("case.opened", case_id=1, disbursement_id=10_000_001, reason="dead"),
        like("case.opened", case_id=2, disbursement_id=20_000_001, reason="dead"),
        like(
            "case.opened", case_id=3, disbursement_id=10_000_003, reason="unknown", amount_minor=7, next_attempt_at="x"
        ),
        like(
            "case.opened", case_id=4, disbursement_id=10_000_004, reason="unknown", amount_minor=8, next_attempt_at=""
        ),
        like("case.opened", case_id=5, disbursement_id=10_000_005, reason="dead"),
        like("batch.retried", first_id=10_000_005, last_id=10_000_009),
        like("case.opened", case_id=6, disbursement_id=10_000_005, reason="dead", amount_minor=9, next_attempt_at=""),
        like("notice.created", notice_id=1, store="TIJ-01", timestamp="2026-12-01T18:00:00.000000Z"),
        like("notice.created", notice_id=2, store="TIJ-02", timestamp="2026-12-01T18:00:00.000000Z"),
        like("notice.delivered", notice_id=1, store="TIJ-01", timestamp="2026-12-01T18:01:05.000000Z"),
    ]


#: What each recipe answers, from some of its columns.
ANSWERS: dict[str, tuple[list[str], list[list[object]]]] = {
    "What was credited": (
        ["location_name", "hour", "credited", "credited_minor"],
        [
            ["Juárez", "2026-12-01T17:00:00.000000Z", 1, 100],
            ["Tijuana", "2026-12-01T17:00:00.000000Z", 30, 3_000],
            ["Tijuana", "2026-12-01T18:00:00.000000Z", 6, 550],
        ],
    ),
    "Which attempts": (
        ["subject_id", "outcome", "duration_ms"],
        [[2, "TimeoutError", 900], [3, "OperationalError", 40], [3, "OperationalError", 30], [1, "credited", 5]],
    ),
    "Which errors": (
        ["error", "sqlstate", "event", "times"],
        [
            ["IntegrityError 23514", None, "case.opened", 6],
            ["OperationalError", "08006", "attempt.failed", 2],
            ["TimeoutError", "", "attempt.failed", 1],
        ],
    ),
    "Which cases": (
        ["location", "reason", "cases", "amount_minor", "wait_for_a_person"],
        [["02004", "unknown", 2, 15, 1], ["02004", "dead", 1, 9, 1]],
    ),
    "How long": (["store", "created", "delivered", "longest_s"], [["TIJ-02", 1, 0, None], ["TIJ-01", 1, 1, 65]]),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_of_the_page_answers(command_line: CommandLine, tmp_path: Path, recipe: str) -> None:
    path = written(tmp_path / "a.jsonl", story(a_month))
    names, expected = next(answer for begins, answer in ANSWERS.items() if recipe.startswith(begins))

    rows = answered(command_line, RECIPES[recipe], path, "--json").json["rows"]

    assert isinstance(rows, list)
    assert [[row[name] for name in names] for row in rows] == expected


def test_every_recipe_is_asked_and_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "deploy" / "LOG-EVENTS.md").read_text(encoding="utf-8")

    assert len(ANSWERS) == len(RECIPES)
    assert all(f"{recipe}\n\n```sql\n{sql}\n```" in page for recipe, sql in RECIPES.items())
