"""The kept head: never backwards, whole or absent, and Redis is no obstacle."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import fakeredis
import pytest
import redis

from models.kept_head import Head, KeptHead

KEY = "test:journal-head"
FIRST, SECOND = Head(7, "a" * 64), Head(8, "b" * 64)


@pytest.fixture
def client() -> "redis.Redis":
    """A Redis in this process."""
    return cast("redis.Redis", fakeredis.FakeRedis(server=fakeredis.FakeServer()))


@pytest.fixture
def open_kept(tmp_path: Path, client: "redis.Redis") -> Callable[[], KeptHead]:
    """The kept head as another process finds it."""
    return lambda: KeptHead(tmp_path / "state" / "journal-head", client, key=KEY)


def test_what_one_process_keeps_another_finds(open_kept: Callable[[], KeptHead], tmp_path: Path) -> None:
    open_kept().keep(FIRST)

    assert open_kept().heads() == [FIRST]
    assert (tmp_path / "state" / "journal-head").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["journal-head"]


def test_file_and_redis_suffice_each_alone(
    open_kept: Callable[[], KeptHead], client: "redis.Redis", tmp_path: Path
) -> None:
    open_kept().keep(FIRST)
    client.delete(KEY)
    by_file = open_kept().heads()
    open_kept().replace(FIRST)
    (tmp_path / "state" / "journal-head").unlink()

    assert (by_file, open_kept().heads()) == ([FIRST], [FIRST])


def test_process_remembers_what_it_kept_though_all_else_is_gone(
    open_kept: Callable[[], KeptHead], client: "redis.Redis", tmp_path: Path
) -> None:
    kept = open_kept()
    kept.keep(FIRST)
    client.flushall()
    (tmp_path / "state" / "journal-head").unlink()

    assert (kept.heads(), open_kept().heads()) == ([FIRST], [])


def test_head_never_goes_back(open_kept: Callable[[], KeptHead]) -> None:
    """Of two schedulers the slower one writes last; and one that a restore surprised in mid-tick keeps what it knew."""
    kept = open_kept()
    kept.keep(SECOND)
    kept.keep(FIRST)
    open_kept().keep(FIRST)

    assert (kept.heads(), open_kept().heads()) == ([SECOND], [SECOND])


def test_restored_database_begins_anew(open_kept: Callable[[], KeptHead]) -> None:
    kept = open_kept()
    kept.keep(SECOND)
    kept.replace(FIRST)

    assert (kept.heads(), open_kept().heads()) == ([FIRST], [FIRST])


def test_journal_without_a_seal_is_nothing_to_keep(open_kept: Callable[[], KeptHead]) -> None:
    open_kept().keep(Head(0, "0" * 64))

    assert open_kept().heads() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"7", b"7 " + b"a" * 63, b"7 " + b"A" * 64, b"-7 " + b"a" * 64, b"7 " + b"a" * 64 + b"\n\n", b"\xff" * 70],
)
def test_what_is_no_head_counts_as_absent(
    open_kept: Callable[[], KeptHead], client: "redis.Redis", tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal-head").write_bytes(content)
    client.set(KEY, content)

    before = open_kept().heads()
    open_kept().keep(FIRST)

    assert (before, open_kept().heads()) == ([], [FIRST])


def test_redis_key_of_another_kind_counts_as_absent(open_kept: Callable[[], KeptHead], client: "redis.Redis") -> None:
    client.lpush(KEY, "7")

    open_kept().keep(FIRST)

    assert open_kept().heads() == [FIRST]


@pytest.mark.long
def test_redis_that_is_away_is_no_obstacle(tmp_path: Path) -> None:
    nobody = redis.Redis(unix_socket_path=str(tmp_path / "none.sock"))
    kept = KeptHead(tmp_path / "journal-head", nobody, key=KEY)

    kept.keep(FIRST)

    assert KeptHead(tmp_path / "journal-head", nobody, key=KEY).heads() == [FIRST]
    nobody.close()


def test_file_that_cannot_be_written_leaves_nothing_half_written(tmp_path: Path, client: "redis.Redis") -> None:
    """Redis has it all the same."""
    (tmp_path / "journal-head").mkdir()
    kept = KeptHead(tmp_path / "journal-head", client, key=KEY)

    with pytest.raises(OSError, match="directory"):
        kept.keep(FIRST)

    assert [each.name for each in tmp_path.iterdir()] == ["journal-head"]
    assert kept.heads() == [FIRST]
    assert client.get(KEY) == f"7 {'a' * 64}\n".encode()
