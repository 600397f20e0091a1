"""The batches of a plan: unbroken ranges of a run's lines, each with its digest, and the digest of the run over those.

Where some funds may pay for some groups alone, a batch holds families of one *class*: of groups that the same funds may
pay for (models.funds). Its groups are frozen with it, since a family's group may be changed by a later import.
"""

from collections.abc import Sequence

from models.errors import RefusedByState
from models.states import GROUPS
from models.storage import Query, Tx
from models.tables import Run

#: The class of household `h`: its place in the order of classes, as parameters say for each group.
CLASS = "CASE h.group_code " + " ".join(f"WHEN '{group}' THEN :{group}" for group in GROUPS) + " END"

LIST_CLASSES = Query(f"""
-- list_classes: where in a run the lines of each class lie, by their families as they are now; a row for each
SELECT place, MIN(id) AS first_id, MAX(id) AS last_id, COUNT(*) AS lines
FROM (SELECT d.id, {CLASS} AS place FROM disbursement d JOIN household h ON h.id = d.household_id
      WHERE d.id BETWEEN :first_id AND :last_id) lines_by_class
GROUP BY place ORDER BY MIN(id)
""")  # noqa: S608  # of constants, of no input

INSERT_BATCH_GROUPS = Query("""
-- insert_batch_groups: that a range of a run's batches may hold families of a group
INSERT INTO batch_group (batch_id, group_code)
SELECT id, CAST(:group_code AS TEXT) FROM batch WHERE run_id = :run_id AND first_id BETWEEN :first_id AND :last_id
""")

INSERT_BATCHES = Query(
    """
-- insert_batches: contiguous ranges of the run's lines, each with the digest of its lines
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error)
SELECT :run_id, MIN(id), MAX(id), COUNT(*), SUM(amount_minor),
       encode(sha256(convert_to(string_agg(id || ':' || household_id || ':' || amount_minor, chr(10) ORDER BY id),
                                'UTF8')), 'hex'),
       'planned', 0, ''
FROM disbursement WHERE id BETWEEN :first_id AND :last_id
GROUP BY (id - :first_id) / :batch_lines ORDER BY MIN(id)
""",
    sqlite="""
-- insert_batches: contiguous ranges of the run's lines, each with the digest of its lines
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error)
SELECT :run_id, MIN(id), MAX(id), COUNT(*), SUM(amount_minor), digest_lines(id, household_id, amount_minor),
       'planned', 0, ''
FROM disbursement WHERE id BETWEEN :first_id AND :last_id
GROUP BY (id - :first_id) / :batch_lines ORDER BY MIN(id)
""",
)

#: The digest of a run over its salt and the digests of its batches; SQLite has it as an aggregate (models.storage).
#: Logs and certificates tell it: without the salt, whoever tries the numbers of households would find whose line a run
#: of one family is, and where that family was the month before.
_OVER_BATCHES = (
    "encode(sha256(convert_to(:salt || COALESCE(string_agg(digest, chr(10) ORDER BY first_id), ''), 'UTF8')), 'hex')"
)

DIGEST_LINES = Query(
    f"""
-- digest_lines: the digest of a run, from its rows as they are now, in the ranges of its planned batches
SELECT {_OVER_BATCHES}
FROM (SELECT b.first_id,
             (SELECT encode(sha256(convert_to(
                  string_agg(d.id || ':' || d.household_id || ':' || d.amount_minor, chr(10) ORDER BY d.id),
                  'UTF8')), 'hex')
              FROM disbursement d WHERE d.id BETWEEN b.first_id AND b.last_id) AS digest
      FROM batch b WHERE b.run_id = :run_id AND b.state = 'planned') planned
""",  # noqa: S608  # of constants, of no input
    sqlite="""
-- digest_lines: the digest of a run, from its rows as they are now, in the ranges of its planned batches
SELECT digest_batches(:salt, b.first_id, (SELECT digest_lines(d.id, d.household_id, d.amount_minor)
                                          FROM disbursement d WHERE d.id BETWEEN b.first_id AND b.last_id))
FROM batch b WHERE b.run_id = :run_id AND b.state = 'planned'
""",
)

DIGEST_BATCHES = Query(
    f"""
-- digest_batches: the digest of a plan, from the digests that its batches have
SELECT {_OVER_BATCHES} FROM batch WHERE run_id = :run_id
""",  # noqa: S608  # of constants, of no input
    sqlite="""
-- digest_batches: the digest of a plan, from the digests that its batches have
SELECT digest_batches(:salt, first_id, digest) FROM batch WHERE run_id = :run_id
""",
)


def digest_of_lines(tx: Tx, run: Run) -> str:
    """The digest of the lines of a run that is not released, from the rows as they are now."""
    return str(tx.scalar(DIGEST_LINES, run_id=run.id, salt=run.salt))


def insert_batches(
    tx: Tx, run_id: int, *, first_id: int, last_id: int, batch_lines: int, classes: Sequence[frozenset[str]]
) -> None:
    """Over all lines of a run; where there are classes, each of one of them.

    Raises RefusedByState where another programme's import has changed the group of a family since its line was
    numbered: it would be in a batch of other families.
    """
    if not classes:
        tx.execute(INSERT_BATCHES, run_id=run_id, batch_lines=batch_lines, first_id=first_id, last_id=last_id)
        return
    next_id = first_id
    for row in tx.all(LIST_CLASSES, first_id=first_id, last_id=last_id, **places_of(classes)):
        span = {"first_id": int(row.first_id), "last_id": int(row.last_id)}
        if row.first_id != next_id or row.last_id - row.first_id + 1 != row.lines:
            raise RefusedByState(
                "the group of a family was changed at this moment",
                hint="nothing was planned; repeat it",
            )
        next_id = row.last_id + 1
        tx.execute(INSERT_BATCHES, run_id=run_id, batch_lines=batch_lines, **span)
        insert_groups(tx, run_id, classes[row.place], **span)


def insert_groups(tx: Tx, run_id: int, groups: frozenset[str], *, first_id: int, last_id: int) -> None:
    """That the batches of a range hold families of these groups alone."""
    for group in sorted(groups):
        tx.execute(INSERT_BATCH_GROUPS, run_id=run_id, group_code=group, first_id=first_id, last_id=last_id)


def places_of(classes: Sequence[frozenset[str]]) -> dict[str, object]:
    """The place of each group's class in their order."""
    return {group: place for place, groups in enumerate(classes) for group in groups}
