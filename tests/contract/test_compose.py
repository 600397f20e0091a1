"""deploy/compose: by the schema of Compose, and by what this checkout's settings, commands and deadlines really are."""

import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import typer
from ruamel.yaml import YAML
from sqlalchemy.engine import make_url

from console.main import app
from models.deadlines import SHUTDOWN_S, STOP_S
from models.keys import SERVICE_KINDS
from models.settings import PREFIX, read_settings
from tests.builders import TIJUANA, a_programme, a_released_run, families, vouchers_of
from tests.command_line import parsed_by
from tests.commands import ROOT, despensa, running
from tests.conftest import url_of
from tests.container import IN_MEMORY
from tests.installation import Installation
from tests.servers import postgresql_programs, start_redis
from tests.waiting import until

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"] in ("despensa:local", "despensa-backup:local")}
LONG_LIVED = ("scheduler", "worker")
#: What runs to its end has no health.
COMMANDS = {"migrate", "operator", "backup"}
PINNED = re.compile(r"[a-z0-9./-]+:[a-zA-Z0-9._-]+@sha256:[0-9a-f]{64}")
USERS = re.compile(r"[1-9][0-9]*:[1-9][0-9]*")
every_service = pytest.mark.parametrize("name", SERVICES)


def seconds(duration: str) -> int:
    """Of a duration as Compose writes it."""
    return int(duration.removesuffix("s"))


def settings_of(name: str) -> dict[str, str]:
    """The environment of a service."""
    return dict(SERVICES[name].get("environment", {}))


def mounts_of(name: str) -> dict[str, str]:
    """What lies behind each path of a service's volumes."""
    each_way = (
        (each["source"], each["target"]) if isinstance(each, dict) else each.split(":")[:2]
        for each in SERVICES[name].get("volumes", ())
    )  # fmt: skip
    return {target: source for source, target in each_way}


def test_file_keeps_the_schema_of_compose() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")

    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", FILE], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


@every_service
def test_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert USERS.fullmatch(service["user"]), "a number, and not root"
    assert any(each.startswith(f"{IN_MEMORY}:") for each in service["tmpfs"])
    assert service["mem_limit"] and service["pids_limit"] and service["ulimits"] == {"core": 0}
    assert "privileged" not in service and "/var/run/docker.sock" not in str(service)


@every_service
def test_service_is_watched_and_ends_in_time(name: str) -> None:
    service = SERVICES[name]
    health = service.get("healthcheck", {})

    assert ("test" in health) is (name not in COMMANDS and name not in LONG_LIVED)
    assert bool(health.get("disable")) is (name in COMMANDS)
    assert seconds(service["stop_grace_period"]) > 0


def test_services_have_as_long_to_end_as_their_deadlines_say() -> None:
    assert {SERVICES[name]["stop_grace_period"] for name in OURS} == {f"{STOP_S}s"}
    assert STOP_S > SHUTDOWN_S
    assert all(seconds(SERVICES[name]["stop_grace_period"]) >= STOP_S for name in ("postgresql", "redis"))


def test_what_is_misconfigured_or_refuses_is_not_started_for_ever() -> None:
    """Exit codes 2 and 13 wait for a person. Compose cannot tell codes apart: it only counts."""
    policies = {name: SERVICES[name]["restart"] for name in OURS - {"dashboard"}}

    assert policies == {**dict.fromkeys(LONG_LIVED, "on-failure:10"), **dict.fromkeys(COMMANDS, "no")}


@every_service
def test_image_is_built_here_or_pinned_by_digest(name: str) -> None:
    service = SERVICES[name]

    if "build" not in service:
        assert PINNED.fullmatch(service["image"])
        return
    build = service["build"]
    dockerfile = (FOLDER / build["context"] / build["dockerfile"]).resolve()
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert f"AS {build['target']}\n" in dockerfile.read_text()


@every_service
def test_secrets_are_files_and_stand_in_no_environment(name: str) -> None:
    service = SERVICES[name]
    secrets = set(service.get("secrets", ()))

    assert secrets <= set(COMPOSE["secrets"])
    for variable, value in settings_of(name).items():
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in secrets
        else:
            assert variable == "LOKI_URL" or not re.search("PASSWORD|URL|TOKEN|SECRET", variable), variable
    assert all(f"/run/secrets/{each}" in str(service) + (FOLDER / "logins.sh").read_text() for each in secrets)


@pytest.mark.parametrize("name", sorted(OURS))
def test_settings_are_read_and_the_command_is_taken(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    environment = dict(settings_of(name))
    for variable in [each for each in environment if each.endswith("_URL_FILE")]:
        environment[variable] = str(secret.with_name(variable))
        shutil.copy(secret, environment[variable])
        Path(environment[variable]).write_text("redis://redis" if "REDIS" in variable else "postgresql://postgresql/x")
    words = SERVICES[name].get("command", ["run", "status"])
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]

    read_settings(environment)  # refuses what is none of ours
    command.make_context(name, list(words))  # refuses what it does not know


def test_dashboard_sees_the_log_and_neither_database_nor_redis() -> None:
    dashboard = SERVICES["dashboard"]

    assert dashboard["volumes"] == ["log:/var/log/despensa:ro"]
    assert dashboard["networks"] == ["outside"]
    assert dashboard["secrets"] == ["dashboard_token"]
    assert SERVICES["postgresql"]["networks"] == SERVICES["redis"]["networks"] == ["backend"]
    assert COMPOSE["networks"]["backend"] == {"internal": True}


def test_keys_are_shown_to_whoever_derives_something_from_them() -> None:
    """Whoever breaks into a service can tell who nobody is, and sign no certificate."""
    shown = {
        name: {source for source in mounts_of(name).values() if source.startswith("./secrets/keys")}
        for name in SERVICES
    }

    assert {name: each for name, each in shown.items() if each} == {
        "worker": {f"./secrets/keys/{kind}.key" for kind in SERVICE_KINDS}, "operator": {"./secrets/keys"},
    }  # fmt: skip
    assert all(each["read_only"] for each in SERVICES["worker"]["volumes"] if isinstance(each, dict))


def test_backup_is_put_back_as_the_runbook_says() -> None:
    """Its commands, which are walked, through Compose."""
    runbook, page = ((ROOT / "deploy" / name).read_text() for name in ("RUNBOOK.md", "compose/README.md"))
    (options,) = re.findall(r"(?m)^ +pg_restore (.*) < FILE$", runbook)
    steps = [
        "createdb -U postgres despensa_new",
        "psql -U postgres -v ON_ERROR_STOP=1 -d despensa_new < ../postgresql/roles.sql",
        f"pg_restore -U postgres {options}\n",
        "run --rm migrate\n",
        "despensa db restored /var/log/despensa/*.jsonl*",
    ]

    places = [page.find(step) for step in steps]

    assert -1 not in places and places == sorted(places)
    assert mounts_of("backup")["/var/backups/despensa"] == "backups"


def test_only_the_loopback_is_published() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert set(ports) == {"dashboard", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)


def test_log_is_written_rotated_and_read_in_one_folder() -> None:
    rotated = re.findall(r"(?m)^(/\S+)/\*\.jsonl \{", (ROOT / "deploy/logrotate/despensa").read_text())
    written = [word for name in LONG_LIVED for word in SERVICES[name]["command"] if word.endswith(".jsonl")]
    written += [settings_of(name)[f"{PREFIX}LOG_FILE"] for name in (*LONG_LIVED, *COMMANDS)]

    assert {str(Path(each).parent) for each in written} == set(rotated) == {"/var/log/despensa"}
    for name in (*LONG_LIVED, *COMMANDS, "rotate", "dashboard"):
        assert mounts_of(name)["/var/log/despensa"] == "log"
    assert mounts_of("rotate")["/etc/logrotate.d/despensa"] == "../logrotate/despensa"


@pytest.mark.parametrize("name", LONG_LIVED)
def test_every_replica_is_scraped_under_its_job(name: str) -> None:
    prometheus = YAML(typ="safe").load((FOLDER / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in prometheus["scrape_configs"]}

    assert jobs[f"despensa-{name}"]["names"] == [name]
    assert str(jobs[f"despensa-{name}"]["port"]) == settings_of(name)[f"{PREFIX}METRICS_PORT"]
    assert "backend" in SERVICES[name]["networks"] and "backend" in SERVICES["prometheus"]["networks"]


def test_everything_named_is_there() -> None:
    made = (FOLDER / "init").read_text()
    for name, service in SERVICES.items():
        for target, source in mounts_of(name).items():
            if source.startswith("./secrets"):
                assert f"mkdir -m 0700 new/{Path(source).parts[1]}" in made
            elif source.startswith("."):
                assert (FOLDER / source).exists(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {target}"
        for other, condition in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert ("test" in SERVICES[other].get("healthcheck", {})) is (condition["condition"] == "service_healthy")
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == set(
        re.findall(r"secret [0-9:]+ ([a-z_]+)", made)
    )


def test_readme_names_services_and_commands_that_are_there() -> None:
    page = (FOLDER / "README.md").read_text()
    told = re.findall(r"(?m)^docker compose run --rm ([a-z]+) ([^#\n]*)", page)

    assert {"migrate", "operator"} <= {service for service, _ in told} <= set(SERVICES)
    ours = [words.replace("/programmes", "deploy/programmes").split() for service, words in told if service in OURS]
    assert "db upgrade" in [parsed_by(words) for words in ours]


def test_secrets_half_made_are_no_part_of_the_checkout() -> None:
    """A `git add` after an `init` that was interrupted would publish them."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    made = {f"deploy/compose/{name}/" for name in re.findall(r"mv (\w+) (\w+)", (FOLDER / "init").read_text())[0]}
    assert len(made) == 2
    assert made <= set(ignored)


def test_redis_login_may_do_what_the_published_one_may() -> None:
    """No key of others, no channel, no SCAN: a month is run with those rights elsewhere."""
    published = (ROOT / "deploy" / "redis" / "users.acl").read_text()
    (given,) = re.findall(r"(?m)^user despensa (.+) >\$broker$", (FOLDER / "init").read_text())
    (meant,) = re.findall(r"(?m)^user despensa (.+)$", published)

    assert given == meant


def run_init(folder: Path, *, path: str = "/usr/sbin:/usr/bin:/sbin:/bin") -> "subprocess.CompletedProcess[str]":
    """In a folder of the test's own."""
    shutil.copy(FOLDER / "init", folder / "init")
    return subprocess.run([folder / "init"], env={"PATH": path}, check=False, capture_output=True, text=True)


def test_init_makes_nothing_where_it_could_not_give_it_away(tmp_path: Path) -> None:
    somebody = tmp_path / "bin" / "id"
    somebody.parent.mkdir()
    somebody.write_text("#!/bin/sh\necho 1000\n")
    somebody.chmod(0o755)

    refused = run_init(tmp_path, path=f"{somebody.parent}:/usr/bin:/bin")

    assert refused.returncode == 2
    assert "hint: sudo" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "init"}


@pytest.mark.debian  # as root
def test_init_makes_secrets_that_only_their_container_may_read_and_once(tmp_path: Path) -> None:
    readers = {each: service["user"] for service in SERVICES.values() for each in service.get("secrets", ())}

    first = run_init(tmp_path)
    files = {path.name: path for path in (tmp_path / "secrets").iterdir() if path.is_file()}
    before = {name: path.read_bytes() for name, path in files.items()}
    again = run_init(tmp_path)

    assert (first.returncode, again.returncode) == (0, 1)
    assert {name: path.read_bytes() for name, path in files.items()} == before
    assert set(files) == set(COMPOSE["secrets"])
    for name, path in files.items():
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o400
        assert f"{status.st_uid}:{status.st_gid}" == readers[name]
    assert (tmp_path / "secrets" / "keys").stat().st_uid == 10_001
    assert len(set(re.findall(r"[0-9a-f]{64}", "".join(map(bytes.decode, before.values()))))) == 8


def test_each_service_has_a_login_of_its_own_and_workers_settle_lines_alone() -> None:
    """Whoever steals a worker's secret plans, approves and releases nothing."""
    made = (FOLDER / "init").read_text()
    roles = dict(re.findall(r"CREATE ROLE (\w+) .* IN ROLE ([\w, ]+);", made))
    logins = dict(re.findall(r"postgresql://(\w+):.* (\w+_database_url)$", made, re.MULTILINE))
    given = {
        name: {each for each in service.get("secrets", ()) if "database" in each} for name, service in SERVICES.items()
    }

    assert {name: urls for name, urls in given.items() if urls} == {
        "scheduler": {"scheduler_database_url"}, "worker": {"worker_database_url"},
        "operator": {"operator_database_url"}, "migrate": {"owner_database_url"}, "backup": {"backup_database_url"},
    }  # fmt: skip
    assert {logins[login]: held for login, held in roles.items()} == {
        "scheduler_database_url": "despensa_plan, despensa_work",
        "worker_database_url": "despensa_work",
        "operator_database_url": "despensa_enrol, despensa_plan, despensa_approve",
        "owner_database_url": "despensa_owner",
        "backup_database_url": "despensa_read, pg_read_all_data",
    }


@pytest.fixture
def limited_redis(servers_from: str, tmp_path: Path) -> Iterator[Path]:
    """The socket of a Redis whose users are those that `init` writes."""
    run_init(tmp_path)
    folder = tmp_path / "redis"
    folder.mkdir()
    process = start_redis(servers_from, folder)
    with redis.Redis(unix_socket_path=str(folder / "redis.sock")) as client:
        for line in reversed(
            (tmp_path / "secrets" / "redis_users").read_text().splitlines()
        ):  # default, who says it, last
            _, name, *rules = line.split()
            client.execute_command("ACL", "SETUSER", name, "reset", *rules)
    yield folder / "redis.sock"
    process.kill()
    process.wait()


@pytest.mark.debian  # as root
@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_month_needs_no_more_of_redis_than_init_gives(
    installation: Installation, limited_redis: Path, tmp_path: Path
) -> None:
    login = urlsplit((tmp_path / "secrets" / "redis_url").read_text().strip())
    url = f"unix://{login.username}:{login.password}@{limited_redis}"
    programme = a_programme(installation.database)
    families(installation.database, programme, 40, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    environment = {**installation.environment, "DESPENSA_REDIS_URL": url, "DESPENSA_NAMESPACE": "despensa"}

    with running("worker", environment=environment), running("scheduler", environment=environment):
        until(lambda: len(vouchers_of(installation.database, run)) == 40, what="the vouchers")
    checked = despensa("doctor", "--json", environment=environment)

    rows = [row for row in checked.json["checks"] if "Redis" in row["check"]]  # type: ignore[attr-defined]
    assert len(rows) > 3
    assert [row["check"] for row in rows if row["state"] == "failed"] == []
    with redis.Redis.from_url(url) as ours, redis.Redis(unix_socket_path=str(limited_redis)) as nobody:
        for refused in (ours.flushall, ours.config_get, lambda: ours.get("another:key"), nobody.keys):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
        assert nobody.ping()


@pytest.mark.debian  # as root
def test_service_works_in_the_order_in_which_the_containers_start(
    postgresql: str, redis_url: str, servers_from: str, tmp_path: Path
) -> None:
    """The roles and logins of an empty cluster, `migrate`, and then, with nothing between, what an operator does."""
    run_init(tmp_path)
    secrets = tmp_path / "secrets"

    def url_for(secret: str) -> str:
        login = urlsplit((secrets / secret).read_text().strip()).username
        return make_url(url_of(postgresql, "compose")).set(username=login).render_as_string(hide_password=False)

    def environment(secret: str) -> dict[str, str]:
        home = tmp_path / "home"
        return {
            "DESPENSA_HOME": str(home), "DESPENSA_DATABASE_URL": url_for(secret), "DESPENSA_REDIS_URL": redis_url,
            "DESPENSA_NAMESPACE": "compose", "PATH": f"{postgresql_programs(servers_from)}:/usr/bin:/bin",
        }  # fmt: skip

    with psycopg.connect(postgresql, autocommit=True) as server:
        server.execute("CREATE DATABASE compose")
        try:
            with psycopg.connect(url_of(postgresql, "compose"), autocommit=True) as connection:
                for script in (ROOT / "deploy/postgresql/roles.sql", secrets / "logins"):
                    connection.execute(script.read_text().encode())
            migrated = despensa(*SERVICES["migrate"]["command"], environment=environment("owner_database_url"))
            service = environment("operator_database_url")
            done = [
                despensa(*words, environment=service)
                for words in (
                    ("keys", "init"),
                    ("import", str(ROOT / "deploy/programmes/northern-mexico"), "--dry-run"),
                    ("import", str(ROOT / "deploy/programmes/northern-mexico")),
                    ("run", "plan", "--cycle", "2026-12", "--location", TIJUANA),
                    ("run", "discard", f"2026-12/{TIJUANA}", "--yes"),
                )
            ]
            done.append(despensa("db", "backup", str(tmp_path), environment=environment("backup_database_url")))
        finally:
            server.execute("DROP DATABASE compose WITH (FORCE)")
            for login in re.findall(r"CREATE ROLE (\w+)", (secrets / "logins").read_text()):
                server.execute(f"DROP ROLE IF EXISTS {login}")

    assert migrated.code == 0, migrated.err
    assert [each.code for each in done] == [0] * len(done), [each.err for each in done]
