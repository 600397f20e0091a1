"""`despensa simulate`: the world outside, for rehearsals before going live."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json, entry, note
from models.errors import RefusedInput
from models.outgoing import LOOPBACK, SETTING

if TYPE_CHECKING:
    from workers.issuers.simulated import Served, SimulatedIssuer
    from workers.stores.simulated import Answered, SimulatedStores

app = typer.Typer(no_args_is_help=True, help="Simulated stores and issuers, with chosen faults: for rehearsals.")

PORT = 8089
ISSUER_PORT = 8090
#: Nobody is called on this host unless it is named.
CALLED_WITH = f"called with {SETTING}={LOOPBACK}"


@app.command()
def stores(
    port: int = typer.Option(PORT, min=0, max=65535, help="On 127.0.0.1; 0 takes a free one."),
    fault: list[str] = typer.Option([], help="STORE=FAULT, such as oxxo-1=error:2; * means every store. Repeatable."),
    seed: int = typer.Option(0, help="Of what is left to chance: the same seed, the same faults."),
    verify: bool = typer.Option(False, "--verify", help="Accept only what this installation's secrets signed."),
    as_json: bool = typer.Option(False, "--json", help="The summary as one JSON object on standard output."),
) -> None:
    """Stores that take notices at http://127.0.0.1:PORT/stores/ID/notices, until Ctrl-C; then a summary.

    Faults: ok, error:N, down, refuse[:N], hang[:N], slow:SECONDS, late[:N], gone, garbage[:N], redirect[:N],
    flaky:PERCENT. A number of requests ends the fault. What was accepted: GET /received.
    """
    from workers.stores.simulated import SimulatedStores

    secrets = _secrets() if verify else None
    stopping = _until_told()
    with SimulatedStores(parse_faults(fault), secrets=secrets, seed=seed, port=port, watch=_note_request) as simulated:
        note(f"listening: {simulated.url_of('ID')}; so far: {simulated.url}/received; {CALLED_WITH}; Ctrl-C ends")
        stopping.wait()
    _summarise(simulated, as_json=as_json)


@app.command()
def issuer(
    port: int = typer.Option(ISSUER_PORT, min=0, max=65535, help="On 127.0.0.1; 0 takes a free one."),
    fault: list[str] = typer.Option([], help="NAME=HOW-OFTEN: 5% of the requests, the first 3, or all. Repeatable."),
    seed: int = typer.Option(0, help="Of what is left to chance: the same seed, the same faults."),
    token_file: Path | None = typer.Option(None, help="Take only the token in this file; without it, any."),
    keeps: float | None = typer.Option(None, help="Forget a reference after so many seconds: the key window."),
    visible_after: float = typer.Option(0, help="Show a credit that is late to an ask only after so many seconds."),
    slow: float = typer.Option(8, help="Seconds before a slow answer; despensa waits for 5."),
    as_json: bool = typer.Option(False, "--json", help="The book as one JSON object on standard output."),
) -> None:
    """An issuer at http://127.0.0.1:PORT that speaks deploy/issuer-openapi.json, until Ctrl-C; then its book.

    Faults: lost_before, lost_after, error_before, error_after, slow, slow_drip, garbage, huge_body, wrong_echo,
    duplicate_keys, too_many, busy, refuse, forget, late, ask_lost, ask_error. late needs --visible-after; it is drawn
    beside the others: --fault late=all --fault lost_after=5% --visible-after 10. The book so far: GET /book.
    """
    from workers.issuers.simulated import SimulatedIssuer

    chosen = parse_faults(fault, example="--fault lost_after=5% --fault too_many=3")
    if visible_after and "late" not in chosen:
        raise RefusedInput("--visible-after does nothing without the fault late", hint="add --fault late=all")
    stopping = _until_told()
    with SimulatedIssuer(
        chosen, token=_read_token(token_file), seed=seed, port=port, keeps_s=keeps, visible_after_s=visible_after,
        slow_s=slow, watch=_note_call,
    ) as simulated:  # fmt: skip
        note(f"listening: {simulated.url}; its book so far: {simulated.url}/book; {CALLED_WITH}; Ctrl-C ends")
        stopping.wait()
    _show_book(simulated, as_json=as_json)


def parse_faults(typed: list[str], *, example: str = "--fault 'oxxo-1=error:2' --fault '*=ok'") -> dict[str, str]:
    """`NAME=FAULT`, each. Raises RefusedInput for another form, or a name that stands twice."""
    faults: dict[str, str] = {}
    for each in typed:
        name, equals, fault = each.partition("=")
        if not equals or not name or name in faults:
            raise RefusedInput(f"--fault {each!r}: write NAME=FAULT, each name once", hint=example)
        faults[name] = fault
    return faults


def _until_told() -> threading.Event:
    """Set by SIGINT and SIGTERM."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopping


def _read_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedInput(f"{path} cannot be read: {type(error).__name__}", hint="name the token's file") from None


def _note_call(served: Served) -> None:
    note(f"{served.verb}  {served.reference[:12]}  {served.status or 'no answer'}  {served.outcome}")


def _show_book(simulated: SimulatedIssuer, *, as_json: bool) -> None:
    if as_json:
        echo_json(simulated.as_json())
        return
    from models.money import format_amount

    totals: dict[str, int] = {}
    for made in simulated.book():
        totals[made.currency] = totals.get(made.currency, 0) + made.amount_minor
    sums = ", ".join(format_amount(total, currency) for currency, total in sorted(totals.items())) or "nothing"
    echo(f"credited {len(simulated.book())}: {sums}; {simulated.doubled()} doubled; {simulated.requests} requests")


def _secrets() -> dict[str, list[str]]:
    """Those that sign for each store now."""
    from models.keys import load_keys
    from models.tables import Store
    from workers.notify import secrets_of

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        keys = load_keys(desk.settings.keys, "webhook")
        return {store.id: secrets_of(store, keys=keys, now=tx.now) for store in tx.list(Store)}


def _note_request(answered: Answered) -> None:
    note(f"{answered.store}  {answered.webhook_id or '-'}  {answered.status or 'no answer'}  {answered.outcome}")


def _summarise(simulated: SimulatedStores, *, as_json: bool) -> None:
    if as_json:
        echo_json(simulated.as_json())
        return
    from console.tables import echo_table

    names = sorted({each.store for each in simulated.accepted()})
    rows = [(name, len(simulated.accepted(name)), simulated.duplicates(name)) for name in names]
    if rows:
        echo_table(("store", "accepted", "duplicates"), rows, right=" rr")
    echo(f"accepted {len(simulated.accepted())} notices of {len(names)} stores, {simulated.duplicates()} came again")
