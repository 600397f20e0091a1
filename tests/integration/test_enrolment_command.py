"""`despensa enrolment`: what two operators see and say; and that the number of a document stays in its file."""

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from console.main import app
from models.errors import Exit, RefusedInput
from models.storage import Database
from models.tables import EnrolmentConflict, Programme
from scheduler.seal import emit, seal
from tests.builders import NOGALES, TIJUANA, a_planned_run, a_programme
from tests.command_line import CommandLine, Outcome
from tests.installation import Installation
from tests.operators import ANA, BRUNO, acting_as, url_as
from tests.servers import postgresql_programs

pytestmark = pytest.mark.long

HEADER = "registration_id,location,members,group,first_cycle,cycles,status,person_key"
NUMBER = "HND-0501-1990-01234"
#: However it is spelled.
TRACES = ("0501-1990", "HND0501199001234", "05011990", "0501 1990")


class Desk:
    """Commands as operators type them, each with a login of their own."""

    def __init__(self, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
        self._installation = installation
        self._command_line = CommandLine(monkeypatch, installation.environment)

    def run(self, *words: object, operator: str = ANA) -> Outcome:
        database = self._installation.database
        if database.dialect != "sqlite":
            url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
            self._command_line.set({"DESPENSA_DATABASE_URL": url_as(url, operator)})
        with acting_as(operator, database):
            return self._command_line.run(app, *words)

    def waiting(self) -> int:
        """The number of the only conflict; a rehearsed import may have used the first one."""
        listed: Any = self.run("enrolment", "conflicts", "--json").json["conflicts"]
        (conflict,) = listed
        return int(conflict["conflict"])

    def import_(self, *rows: str, dry_run: bool = False) -> Outcome:
        path = self._installation.settings.home / "households.csv"
        path.write_text("\n".join((HEADER, *rows)) + "\n")
        outcome = self.run("import", path, *(["--dry-run"] if dry_run else []))
        path.unlink()
        return outcome


@pytest.fixture
def desk(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Over a programme without families."""
    a_programme(installation.database)
    return Desk(installation, monkeypatch)


A = f"REG-A,{TIJUANA},3,pregnant,2026-12,3,active,{NUMBER}"
B = f"REG-B,{NOGALES},4,pregnant,2027-01,3,active,hnd 0501 1990 01234"


def test_two_operators_see_both_families_and_decide(desk: Desk, installation: Installation) -> None:
    desk.import_(A)
    with installation.database.reading() as tx:
        programme = tx.get(Programme)
    a_planned_run(installation.database, programme)
    foreseen = desk.import_(B, dry_run=True)
    found = desk.import_(B)

    listed = desk.run("enrolment", "conflicts")
    number = desk.waiting()
    first = desk.run("enrolment", "decide", number, "--same", "--yes")
    again = desk.run("enrolment", "decide", number, "--same", "--yes")
    second = desk.run("enrolment", "decide", number, "--same", "--yes", operator=BRUNO)
    listed_then = desk.run("enrolment", "conflicts", "--json")
    listed_all = desk.run("enrolment", "conflicts", "--all", "--json")

    assert foreseen.code == found.code == Exit.DONE
    for outcome in (foreseen, found):
        assert "1 families are held: their person is enrolled already" in outcome.stderr
    seen = ("REG-A", "REG-B", TIJUANA, NOGALES, "2026-12 to 2027-02", "2027-01 to 2027-03", "held:double_enrolment")
    assert [each for each in seen if each not in listed.stdout] == []
    assert "1 wait for two operators" in listed.stderr
    assert first.code == Exit.DONE and "another operator must find the same" in first.stderr
    assert again.code == Exit.FAILED and "somebody else must find it as well" in str(again.error)
    assert f"conflict {number} is decided: same; the newcomer is stopped:double_enrolment" in second.stderr
    assert listed_then.json["waiting"] == 0 and listed_then.json["conflicts"] == []
    conflicts: Any = listed_all.json["conflicts"]
    (decided,) = conflicts
    assert (decided["outcome"], decided["decided_by"]) == ("same", [ANA, BRUNO])
    assert decided["other"]["months"] == ["2026-12"] and decided["newcomer"]["months"] == []


def test_dissent_is_told_with_its_name(desk: Desk) -> None:
    desk.import_(A, B)
    desk.run("enrolment", "decide", 1, "--same", "--yes")

    dissent = desk.run("enrolment", "decide", 1, "--different", "--yes", operator=BRUNO)

    assert f"{ANA} found otherwise: conflict 1 stays open" in dissent.stderr
    assert f"different: {BRUNO}" in desk.run("enrolment", "conflicts").stdout


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["1"], "say either --same or --different"),
        (["1", "--same", "--different"], "say either"),
        (["7", "--same", "--yes"], "there is no conflict 7"),
        (["1", "--same"], "needs --yes"),
    ],
)
@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_what_cannot_be_decided_is_refused_and_changes_nothing(
    desk: Desk, installation: Installation, words: list[str], rule: str
) -> None:
    desk.import_(A, B)

    outcome = desk.run("enrolment", "decide", *words)

    assert isinstance(outcome.error, RefusedInput) and rule in str(outcome.error)
    with installation.database.reading() as tx:
        assert tx.get(EnrolmentConflict).first_decision is None


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_no_conflict_is_said(desk: Desk) -> None:
    outcome = desk.run("enrolment", "conflicts")

    assert (outcome.stdout.strip(), outcome.stderr) == ("no conflict", "")


def test_number_of_a_document_is_nowhere_but_in_its_file(
    desk: Desk, installation: Installation, servers_from: str, tmp_path: Path
) -> None:
    """Not in the database, its dump and its server's log, even of every statement; not in our log, or on a screen."""
    database = installation.database
    if installation.distributed:
        _log_every_statement(database)
    outcomes = [
        desk.import_(A),
        desk.import_(A, B, dry_run=True),
        desk.import_(A, B),
        desk.import_(A, B.replace(NOGALES, "99999")),
        desk.import_(B, B),
        desk.import_(A, B + "\x00"),
        desk.run("enrolment", "conflicts"),
        desk.run("enrolment", "decide", desk.waiting(), "--same", "--yes"),
        desk.run("enrolment", "decide", desk.waiting(), "--same", "--yes", operator=BRUNO),
    ]
    seal(database)
    emit(database, installation.log)

    assert [each.code for each in outcomes] == [0, 0, 0, 2, 2, 2, 0, 0, 0]
    written = [f"{each.stdout}{each.stderr}{each.error}".encode() for each in outcomes]
    written += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    if installation.distributed:
        written += [_dump(database, servers_from), _server_log(database)]
    assert any(b"REG-B" in each for each in written)
    for trace in TRACES:
        assert not [each[:100] for each in written if trace.lower().encode() in each.lower()]


def _url(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _log_every_statement(database: Database) -> None:
    with psycopg.connect(_url(database), autocommit=True) as connection:
        for setting in ("log_statement = 'all'", "log_parameter_max_length = -1"):
            connection.execute(f'ALTER DATABASE "{database.url.database}" SET {setting}'.encode())
    database.engine.dispose()


def _dump(database: Database, servers_from: str) -> bytes:
    program = postgresql_programs(servers_from) / "pg_dump"
    return subprocess.run([program, "--inserts", f"--dbname={_url(database)}"], check=True, capture_output=True).stdout


def _server_log(database: Database) -> bytes:
    with psycopg.connect(_url(database)) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    said = next(path for path in (data / "log", data.parent / "log") if path.is_file()).read_bytes()
    assert b"COPY household_stage" in said
    return said
