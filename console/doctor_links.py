"""Every link that despensa has, with its latency: database, Redis, issuers and stores. No request is sent to others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from console.config import Check, open_database
from console.doctor_database import named
from models.errors import Exit
from models.outgoing import SETTING, Destination, Outgoing, RefusedUrl

if TYPE_CHECKING:
    from models.settings import Settings

#: Of a round trip inside the installation. A batch takes a dozen of them.
SLOW_MS = 50
ROUND_TRIPS = 3
#: For a connection to somebody else, with TLS.
CONNECT_S = 3
#: Stores often share a host; so many are tried, so many at a time: doctor ends within half a minute.
HOSTS_MAX, AT_A_TIME = 200, 32
#: So long before a certificate ends somebody should know.
CERTIFICATE_WARNING = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Reached:
    """What an attempt to connect came to."""

    trouble: str  #: a class of trouble; empty where the connection was made
    latency_ms: int
    certificate_until: datetime | None = None


def link_checks(settings: Settings, *, usable: bool) -> Iterator[Check]:
    """Of a database that answers, and a Redis that does. `usable`: the tables can be asked for addresses."""
    from models.broker import redis_client
    from models.server import ANSWER
    from models.tables import Issuer, Programme, Store

    with open_database(settings) as database:
        with database.reading() as tx:
            yield round_trip_check("link database", lambda: tx.scalar(ANSWER))
        if settings.distributed:
            client = redis_client(settings.redis_url)
            yield round_trip_check("link Redis", client.ping)
            client.close()
        if not usable:
            return
        with database.reading() as tx:
            codes = {programme.id: programme.code for programme in tx.list(Programme)}
            issuers = [(codes[issuer.programme_id], issuer.url) for issuer in tx.list(Issuer)]
            stores = [(store.id, store.url) for store in tx.list(Store, Store.active)]
    for code, url in issuers:
        yield _issuer_at(code, url, settings.outgoing)
    if stores:
        yield _stores_at(stores, settings.outgoing)


def round_trip_check(name: str, call: Callable[[], object]) -> Check:
    """The median of a few; the first pays for what is set up."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import DBAPIError

    took = []
    try:
        for _ in range(ROUND_TRIPS + 1):
            begun = time.perf_counter()
            call()
            took.append((time.perf_counter() - begun) * 1000)
    except (DBAPIError, RedisError) as error:
        return Check(
            name, "failed", f"does not answer any more: {type(error).__name__}", "despensa doctor", Exit.FAILED
        )
    middle_ms = median(took[1:])
    slow = middle_ms >= SLOW_MS
    hint = f"each batch takes a dozen round trips: bring it within {SLOW_MS} ms of this host" if slow else ""
    return Check(name, "warning" if slow else "ok", f"{middle_ms:.1f} ms", hint, latency_ms=round(middle_ms, 1))


def _issuer_at(programme: str, url: str, outgoing: Outgoing) -> Check:
    try:
        to = outgoing.destination(url)
    except RefusedUrl as error:
        return issuer_check(programme, "its url", Reached(f"refused: {error}", 0), now=datetime.now(UTC))
    return issuer_check(programme, str(to), reach(to, outgoing), now=datetime.now(UTC))


def _stores_at(stores: Sequence[tuple[str, str]], outgoing: Outgoing) -> Check:
    destinations, refused = [], []
    for store, url in stores:
        try:
            destinations.append((store, outgoing.destination(url)))
        except RefusedUrl as error:
            refused.append(f"{store} (refused: {error})")
    return stores_check(destinations, refused=refused, try_one=partial(reach, outgoing=outgoing))


def reach(to: Destination, outgoing: Outgoing) -> Reached:
    """Connect, shake hands where it is TLS, and close. Nothing is asked."""
    import ssl

    from workers.guard import Refused, connect

    begun = time.perf_counter()

    def took_ms() -> int:
        return round((time.perf_counter() - begun) * 1000)

    until = None
    try:
        with connect(outgoing, to, timeout_s=CONNECT_S) as plain:
            if to.tls:
                with ssl.create_default_context().wrap_socket(plain, server_hostname=to.host) as secured:
                    certificate = secured.getpeercert() or {}
                    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    except ssl.SSLCertVerificationError:
        return Reached("its certificate is not accepted", took_ms())
    except Refused as error:
        return Reached(f"refused: {error}", took_ms())
    except (OSError, ValueError) as error:
        return Reached(type(error).__name__, took_ms())
    return Reached("", took_ms(), until)


def issuer_check(programme: str, address: str, reached: Reached, *, now: datetime) -> Check:
    """An issuer that cannot be reached from here credits nothing for this host's workers."""
    name = f"link issuer {programme}"
    if reached.trouble:
        hint = f"its url in programme.toml, {SETTING}, a firewall, its certificate; this host's workers credit nothing"
        return Check(name, "failed", f"{address}: {reached.trouble}", hint, Exit.FAILED)
    detail = f"{address}, {reached.latency_ms} ms"
    until = reached.certificate_until
    if until is not None:
        detail += f", certificate until {until:%Y-%m-%d}"
    ends = until is not None and until - now < CERTIFICATE_WARNING
    hint = "its certificate ends soon: tell the issuer" if ends else ""
    return Check(name, "warning" if ends else "ok", detail, hint, latency_ms=reached.latency_ms)


def stores_check(
    stores: Sequence[tuple[str, Destination]], *, refused: Sequence[str], try_one: Callable[[Destination], Reached]
) -> Check:
    """Counted: a store that is away delays nobody, and its notices are tried again for a day.

    `refused` are stores, with the reason, of which nothing is tried: their URLs alone are refused.
    """
    addresses = list(dict.fromkeys(address for _, address in stores))
    tried = addresses[:HOSTS_MAX]
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="link") as threads:
        reached = dict(zip(tried, threads.map(try_one, tried), strict=True))
    of_tried = [(store, reached[address]) for store, address in stores if address in reached]
    away = [*refused, *(f"{store} ({found.trouble})" for store, found in of_tried if found.trouble)]
    slowest = max((found.latency_ms for found in reached.values() if not found.trouble), default=0)
    count = len(of_tried) + len(refused)
    detail = f"{count - len(away)} of {count} active stores can be reached, at {len(tried)} addresses"
    detail += f", the slowest in {slowest} ms" if slowest else ""
    if len(addresses) > len(tried):
        detail += f"; {len(addresses) - len(tried)} more addresses were not tried"
    if not away:
        return Check("link stores", "ok", detail, latency_ms=slowest)
    return Check(
        "link stores", "warning", f"{detail}: not {named(away)}", "despensa store test STORE", latency_ms=slowest
    )
