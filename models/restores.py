"""What restored backups have left out of the journal: places that the logs knew and the database forgot.

`despensa db restored` goes on behind the last place that any log holds, so that no place is given twice. What lies
between that and the backup's own last place is void: nobody counts it, and the database has no seals there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from models.storage import Query, Tx

#: Of the event that says so.
RESTORED = "database.restored"

LIST_RESTORES = Query("""
-- list_restores: every restore that this database knows, oldest first; bounded by how often it was restored. By the
-- index of the runs: this event is of none
SELECT fields, recorded_at FROM journal WHERE run_id IS NULL AND event = 'database.restored' ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore: every place after `kept_seq` up to `forgotten_seq` is void, wherever its own event stands."""

    kept_seq: int  #: the last place that the backup had
    forgotten_seq: int  #: the last place that the logs had
    forgotten_hash: str  #: of the line there: the first seal after it goes on from this

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> "Restore":
        """From the fields of its event."""
        kept_seq, forgotten_seq = fields["kept_seq"], fields["forgotten_seq"]
        if not isinstance(kept_seq, int) or not isinstance(forgotten_seq, int):
            raise TypeError("a place is a whole number")
        return cls(kept_seq, forgotten_seq, str(fields["forgotten_hash"]))

    def voids(self, seq: int) -> bool:
        """Whether this place does not count."""
        return self.kept_seq < seq <= self.forgotten_seq


def is_void(seq: int, restores: Iterable[Restore]) -> bool:
    """Whether any of these restores voids a place."""
    return any(restore.voids(seq) for restore in restores)


def are_void(first_seq: int, last_seq: int, restores: Iterable[Restore]) -> bool:
    """Whether these restores together void every place from the one to the other."""
    seq = first_seq
    for restore in sorted(restores, key=lambda each: each.kept_seq):
        if restore.voids(seq):
            seq = restore.forgotten_seq + 1
    return seq > last_seq


def list_restores(tx: Tx) -> list[Restore]:
    """Every restore that this database knows, oldest first."""
    return [Restore.of(orjson.loads(row.fields)) for row in tx.all(LIST_RESTORES)]


def follow(seq: int, digest: str, restores: Sequence[Restore]) -> tuple[int, str]:
    """From where the next seal goes on, after the one at `seq`: the same place, or the end of what was forgotten."""
    for restore in restores:
        if restore.kept_seq == seq and restore.forgotten_seq > seq:
            seq, digest = restore.forgotten_seq, restore.forgotten_hash
    return seq, digest
