"""The units at work: systemd starts them, shut in as they are, on a machine set up by README.md's own commands."""

import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import pytest
from sqlalchemy import update

from models.errors import Exit
from models.storage import Database, sqlite_url
from models.tables import Programme
from scheduler.approve import approve_by_policy
from scheduler.release import release
from tests.builders import CITIES, a_planned_run, a_programme, an_issuer, cycle_due, families_due, vouchers_of
from tests.contract.test_systemd import NO_FAILURE
from tests.fakes import FakeStore
from tests.faults.proxy import Proxy, postgresql_socket, redis_socket
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.machine import Machine
from tests.scraping import free_port, scrape
from tests.units import FOLDER
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

pytestmark = [pytest.mark.debian, pytest.mark.long]

FAMILIES = 70
#: What a denied system call would be answered with, an error, a program may swallow. This ends it instead.
DEADLY = "[Service]\nSystemCallErrorNumber=kill\n"
HOOK = '#!/bin/sh\necho "operator: $1 $MONITOR_SERVICE_RESULT $MONITOR_EXIT_STATUS"\n'
KEYS = ("pin", "webhook", "reference")
SERVICES = ("despensa-scheduler", "despensa-worker@1", "despensa-worker@2", "despensa-dashboard")


def commands(heading: str) -> str:
    """The commands under a heading of README.md."""
    section = (FOLDER / "README.md").read_text().partition(f"\n## {heading}")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert blocks, heading
    return "".join(blocks)


def function(name: str) -> str:
    """A shell function that README.md gives."""
    found = re.search(rf"^{name}\(\) \(.*?^\)\n", (FOLDER / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with user, folders and units, and no service started yet."""
    with Machine.open(tmp_path) as machine:
        machine.do(commands("2. User, folders, units"))
        machine.write("/etc/systemd/system/despensa-.service.d/90-deadly.conf", DEADLY)
        try:
            yield machine
        finally:
            print(machine.journal(), machine.run("tail -n 20 /var/log/despensa/*").out)  # noqa: T201  # of a failed test


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Every store of the programme."""
    with FakeStore.open() as store:
        yield store


def enrol(database: Database, store: FakeStore, *, approval: str = "policy", fund_minor: int = 10**12) -> Programme:
    """Families whose payday was at the first minute of this month."""
    programme = a_programme(database, store_url=store.url, approval=approval, funds_minor=[fund_minor])
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    families_due(database, programme, FAMILIES, now=datetime.now(UTC))
    return programme


@pytest.fixture
def embedded(machine: Machine) -> Iterator[Database]:
    """SQLite and keys, in the machine."""
    machine.do(commands("3. What is yours"))
    with closing(Database(sqlite_url(machine.state / "despensa.sqlite3"))) as database:
        yield database


@pytest.fixture
def distributed(
    machine: Machine, postgresql_database: Database, redis_url: str, tmp_path: Path
) -> Iterator[dict[str, int]]:
    """PostgreSQL and Redis by TCP, with the secrets in the machine; yields the services' ports."""
    url = postgresql_database.url
    with (
        Proxy(postgresql_socket(url.render_as_string(hide_password=False))) as postgresql,
        Proxy(redis_socket(redis_url)) as redis,
        Installation.open(
            tmp_path / "home", postgresql_database, database_url=url.render_as_string(hide_password=False),
            redis_url=redis_url, namespace="machine",
        ) as installation,
    ):  # fmt: skip
        secrets = {
            "database_url": f"postgresql://{url.username}@localhost:{postgresql.port}/{url.database}\n",
            "redis_url": f"redis://localhost:{redis.port}/0\n",
            **{f"keys/{kind}.key": (installation.settings.keys / f"{kind}.key").read_text() for kind in KEYS},
        }
        for name, text in secrets.items():
            machine.write(f"/etc/despensa/{name}", text, mode="600")
        machine.do("echo DESPENSA_NAMESPACE=machine >> /etc/despensa/despensa.env")  # other tests use the same Redis
        ports = {service: free_port() for service in SERVICES}
        for service, port in ports.items():
            machine.write(f"/etc/systemd/system/{service}.service.d/port.conf", _on_port(service, port))
        yield ports


def _on_port(service: str, port: int) -> str:
    """The network is this host's, where ours may be taken."""
    if service != "despensa-dashboard":
        return f"[Service]\nEnvironment=DESPENSA_METRICS_PORT={port}\n"
    command = f"/opt/despensa/.venv/bin/despensa dashboard --port {port} /var/log/despensa"
    return f"[Service]\nExecStart=\nExecStart={command}\n"


def test_month_is_credited_by_services_that_are_shut_in(
    machine: Machine, distributed: Mapping[str, int], postgresql_database: Database, store: FakeStore
) -> None:
    """No system call is denied on the way: it would have ended its service. What is not theirs is not written."""
    machine.do(commands("4. Start: distributed"))
    until(lambda: not _not_up(machine), what="the services to be up", within_s=60)
    enrol(postgresql_database, store)

    until(lambda: len(store.webhook_ids) == len(CITIES), what="the stores to be told", within_s=40)
    machine.do("systemctl start despensa-run")  # as its timer does

    assert len(vouchers_of(postgresql_database)) == FAMILIES
    assert_books_agree(postgresql_database)
    assert machine.told("despensa-run", "Result", "ExecMainStatus") == ("success", "0")
    for service in SERVICES:
        assert machine.told(service, "ActiveState", "NRestarts") == ("active", "0"), machine.journal()
    assert "despensa_events_unsealed" in scrape(distributed["despensa-scheduler"])
    until(lambda: "run.completed" in _events(machine, "scheduler"), what="the log")
    assert "attempt.finished" in _events(machine, "worker")
    with urllib.request.urlopen(f"http://127.0.0.1:{distributed['despensa-dashboard']}/healthz") as answer:
        assert answer.status == 200
    assert {"/var/log/despensa"} <= _written(machine) <= {"/var/log/despensa", "/var/lib/despensa"}

    stop, start = re.split(r"(?=systemctl daemon-reload)", commands("Upgrade"))
    machine.do(stop)

    for service in SERVICES:
        assert machine.told(service, "ActiveState", "Result") == ("inactive", "success"), machine.journal()
    assert machine.told("despensa-run.timer", "ActiveState") == ("inactive",)

    machine.do(start)

    until(lambda: not _not_up(machine), what="the services to be up again", within_s=60)
    machine.do(commands("Uninstall"))
    assert machine.do("systemctl list-units --all --no-legend 'despensa*'") == ""
    assert "despensa" not in machine.do("ls -R /etc/systemd")
    assert _owners(machine) == {"despensa 600"}


def test_person_works_under_a_login_of_their_own(
    machine: Machine, distributed: Mapping[str, int], postgresql_database: Database, store: FakeStore
) -> None:
    """What is written belongs to the services, so that they find it; what was shown of the secrets is gone."""
    assert distributed
    despensa_as = function("despensa_as")
    enrol(postgresql_database, store)
    url = machine.do("cat /etc/despensa/database_url")
    with _login(postgresql_database, "ana"):
        machine.write("/etc/despensa/logins/ana", re.sub("//[^@]*@", "//ana@", url), mode="600")

        checked = machine.do(f"{despensa_as}despensa_as ana config check")
        machine.do(f"{despensa_as}despensa_as ana scheduler --once --log-file /var/log/despensa/scheduler.jsonl")
        refused = machine.run(f"{despensa_as}despensa_as ana run status NONSENSE")

    assert "//ana@" in checked
    assert refused.code == Exit.MISUSED, refused.out + refused.err
    assert "run.released" in _events(machine, "scheduler")
    assert (machine.state / "journal-head").exists()
    assert _owners(machine) == {"despensa 600"}
    assert machine.do("find /tmp -mindepth 1 -user root -name 'tmp.*'") == ""


@contextmanager
def _login(database: Database, name: str) -> Iterator[None]:
    with psycopg.connect(database.url.set(drivername="postgresql").render_as_string(hide_password=False)) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
        connection.commit()
        try:
            yield
        finally:
            connection.execute(f"DROP ROLE {name}")


def test_month_is_credited_by_the_timer_alone(machine: Machine, embedded: Database, store: FakeStore) -> None:
    """SQLite, no scheduler, no worker: the timer was off on the hour, and makes up for it as soon as it is on."""
    enrol(embedded, store)
    machine.do(
        "install -d /var/lib/systemd/timers; touch -d '2 hours ago' /var/lib/systemd/timers/stamp-despensa-run.timer"
    )

    machine.write("/etc/systemd/system/despensa-run.timer.d/at-once.conf", "[Timer]\nRandomizedDelaySec=0\n")
    machine.do("systemctl daemon-reload")
    machine.do(commands("5. Start: embedded").replace("despensa-dashboard", ""))
    until(lambda: machine.told("despensa-run", "ExecMainExitTimestampMonotonic") != ("0",), what="its end", within_s=60)

    assert machine.told("despensa-run", "Result", "ExecMainStatus") == ("success", "0"), machine.journal()
    assert len(vouchers_of(embedded)) == FAMILIES
    assert len(store.webhook_ids) == len(CITIES)
    assert_books_agree(embedded)
    machine.do("systemctl start despensa-backup")
    assert machine.do("find /var/backups/despensa -type f -size +0 -printf '%u %m\\n'") == "despensa 600"
    assert _owners(machine) == {"despensa 600"}


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (Exit.WITH_CASES, "a case"),
        (Exit.WAITING_FOR_APPROVAL, "approval"),
        (Exit.PAUSED_OR_CANCELLED, "a pause"),
        (Exit.FAILED, "no money"),
        (Exit.MISUSED, "a wrong setting"),
        (Exit.NO_DATABASE, "no database"),
    ],
)
def test_run_start_fails_and_is_told_only_by_what_is_a_failure(
    machine: Machine, embedded: Database, store: FakeStore, code: Exit, state: str
) -> None:
    """With the real command's exit codes, and an operator's own program."""
    with SimulatedIssuer({"refuse": "1"}, token="rehearsal") as issuer:
        bring_about(state, machine, embedded, store, issuer)
        machine.write("/etc/despensa/on-failure", HOOK, mode="755")

        machine.do("systemctl start despensa-run.timer")  # without it systemd forgets at once what has ended well
        started = machine.run("systemctl start despensa-run")

    failed = code not in NO_FAILURE
    assert machine.told("despensa-run", "Result", "ExecMainStatus") == (
        "exit-code" if failed else "success", str(int(code))
    ), machine.journal()  # fmt: skip
    assert (started.code != 0) is failed
    if failed:
        until(lambda: _told_by_hook(machine), what="the failure to be told")
    assert _told_by_hook(machine) == ([f"operator: despensa-run.service exit-code {int(code)}"] if failed else [])


def bring_about(state: str, machine: Machine, database: Database, store: FakeStore, issuer: SimulatedIssuer) -> None:
    """What leads to an exit code."""
    approval, fund_minor = "person" if state == "approval" else "policy", 1 if state == "no money" else 10**12
    programme = enrol(database, store, approval=approval, fund_minor=fund_minor)
    match state:
        case "a case":
            an_issuer(database, programme, f"http://localhost:{issuer.port}")
            token = f"/var/lib/despensa/keys/issuer-{programme.code}.token"
            machine.write(token, "rehearsal", mode="600", owner="despensa")
        case "a pause":
            now = datetime.now(UTC)
            run = a_planned_run(database, programme, cycle=cycle_due(now), now=now)
            with database.transaction() as tx:
                assert approve_by_policy(tx, run.id, now=now) == ""
                release(tx, run.id, now=now)
            machine.do(f"{commands('3. What is yours')}despensa run pause --all")
        case "a wrong setting":
            machine.do("echo DESPENSA_NONSENSE=1 >> /etc/despensa/despensa.env")
        case "no database":
            machine.do("rm /var/lib/despensa/despensa.sqlite3*")


def _told_by_hook(machine: Machine) -> list[str]:
    lines = machine.run("journalctl -t despensa-failed -o cat --no-pager").out.splitlines()
    return [line for line in lines if line.startswith("operator:")]


def _owners(machine: Machine) -> set[str]:
    return set(machine.do("find /var/log/despensa /var/lib/despensa -type f -printf '%u %m\\n'").splitlines())


def _not_up(machine: Machine) -> list[str]:
    return [each for each in SERVICES if machine.run(f"systemctl is-active {each}").code != 0]


def _events(machine: Machine, name: str) -> list[str]:
    lines = machine.do(f"cat /var/log/despensa/{name}.jsonl").splitlines()
    return [orjson.loads(line)["event"] for line in lines]


def _written(machine: Machine) -> set[str]:
    """Below which folders user despensa has files."""
    found = machine.do("find / -xdev -mount -user despensa -type f -not -path '/proc/*'; find /var/l*/despensa -type f")
    return {str(Path(line).parents[-4]) for line in found.splitlines()}
