"""`db restored`: holds a restored backup against the logs, shows what it has forgotten, and goes on with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from console.entry import confirm, echo, echo_json, note, shown
from console.log_gaps import Gap
from console.log_verify import Line, Verification, read_lines, verify
from models.custody import find_reason
from models.errors import BooksDisagree, Exit, RefusedInput
from models.forgotten import Forgotten, RunForgotten, Told
from models.journal import GENESIS, hash_of_line
from models.kept_head import Head, KeptHead
from models.restores import Restore, list_restores
from models.storage import Database, Query, Tx
from scheduler.restore import Findings, Places, foresee, require_owner, restore

if TYPE_CHECKING:
    from models.lost import Before
    from models.tables import LostRun

GET_HEAD = Query("""
-- get_head: the last seal
SELECT seq, hash FROM journal_head WHERE id = 1
""")

#: What people have to do again is shown up to so many lines; `--json` has all.
AGAIN_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Backup:
    """What the restored database says of itself."""

    seq: int  #: of its last seal
    hash: str
    restores: list[Restore]

    @property
    def is_end_of_restore(self) -> bool:
        """Whether it ends where a restore has left out what was lost: no file need have that place, or the ones before.

        So it is until the next seal, also in a backup that was made by then.
        """
        return self._ends(self.restores)

    def is_told_by(self, found: Verification) -> bool:
        """Whether a file tells of that restore: then the files are this database's."""
        return self._ends(found.restores)

    def _ends(self, restores: Sequence[Restore]) -> bool:
        return any((each.forgotten_seq, each.forgotten_hash) == (self.seq, self.hash) for each in restores)


def go_on(
    database: Database, files: Sequence[Path], *, kept: KeptHead, dry_run: bool, incomplete: bool, yes: bool,
    as_json: bool,
) -> Exit:  # fmt: skip
    """Compare, show, ask, and go on. Raises BooksDisagree (exit 13) for logs that do not hold or are another database's
    and RefusedInput (exit 2) where lines are missing, with nothing changed.
    """
    with database.reading() as tx:
        require_owner(tx)  # first: the logs may take minutes to read
    found = verify(files)
    heads = kept.heads()
    reason = find_reason(database, kept)
    with database.reading() as tx:
        head = _backup(tx)
    _require_whole(found)
    if not reason and found.last_seq <= head.seq and any(each.forgotten_seq == head.seq for each in head.restores):
        _tell_unchanged(database, as_json=as_json)  # it was done just before: nothing has been sealed since
        return Exit.DONE
    _require_same(head, found, _lines_at(files, {head.seq, head.seq + 1, *(each.seq for each in heads)}), heads)
    places = _places(head, found, heads)
    if (places.missing or found.last_seq < head.seq) and not incomplete:
        _refuse_missing(head, found, places)
    forgotten = _read(files, places)
    if places.last_seq == head.seq and not reason:
        _tell_unchanged(database, as_json=as_json)
        return Exit.DONE
    with database.transaction() as tx:  # not `reading`: it asks as what changes will ask
        foreseen = foresee(tx, places, forgotten)
    if not as_json:
        _show(database, places, forgotten, foreseen)
    if not dry_run:
        confirm(f"Go on with {database.name}?", yes=yes)
        with database.transaction() as tx:
            foreseen = restore(tx, places, forgotten)
        kept.replace(Head(places.last_seq, places.last_hash))
    if as_json:
        echo_json(_as_json(database, places, forgotten, foreseen, changed=not dry_run))
    elif not dry_run:
        _tell_next(foreseen, places)
    waits = foreseen.lost or places.missing or any(by_hand for _, by_hand in foreseen.anew)
    return Exit.WAITING_FOR_APPROVAL if waits else Exit.DONE


def _backup(tx: Tx) -> Backup:
    row = tx.one(GET_HEAD)
    return Backup(int(row.seq), str(row.hash), list_restores(tx))


def _require_whole(found: Verification) -> None:
    if found.broken:
        told = "".join(f"\n  {shown(str(fault))}" for fault in found.faults)
        raise BooksDisagree("the logs do not hold; nothing was changed:" + told, hint="despensa logs verify FILE…")


def _require_same(head: Backup, found: Verification, lines: Mapping[int, Line], heads: Sequence[Head]) -> None:
    """The logs must be of this database, and hold its last place; and what was kept outside must be in them."""
    for kept in heads:
        if kept.seq in lines and lines[kept.seq]["hash"] != kept.hash:
            raise BooksDisagree(
                f"the head that was kept outside the database, seq {kept.seq}, is another line in these files",
                hint="DESPENSA_HEAD_FILE of this host may be old: deploy/RUNBOOK.md, A database that was restored; or "
                "the files are another installation's: keep both, and look: despensa logs verify FILE… --head HASH",
            )
    for each in found.restores:
        if each.voids(head.seq) and each not in head.restores:
            raise BooksDisagree(
                f"the backup ends at seq {head.seq}, in a time that an earlier restore has declared void "
                f"(after {each.kept_seq}, up to {each.forgotten_seq}): others may have been paid instead",
                hint="restore a backup that was made before or after it",
            )
    if head.seq > found.last_seq and not head.is_end_of_restore:
        raise RefusedInput(
            f"the files end at seq {found.last_seq}, before the database does at {head.seq}",
            hint=f"add the newest files; what none has: despensa logs emit --from {found.last_seq + 1} > FILE",
        )
    if 0 < head.seq <= found.last_seq:
        _require_last_line(head, found, lines)


def _require_last_line(head: Backup, found: Verification, lines: Mapping[int, Line]) -> None:
    """It is in the files; or the one behind is, whose hash proves it; or they tell of the restore that ended there."""
    last, behind = lines.get(head.seq), lines.get(head.seq + 1)
    if last is None and behind is None and not head.is_told_by(found):
        raise RefusedInput(
            f"no file holds the database's last line, seq {head.seq}, nor the one behind it: nothing shows that they "
            "are this database's",
            hint=f"add the file that holds seq {head.seq}; the database has it, too: despensa logs emit "
            f"--from {head.seq} > FILE",
        )
    same = last is None or last["hash"] == head.hash
    if not same or (last is None and behind is not None and hash_of_line(head.hash, behind) != behind["hash"]):
        raise BooksDisagree(
            f"the database's last line, seq {head.seq}, is another one in these files: they are another "
            "installation's, or the backup went on by itself",
            hint="find the right files; if they are this database's, restore the backup once more",
        )


def _lines_at(files: Sequence[Path], places: Set[int]) -> dict[int, Line]:
    """The first line of each of these places, as far as the files have one. In one reading: they may be a year's."""
    found: dict[int, Line] = {}
    for path in files:
        for _, line in read_lines(path):
            seq = line.get("seq")
            if isinstance(seq, int) and seq in places:
                found.setdefault(seq, line)
                if len(found) == len(places):
                    return found
    return found


def _places(head: Backup, found: Verification, heads: Sequence[Head]) -> Places:
    """Up to the furthest place that a file holds, or that was kept outside."""
    furthest = max(heads, key=lambda each: each.seq, default=Head(0, GENESIS))
    missing = sum(gap.last_seq - gap.first_seq + 1 for gap in _gaps(head, found)) + _missing_before(head, found)
    if furthest.seq > max(found.last_seq, head.seq):
        missing += furthest.seq - max(found.last_seq, head.seq)
        return Places(head.seq, head.hash, furthest.seq, furthest.hash, missing)
    if found.last_seq <= head.seq:
        return Places(head.seq, head.hash, head.seq, head.hash, missing)
    return Places(head.seq, head.hash, found.last_seq, found.hash, missing)


def _missing_before(head: Backup, found: Verification) -> int:
    """Places between the database's last one and the first line of the files."""
    return max(0, found.first_seq - head.seq - 1)


def _gaps(head: Backup, found: Verification) -> list[Gap]:
    """Behind the database's last place, which is in none of them. One that an earlier restore has voided counts, too:
    what was paid then was paid.
    """
    return [gap for gap in [*found.gaps, *found.void_gaps] if gap.last_seq > head.seq]


def _refuse_missing(head: Backup, found: Verification, places: Places) -> None:
    gaps = [str(gap) for gap in _gaps(head, found)]
    if _missing_before(head, found):
        gaps.insert(0, f"seq {head.seq + 1} to {found.first_seq - 1}, before the first line of these files")
    last_seq = max(found.last_seq, head.seq)
    if places.last_seq > last_seq:
        gaps.append(f"seq {last_seq + 1} to {places.last_seq}: the head that was kept is beyond these files")
    if not gaps:
        gaps = [f"they end at seq {found.last_seq}, and an earlier restore left out what was lost up to {head.seq}"]
    told = "".join(f"\n  {shown(gap)}" for gap in gaps)
    raise RefusedInput(
        f"{places.missing} lines since the backup are in none of these files:{told}",
        hint="add the files of every host that ran a scheduler or a command since then; if they are lost for good: "
        "--incomplete",
    )


def _read(files: Sequence[Path], places: Places) -> Forgotten:
    forgotten = Forgotten(places.kept_seq, places.last_seq)
    for path in files:
        for _, line in read_lines(path):
            forgotten.hear(line)
    return forgotten


def _tell_unchanged(database: Database, *, as_json: bool) -> None:
    from models.lost import list_lost

    with database.reading() as tx:
        waiting = len(list_lost(tx, undecided=True))
    if as_json:
        echo_json({"database": database.name, "changed": False, "lost_runs_waiting": waiting})
    note(f"{database.name} has forgotten nothing that these files tell; nothing was changed")
    if waiting:
        note(f"{waiting} lost runs wait for a person: despensa run lost")


def _show(database: Database, places: Places, forgotten: Forgotten, found: Findings) -> None:
    from models.columns import instant_text
    from models.tables import run_code

    echo(f"database  {database.name}")
    echo(f"kept      up to seq {places.kept_seq}")
    echo(f"forgotten {places.last_seq - places.kept_seq} events, up to seq {places.last_seq}; from then on void")
    if found.from_at is not None:
        echo(f"since     {instant_text(found.from_at)} payments may be forgotten, of months up to {found.cycle}")
    if places.missing:
        echo(f"missing   {places.missing} lines: every run waits for a person's look")
    for lost in found.lost:
        echo(f"lost      {lost_text(lost, _before(found, lost))}")
    for run in found.paused:
        echo(f"paused    {run_code(run)}: it was halted, or nobody knows")
    for run, told in found.remembered:
        released = ["it was released already, and cannot be discarded"] if told.released else []
        halted = ["it will be paused once it is released"] if told.halted else []
        echo(f"plan      {run_code(run)}: {'; '.join([*released, *halted])}")
    for run in found.discarded:
        echo(f"discarded {run_code(run)}: as it had been")
    for run, cases in found.held:
        echo(f"cases     {run_code(run)}: {cases} wait for a person; one of them may have been found not owed")
    for programme in found.doubted:
        echo(
            f"issuer    {programme}: it is asked about each line of months up to {found.cycle} before anything is sent"
        )
    for name, number in found.numbers.items():
        echo(f"numbers   {name} go on after {number:,}")
    _show_again(forgotten.again)
    for told, waits in found.anew:
        echo(f"to {'do again' if waits else 'expect'}: {shown(_anew_text(told, waits=waits))}")


def _before(found: Findings, lost: LostRun) -> Before:
    from models.lost import Before

    told = found.told[lost.run_id]
    return Before(told.halted, told.disowned_by)


def lost_text(lost: LostRun, before: Before) -> str:
    """A lost run in one line."""
    from models.money import format_amount
    from models.tables import run_code

    files = f"{lost.exported} hand-over files" if lost.exported != 1 else "1 hand-over file"
    return (
        f"{run_code(lost)} (run id {lost.run_id}): {lost.credited} of {lost.planned} credited, "
        f"{format_amount(lost.credited_minor, lost.currency)}; {files}"
        + (f"; {shown(str(before))}" if str(before) else "")
    )


def _show_again(again: Sequence[Told]) -> None:
    if not again:
        return
    counts = ", ".join(f"{count} {event}" for event, count in sorted(Counter(told.event for told in again).items()))
    echo(f"to do again, where it is still wanted: {counts}")
    for told in again[:AGAIN_SHOWN]:
        echo(f"  {told.at}  {told.event:<18} {shown(_again_text(told))}")
    if len(again) > AGAIN_SHOWN:
        echo(f"  and {len(again) - AGAIN_SHOWN} more; --json has all")


def _anew_text(told: RunForgotten, *, waits: bool) -> str:
    """A run of an outside issuer, which is planned anew under other numbers and asked for."""
    from models.money import format_amount

    files = "1 hand-over file" if len(told.exports) == 1 else f"{len(told.exports)} hand-over files"
    amount = format_amount(told.planned_minor, told.currency)
    texts = [
        f"run {told.run} of {told.programme} had {told.planned} lines, {amount}",
        _plan_command(told) if waits else "it is planned anew by itself: compare the sum",
        *([f"{files} of it: its families hold other numbers then"] if told.exports else []),
    ]
    return "; ".join(texts)


def _plan_command(told: RunForgotten) -> str:
    return f"despensa run plan --cycle {told.cycle} --location {told.location} --programme {told.programme}"


def _again_text(told: Told) -> str:
    names = ("run", "case_id", "outcome", "kind", "fund", "amount_minor", "currency", "store", "version", "file_digest",
             "operator")  # fmt: skip
    return "  ".join(told.text(name) for name in names if told.text(name))


def _tell_next(found: Findings, places: Places) -> None:
    from models.tables import run_code

    note("done: the database pays again, from the next place of the journal on")
    if any(found.lost):
        typed = run_code(found.lost[0])
        note(
            f"{len(found.lost)} lost runs wait for a person, and their programmes with them: despensa run lost; then, "
            f"such as: despensa run recover {typed} --handed-over FILE"
        )
    if any(waits for _, waits in found.anew):
        note("months of outside issuers that catch-up does not reach are planned by hand, after all imports: see above")
    if places.missing:
        note("lines were missing: released runs are paused; look at each, then: despensa run resume RUN")
    note("import again what was imported since the backup before a scheduler starts")


def _as_json(
    database: Database, places: Places, forgotten: Forgotten, found: Findings, *, changed: bool
) -> dict[str, object]:
    from models.columns import instant_text
    from models.tables import run_code

    return {
        "database": database.name, "changed": changed, "kept_seq": places.kept_seq,
        "forgotten_seq": places.last_seq, "missing": places.missing,
        "forgotten_from": instant_text(found.from_at) if found.from_at else "", "forgotten_cycle": found.cycle,
        "lost_runs": [lost_as_json(lost, _before(found, lost)) for lost in found.lost],
        "paused_runs": [run_code(run) for run in found.paused],
        "remembered_runs": [{"run": run_code(run), "halted": told.halted} for run, told in found.remembered],
        "discarded_runs": [run_code(run) for run in found.discarded],
        "held_cases": {run_code(run): cases for run, cases in found.held},
        "planned_anew": [_anew_as_json(told, waits=waits) for told, waits in found.anew],
        "issuers_asked": found.doubted, "numbers": found.numbers,
        "again": [{"seq": told.seq, "at": told.at, "event": told.event, **_own(told)} for told in forgotten.again],
    }  # fmt: skip


def lost_as_json(lost: LostRun, before: Before) -> dict[str, object]:
    """A lost run, for `--json`."""
    from models.columns import instant_text
    from models.tables import run_code

    return {
        "run": run_code(lost), "run_id": lost.run_id, "location": lost.location_code, "cycle": lost.cycle,
        "part": lost.part, "planned": lost.planned, "planned_minor": lost.planned_minor, "credited": lost.credited,
        "credited_minor": lost.credited_minor, "currency": lost.currency, "halted": before.halted,
        "disowned_by": before.disowned_by, "exported": lost.exported,
        "outcome": lost.outcome or "", "decided_by": lost.decided_by or "",
        "decided_at": instant_text(lost.decided_at) if lost.decided_at else "",
    }  # fmt: skip


def _anew_as_json(told: RunForgotten, *, waits: bool) -> dict[str, object]:
    return {
        "run": told.run, "programme": told.programme, "location": told.location, "cycle": told.cycle,
        "planned": told.planned, "planned_minor": told.planned_minor, "credited": told.credited,
        "credited_minor": told.credited_minor, "currency": told.currency, "exported": len(told.exports),
        "command": _plan_command(told) if waits else "",
    }  # fmt: skip


def _own(told: Told) -> dict[str, object]:
    from console.log_reference import HEAD, SEAL

    return {name: value for name, value in told.fields.items() if name not in HEAD and name not in SEAL}
