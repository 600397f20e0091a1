"""Keeping the head of the journal for each run that was closed, in a file outside the database."""

from dataclasses import dataclass

import orjson

from models import custody
from models.columns import instant_text
from models.heads_file import ClosedHead, HeadsFile
from models.kept_head import Head
from models.storage import Database, Query

CHUNK = 1000

LIST_SEALED_CLOSES = Query("""
-- list_sealed_closes: the places that say that a run is over, between two others
SELECT s.seq, s.hash, j.recorded_at, j.fields FROM seal s JOIN journal j ON j.id = s.journal_id
WHERE s.seq > :after_seq AND s.seq <= :to_seq AND j.event IN ('run.completed', 'run.cancelled')
ORDER BY s.seq LIMIT :limit
""")


@dataclass(slots=True)
class ClosedHeads:
    """Adds to the file of this host what it lacks: also what was sealed by others, and what a crash kept from it."""

    file: HeadsFile
    _looked_up_to: int | None = None  #: the last place at which this process looked; None before the first look

    def keep(self, database: Database) -> int:
        """Returns how many heads were added. Raises OSError where the file cannot be written: the next call repeats."""
        if self._looked_up_to is None:
            self._looked_up_to = self.file.last_seq()
        count = 0
        while True:
            with database.reading() as tx:
                head = custody.get_head(tx)
                if head.seq <= self._looked_up_to:
                    return count
                rows = tx.all(LIST_SEALED_CLOSES, after_seq=self._looked_up_to, to_seq=head.seq, limit=CHUNK)
            closes = [
                ClosedHead(instant_text(row.recorded_at), Head(row.seq, row.hash), _run(orjson.loads(row.fields)))
                for row in rows
            ]
            if closes:
                self.file.append(closes)
            count += len(closes)
            self._looked_up_to = closes[-1].head.seq if len(closes) == CHUNK else head.seq


def _run(fields: dict[str, object]) -> str:
    return f"{fields['programme']}/{fields['run']}"
