"""deploy/container: what the Dockerfile says, and what the image made from it does."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from sqlalchemy import make_url

from models.deadlines import STOP_S
from models.events import WorkerSeen
from models.log import Log
from models.settings import PREFIX, Settings
from tests.builders import TIJUANA, a_programme, a_released_run, families, vouchers_of
from tests.commands import ROOT
from tests.container import DOCKERFILE, IN_MEMORY, Builder, Container, Image, started
from tests.contract.test_shipping import a_loki
from tests.installation import Installation
from tests.scraping import free_port
from tests.waiting import until

TEXT = DOCKERFILE.read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"[a-z0-9./-]+:[a-zA-Z0-9._-]+@sha256:[0-9a-f]{64}")
#: In the container, where memory is.
SOCKETS = f"{IN_MEMORY}/sockets"
AGE = "import os, time; os.utime('/tmp/healthy', (time.time() - 200,) * 2)"
UNWRITABLE = ("/app", "/etc", "/usr/local/bin", "/var", "/run")


def stage(name: str) -> str:
    """The lines of one stage."""
    return next(text for text in re.split(r"(?m)^(?=FROM )", TEXT) if text.startswith(f"FROM ${{BASE}} AS {name}\n"))


def copied() -> list[str]:
    """What the build takes from the checkout."""
    found = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", TEXT)
    return [name for words in found for name in words.split()]


def is_seen(name: str) -> bool:
    """Whether the build may see a file, by the rules of .dockerignore: the last that fits decides."""
    seen = True
    for rule in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines():
        pattern = rule.removeprefix("!").replace("**/", "*")
        if (
            rule
            and not rule.startswith("#")
            and any(fnmatch.fnmatch(each, pattern) for each in (name, *map(str, Path(name).parents)))
        ):
            seen = rule.startswith("!")
    return seen


def test_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint is missing from the development environment: ./despensa test sets it up"

    done = subprocess.run([hadolint, str(DOCKERFILE)], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_all_is_built_on_one_image_pinned_by_tag_and_digest() -> None:
    assert PINNED.fullmatch(re.findall(r"(?m)^ARG BASE=(.*)$", TEXT)[0])
    assert set(re.findall(r"(?m)^FROM (\S+)", TEXT)) == {"${BASE}", "despensa"}


def test_environment_is_made_of_the_list_with_hashes_and_compiles_nothing_from_source() -> None:
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:", "-r requirements.lock"):
        assert option in stage("build")


def test_what_runs_is_nobody_by_number() -> None:
    for name in ("logs", "despensa"):
        assert re.findall(r"(?m)^USER (.*)$", stage(name)) == ["10001:10001"]
        assert "STOPSIGNAL SIGTERM" in stage(name)


def test_backup_runs_as_nobody_too_and_is_not_what_is_built_unasked() -> None:
    stages = re.split(r"(?m)^(?=FROM )", TEXT)

    assert re.findall(r"(?m)^USER (.*)$", stages[-2]) == ["0:0", "10001:10001"]
    assert stages[-2].startswith("FROM despensa AS backup\n")
    assert stages[-1] == "FROM despensa\n"


def test_health_check_imports_nothing_of_the_application() -> None:
    assert re.findall(r"(?m)^ +CMD (.*)$", stage("despensa")) == [
        '["python", "-I", "-S", "/app/healthy.py", "/tmp/healthy"]'
    ]


def test_every_setting_in_the_image_is_one_of_ours_and_no_secret() -> None:
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)=", stage("despensa")))

    assert named <= {name.upper() for name in Settings.model_fields}
    assert named == {"HOME", "KEYS_DIR", "HEALTH_FILE"}


def test_image_says_the_version_that_is_installed() -> None:
    assert re.findall(r"(?m)^ARG VERSION=(.*)$", TEXT) == [PYPROJECT["project"]["version"]]


def test_build_takes_every_package_and_sees_nothing_else() -> None:
    packages = {name.split(".")[0] for name in PYPROJECT["tool"]["setuptools"]["packages"]}
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    seen = {name for name in tracked if is_seen(name)}

    assert packages <= set(copied())
    assert {name for name in tracked if any(name == each or name.startswith(f"{each}/") for each in copied())} == seen
    assert not is_seen("deploy/compose/secrets/keys/pin.key")
    assert not is_seen("models/__pycache__/money.cpython-313.pyc")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """With what stands in for the base."""
    made = Builder(tmp_path_factory.mktemp("buildah"))
    made.make_stand_in()
    return made


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    """The image, built as operators build it."""
    return builder.build("despensa")


@dataclass(frozen=True, slots=True)
class Place:
    """What a container is given of this host: settings, its home, the keys, and the servers' sockets."""

    environment: dict[str, str]
    volumes: dict[str, Path]


@pytest.fixture
def place(installation: Installation, tmp_path: Path, image: Image) -> Place:
    """For this installation. The sockets alone: their folders are closed to other users."""
    home, keys = tmp_path / "volume", tmp_path / "keys"
    home.mkdir()
    shutil.copytree(installation.settings.keys, keys)
    for each in (home, keys, *keys.iterdir()):
        shutil.chown(each, image.uid, image.uid)
    redis_socket = Path(installation.settings.redis_url.removeprefix("unix://"))
    redis_socket.chmod(0o777)
    url = make_url(installation.settings.database_url)
    postgresql_socket = Path(str(url.query["host"])) / ".s.PGSQL.5432"
    here = url.update_query_dict({"host": SOCKETS}).render_as_string(hide_password=False)
    return Place(
        {
            f"{PREFIX}DATABASE_URL": here,
            f"{PREFIX}REDIS_URL": f"unix://{SOCKETS}/redis.sock",
            f"{PREFIX}NAMESPACE": installation.settings.namespace,
        },
        {
            "/var/lib/despensa": home,
            "/run/secrets/keys": keys,
            f"{SOCKETS}/redis.sock": redis_socket,
            f"{SOCKETS}/.s.PGSQL.5432": postgresql_socket,
        },
    )


def is_unwell_once_it_is_late(container: Container) -> bool:
    """False, too, where the service did its part between the two: once a minute it does."""
    assert container.execute("python", "-c", AGE).returncode == 0
    return not container.is_well()


@pytest.mark.debian
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_month_is_credited_in_containers_that_can_write_nothing_but_their_volumes(
    installation: Installation, image: Image, place: Place, tmp_path: Path
) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 40, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    log = tmp_path / "worker.out"

    with (
        started(
            image, tmp_path / "w", "worker", environment=place.environment, volumes=place.volumes, output=log
        ) as worker,
        started(image, tmp_path / "s", "scheduler", environment=place.environment, volumes=place.volumes) as scheduler,
    ):
        until(lambda: len(vouchers_of(installation.database, run)) == 40, what="the vouchers", within_s=120)
        for each in (worker, scheduler):
            until(each.is_well, what="a service that is well")
            refused = [each.execute("touch", f"{folder}/x").stderr for folder in UNWRITABLE]
            assert all("Read-only file system" in text for text in refused), refused
            assert each.execute("id", "-u").stdout.strip() == str(image.uid)
            until(partial(is_unwell_once_it_is_late, each), what="an old file to be called unwell")
            until(each.is_well, what="the next minute", within_s=90)
        codes = [each.stop(within_s=STOP_S) for each in (worker, scheduler)]

    assert codes == [0, 0]
    assert b'"event":"worker.seen"' in log.read_bytes()


@pytest.mark.debian
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_image_holds_bytecode_of_all_that_it_runs(image: Image) -> None:
    sources = [path for path in (image.root / "app").rglob("*.py") if ".venv/bin" not in str(path)]
    compiled = {path.name.split(".")[0] for path in (image.root / "app").rglob("__pycache__/*.pyc")}

    ours = {path for path in sources if ".venv" not in path.parts and path.parent != image.root / "app"}
    assert len(ours) > 100
    assert {path.stem for path in sources if path.parent != image.root / "app"} <= compiled
    assert not list((image.root / "app").rglob("tests/unit"))


@pytest.mark.debian
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_log_is_rotated_and_shipped_by_nobody_as_compose_says(builder: Builder, tmp_path: Path) -> None:
    """The two services of deploy/compose that are no despensa, with their commands, volumes and health checks."""
    services = YAML(typ="safe").load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]
    logs = builder.build("logs")
    log, port = tmp_path / "log", free_port()
    log.mkdir()
    with Log.to_file(log / "worker.jsonl", "despensa-worker") as writing:
        writing.observe(WorkerSeen())
    before_yesterday = 'logrotate state -- version 2\n"/var/log/despensa/worker.jsonl" 2026-1-1-0:0:0\n'
    for name in ("rotate", "ship"):
        (tmp_path / f"{name}-state").mkdir()
    (tmp_path / "rotate-state" / "rotated").write_text(before_yesterday)
    for each in [log, *tmp_path.glob("*/*"), *tmp_path.glob("*-state")]:
        shutil.chown(each, logs.uid, logs.uid)

    def service(name: str) -> AbstractContextManager[Container]:
        mounts = {target: source for source, target in (each.split(":")[:2] for each in services[name]["volumes"])}
        volumes = {at: ROOT / "deploy/compose" / source for at, source in mounts.items() if source.startswith(".")}
        volumes |= {"/var/log/despensa": log, "/var/lib/logs": tmp_path / f"{name}-state"}
        return started(
            logs, tmp_path / name, *services[name]["command"], entrypoint=services[name].get("entrypoint"),
            environment={"LOKI_URL": f"http://127.0.0.1:{port}"}, volumes=volumes,
        )  # fmt: skip

    def is_well(container: Container, name: str) -> bool:
        kind, *words = services[name]["healthcheck"]["test"]
        shell = ["sh", "-c"] if kind == "CMD-SHELL" else []
        return container.execute(*shell, *(word.replace("$$", "$") for word in words)).returncode == 0

    with a_loki(port) as came, service("ship") as ship, service("rotate") as rotating:
        until(lambda: list(log.glob("worker.jsonl-*")), what="the rotation")
        until(lambda: is_well(ship, "ship") and is_well(rotating, "rotate"), what="both to be well")
        (log / "worker.jsonl").touch(mode=0o600)
        shutil.chown(log / "worker.jsonl", logs.uid, logs.uid)
        with Log.to_file(log / "worker.jsonl", "despensa-worker") as writing:
            writing.observe(WorkerSeen())
        until(lambda: came, what="a line in Loki")
        assert ship.stop(within_s=10) == 0

    assert {service_name for service_name, *_ in came} == {"despensa-worker"}
    assert (log / "worker.jsonl").stat().st_size > 0
