"""One signed webhook to a store: Standard Webhooks, thin, with deadlines, and an answer that is a value."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import orjson
from standardwebhooks.webhooks import Webhook
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from models.deadlines import RETRY_AFTER_S_MAX, STORE_CALL_S
from models.outgoing import Outgoing
from workers.guard import Guard, Refused

CONNECT_TIMEOUT_S = 3
#: So often a connection that was refused is tried within one attempt: nothing had left this host.
CONNECT_TRIES = 2
#: A store's answer is not read further.
ANSWER_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Delivered:
    """The store answered 2xx."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The store answered 410: it wants no more of these."""

    error: str = "http 410"


@dataclass(frozen=True, slots=True)
class TryLater:
    """No usable answer. `error` is a class of trouble, never text of the store."""

    error: str
    retry_after_s: int = 0


Answer = Delivered | Gone | TryLater


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is sent. `secrets` are all that sign: two during a rotation."""

    url: str
    webhook_id: str
    body: bytes
    secrets: Sequence[str]


def deliver(webhook: Envelope, outgoing: Outgoing) -> Answer:
    """Post a webhook once. The id is the same on every attempt, the timestamp is fresh. Never raises for the store."""
    return asyncio.run(_deliver(webhook, outgoing))


def headers(webhook: Envelope, *, now: datetime) -> dict[str, str]:
    """The signed headers. `now` in UTC: the reference library signs another zone's time wrongly."""
    signatures = [Webhook(secret).sign(webhook.webhook_id, now, webhook.body.decode()) for secret in webhook.secrets]
    return {
        "content-type": "application/json",
        "webhook-id": webhook.webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def encode(kind: str, *, now: datetime, fields: dict[str, object]) -> bytes:
    """The body: a type, a time, and counts and sums. Nothing of a family."""
    return orjson.dumps({"type": kind, "timestamp": now.isoformat(), "data": fields})


async def _deliver(webhook: Envelope, outgoing: Outgoing) -> Answer:
    try:
        async with (
            asyncio.timeout(STORE_CALL_S),  # over both tries
            Guard.open(outgoing, calls=1, call_s=STORE_CALL_S) as guard,
        ):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(aiohttp.ClientConnectorError),
                stop=stop_after_attempt(CONNECT_TRIES),
                wait=wait_random(0.1, 0.5),
                reraise=True,
            ):
                with attempt:
                    return await _post(guard, webhook)
    except Refused as error:
        return TryLater(f"refused: {error}")
    except TimeoutError:
        return TryLater("timeout")
    except aiohttp.ClientConnectorError:
        return TryLater("connection refused")
    except (aiohttp.ClientError, OSError, ValueError):
        return TryLater("connection failed")
    raise AssertionError("a retry ends with an answer or an exception")


async def _post(guard: Guard, webhook: Envelope) -> Answer:
    signed = headers(webhook, now=datetime.now(UTC))
    timeout = aiohttp.ClientTimeout(total=STORE_CALL_S, connect=CONNECT_TIMEOUT_S)
    async with guard.request("POST", webhook.url, body=webhook.body, headers=signed, timeout=timeout) as response:
        await response.content.read(ANSWER_BYTES_MAX)
        if 200 <= response.status < 300:
            return Delivered()
        if response.status == 410:
            return Gone()
        return TryLater(f"http {response.status}", _retry_after(response.headers.get("retry-after", "")))


def _retry_after(text: str) -> int:
    return min(int(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() and len(text) < 9 else 0
