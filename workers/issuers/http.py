"""Calling an issuer: one send or ask, with deadlines, and an answer that is a value. deploy/ has the protocol."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import orjson

from models.columns import instant_text
from models.deadlines import ISSUER_CALL_S, ISSUER_PAGE_S, steady_s
from models.outgoing import Outgoing
from workers.guard import Guard, Refused, read_up_to
from workers.issuers.answers import (
    ANSWER_BYTES_MAX,
    REFUSED,
    Answer,
    Credit,
    Response,
    TryLater,
    Unknown,
    of_ask,
    of_send,
)

CONNECT_TIMEOUT_S = 2
#: Within one call, so often an issuer is tried that was not reached, or asked for a moment's patience.
TRIES_MAX = 3
#: Before an issuer that said nothing of how long is tried again.
_WAIT_S = 0.2
#: A longer wait than this is left to the database's next attempt.
PATIENCE_S = 2
STATEMENT_PAGE_BYTES_MAX = 4_194_304
#: Of all pages together: ten times what a month of a million lines needs, and what a disk has room for. Whoever needs
#: more imports a shorter time, or a file.
STATEMENT_PAGES_MAX = 10_000
STATEMENT_BYTES_MAX = 4 * 1024**3


_Classify = Callable[[Response, Credit], Answer]


class NoStatement(Exception):
    """The issuer gave no usable statement; the text is a class of trouble."""


@dataclass(frozen=True, slots=True)
class _Page:
    credits: list[dict[str, object]]
    following: str  #: its cursor; empty after the last page
    size: int  #: of its text, in bytes


class IssuerClient:
    """Calls to one issuer over one session."""

    def __init__(self, guard: Guard, url: str, token: str) -> None:
        self._guard = guard
        self._url = url
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, token: str, *, calls: int, outgoing: Outgoing) -> AsyncIterator["IssuerClient"]:
        """A client for up to `calls` calls at once, until the context ends."""
        async with Guard.open(outgoing, calls=calls, call_s=ISSUER_CALL_S) as guard:
            yield cls(guard, url, token)

    async def send(self, credit: Credit, *, until: float) -> Answer:
        """Have a credit made. The same reference, sent again within the key window, makes no second one.

        No try starts after `until` on models.deadlines' steady clock. Never raises for the issuer. POST, which neither
        aiohttp nor a proxy repeats by itself: a repeated send is ours to decide.
        """
        body = orjson.dumps(
            {"reference": credit.reference, "amount_minor": credit.amount_minor, "currency": credit.currency}
        )
        return await self._patiently("POST", "/v1/credits", body, credit, of_send, until=until)

    async def ask(self, credit: Credit, *, until: float) -> Answer:
        """Whether there is a credit under our reference. No try starts after `until`. Never raises for the issuer."""
        return await self._patiently("GET", f"/v1/credits/{credit.reference}", None, credit, of_ask, until=until)

    async def statement(self, start: datetime, end: datetime) -> AsyncIterator[dict[str, object]]:
        """The credits that the issuer made from `start` up to `end`, page by page. Raises NoStatement.

        Also for pages that may never end: one that leads to itself, or more of them than a period may have.
        """
        after, pages, size = "", 0, 0
        while True:
            query = {"from": instant_text(start), "to": instant_text(end)} | ({"after": after} if after else {})
            page = await self._page(query)
            pages, size = pages + 1, size + page.size
            if size > STATEMENT_BYTES_MAX:
                raise NoStatement(f"more than {STATEMENT_BYTES_MAX // 1024**2} MiB; ask for a shorter time")
            for credit in page.credits:
                yield credit
            if not page.following:
                return
            if page.following == after:
                raise NoStatement("a page that leads to itself")
            if pages == STATEMENT_PAGES_MAX:
                raise NoStatement(f"more than {STATEMENT_PAGES_MAX} pages; ask for a shorter time")
            after = page.following

    async def _patiently(
        self, verb: str, path: str, body: bytes | None, credit: Credit, classify: _Classify, *, until: float
    ) -> Answer:
        """Call; and where nothing was done, and the issuer asked for no more than a moment, call again.

        All tries end within ISSUER_CALL_S together. The last one starts while it has time to connect: cut off before,
        it would be unknown although nothing was sent.
        """
        ends_at = steady_s() + ISSUER_CALL_S
        until = min(until, ends_at - CONNECT_TIMEOUT_S)
        tries = 1
        # By hand: to build tenacity's machine for each call takes a tenth of a worker's time.
        while True:
            answer = await self._call(verb, path, body, credit, classify, ends_at=ends_at)
            wait_s = _worth_waiting_s(answer, until=until)
            if wait_s is None or tries == TRIES_MAX:
                return answer
            await asyncio.sleep(wait_s)
            tries += 1

    async def _call(
        self, verb: str, path: str, body: bytes | None, credit: Credit, classify: _Classify, *, ends_at: float
    ) -> Answer:
        headers = self._headers | ({"content-type": "application/json"} if body else {})
        try:
            async with self._guard.request(
                verb, self._url + path, body=body, headers=headers, timeout=_timeout(ends_at)
            ) as response:
                text = await read_up_to(response, ANSWER_BYTES_MAX)
                return classify(Response(response.status, text, response.headers.get("retry-after", "")), credit)
        except Refused as error:
            return TryLater(f"{REFUSED}{error}")
        except aiohttp.ConnectionTimeoutError:
            return TryLater("not connected in time")
        except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError):
            return TryLater("not connected")
        except TimeoutError:
            return Unknown("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError):
            return Unknown("connection broke")

    async def _page(self, query: dict[str, str]) -> _Page:
        timeout = aiohttp.ClientTimeout(total=ISSUER_PAGE_S, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._guard.request(
                "GET", f"{self._url}/v1/statement", query=query, headers=self._headers, timeout=timeout
            ) as response:
                text = await read_up_to(response, STATEMENT_PAGE_BYTES_MAX)
                status, said = response.status, orjson.loads(text)
        except Refused as error:
            raise NoStatement(f"{REFUSED}{error}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a time-out is an OSError, bad JSON a ValueError
            raise NoStatement(type(error).__name__) from None
        if status != 200:
            raise NoStatement(f"http {status}")
        return _page_of(said, query, size=len(text))


def _page_of(said: object, query: dict[str, str], *, size: int) -> _Page:
    """A page, if it is of what was asked for: of a shorter time, or without its cursor, credits would seem missing."""
    if not isinstance(said, dict) or "next" not in said:
        raise NoStatement("no page of a statement")
    listed, following = said.get("credits"), said["next"]
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise NoStatement("no list of credits")
    if following is not None and not isinstance(following, str):
        raise NoStatement("a next page that is no text")
    if not all(_is_instant(said.get(name), query[name]) for name in ("from", "to")):
        raise NoStatement("of another time than was asked for")
    return _Page(listed, following or "", size)


def _is_instant(said: object, asked: str) -> bool:
    try:
        return isinstance(said, str) and datetime.fromisoformat(said) == datetime.fromisoformat(asked)
    except ValueError:
        return False


def _timeout(ends_at: float) -> aiohttp.ClientTimeout:
    """What is left of a call's time.

    To aiohttp 0 is without end: a process that was frozen before its second try may have nothing left. And unless told
    otherwise it rounds five seconds and more up to a whole second of its clock.
    """
    left_s = max(ends_at - steady_s(), 0.001)
    return aiohttp.ClientTimeout(total=left_s, connect=CONNECT_TIMEOUT_S, ceil_threshold=math.inf)


def _worth_waiting_s(answer: Answer, *, until: float) -> float | None:
    """How long to wait before the call is tried again: as long as the issuer asked for. None: not worth it."""
    if not isinstance(answer, TryLater) or answer.refused or answer.retry_after_s > PATIENCE_S:
        return None
    wait_s = max(_WAIT_S, answer.retry_after_s)
    return wait_s if steady_s() + wait_s < until else None
