"""An issuer that credits whatever it is asked to, and answers after a while: `python -m tests.benchmarks.lean_issuer`.

It speaks deploy/issuer-openapi.json as far as a month without faults needs it. `despensa simulate issuer` can do that,
too, and looks closer at what it is sent; that costs twice the processor time a call, which on a small machine is taken
from those who are measured. The first line of standard output is the port.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime

import orjson
from aiohttp import web

from models.columns import instant_text
from workers.issuers.simulated_book import Told, read_credit

HEADERS = {"content-type": "application/json"}


class LeanIssuer:
    """The book, by reference, and how much it was asked. It answers every call, however many are under way."""

    def __init__(self, *, answers_after_s: float) -> None:
        self._answers_after_s = answers_after_s
        self._book: dict[str, Told] = {}
        self._requests = 0
        self._under_way = 0
        self._under_way_max = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """A send, an ask, or GET /book."""
        if request.path == "/book":
            book = {told.reference: told.amount_minor for told in self._book.values()}
            return _json(200, {"requests": self._requests, "under_way_max": self._under_way_max, "book": book})
        self._requests += 1
        self._under_way += 1
        self._under_way_max = max(self._under_way_max, self._under_way)
        try:
            answer = self._look_up(request.path) if request.method == "GET" else self._credit(await request.read())
            await asyncio.sleep(self._answers_after_s)
        finally:
            self._under_way -= 1
        return answer

    def _look_up(self, path: str) -> web.Response:
        reference = path.rpartition("/")[2]
        known = self._book.get(reference)
        return _json(404, {"status": "absent", "reference": reference}) if known is None else _credited(200, known)

    def _credit(self, body: bytes) -> web.Response:
        told = read_credit(body)
        if told is None:
            return _json(400, {"status": "bad_request"})
        known = self._book.setdefault(told.reference, told)
        if known != told:
            return _json(409, {"status": "conflict", "reference": told.reference})
        return _credited(201 if known is told else 200, told)


def _credited(status: int, told: Told) -> web.Response:
    said = {
        "status": "credited", "reference": told.reference, "amount_minor": told.amount_minor,
        "currency": told.currency, "credit_id": f"lean-{told.reference}",
        "credited_at": instant_text(datetime.now(UTC)),
    }  # fmt: skip
    return _json(status, said)


def _json(status: int, said: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(said), headers=HEADERS)


async def _serve(*, answers_after_s: float) -> None:
    # The server beneath aiohttp's applications: no routes, no middleware, no access log.
    runner = web.ServerRunner(web.Server(LeanIssuer(answers_after_s=answers_after_s).answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers-after-ms", type=int, default=50)
    asyncio.run(_serve(answers_after_s=parser.parse_args().answers_after_ms / 1000))
