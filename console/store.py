"""`despensa store`: the partner shops and what they were told."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from console.entry import confirm, echo, echo_json, entry, note
from models.deadlines import STORE_CALL_S
from models.errors import Exit
from models.outgoing import SETTING

app = typer.Typer(no_args_is_help=True, help="The stores: list, test, send again, secrets.")

STORE = typer.Argument(help="The id of the store, as in stores.csv.")
YES = typer.Option(False, "--yes", help="Do not ask.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """Every store: location, whether active, notices due and undelivered, failures in a row, whether it is cut off."""
    from console.tables import echo_table
    from models.columns import instant_text
    from models.handover import list_stores

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        stores, now = list_stores(tx), tx.now
    rows = [
        {
            **asdict(store),
            "breaker_until": instant_text(store.breaker_until)
            if store.breaker_until is not None and store.breaker_until > now
            else None,
        }
        for store in stores
    ]
    if as_json:
        echo_json({"stores": rows})
        return
    headers = ("store", "location", "active", "due", "delivered", "undelivered", "failures", "cut off until")
    names = ("store", "location", "active", "notices_due", "notices_delivered", "notices_undelivered", "failures")
    table = [[*(row[name] for name in names), row["breaker_until"] or ""] for row in rows]
    for line in table:
        line[2] = "yes" if line[2] else "no"
    echo_table(headers, table, right="   rrrr ")
    if any(store.notices_undelivered for store in stores):
        note("undelivered notices are sent again with: despensa store test STORE, then despensa store resend STORE")


@app.command("test")
def test_(store: str = STORE, as_json: bool = JSON) -> int:
    """Send one signed webhook of type `test`, and show what came of it. Nothing in the database changes."""
    import secrets

    from console.config import mask
    from models.handover import get_store
    from models.keys import load_keys
    from workers.notify import secrets_of
    from workers.stores.webhook import Delivered, Envelope, deliver, encode

    with entry(while_held=True) as desk:
        keys = load_keys(desk.settings.keys, "webhook")
        with desk.database.reading() as tx:
            found = get_store(tx, store)
            signing = secrets_of(found, keys=keys, now=tx.now)
    body = encode("test", now=datetime.now(UTC), fields={"store": store})
    webhook_id = f"test_{secrets.token_hex(12)}"
    begun = time.monotonic()
    answer = deliver(Envelope(found.url, webhook_id, body, signing), desk.settings.outgoing)
    duration_ms = round((time.monotonic() - begun) * 1000)
    delivered = isinstance(answer, Delivered)
    status = "delivered" if isinstance(answer, Delivered) else answer.error
    if as_json:
        echo_json(
            {
                "store": store, "delivered": delivered, "status": status, "duration_ms": duration_ms,
                "webhook_id": webhook_id, "url": mask(found.url), "secrets": len(signing),
            }
        )  # fmt: skip
    else:
        echo(f"{store}: {status} in {duration_ms} ms")
        signed = "one secret" if len(signing) == 1 else f"{len(signing)} secrets: one was rotated lately"
        note(f"sent as {webhook_id} to {mask(found.url)}, signed with {signed}")
    if not found.active:
        note(f"{store} is not active: it is told of no run")
    if not delivered:
        note(f"hint: {_hint(store, status)}")
    return Exit.DONE if delivered else Exit.FAILED


@app.command()
def resend(store: str = STORE, yes: bool = YES) -> None:
    """Make a store's undelivered notices due again, with fresh attempts and the same webhook ids."""
    from models.handover import get_store
    from models.states import NoticeState
    from models.tables import Notice
    from scheduler.notices import resend as make_due

    with entry() as desk:
        with desk.database.reading() as tx:
            get_store(tx, store)
            count = len(tx.list(Notice, Notice.store_id == store, Notice.state == NoticeState.UNDELIVERED))
        if not count:
            note(f"no notice of {store} is undelivered; nothing was changed")
            return
        confirm(f"Send {count} notices to {store} again?", yes=yes)
        with desk.database.transaction() as tx:
            resent = make_due(tx, store)
    note(f"{resent} notices of {store} are due again; the next tick sends them: despensa run start")


@app.command()
def secret(
    store: str = STORE,
    rotate: bool = typer.Option(False, "--rotate", help="Make the next secret; the one before signs too for 24 hours."),
    yes: bool = YES,
    as_json: bool = JSON,
) -> None:
    """The secret with which a store verifies our webhooks, in Standard Webhooks' form. Give it to the store only."""
    from models.columns import instant_text
    from models.handover import get_store, rotate_secret
    from models.keys import load_keys
    from workers.notify import secrets_of

    with entry(while_held=not rotate) as desk:
        keys = load_keys(desk.settings.keys, "webhook")
        with desk.database.reading() as tx:
            found, now = get_store(tx, store), tx.now
            overlapping = found.previous_secret_until is not None and found.previous_secret_until > now
        if rotate:
            ends = " The one before the present one stops signing at once." if overlapping else ""
            confirm(f"Rotate the secret of {store}?{ends}", yes=yes)
            with desk.database.transaction() as tx:
                found, now = rotate_secret(tx, store), tx.now
        signing = secrets_of(found, keys=keys, now=now)
    until = None
    if found.previous_secret_until is not None and found.previous_secret_until > now:
        until = instant_text(found.previous_secret_until)
    if as_json:
        echo_json({"store": store, "version": found.secret_version, "secret": signing[0], "previous_until": until})
    else:
        echo(signing[0])
        note(
            f"version {found.secret_version} of {store}"
            + (f"; the one before signs too until {until}" if until else "")
        )


def _hint(store: str, status: str) -> str:
    """What to look at, by what the store answered."""
    if status.startswith("refused: "):
        return f"correct stores.csv, then despensa import stores.csv; or name the network of {store} in {SETTING}"
    if status in ("http 401", "http 403"):
        return f"does {store} verify with the secret that signs? despensa store secret {store}"
    if status.startswith("http 3"):
        return "no redirect is followed: write the address it leads to into stores.csv, then despensa import stores.csv"
    if status in ("http 404", "http 410"):
        return "nothing takes notices at this address: correct stores.csv, then despensa import stores.csv"
    return f"{store} must answer 2xx within {STORE_CALL_S} s; its address is in stores.csv"
