"""Writing one row of a small table: added, changed in some fields, or as it was."""

from models.storage import Tx
from models.tables import Table

#: What an import does not decide.
KEPT = frozenset({
    "id", "balance_minor", "secret_version", "previous_secret_until", "failures", "breaker_until",
    "forgotten_cycle", "forgotten_from", "forgotten_until", "rules_after_id",
})  # fmt: skip


def upsert(tx: Tx, row: Table, before: Table | None) -> list[str] | None:
    """Write a row if it is new or differs. Returns None for a new one, otherwise the columns that differ."""
    if before is None:
        tx.add(row)
        return None
    names = [name for name in type(row).model_fields if name not in KEPT]
    changed = [name for name in names if getattr(row, name) != getattr(before, name)]
    if changed:
        tx.update(row, changed)
    return changed
