"""Bad input at every door: whatever comes in is taken whole, or refused in one way that is known, and changes nothing.

Each door is given bytes at random, and something good that was damaged: a byte changed, cut out, doubled, a piece of
another language put in. No exception but its refusal may leave it, and a refusal repeats nothing of a family's.
"""

import gzip
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.dashboard.board import Board
from console.dashboard.server import VIEWS
from console.log_examples import examples
from console.log_totals import read_totals
from console.log_verify import verify
from models.broker import StrictEncoder
from models.errors import DespensaError
from models.handed_over import read_handed_over
from models.handover import EXPORT_HEADER
from models.intake.load import load
from models.kept_head import KeptHead
from models.keys import init_keys, load_keys, parse_voucher_number, voucher_number
from models.messages import CREDIT_QUEUE, QUARANTINE_ACTOR, CreditBatch
from models.outgoing import INTERNET
from models.runs import parse_cycle, parse_run
from models.settings import Settings, read_settings
from models.storage import Database, sqlite_url
from models.tables import Household, Run
from tests.ledger import count
from tests.tidy.test_tidy import ROOT
from workers.issuers.answers import Answer, Credit, Credited, Response, of_ask, of_send
from workers.stores.webhook import _retry_after

#: Never repeated by a refusal: a registration, and a name where one should be.
REGISTRATION, NAME = "CANARIO-7731", "Núñez"
SAMPLE = ROOT / "deploy" / "programmes" / "northern-mexico"
FEW = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

#: What people and programs leave in a file.
PIECES = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b'""', b",", b";", b"\n", b"\r\n", b"\r", b"\t", b"'", b"\\",
    b"=cmd|", b"-1", b"1e9", b"NaN", b"Infinity", b"1.5", b"99999999999999999999", "٣".encode(),
    "𝟗".encode(), NAME.encode(),
    b"{}", b"[]", b"null", b"[" * 200, b"\x1b[2J", b"%00", b"../..", b"${HOME}", b"true", b"2026-13", b"\xc3\x28",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Something good, damaged in one to four places; or bytes at random."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(0, 12))
        content[place : place + length] = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
    return bytes(content)


def refused(act: Callable[[], object]) -> bool:
    """Whether it was refused as things are refused here. Any other exception is the fault that is looked for."""
    try:
        act()
    except DespensaError as error:
        told = f"{error} {error.hint}"
        assert (REGISTRATION not in told and NAME not in told and told.isprintable()) or "\n" in told
        return True
    return False


FILES = ("programme.toml", "locations.csv", "stores.csv", "rates.csv", "households.csv", "funds.csv")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that knows the sample programme, and a family."""
    from models import schema

    home = tmp_path_factory.mktemp("imported")
    database = Database(sqlite_url(home / "despensa.sqlite3"))
    schema.upgrade(database)
    init_keys(home / "keys")
    folder = home / "programme"
    shutil.copytree(SAMPLE, folder)
    rows = (folder / "households.csv").read_text() + f"{REGISTRATION},02004,3,pregnant,2026-12,,active\n"
    (folder / "households.csv").write_text(rows)
    load(database, folder, programme=None, dry_run=False, show=lambda _: None, keys=home / "keys", outgoing=INTERNET)
    database.close()
    return home


TABLES = ("programme", "location", "store", "fund", "exchange_rate", "household", "enrolment", "journal")


def everything(database: Database) -> list[object]:
    """All that an import could change."""
    with database.reading() as tx:
        return [
            tx.connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            for table in (
                "programme",
                "location",
                "store",
                "fund",
                "exchange_rate",
                "household",
                "enrolment",
                "journal",
            )
        ]


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_file_is_taken_whole_or_changes_nothing(imported: Path, name: str, tmp_path: Path) -> None:
    good = (imported / "programme" / name).read_bytes()
    database = Database(sqlite_url(imported / "despensa.sqlite3"))
    file = tmp_path / name

    @settings(FEW, max_examples=80)
    @given(damaged(good))
    def try_it(content: bytes) -> None:
        file.write_bytes(content)
        before = everything(database)
        if refused(
            lambda: load(
                database, file, programme="northern-mexico", dry_run=True, show=lambda _: None, keys=imported / "keys",
                outgoing=INTERNET,
            )
        ):  # fmt: skip
            load_for_good = refused(
                lambda: load(
                    database, file, programme="northern-mexico", dry_run=False, show=lambda _: None,
                    keys=imported / "keys", outgoing=INTERNET,
                )
            )  # fmt: skip
            assert load_for_good
        assert everything(database) == before

    try_it()
    database.close()


ENVIRONMENTS = st.dictionaries(
    st.sampled_from([f"DESPENSA_{name.upper()}" for name in Settings.model_fields])
    | st.text(max_size=20).map(lambda text: f"DESPENSA_{text}"),
    st.text(max_size=60).filter(lambda text: "\0" not in text)
    | st.sampled_from(["", "0", "-1", "postgresql://", "redis://[", "sqlite:///x", "/x", "10.0.0.0/8", "1e3", NAME]),
    max_size=4,
)


@given(ENVIRONMENTS)
@FEW
def test_settings_are_read_or_refused(environment: dict[str, str]) -> None:
    refused(lambda: read_settings({"DESPENSA_HOME": "/nonexistent", **environment}))


GOOD_MESSAGE = orjson.dumps({
    "queue_name": CREDIT_QUEUE, "actor_name": CreditBatch.ACTOR, "args": [], "kwargs": {"batch_id": 7},
    "options": {"version": 1, "redis_message_id": "6f1f0c9e-7f0d-4f0e-9a55-3a1f2c0b9d11"},
    "message_id": "6f1f0c9e-7f0d-4f0e-9a55-3a1f2c0b9d11", "message_timestamp": 1,
})  # fmt: skip


@given(damaged(GOOD_MESSAGE))
@settings(FEW, max_examples=200)
def test_message_is_one_of_ours_or_goes_to_quarantine(content: bytes) -> None:
    """It never raises: that would strand the messages that were fetched with it."""
    decoded = StrictEncoder().decode(content)

    if decoded["actor_name"] == QUARANTINE_ACTOR:
        assert NAME not in repr(decoded["kwargs"]) + decoded["message_id"]  # its place in Redis is its own
    else:
        assert decoded["actor_name"] == CreditBatch.ACTOR
        assert set(decoded["kwargs"]) == {"batch_id"} and isinstance(decoded["kwargs"]["batch_id"], int)


CREDIT = Credit(reference="ab" * 32, amount_minor=70_000, currency="MXN")
GOOD_ANSWER = orjson.dumps({
    "status": "credited", "reference": CREDIT.reference, "amount_minor": 70_000, "currency": "MXN", "credit_id": "c-1",
})  # fmt: skip


@given(st.integers(100, 599), damaged(GOOD_ANSWER), st.text(max_size=12), st.sampled_from([of_send, of_ask]))
@settings(FEW, max_examples=300)
def test_answer_of_an_issuer_is_credited_only_if_it_says_so(
    status: int, body: bytes, retry_after: str, classify: Callable[[Response, Credit], Answer]
) -> None:
    answer = classify(Response(status, body, retry_after), CREDIT)

    if isinstance(answer, Credited):
        said = orjson.loads(body)
        assert status in (200, 201)
        assert (said["reference"], said["amount_minor"], said["currency"]) == (CREDIT.reference, 70_000, "MXN")
        assert type(said["amount_minor"]) is int
    assert NAME not in answer.detail and answer.detail.isprintable()


@given(st.text(max_size=30))
@FEW
def test_wait_that_a_store_asks_for_is_bounded(text: str) -> None:
    assert 0 <= _retry_after(text) <= 86_400


GOOD_LOG = b"\n".join(orjson.dumps(line) for line in examples().values()) + b"\n"


@pytest.mark.long
@given(damaged(GOOD_LOG), st.booleans())
@settings(FEW, max_examples=80)
def test_log_is_read_or_refused_by_file_and_line(tmp_path: Path, content: bytes, packed: bool) -> None:
    """By who verifies, who counts and who shows it."""
    file = tmp_path / ("log.jsonl.gz" if packed else "log.jsonl")
    file.write_bytes(gzip.compress(content) if packed else content)

    refused(lambda: verify([file]))
    refused(lambda: read_totals([file]))
    board = Board([file])
    board.catch_up()
    for show in VIEWS.values():
        show(board, "2026-12/02004", datetime(2026, 12, 1, 20, tzinfo=UTC))


@given(st.text(max_size=40) | st.sampled_from(["2026-12/02004", "x/2026-12/02004.2", "10000013"]))
@settings(FEW, max_examples=300)
def test_what_is_typed_means_something_or_is_refused(text: str) -> None:
    for parse in (parse_run, parse_cycle, parse_voucher_number):
        refused(lambda parse=parse: parse(text))  # type: ignore[misc]


@pytest.fixture(scope="module")
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    init_keys(folder)
    return folder


@given(st.data())
@settings(FEW, max_examples=200)
def test_key_file_is_whole_or_refused(keys_folder: Path, data: st.DataObject) -> None:
    """A key that was half read would give vouchers that exist another PIN."""
    path = keys_folder / "pin.key"
    good = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged(good)))
        if not refused(lambda: load_keys(keys_folder, "pin")):
            assert all(len(key.secret) >= 32 for key in load_keys(keys_folder, "pin").keys)
    finally:
        path.write_bytes(good)


@given(damaged(b"17 " + b"ab" * 32 + b"\n"))
@FEW
def test_kept_head_that_is_damaged_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "head").write_bytes(content)

    for head in KeptHead(tmp_path / "head").heads():
        assert content.startswith(f"{head.seq} {head.hash}".encode())


@given(st.data())
@settings(FEW, max_examples=200)
def test_hand_over_file_is_ours_or_refused(tmp_path: Path, keys_folder: Path, data: st.DataObject) -> None:
    keys = load_keys(keys_folder, "pin")
    row = f"{REGISTRATION},{voucher_number(10_000_001)},000000,700.00,MXN,2027-01-30"
    good = (",".join(EXPORT_HEADER) + f"\n{row}\n").encode()
    file = tmp_path / "handed-over.csv"
    file.write_bytes(data.draw(damaged(good)))

    refused(lambda: read_handed_over([file], run_id=1, currency="MXN", keys=keys))


def test_damaged_is_not_always_refused(imported: Path) -> None:
    """What every door refuses whatever it is given would show nothing."""
    database = Database(sqlite_url(imported / "despensa.sqlite3"))
    with database.reading() as tx:
        assert len(tx.list(Household)) > 1
        assert tx.list(Run) == []
    assert count(database, "SELECT COUNT(*) FROM journal") > 3
    database.close()
    assert StrictEncoder().decode(GOOD_MESSAGE)["actor_name"] == CreditBatch.ACTOR
    assert isinstance(of_send(Response(200, GOOD_ANSWER, ""), CREDIT), Credited)
    assert read_settings({"DESPENSA_HOME": "/nonexistent"}).distributed is False
