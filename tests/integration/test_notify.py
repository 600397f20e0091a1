"""Telling stores: signed, once each as far as they answer, and no store delays another."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook

from models.keys import load_keys, store_secret
from models.messages import SendNotice
from models.states import NoticeState
from models.storage import Database
from models.tables import Notice, Run, Store
from scheduler.close import close
from scheduler.dispatch import dispatch
from scheduler.notices import list_due_notices, resend
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, notices_of
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import expire_stamps
from workers.credit import credit_batch, take_batch
from workers.notify import ATTEMPTS_MAX, BREAKER_FAILURES, settle_notice, take_notice
from workers.stores.webhook import Delivered


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """A store that answers 200 unless told otherwise."""
    with FakeStore.open() as store:
        yield store


def a_completed_run(database: Database, store: FakeStore, *, stores: int = 1) -> Run:
    """A run whose notices are due."""
    programme = a_programme(database, store_url=store.url, stores=stores)
    families(database, programme, 4, location=TIJUANA)
    run = a_released_run(database, programme)
    for batch in batches_of(database, run):
        lease = take_batch(database, batch.id)
        assert lease is not None
        credit_batch(database, lease, key_version=1)
    with database.transaction() as tx:
        assert close(tx, run.id)
    return run


def try_all(installation: Installation) -> None:
    """One attempt at every notice, as if its time had come and no breaker were open."""
    expire_stamps(installation.database)
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Store).values(breaker_until=None))
    for notice in notices_of(installation.database):
        installation.receive(SendNotice(notice.id))


def test_notice_is_signed_thin_and_delivered(installation: Installation, store: FakeStore) -> None:
    run = a_completed_run(installation.database, store)
    notice = notices_of(installation.database, run)[0]

    installation.receive(SendNotice(notice.id))

    _, headers, body = store.received[0]
    secret = store_secret(load_keys(installation.settings.keys, "webhook"), store_id=notice.store_id, version=1)
    assert Webhook(secret).verify(body, headers)
    said = store.bodies[0]
    assert said["type"] == "run.completed"
    assert said["data"] == {
        "programme": "northern-mexico", "run": "2026-12/02004", "location": "02004", "cycle": "2026-12", "part": 1,
        "number": 1, "vouchers": 4, "amount_minor": run.planned_minor, "currency": "MXN", "validity_days": 60,
        "permitted_goods": ["food"], "excluded_goods": ["alcohol"],
    }  # fmt: skip
    assert notices_of(installation.database, run)[0].state == NoticeState.DELIVERED


def test_notice_holds_nothing_of_a_family(installation: Installation, store: FakeStore) -> None:
    run = a_completed_run(installation.database, store)

    installation.receive(SendNotice(notices_of(installation.database, run)[0].id))

    text = str(store.received).lower()
    for word in ("r-02004-0000", "household", "registration", "member", "single_caregiver", "mpp_asylum_seeker"):
        assert word not in text


def test_same_message_twice_posts_once(installation: Installation, store: FakeStore) -> None:
    run = a_completed_run(installation.database, store)
    notice = notices_of(installation.database, run)[0]

    installation.receive(SendNotice(notice.id))
    installation.receive(SendNotice(notice.id))

    assert len(store.received) == 1


def test_failed_notice_is_tried_again_with_the_same_id_and_a_fresh_signature(
    installation: Installation, store: FakeStore
) -> None:
    store.answers = [500, 503]
    a_completed_run(installation.database, store)

    for _ in range(3):
        try_all(installation)

    assert len(set(store.webhook_ids)) == 1
    assert len(store.received) == 3
    assert [notice.state for notice in notices_of(installation.database)] == [NoticeState.DELIVERED]


def test_store_that_asks_to_wait_is_given_its_time(installation: Installation, store: FakeStore) -> None:
    store.answers = [429]
    store.headers_by_answer = {429: {"retry-after": "900"}}
    run = a_completed_run(installation.database, store)

    installation.receive(SendNotice(notices_of(installation.database, run)[0].id))

    notice = notices_of(installation.database, run)[0]
    assert notice.tried_at is not None
    assert notice.next_attempt_at - notice.tried_at == timedelta(seconds=900)


def test_exhausted_notice_is_undelivered_and_can_be_sent_again(installation: Installation, store: FakeStore) -> None:
    store.answers = [500] * ATTEMPTS_MAX
    run = a_completed_run(installation.database, store)
    for _ in range(ATTEMPTS_MAX + 2):
        try_all(installation)
    undelivered = notices_of(installation.database, run)[0]
    assert (undelivered.state, undelivered.attempts) == (NoticeState.UNDELIVERED, ATTEMPTS_MAX)
    assert len(store.received) == ATTEMPTS_MAX

    with installation.database.transaction() as tx:
        assert resend(tx, undelivered.store_id) == 1
    try_all(installation)

    assert notices_of(installation.database, run)[0].state == NoticeState.DELIVERED
    assert len(set(store.webhook_ids)) == 1


def test_store_that_is_gone_is_not_asked_again(installation: Installation, store: FakeStore) -> None:
    store.answers = [410]
    run = a_completed_run(installation.database, store)

    try_all(installation)
    try_all(installation)

    assert len(store.received) == 1
    assert notices_of(installation.database, run)[0].state == NoticeState.UNDELIVERED


def test_redirect_is_not_followed(installation: Installation, store: FakeStore) -> None:
    """A signed body goes to the address that was agreed on, and nowhere else."""
    store.answers = [307]
    store.headers_by_answer = {307: {"location": store.url.format(store="elsewhere")}}
    a_completed_run(installation.database, store)

    try_all(installation)

    assert len(store.received) == 1
    assert notices_of(installation.database)[0].state == NoticeState.DUE


def test_breaker_cuts_a_failing_store_off_and_leaves_the_others_alone(
    installation: Installation, store: FakeStore
) -> None:
    run = a_completed_run(installation.database, store, stores=2)
    dead, alive = (notice.store_id for notice in notices_of(installation.database, run))
    with installation.database.transaction() as tx:
        tx.connection.execute(
            update(Store).where(Store.id == dead).values(url="http://127.0.0.1:9/", failures=BREAKER_FAILURES - 1)  # type: ignore[arg-type]
        )

    for notice in notices_of(installation.database, run):
        installation.receive(SendNotice(notice.id))

    expire_stamps(installation.database)
    with installation.database.transaction() as tx:
        assert list_due_notices(tx, limit=10) == [], "cut off"
        assert tx.get(Store, Store.id == dead).breaker_until is not None
        assert tx.get(Store, Store.id == alive).breaker_until is None
    assert {notice.store_id: notice.state for notice in notices_of(installation.database)} == {
        dead: NoticeState.DUE,
        alive: NoticeState.DELIVERED,
    }


def test_store_that_is_busy_gets_one_notice_at_a_time(installation: Installation, store: FakeStore) -> None:
    run = a_completed_run(installation.database, store)
    first = notices_of(installation.database, run)[0]
    with installation.database.transaction() as tx:
        tx.add(
            Notice(
                run_id=run.id, store_id=first.store_id, number=2, webhook_id="msg_2", vouchers=4, amount_minor=1,
                made_at=tx.now, next_attempt_at=tx.now,
            )
        )  # fmt: skip

    assert dispatch(installation.database, installation.broker) == 1
    assert dispatch(installation.database, installation.broker) == 0
    assert take_notice(installation.database, first.id, keys=installation.place.webhook_keys) is not None


def test_attempt_whose_lease_was_lost_does_not_settle(installation: Installation, store: FakeStore) -> None:
    run = a_completed_run(installation.database, store)
    notice = notices_of(installation.database, run)[0]
    slow = take_notice(installation.database, notice.id, keys=installation.place.webhook_keys)
    assert slow is not None
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Notice).values(lease_until=datetime(2020, 1, 1, tzinfo=UTC)))
    expire_stamps(installation.database)
    installation.receive(SendNotice(notice.id))

    assert settle_notice(installation.database, notice.id, slow, Delivered()).outcome == "lease lost"

    delivered = [line for line in _events(installation) if line == "notice.delivered"]
    assert len(delivered) == 1


def test_worker_that_dies_in_its_last_attempt_leaves_no_notice_in_between(
    installation: Installation, store: FakeStore
) -> None:
    run = a_completed_run(installation.database, store)
    with installation.database.transaction() as tx:
        past = datetime(2020, 1, 1, tzinfo=UTC)
        tx.connection.execute(update(Notice).values(attempts=ATTEMPTS_MAX, lease_until=past))

    try_all(installation)

    assert store.received == []
    assert notices_of(installation.database, run)[0].state == NoticeState.UNDELIVERED


def _events(installation: Installation) -> list[object]:
    installation.ticker().tick()
    return [line["event"] for line in installation.lines()]
