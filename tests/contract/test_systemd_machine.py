"""The units at work: systemd starts them, shut in as they are, on a machine set up by README.md's own commands."""

import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import update

from models.errors import Exit
from models.keys import KINDS, SERVICE_KINDS
from models.storage import Database, sqlite_url
from models.tables import Programme, Run
from scheduler.approve import approve_by_policy
from scheduler.release import release
from tests.builders import CITIES, a_planned_run, a_programme, an_issuer, cycle_due, families_due, vouchers_of
from tests.contract.test_systemd import NO_FAILURE
from tests.fakes import HERE_NAMED, FakeStore
from tests.faults.proxy import Proxy, postgresql_socket, redis_socket
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.machine import Machine, seen_inside
from tests.roles import Site, a_site
from tests.scraping import free_port, scrape
from tests.servers import postgresql_programs
from tests.units import FOLDER
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

pytestmark = [pytest.mark.debian, pytest.mark.long]

FAMILIES = 70
#: What a denied system call would be answered with, an error, a program may swallow. This ends it instead.
DEADLY = "[Service]\nSystemCallErrorNumber=kill\n"
HOOK = '#!/bin/sh\necho "operator: $1 $MONITOR_SERVICE_RESULT $MONITOR_EXIT_STATUS"\n'
SERVICES = ("despensa-scheduler", "despensa-worker@1", "despensa-worker@2", "despensa-dashboard")


def commands(heading: str) -> str:
    """The commands under a heading of README.md."""
    section = (FOLDER / "README.md").read_text().partition(f"\n## {heading}")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert blocks, heading
    return "".join(blocks)


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
    machine.do(f"echo DESPENSA_OUTGOING_NETWORKS={HERE_NAMED} >> /etc/despensa/despensa.env")
    with closing(Database(sqlite_url(machine.state / "despensa.sqlite3"))) as database:
        yield database


@pytest.fixture
def site(postgresql: str) -> Iterator[Site]:
    """Its roles and logins, on PostgreSQL."""
    with a_site(postgresql, "machine") as site:
        yield site


@pytest.fixture
def database(site: Site) -> Iterator[Database]:
    """As whoever owns the schema sees it."""
    with closing(Database(site.url("ana_upgrades"))) as database:
        yield database


@pytest.fixture
def distributed(
    machine: Machine, site: Site, database: Database, redis_url: str, tmp_path: Path
) -> Iterator[dict[str, int]]:
    """PostgreSQL and Redis by TCP, with the secrets in the machine; yields the services' ports."""
    namespace = f"machine-{tmp_path.name.replace('_', '-')}"[:30]  # other tests use the same Redis
    with (
        Proxy(postgresql_socket(site.admin)) as postgresql,
        Proxy(redis_socket(redis_url)) as redis,
        Installation.open(
            tmp_path / "home", database, database_url=site.url("despensa_scheduler"), redis_url=redis_url,
            namespace=namespace,
        ) as installation,
    ):  # fmt: skip

        def url_of_login(login: str) -> str:
            return f"postgresql://{login}@localhost:{postgresql.port}/{database.url.database}\n"

        secrets = {
            **{f"{each}_database_url": url_of_login(f"despensa_{each}") for each in ("scheduler", "worker", "backup")},
            **{f"logins/{login}": url_of_login(login) for login in ("ana", "ana_upgrades")},
            "redis_url": f"redis://localhost:{redis.port}/0\n",
            **{f"keys/{kind}.key": (installation.settings.keys / f"{kind}.key").read_text() for kind in SERVICE_KINDS},
        }
        for name, text in secrets.items():
            machine.write(f"/etc/despensa/{name}", text, mode="600")
        machine.do("chmod 700 /etc/despensa/keys /etc/despensa/logins")
        machine.do(f"echo DESPENSA_NAMESPACE={namespace} >> /etc/despensa/despensa.env")
        machine.do(f"echo DESPENSA_OUTGOING_NETWORKS={HERE_NAMED} >> /etc/despensa/despensa.env")
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
    machine: Machine, distributed: Mapping[str, int], database: Database, store: FakeStore
) -> None:
    """No system call is denied on the way: it would have ended its service. What is not theirs is not written."""
    machine.do(commands("4. Start: distributed"))
    until(lambda: not _not_up(machine), what="the services to be up", within_s=60)
    enrol(database, store)

    until(lambda: len(store.webhook_ids) == len(CITIES), what="the stores to be told", within_s=40)
    machine.do("systemctl start despensa-run")  # as its timer does

    assert len(vouchers_of(database)) == FAMILIES
    assert_books_agree(database)
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


def test_keys_are_shown_to_workers_alone_and_backups_have_their_own_login(
    machine: Machine, distributed: Mapping[str, int], servers_from: str
) -> None:
    """Of a distributed installation, set up by the page. A stolen scheduler makes no PIN."""
    programs = f"[Service]\nEnvironment=PATH={seen_inside(postgresql_programs(servers_from))}:/usr/bin:/bin\n"
    machine.write("/etc/systemd/system/despensa-backup.service.d/programs.conf", programs)
    machine.do(commands("4. Start: distributed"))
    until(lambda: not _not_up(machine), what="the services to be up", within_s=60)

    machine.do("systemctl start despensa-backup")

    assert machine.do("find /var/backups/despensa -type f -size +0 -printf '%u %m\\n'") == "despensa 600"
    shown = {
        unit: set(machine.do(f"ls /run/credentials/{unit}.service").split())
        for unit in ("despensa-scheduler", "despensa-worker@1")
    }
    urls = {"database_url", "redis_url"}
    assert shown == {"despensa-scheduler": urls, "despensa-worker@1": urls | {f"{kind}.key" for kind in SERVICE_KINDS}}
    for unit in ("scheduler", "worker@1"):
        login = machine.do(f"cat /run/credentials/despensa-{unit}.service/database_url")
        assert f"//despensa_{unit.partition('@')[0]}@" in login


def test_keys_are_made_as_the_page_says_with_the_database_asked(
    machine: Machine, distributed: Mapping[str, int]
) -> None:
    """Of root's, like the URLs, so that systemd alone hands them out; and none while the database does not answer."""
    page = (FOLDER / "README.md").read_text()
    (init,) = re.findall(r"^cd /etc/despensa\n.*?keys init\n", page, re.MULTILINE | re.DOTALL)
    made = "find /etc/despensa/keys -type f -printf '%f %u %m\\n' | sort"
    assert distributed
    machine.do("rm /etc/despensa/keys/*; cp -p /etc/despensa/scheduler_database_url /run/aside")

    machine.do("echo postgresql://127.0.0.1:1/despensa > /etc/despensa/scheduler_database_url")
    refused = machine.run(init)
    none = machine.do(made)
    machine.do("cp -p /run/aside /etc/despensa/scheduler_database_url")
    machine.do(init)

    assert (refused.code, none) == (Exit.NO_DATABASE, ""), refused.out + refused.err
    assert machine.do(made).splitlines() == [f"{kind}.key root 600" for kind in sorted(KINDS)]


def test_person_works_with_a_login_of_their_own(
    machine: Machine, distributed: Mapping[str, int], database: Database
) -> None:
    """As user despensa, in its home and log; and what a command comes to is told."""
    by = "/opt/despensa/deploy/systemd/despensa-as"
    programme = "/opt/despensa/deploy/programmes/northern-mexico"

    upgraded = machine.run(f"{by} ana_upgrades db upgrade")
    imported = machine.run(f"{by} ana_upgrades import {programme}")
    planned = machine.run(f"{by} ana run plan --cycle 2026-12 --location 02004")
    keys = machine.run(f"{by} ana config check")
    misused = machine.run(f"{by} ana import '/srv/$HOME ${{HOME}}'")
    unknown = machine.run(f"{by} carla run list")

    assert [each.code for each in (upgraded, imported, planned, keys)] == [0] * 4, (
        upgraded.err + imported.err + planned.err + keys.err
    )
    with database.reading() as tx:
        assert [run.planned_by for run in tx.list(Run)] == ["ana"]
    assert misused.code == 2 and "/srv/$HOME ${HOME}" in misused.err
    assert machine.do("ls /run/despensa-as") == "", "the secrets are nobody else's to see"
    assert unknown.code == 2 and "/etc/despensa/logins/carla" in unknown.err
    assert _owners(machine) == {"despensa 600"}


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
