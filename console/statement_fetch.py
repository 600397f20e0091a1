"""Asking an outside issuer for its statement: the credits of a period, page by page, into a file as it is imported."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from console.entry import Entry
from models.errors import DespensaError, RefusedInput

if TYPE_CHECKING:
    from typing import TextIO

    from models.intake.statement import Period
    from models.outgoing import Outgoing


def fetch(desk: Entry, folder: Path, period: Period, *, programme: str) -> Path:
    """The statement as a file in `folder`, of however many pages. Raises DespensaError where the issuer gives none."""
    from models.keys import load_token
    from models.runs import only_programme
    from models.tables import Issuer

    with desk.database.reading() as tx:
        owner = only_programme(tx, programme or None)
        issuer = tx.find(Issuer, Issuer.programme_id == owner.id)
    if issuer is None:
        raise RefusedInput(f"programme {owner.code} has no outside issuer")
    path = folder / "statement.csv"
    token = load_token(desk.settings.keys, owner.code)
    with path.open("w", encoding="utf-8", newline="") as file:
        asyncio.run(_write(file, issuer.url, token, period, outgoing=desk.settings.outgoing))
    return path


async def _write(file: TextIO, url: str, token: str, period: Period, *, outgoing: Outgoing) -> None:
    from models.intake.statement import COLUMNS
    from workers.issuers.http import IssuerClient, NoStatement

    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    try:
        async with IssuerClient.open(url, token, calls=1, outgoing=outgoing) as client:
            async for credit in client.statement(period.from_at, period.to_at):
                writer.writerow(_row(credit))
    except NoStatement as error:
        raise DespensaError(
            f"the issuer gave no usable statement: {error}", hint="nothing was changed; repeat it, or ask for a file"
        ) from None


def _row(credit: dict[str, object]) -> tuple[str, ...]:
    """What the import reads strictly: whatever is no text or number here becomes what it refuses."""
    amount_minor = credit.get("amount_minor")
    amount = f"{amount_minor // 100}.{amount_minor % 100:02}" if type(amount_minor) is int else ""
    texts = [credit.get(name) for name in ("status", "credit_id", "reference", "currency", "credited_at", "reverses")]
    status, credit_id, reference, currency, booked_at, reverses = (
        each if isinstance(each, str) else "" for each in texts
    )
    return status, credit_id, reference, amount, currency, booked_at, reverses
