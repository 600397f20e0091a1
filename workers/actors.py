"""The actors: thin doors from a message to what it asks for. They decide nothing; the database does."""

from dataclasses import dataclass

import dramatiq

from models.columns import instant_text
from models.events import BatchStuck, MessageQuarantined
from models.keys import KeyRing
from models.log import Log
from models.messages import CREDIT_QUEUE, QUARANTINE_ACTOR, CreditBatch, SendNotice
from models.storage import Database
from workers import credit, notify
from workers.attempts import current_attempt


@dataclass(frozen=True, slots=True)
class Workplace:
    """What workers work with: made in an entry point, passed to `declare`."""

    database: Database
    log: Log
    pin_keys: KeyRing
    webhook_keys: KeyRing


def declare(broker: dramatiq.Broker, place: Workplace) -> None:
    """Declare the actors on this broker."""

    @dramatiq.actor(broker=broker, actor_name=CreditBatch.ACTOR, queue_name=CreditBatch.QUEUE)
    def credit_batch(batch_id: int) -> None:
        current_attempt().outcome = _credit(place, batch_id)

    @dramatiq.actor(broker=broker, actor_name=SendNotice.ACTOR, queue_name=SendNotice.QUEUE)
    def send_notice(notice_id: int) -> None:
        current_attempt().outcome = notify.send_notice(place.database, notice_id, keys=place.webhook_keys)

    @dramatiq.actor(broker=broker, actor_name=QUARANTINE_ACTOR, queue_name=CREDIT_QUEUE)
    def quarantine(digest: str, rule: str) -> None:
        place.log.observe(MessageQuarantined(digest=digest, rule=rule))
        current_attempt().outcome = "quarantined"


def _credit(place: Workplace, batch_id: int) -> str:
    lease = credit.take_batch(place.database, batch_id)
    if lease is None:
        return "nothing"
    try:
        credited = credit.credit_batch(place.database, lease, key_version=place.pin_keys.latest.version)
    except Exception as error:  # the one place that ends a lease after any failure; what it is decides what counts
        failure = credit.return_batch(place.database, lease, error)
        current_attempt().failure = failure
        if failure.stuck_since is not None:
            place.log.observe(
                BatchStuck(batch_id=batch_id, error=failure.error, since=instant_text(failure.stuck_since))
            )
        return "failed"
    if credited is None:
        credit.release_lease(place.database, lease)
        return "lease lost"
    return "credited"
