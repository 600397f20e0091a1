"""How long a family is kept, and what is left of it: its lines, which name nobody, and sums of its group and city.

A programme states the time in months (programme.toml, `[retention]`). It counts from a family's last month, or from
what happened of it last: a run closed, a case closed. What a reduction is, migration 0013 says to everybody.
"""

from datetime import UTC, datetime

from models.calendar import Cycle
from models.errors import RefusedByState
from models.storage import Query, Tx
from models.tables import LINES_PER_RUN, Run, run_code

#: In the place of a group, and of a location, which no file can name.
REDUCED, NOWHERE = "reduced", "00000"
#: A statement, a late case or an audit of last year still finds whom it is about.
MONTHS_MIN, MONTHS_MAX = 12, 120

EXISTS_REDUCED = Query("""
-- exists_reduced: whether a run has lines of families that were reduced
SELECT 1 FROM disbursement d JOIN household h ON h.id = d.household_id
WHERE d.id BETWEEN :first_id AND :last_id AND h.registration_id LIKE 'reduced:%' LIMIT 1
""")


def kept_from(now: datetime, months: int) -> str:
    """The first cycle that is kept: of families whose last month lies before it nothing more is."""
    instant = now.astimezone(UTC)
    return str(Cycle(instant.year, instant.month).plus(-months))


def require_kept(tx: Tx, run: Run) -> None:
    """Raises RefusedByState where nobody can say any more whom some lines of a run are of."""
    if tx.first(EXISTS_REDUCED, first_id=run.id * LINES_PER_RUN + 1, last_id=(run.id + 1) * LINES_PER_RUN - 1):
        raise RefusedByState(
            f"families of run {run_code(run)} were kept for the stated time and are reduced to sums",
            hint="what was written of it then is all that there is: its certificate, and `despensa report month`",
        )
