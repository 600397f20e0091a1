"""Least privilege in Redis: a month runs with the published login, which needs all of its rights and has no others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from dramatiq.brokers.redis import _scripts

from console.doctor_redis import checks_of_redis
from models.broker import dispatch_script, require_answer, waiting
from models.kept_head import KEY
from models.messages import CREDIT_QUEUE
from models.settings import Settings
from models.storage import Database
from tests.builders import TIJUANA, a_programme, a_released_run, families, notices_of, vouchers_of
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.redis_site import FOLDER, PASSWORD, RedisSite, a_redis_site
from tests.waiting import until

pytestmark = pytest.mark.long

FAMILIES = 30
PUBLISHED = (FOLDER / "users.acl").read_text()


@pytest.fixture
def site(servers_from: str, tmp_path: Path) -> Iterator[RedisSite]:
    """As published."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with a_redis_site(servers_from, folder) as site:
        yield site


@pytest.fixture
def installation(site: RedisSite, postgresql_database: Database, tmp_path: Path) -> Iterator[Installation]:
    """Of which every process has the published login."""
    url = postgresql_database.url.render_as_string(hide_password=False)
    with Installation.open(
        tmp_path / "home", postgresql_database, database_url=url, redis_url=site.url, namespace="despensa"
    ) as installation:
        yield installation


def allowed() -> set[str]:
    """The commands of the published login."""
    return {word[1:].partition("|")[0] for word in PUBLISHED.splitlines()[1].split() if word.startswith("+")}


def leave_behind(client: redis.Redis) -> None:
    """What a worker that died long ago held, an old dead letter, and what somebody else wrote into a queue."""
    client.zadd("despensa:__heartbeats__", {"dead": 0})
    client.sadd("despensa:__acks__.dead.credit", "held")
    client.hset("despensa:credit.msgs", "held", "nonsense")
    client.zadd("despensa:credit.XQ", {"letter": 0})
    client.hset("despensa:credit.XQ.msgs", "letter", "nonsense")
    client.rpush("despensa:credit", "forged")
    client.hset("despensa:credit.msgs", "forged", "nonsense")
    client.config_resetstat()


def test_month_needs_every_right_of_the_published_login_and_no_other(
    installation: Installation, site: RedisSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance at each command, so that all of Dramatiq's script is gone through."""
    monkeypatch.setattr(installation.broker, "maintenance_chance", 1_000_000)
    with FakeStore.open() as store, site.client("admin") as admin:
        leave_behind(admin)
        programme = a_programme(installation.database, store_url=store.url)
        families(installation.database, programme, FAMILIES, location=TIJUANA)
        run = a_released_run(installation.database, programme)

        require_answer(installation.broker.client)
        with installation.workers():
            ticker = installation.ticker()
            until(lambda: _is_over(installation, ticker.tick()), what="the month", within_s=60)
            until(lambda: admin.zscore("despensa:__heartbeats__", "dead") is None, what="maintenance")
        depth = waiting(installation.broker, CREDIT_QUEUE)
        states = {check.name: check.state for check in checks_of_redis(installation.settings, database_skew=None)}
        used = {name.removeprefix("cmdstat_").partition("|")[0] for name in admin.info("commandstats")}
        # Its client tells its version where it may, and does not mind.
        refused = [entry["object"] for entry in admin.acl_log() if not entry["object"].startswith("client")]
        kept = admin.get(f"despensa:{KEY}")

    assert len(vouchers_of(installation.database, run)) == FAMILIES
    assert refused == []
    assert allowed() - used == set()
    assert depth == 0
    assert kept is not None
    assert states["Redis policy"] == states["Redis persistence"] == states["Redis version"] == "ok"


def _is_over(installation: Installation, _ticked: object) -> bool:
    notices = notices_of(installation.database)
    return bool(notices) and all(str(notice.state) == "delivered" for notice in notices)


@pytest.mark.parametrize(
    "words",
    [
        ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "GET", "*"),
        ("SHUTDOWN", "NOSAVE"), ("KEYS", "*"), ("SCAN", "0"), ("EVAL", "return 1", "0"), ("SCRIPT", "FLUSH"),
        ("MODULE", "LIST"), ("ACL", "LIST"), ("ACL", "SETUSER", "despensa", "+@all"), ("REPLICAOF", "NO", "ONE"),
        ("CLIENT", "KILL", "TYPE", "normal"), ("MONITOR",), ("SUBSCRIBE", "x"), ("SELECT", "1"), ("SAVE",),
        ("GET", "other:journal-head"), ("SET", "other:journal-head", "1"), ("RPUSH", "other:credit", "x"),
        ("DEL", "despensa2:credit"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_no_month_needs_is_refused(site: RedisSite, words: tuple[str, ...]) -> None:
    with site.client() as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)


def test_another_environment_is_out_of_reach_of_a_script_as_well(site: RedisSite) -> None:
    """The keys of Dramatiq's script are made within it."""
    with site.client() as client:
        script = client.register_script(dispatch_script())
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|can't access|No permissions"):
            script(args=["fetch", 0, "credit", "me", 60_000, 1, 0, 7_000, 1], keys=["other"])


@pytest.mark.parametrize("login", [None, "default", "despensa"])
def test_nobody_comes_in_without_the_password(site: RedisSite, login: str | None) -> None:
    client = site.client(login, password=None if login is None else "wrong")
    with client, pytest.raises(redis.exceptions.RedisError, match=r"(?i)authenticat|invalid username"):
        client.ping()


def test_published_login_lets_nobody_in_before_it_has_a_password(servers_from: str, tmp_path: Path) -> None:
    with a_redis_site(servers_from, tmp_path) as site, site.client("admin") as admin:
        admin.execute_command("ACL", "SETUSER", "despensa", "resetpass")
        with site.client() as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()


def test_doctor_says_that_it_may_not_look_where_the_login_does_not_let_it(
    servers_from: str, tmp_path: Path, postgresql_database: Database
) -> None:
    """An operator may want it so: nothing fails by it."""
    narrow = PUBLISHED.replace(" +info", "").replace(" +time", "")
    with a_redis_site(servers_from, tmp_path, acl=narrow) as site:
        url = postgresql_database.url.render_as_string(hide_password=False)
        settings = Settings(database_url=url, redis_url=site.url)
        checks = list(checks_of_redis(settings, database_skew=None))

    assert [(check.state, check.detail) for check in checks] == [("warning", "this login is not allowed to look")]
    assert "users.acl" in checks[0].hint


def test_script_asks_for_no_keys_of_others() -> None:
    """It is Dramatiq's but for that; another release's script is refused at the start."""
    assert '"keys"' not in dispatch_script()
    assert _scripts["dispatch"].decode().count('"keys"') == 1


def test_no_password_is_published() -> None:
    assert PASSWORD not in PUBLISHED
    assert not set("#>") & set(PUBLISHED)
