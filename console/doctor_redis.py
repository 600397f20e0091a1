"""What `doctor` asks Redis: version, policy, persistence, memory, clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.config import Check
from console.doctor_database import skew_check
from models.errors import Exit

if TYPE_CHECKING:
    from models.settings import Settings

REDIS_MIN, REDIS_MAX = (6, 2), (8, 99)
#: In hundredths of its limit. A full Redis takes no message: with noeviction it drops none that it has.
FULL_WARNING, FULL_FAILED = 80, 95
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What `INFO` says of a Redis."""

    version: str
    policy: str  #: maxmemory_policy
    append_only: bool
    last_write: str  #: of the append-only file: ok or err
    used_bytes: int
    limit_bytes: int  #: maxmemory; 0 is none


def checks_of_redis(settings: Settings, *, database_skew: timedelta | None) -> Iterator[Check]:
    """Of a Redis that answers. `database_skew` is the database's clock against this host's."""
    from redis.exceptions import NoPermissionError, RedisError

    from models.broker import redis_client

    client: Any = redis_client(settings.redis_url)
    try:
        found = {
            name: value for part in ("server", "memory", "persistence") for name, value in client.info(part).items()
        }
        before = datetime.now(UTC)
        whole_s, micros = client.time()
        after = datetime.now(UTC)
    except NoPermissionError:
        hint = "+info +time, as in deploy/redis/users.acl; nothing else needs it"
        yield Check("Redis version", "warning", "this login is not allowed to look", hint)
        return
    except RedisError as error:
        yield Check("Redis version", "warning", f"Redis does not say: {type(error).__name__}", "despensa doctor")
        return
    finally:
        client.close()
    yield from redis_checks(
        RedisFacts(
            version=str(found.get("redis_version", "0.0")),
            policy=str(found.get("maxmemory_policy", "unknown")),
            append_only=bool(found.get("aof_enabled", 0)),
            last_write=str(found.get("aof_last_write_status", "unknown")),
            used_bytes=int(found.get("used_memory", 0)),
            limit_bytes=int(found.get("maxmemory", 0)),
        )
    )
    theirs = datetime.fromtimestamp(int(whole_s), UTC) + timedelta(microseconds=int(micros))
    yield redis_skew_check(theirs - (before + (after - before) / 2), database_skew=database_skew)


def redis_checks(found: RedisFacts) -> Iterator[Check]:
    """What is as it should be, and what is not."""
    number = tuple(int(part) for part in found.version.split(".")[:2])
    tested = REDIS_MIN <= number <= REDIS_MAX
    hint = "" if tested else "6.2 to 8 are tested"
    yield Check("Redis version", "ok" if tested else "warning", f"Redis {found.version}", hint)
    kept = found.policy == "noeviction"
    detail = "noeviction" if kept else f"maxmemory-policy is {found.policy}, not noeviction"
    hint = "set it in redis.conf; until then messages may be lost, which costs seconds, never money"
    yield Check("Redis policy", "ok" if kept else "warning", detail, "" if kept else hint)
    yield _persistence(found)
    yield _memory(found)


def redis_skew_check(skew: timedelta, *, database_skew: timedelta | None) -> Check:
    """Against this host, and against the database, by whose clock leases run."""
    besides = ""
    if database_skew is not None:
        apart = abs(skew - database_skew).total_seconds()
        besides = f", {apart:.1f} s from the database"
    return skew_check(skew, name="Redis clock skew", whose="Redis", besides=besides)


def _persistence(found: RedisFacts) -> Check:
    if not found.append_only:
        hint = "appendonly yes in redis.conf; without it a restart loses what waits: seconds, never money"
        return Check("Redis persistence", "warning", "there is no append-only file", hint)
    if found.last_write != "ok":
        hint = "its disk is full or broken: Redis refuses messages until it can write; see its log"
        detail = f"the last write of the append-only file: {found.last_write}"
        return Check("Redis persistence", "failed", detail, hint, Exit.FAILED)
    return Check("Redis persistence", "ok", "append-only file, its last write ok")


def _memory(found: RedisFacts) -> Check:
    used = f"{found.used_bytes / MIB:,.1f} MiB used"
    if not found.limit_bytes:
        return Check("Redis memory", "ok", f"{used}, no limit")
    full = 100 * found.used_bytes // found.limit_bytes
    detail = f"{used} of {found.limit_bytes / MIB:,.1f} MiB, {full} %"
    hint = "raise maxmemory, or see what else is kept there: a full Redis takes no message"
    if full >= FULL_FAILED:
        return Check("Redis memory", "failed", detail, hint, Exit.FAILED)
    return Check(
        "Redis memory", "warning" if full >= FULL_WARNING else "ok", detail, "" if full < FULL_WARNING else hint
    )
