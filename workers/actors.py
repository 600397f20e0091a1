"""The actors: thin doors from a message to what it asks for. They decide nothing; the database does."""

import threading
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import dramatiq

from models.columns import instant_text
from models.events import BatchStuck, IssuerResumed, IssuerSuspended, MessageQuarantined
from models.keys import KeyRing, load_token
from models.log import Log
from models.messages import CREDIT_QUEUE, QUARANTINE_ACTOR, CreditBatch, SendNotice
from models.outgoing import Outgoing
from models.storage import Database
from workers import credit, notify, outside
from workers.attempts import current_attempt


@dataclass(frozen=True, slots=True)
class Workplace:
    """What workers work with: made in an entry point, passed to `declare`."""

    database: Database
    log: Log
    pin_keys: KeyRing
    webhook_keys: KeyRing
    reference_keys: KeyRing
    stopping: threading.Event  #: set when this process is told to end
    keys_folder: Path  #: where the issuers' tokens lie; read at each take, so that a new one needs no restart
    outgoing: Outgoing  #: where stores and issuers may be


def declare(broker: dramatiq.Broker, place: Workplace) -> None:
    """Declare the actors on this broker."""

    # Dramatiq hands messages on while it stops; the database will have them sent to others.

    @dramatiq.actor(broker=broker, actor_name=CreditBatch.ACTOR, queue_name=CreditBatch.QUEUE)
    def credit_batch(batch_id: int) -> None:
        current_attempt().outcome = "stopping" if place.stopping.is_set() else _credit(place, batch_id)

    @dramatiq.actor(broker=broker, actor_name=SendNotice.ACTOR, queue_name=SendNotice.QUEUE)
    def send_notice(notice_id: int) -> None:
        current_attempt().outcome = "stopping" if place.stopping.is_set() else _notify(place, notice_id)

    @dramatiq.actor(broker=broker, actor_name=QUARANTINE_ACTOR, queue_name=CREDIT_QUEUE)
    def quarantine(digest: str, rule: str) -> None:
        place.log.observe(MessageQuarantined(digest=digest, rule=rule))
        current_attempt().outcome = "quarantined"


def _notify(place: Workplace, notice_id: int) -> str:
    settled = notify.send_notice(place.database, notice_id, keys=place.webhook_keys, outgoing=place.outgoing)
    current_attempt().run_id = settled.run_id
    for event in settled.told:
        place.log.observe(event)
    return settled.outcome


def _credit(place: Workplace, batch_id: int) -> str:
    try:
        lease = credit.take_batch(place.database, batch_id, stopping=place.stopping)
    except credit.NotTaken as error:
        return _failed(place, batch_id, error.failure)
    if lease is None:
        return "nothing"
    current_attempt().run_id = lease.run_id
    try:
        if lease.access is not None:
            return _credit_outside(place, lease, lease.access.programme)
        credited = credit.credit_batch(place.database, lease, key_version=place.pin_keys.latest.version)
    except Exception as error:  # the one place that ends a lease after any failure; what it is decides what counts
        return _failed(place, batch_id, credit.return_batch(place.database, lease, error, stopping=place.stopping))
    if credited is None:
        credit.release_lease(place.database, lease)
        return "lease lost"
    return "credited"


def _failed(place: Workplace, batch_id: int, failure: credit.Failure) -> str:
    current_attempt().failure = failure
    _tell_stuck(place, batch_id, error=failure.error, since=failure.stuck_since)
    return "failed"


def _credit_outside(place: Workplace, lease: credit.Lease, programme: str) -> str:
    outcome = outside.credit_batch(
        place.database,
        lease,
        key_version=place.pin_keys.latest.version,
        references=place.reference_keys,
        token=partial(load_token, place.keys_folder, programme),
        stopping=place.stopping,
        outgoing=place.outgoing,
    )
    health = outcome.health
    if health is not None and health.suspended_until is not None:
        until = instant_text(health.suspended_until)
        place.log.observe(IssuerSuspended(programme=health.programme, failures=health.failures, until=until))
    elif health is not None:
        place.log.observe(IssuerResumed(programme=health.programme))
    if outcome.lease_lost:
        credit.release_lease(place.database, lease)
        return "lease lost"
    _tell_stuck(place, lease.batch_id, error=outcome.error, since=outcome.stuck_since)
    return "put off" if outcome.credited is None else "credited"


def _tell_stuck(place: Workplace, batch_id: int, *, error: str, since: datetime | None) -> None:
    if since is not None:
        place.log.observe(BatchStuck(batch_id=batch_id, error=error, since=instant_text(since)))
