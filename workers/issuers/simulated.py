"""An issuer to rehearse with: a real HTTP server on this host, with chosen, seeded faults, that keeps its own book.

It speaks deploy/issuer-openapi.json. Its book lists every credit that it ever made, and is what tests compare ours
with; GET /book answers it as JSON. A fault is one of FAULTS with how often: `5%` of the requests, the first `3`, or
`all`.
"""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import orjson
from aiohttp import web

from models.columns import instant_text, parse_instant
from models.errors import RefusedInput
from workers.issuers.simulated_book import Book, Made, Told, read_credit
from workers.issuers.simulated_faults import ASK_FAULTS, LATE, Amount, refuse_idle

BODY_BYTES_MAX = 65_536
HUGE_CHUNKS = 1_600
START_TIMEOUT_S = 10
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Served:
    """One request and what became of it, for whoever watches."""

    verb: str
    reference: str
    outcome: str  #: credited, known, absent, conflict, or the fault
    status: int  #: 0 where no answer was given


class SimulatedIssuer:
    """The server, on 127.0.0.1, in a thread of its own while the context lasts. Safe to ask from any thread."""

    def __init__(
        self,
        faults: Mapping[str, str] | None = None,
        *,
        token: str = "",
        seed: int = 0,
        port: int = 0,
        keeps_s: float | None = None,
        visible_after_s: float = 0,
        slow_s: float = 8,
        retry_after_s: int = 1,
        watch: Callable[[Served], None] | None = None,
    ) -> None:
        """Without `token` any is taken. References are forgotten after `keeps_s`; None keeps them.

        `port` 0 takes a free one; `watch` is called, in the server's thread, for each request.
        """
        self._token, self._seed, self._asked_port = token, seed, port
        self._slow_s, self._visible_after_s, self._retry_after_s = slow_s, visible_after_s, retry_after_s
        self._watch = watch or (lambda _served: None)
        self._lock = threading.Lock()
        self._faults: dict[str, Amount] = {}
        self._book = Book(keeps_s=keeps_s, visible_after_s=visible_after_s)
        self._seen: Counter[tuple[str, str]] = Counter()  # requests by verb and reference
        self._of_verb: Counter[str] = Counter()
        self._in_doubt: set[str] = set()  # references sent since the last ask or plain refusal
        self._unasked: list[str] = []
        self._under_way = 0
        self.in_flight_max = 0  #: requests under way at once, at most so far
        self._ready: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="simulated-issuer", daemon=True)
        self.port = 0  #: set by start
        self.set_faults(faults or {})

    def __enter__(self) -> Self:
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
        """Answer nobody any more. The book stays."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=START_TIMEOUT_S)

    @property
    def url(self) -> str:
        """Before /v1, as programme.toml has it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """Sends and asks so far."""
        with self._lock:
            return sum(self._of_verb.values())

    @property
    def unasked(self) -> list[str]:
        """References that were sent again although what became of the last send was not known, and nobody had asked."""
        with self._lock:
            return list(self._unasked)

    @property
    def sends(self) -> dict[str, int]:
        """How often each reference was sent."""
        with self._lock:
            return {reference: count for (verb, reference), count in self._seen.items() if verb == "POST"}

    def set_faults(self, faults: Mapping[str, str]) -> None:
        """From now on; the counts of requests begin again. Raises RefusedInput, also for one that would do nothing."""
        parsed = {name: Amount.parse(name, text) for name, text in faults.items()}
        refuse_idle(parsed, {"--slow": self._slow_s, "--visible-after": self._visible_after_s})
        with self._lock:
            self._faults = parsed
            self._of_verb.clear()

    def book(self) -> list[Made]:
        """Every credit that was ever made, in order, known or forgotten."""
        with self._lock:
            return list(self._book.made)

    def doubled(self) -> int:
        """Credits beyond the first of a reference."""
        book = self.book()
        return len(book) - len({made.reference for made in book})

    def total_minor(self) -> int:
        """The sum of the book."""
        return sum(made.amount_minor for made in self.book())

    def as_json(self) -> dict[str, object]:
        """What GET /book answers."""
        book = self.book()
        return {
            "credits": len(book), "doubled": self.doubled(), "total_minor": self.total_minor(),
            "book": [made.as_json() for made in book],
        }  # fmt: skip

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/v1/credits", self._credit)
        app.router.add_get("/v1/credits/{reference}", self._show)
        app.router.add_get("/v1/statement", self._statement)
        app.router.add_get("/book", self._show_book)
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

    async def _credit(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return _json(401, {"status": "unauthorized"})
        told = read_credit(await request.read())
        if told is None:
            return _json(400, {"status": "bad_request"})
        with self._in_flight():
            self._note_send(told.reference)
            fault = self._fault("POST", told.reference)
            return await self._with_fault(request, told, fault)

    def _note_send(self, reference: str) -> None:
        with self._lock:
            if reference in self._in_doubt:
                self._unasked.append(reference)
            self._in_doubt.add(reference)

    async def _with_fault(self, request: web.Request, told: Told, fault: str) -> web.StreamResponse:
        later = {"status": "try_later", "reference": told.reference}
        undone = {
            "error_before": web.Response(status=500),
            "too_many": _json(429, later, retry_after=self._retry_after_s),
            "busy": _json(503, later, retry_after=self._retry_after_s),
            "refuse": _json(422, {"status": "refused", "reference": told.reference, "reason": "account_closed"}),
        }
        if fault in undone:
            if fault != "error_before":
                with self._lock:
                    self._in_doubt.discard(told.reference)
            return self._tell("POST", told.reference, fault, undone[fault])
        if fault == "lost_before":
            return self._drop(request, told.reference, fault)
        with self._lock:
            made, outcome = self._book.make(
                told.reference, told.amount_minor, told.currency, now=datetime.now(UTC), late=self._is_late(told)
            )
            if fault == "forget":
                self._book.forget(told.reference)
        if made is None:
            return self._tell("POST", told.reference, outcome, _json(409, later | {"status": "conflict"}))
        if fault == "lost_after":
            return self._drop(request, told.reference, fault)
        said = {"status": "credited", **made.as_json()}
        status = 200 if outcome == "known" else 201
        return await self._answer_badly(request, told.reference, fault or outcome, status, said)

    async def _answer_badly(
        self, request: web.Request, reference: str, outcome: str, status: int, said: dict[str, object]
    ) -> web.StreamResponse:
        """The credit is made; what the sender hears of it is the fault's."""
        if outcome == "error_after":
            return self._tell("POST", reference, outcome, web.Response(status=500))
        if outcome == "slow":
            await self._pause(self._slow_s)
        elif outcome == "slow_drip":
            return await self._stream(request, [bytes([byte]) for byte in orjson.dumps(said)], pause_s=1)
        elif outcome == "huge_body":
            return await self._stream(request, [b" " * BODY_BYTES_MAX] * HUGE_CHUNKS, pause_s=0)
        bodies = {
            "garbage": b"\x00\xff credited, more or less",
            "duplicate_keys": b'{"status":"refused",' + orjson.dumps(said)[1:],
            "wrong_echo": orjson.dumps(said | self._wrong(reference)),
        }
        body = bodies.get(outcome, orjson.dumps(said))
        return self._tell("POST", reference, outcome, web.Response(status=status, body=body, headers=_HEADERS))

    async def _show(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return _json(401, {"status": "unauthorized"})
        reference = request.match_info["reference"]
        with self._in_flight():
            fault = self._fault("GET", reference)
            if fault == "ask_lost":
                return self._drop(request, reference, fault, verb="GET")
            if fault == "ask_error":
                return self._tell("GET", reference, fault, web.Response(status=500))
            with self._lock:
                self._in_doubt.discard(reference)
                made = self._book.find(reference, now=datetime.now(UTC))
            if made is None:
                return self._tell("GET", reference, "absent", _json(404, {"status": "absent", "reference": reference}))
            return self._tell("GET", reference, "known", _json(200, {"status": "credited", **made.as_json()}))

    async def _statement(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return _json(401, {"status": "unauthorized"})
        try:
            start, end = (parse_instant(request.query[name]) for name in ("from", "to"))
            after = int(request.query.get("after", "0"))
        except (KeyError, ValueError):
            return _json(400, {"status": "bad_request"})
        chosen = [made for made in self.book() if start <= made.credited_at < end]
        page = chosen[after : after + PAGE]
        following = str(after + PAGE) if after + PAGE < len(chosen) else None
        listed = [{"status": "credited", **made.as_json()} for made in page]
        said = {"from": instant_text(start), "to": instant_text(end), "credits": listed, "next": following}
        return _json(200, said)

    async def _show_book(self, _request: web.Request) -> web.Response:
        return _json(200, {"schema": 1, **self.as_json()})

    def _authorised(self, request: web.Request) -> bool:
        return not self._token or request.headers.get("authorization") == f"Bearer {self._token}"

    def _fault(self, verb: str, reference: str) -> str:
        """What this request meets; empty where nothing. A share depends on the request, not on the order of others."""
        with self._lock:
            self._of_verb[verb] += 1
            self._seen[verb, reference] += 1
            drawn = self._draw(verb, reference, self._seen[verb, reference])
            for name, amount in self._faults.items():
                if name == LATE or (name in ASK_FAULTS) != (verb == "GET"):
                    continue
                if amount.meets(self._of_verb[verb], drawn):
                    return name
                drawn -= amount.percent
        return ""

    def _is_late(self, told: Told) -> bool:
        amount = self._faults.get(LATE, Amount())
        return amount.meets(self._of_verb["POST"], self._draw(LATE, told.reference, 0))

    def _draw(self, verb: str, reference: str, number: int) -> int:
        return random.Random(f"{self._seed}:{verb}:{reference}:{number}").randrange(100)  # noqa: S311  # a rehearsal

    def _wrong(self, reference: str) -> dict[str, object]:
        wrong: tuple[dict[str, object], ...] = ({"amount_minor": 1}, {"currency": "XTS"}, {"reference": "0" * 64})
        return wrong[self._draw("echo", reference, 0) % len(wrong)]

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
            self.in_flight_max = max(self.in_flight_max, self._under_way)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _drop(self, request: web.Request, reference: str, outcome: str, *, verb: str = "POST") -> web.StreamResponse:
        self._watch(Served(verb, reference, outcome, 0))
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _tell(self, verb: str, reference: str, outcome: str, response: web.Response) -> web.Response:
        self._watch(Served(verb, reference, outcome, response.status))
        return response

    async def _stream(self, request: web.Request, chunks: list[bytes], *, pause_s: float) -> web.StreamResponse:
        response = web.StreamResponse(status=201, headers=_HEADERS)
        with suppress(ConnectionError):
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
                await self._pause(pause_s)
        return response

    async def _pause(self, seconds: float) -> None:
        assert self._stopping is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


_HEADERS = {"content-type": "application/json"}


def _json(status: int, said: Mapping[str, object], *, retry_after: int | None = None) -> web.Response:
    headers = _HEADERS | ({} if retry_after is None else {"retry-after": str(retry_after)})
    return web.Response(status=status, body=orjson.dumps(said), headers=headers)
