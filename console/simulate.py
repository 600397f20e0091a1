"""`despensa simulate`: the world outside, for rehearsals before going live."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json, entry, note
from models.errors import RefusedInput

if TYPE_CHECKING:
    from workers.stores.simulated import Answered, SimulatedStores

app = typer.Typer(no_args_is_help=True, help="Simulated stores, with chosen faults: for rehearsals.")

PORT = 8089


@app.callback()
def _simulate() -> None:
    """Keeps `stores` a word of its own while it is the only one."""


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
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with SimulatedStores(parse_faults(fault), secrets=secrets, seed=seed, port=port, watch=_note_request) as simulated:
        note(f"listening: {simulated.url_of('ID')}; accepted so far: {simulated.url}/received; Ctrl-C ends")
        stopping.wait()
    _summarise(simulated, as_json=as_json)


def parse_faults(typed: list[str]) -> dict[str, str]:
    """`STORE=FAULT`, each. Raises RefusedInput for another form, or a store named twice."""
    faults: dict[str, str] = {}
    for each in typed:
        store, equals, fault = each.partition("=")
        if not equals or not store or store in faults:
            raise RefusedInput(
                f"--fault {each!r}: write STORE=FAULT, each store once", hint="--fault 'oxxo-1=error:2' --fault '*=ok'"
            )
        faults[store] = fault
    return faults


def _secrets() -> dict[str, list[str]]:
    """Those that sign for each store now."""
    from models.keys import load_keys
    from models.tables import Store
    from workers.notify import secrets_of

    with entry() as desk, desk.database.reading() as tx:
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
