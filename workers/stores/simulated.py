"""Stores to rehearse with: a real HTTP server on this host, with chosen faults, that remembers what it accepted.

Paths: POST /stores/<id>/notices for each store, GET /received for what was accepted, as JSON.
A fault is `ok`, or one of FAULTS with a number where it takes one: `error:2` answers 500 twice, then accepts.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from models.errors import RefusedInput

#: What a store does, and what the number after the colon means; without it a fault never ends.
FAULTS = {
    "ok": "accepts",
    "error": "answers 500 to the first N",
    "down": "always answers 500",
    "refuse": "drops the connection of the first N",
    "hang": "never answers the first N",
    "slow": "accepts, after N seconds",
    "late": "accepts the first N, and answers only when the sender has gone",
    "gone": "answers 410",
    "garbage": "answers the first N with what is not HTTP",
    "redirect": "redirects the first N",
    "flaky": "answers 500 to N of 100, chosen by the seed",
}
#: Where a fault is chosen for every store that has none of its own.
ANY_STORE = "*"
BODY_BYTES_MAX = 65_536
START_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """What a store does."""

    kind: str
    number: int | None = None  #: as FAULTS says; None never ends

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """`error:2`. Raises RefusedInput."""
        kind, colon, number = text.partition(":")
        if kind not in FAULTS or (colon and not (number.isascii() and number.isdigit())):
            raise RefusedInput(f"{text!r} is no fault", hint=f"one of {', '.join(FAULTS)}; with a number as error:2")
        if kind in {"error", "slow", "flaky"} and not colon:
            raise RefusedInput(f"the fault {kind} needs a number: it {FAULTS[kind]}", hint=f"{kind}:2")
        return cls(kind, int(number) if colon else None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One webhook that a store accepted, however often it came."""

    store: str
    webhook_id: str
    body: bytes
    times: int  #: 1, unless it was sent again after it had been accepted


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what became of it, for whoever watches."""

    store: str
    webhook_id: str
    outcome: str  #: accepted, again, either with `, late`, bad signature, or the fault
    status: int  #: 0 where no answer was given


@dataclass(slots=True)
class _Store:
    """What one store has seen."""

    chance: random.Random
    requests: int = 0
    refused: int = 0  #: signature or form wrong
    accepted: dict[str, Accepted] = field(default_factory=dict)  #: by webhook id, in order of arrival


class SimulatedStores:
    """The server, on 127.0.0.1, in a thread of its own while the context lasts. Safe to ask from any thread."""

    def __init__(
        self,
        faults: Mapping[str, str] | None = None,
        *,
        secrets: Mapping[str, Sequence[str]] | None = None,
        seed: int = 0,
        port: int = 0,
        watch: Callable[[Answered], None] | None = None,
    ) -> None:
        """`faults` by store, or for all under `*`. With `secrets`, a store that has none refuses every webhook.

        `port` 0 takes a free one; `watch` is called, in the server's thread, for each request.
        """
        self._faults = {store: Fault.parse(text) for store, text in (faults or {}).items()}
        self._secrets = secrets
        self._seed = seed
        self._asked_port = port
        self._watch = watch or (lambda _answered: None)
        self._stores: dict[str, _Store] = {}
        self._lock = threading.Lock()
        self._ready: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="simulated-stores", daemon=True)
        self.port = 0  #: set by start

    def __enter__(self) -> "SimulatedStores":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises RefusedInput where the port is taken."""
        self._thread.start()
        try:
            self.port = self._ready.result(timeout=START_TIMEOUT_S)
        except OSError as error:
            raise RefusedInput(
                f"port {self._asked_port} cannot be used: {error.strerror}", hint="choose another --port, or 0"
            ) from None

    def stop(self) -> None:
        """Answer nobody any more. What was accepted can still be asked for."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=START_TIMEOUT_S)

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.port}"

    def url_of(self, store: str) -> str:
        """Where a store takes its notices."""
        return f"{self.url}/stores/{store}/notices"

    def set_fault(self, store: str, text: str) -> None:
        """From now on; its count of requests begins again."""
        fault = Fault.parse(text)
        with self._lock:
            self._faults[store] = fault
            if store in self._stores:
                self._stores[store].requests = 0

    def accepted(self, store: str | None = None) -> list[Accepted]:
        """The distinct webhooks that a store, or all stores, accepted."""
        with self._lock:
            return [
                each for name, seen in sorted(self._stores.items()) if store in {None, name}
                for each in seen.accepted.values()
            ]  # fmt: skip

    def duplicates(self, store: str | None = None) -> int:
        """How often a webhook came again after it had been accepted: a store must drop those."""
        return sum(each.times - 1 for each in self.accepted(store))

    def as_json(self) -> dict[str, object]:
        """What GET /received answers."""
        with self._lock:
            return {
                "stores": {
                    name: {
                        "accepted": len(seen.accepted),
                        "duplicates": sum(each.times - 1 for each in seen.accepted.values()),
                        "refused": seen.refused,
                        "notices": [
                            {"webhook_id": each.webhook_id, "times": each.times, "body": orjson.loads(each.body)}
                            for each in seen.accepted.values()
                        ],
                    }
                    for name, seen in sorted(self._stores.items())
                }
            }

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/stores/{store}/notices", self._take)
        app.router.add_get("/received", self._show)
        # A sender that has gone ends its handler: that is how `late` knows when to go on.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, "127.0.0.1", self._asked_port).start()
            except OSError as error:
                self._ready.set_exception(error)
                return
            self._ready.set_result(int(runner.addresses[0][1]))
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(body=orjson.dumps({"schema": 1, **self.as_json()}))

    async def _take(self, request: web.Request) -> web.StreamResponse:
        store, webhook_id = request.match_info["store"], request.headers.get("webhook-id", "")
        body = await request.read()
        fault = self._next_fault(store)
        if fault.kind in {"slow", "late", "ok"}:
            if not self._genuine(store, request, body):
                return self._tell(store, webhook_id, "bad signature", web.Response(status=401))
            if fault.kind == "slow":
                await self._pause(fault.number or 0)
            outcome = self._accept(store, webhook_id, body)
            if fault.kind == "late":
                self._watch(Answered(store, webhook_id, f"{outcome}, late", 0))
                await self._never()
            return self._tell(store, webhook_id, outcome, web.Response(status=204))
        if fault.kind in {"hang", "refuse", "garbage"}:
            return await self._no_answer(request, Answered(store, webhook_id, fault.kind, 0))
        answers = {"gone": web.Response(status=410), "redirect": web.Response(status=302, headers={"location": "/"})}
        return self._tell(store, webhook_id, fault.kind, answers.get(fault.kind) or web.Response(status=500))

    def _next_fault(self, store: str) -> Fault:
        """What this request of a store meets: `ok` once a counted fault is over."""
        with self._lock:
            seen = self._seen(store)
            seen.requests += 1
            fault = self._faults.get(store) or self._faults.get(ANY_STORE) or Fault("ok")
            if fault.kind == "flaky":
                return Fault("error" if seen.chance.randrange(100) < (fault.number or 0) else "ok")
            endless = fault.number is None or fault.kind == "slow"
            return fault if endless or seen.requests <= (fault.number or 0) else Fault("ok")

    def _genuine(self, store: str, request: web.Request, body: bytes) -> bool:
        """Whether it is JSON with an id and, where secrets are known, signed with one of the store's."""
        genuine = bool(request.headers.get("webhook-id")) and _is_json(body)
        if genuine and self._secrets is not None:
            headers = dict(request.headers)
            genuine = any(_verifies(secret, body, headers) for secret in self._secrets.get(store, ()))
        if not genuine:
            with self._lock:
                self._seen(store).refused += 1
        return genuine

    def _accept(self, store: str, webhook_id: str, body: bytes) -> str:
        with self._lock:
            accepted = self._seen(store).accepted
            before = accepted.get(webhook_id)
            times = before.times + 1 if before else 1
            accepted[webhook_id] = Accepted(store, webhook_id, before.body if before else body, times)
        return "again" if before else "accepted"

    async def _no_answer(self, request: web.Request, answered: Answered) -> web.StreamResponse:
        self._watch(answered)
        if answered.outcome == "hang":
            await self._never()
        if request.transport is not None:
            if answered.outcome == "garbage":
                request.transport.write(b"\x00\xff this is not HTTP\r\n\r\n")
            request.transport.close()
        return web.Response()

    def _tell(self, store: str, webhook_id: str, outcome: str, response: web.Response) -> web.Response:
        self._watch(Answered(store, webhook_id, outcome, response.status))
        return response

    async def _never(self) -> None:
        """Until the sender has gone, which cancels this, or the server stops."""
        assert self._stopping is not None
        await self._stopping.wait()

    async def _pause(self, seconds: int) -> None:
        assert self._stopping is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _seen(self, store: str) -> _Store:
        """With the lock held."""
        return self._stores.setdefault(store, _Store(random.Random(f"{self._seed}:{store}")))  # noqa: S311  # a rehearsal


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except (WebhookVerificationError, ValueError):  # the library lets what is malformed through as ValueError
        return False
    return True
