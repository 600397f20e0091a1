"""The likeliest troubles of a month: how each is made, what somebody notices of it, and how one knows that it is over.

How it is mended is not said here: that stands in deploy/RUNBOOK.md, and finding it there is what is practised.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from console.rehearsal.site import CITIES, FAMILIES_PER_CITY, Site
from models.errors import DespensaError, Exit

#: The database of a rehearsal has batches of ten: the process dies in the third.
CREDITS_BEFORE_KILL = 2
#: A log's line that somebody lost, counted from the first.
LOST_LINE = 3
#: The city whose hand-over file had left the house.
HANDED_OVER = CITIES[0][0]
FAMILIES = FAMILIES_PER_CITY * len(CITIES)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One of those that are practised."""

    name: str
    title: str  #: what is wrong, as the person on call gets to know it
    look: str  #: the command that shows it, and what it ends with
    section: str  #: of deploy/RUNBOOK.md
    make: Callable[[Site], None]
    remains: Callable[[Site], str]  #: what is still wrong; empty once it is mended


def _no_rate(site: Site) -> None:
    site.install(rate=False)
    site.command("run", "start")


def _small_fund(site: Site) -> None:
    site.install(fund="1000.00")
    site.must("run", "start", code=Exit.FAILED)


def _waits_for_approval(site: Site) -> None:
    site.install(run_max="1.00")
    site.must("run", "start", code=Exit.WAITING_FOR_APPROVAL)


def _store_gone(site: Site) -> None:
    from workers.stores.simulated import SimulatedStores

    site.install()
    with SimulatedStores(faults={"TIJ-1": "gone"}, port=site.stores_port):
        site.must("run", "start")


def _issuer_refuses(site: Site) -> None:
    from workers.issuers.simulated import SimulatedIssuer

    site.install(issuer=True)
    token = site.home / "keys" / "issuer-rehearsal.token"
    token.touch(mode=0o600)
    token.write_text("rehearsal\n")
    with SimulatedIssuer({"refuse": "3"}, port=site.issuer_port):
        site.must("run", "start", code=Exit.WITH_CASES)


def _killed(site: Site) -> None:
    site.install()
    now = datetime.now(UTC).isoformat()
    ended = site.python("-m", "console.demo_victim", str(site.home), now, str(CREDITS_BEFORE_KILL))
    if ended.returncode != -signal.SIGKILL:
        raise DespensaError("the process that was to be killed ended by itself", hint="this is a defect: report it")


def _full_disk(site: Site) -> None:
    site.install()
    site.log.rename(site.log.with_suffix(".before"))
    site.log.symlink_to("/dev/full")  # whatever is written to it, no room is left
    site.must("run", "start", code=Exit.FAILED)


def _open_key(site: Site) -> None:
    site.install()
    (site.home / "keys" / "pin.key").chmod(0o644)
    site.must("run", "start", code=Exit.MISUSED)


def _lost_lines(site: Site) -> None:
    site.install()
    site.must("run", "start")
    lines = site.log.read_text().splitlines(keepends=True)
    site.log.write_text("".join(line for line in lines if f'"seq":{LOST_LINE},' not in line))


def _restored(site: Site) -> None:
    """The backup of the morning, put back in the evening: both cities were credited meanwhile, one handed over."""
    site.install()
    backups = site.home / "backups"
    backups.mkdir(mode=0o700)
    site.must("db", "backup", str(backups))
    site.must("run", "start")
    handed_over = next(run.run for run in site.runs() if run.location == HANDED_OVER)
    site.must("voucher", "export", handed_over, "--out", str(site.home / f"{HANDED_OVER}.csv"), "--yes")
    for left in site.home.glob(f"{site.database.name}*"):
        left.unlink()
    (backup,) = backups.iterdir()
    shutil.copy(backup, site.database)
    site.must("run", "start", code=Exit.BOOKS_DISAGREE)


def _not_credited(site: Site) -> str:
    """What every month comes to: all families credited, no case open, nothing due."""
    runs = site.runs()
    credited = sum(run.counts.credited for run in runs)
    if credited < FAMILIES:
        blocked = "; ".join(f"{run.run} is {run.state}" for run in runs if run.state != "completed")
        return f"{credited} of {FAMILIES} families are credited" + (f": {blocked}" if blocked else "")
    cases = sum(run.counts.cases for run in runs)
    return f"{cases} cases are open" if cases else ""


def _not_told(site: Site) -> str:
    late = sum(run.counts.notices_undelivered + run.counts.notices_due for run in site.runs())
    return f"{late} notices are not delivered" if late else _not_credited(site)


def _not_logged(site: Site) -> str:
    from console.log_verify import compare, verify

    if not site.log.is_file():
        return f"{site.log.name} is no file that keeps anything"
    before = site.log.with_suffix(".before")
    found = verify([path for path in (before, site.log) if path.exists()])
    with site.entry() as desk, desk.database.reading() as tx:
        behind = compare(tx, found)
    if found.faults:
        return f"the log is not whole: {found.faults[0]}"
    return f"{behind} lines of the log are missing at its end" if behind else _not_credited(site)


def _key_open(site: Site) -> str:
    checked = site.command("config", "check")
    return _not_credited(site) if checked.returncode == Exit.DONE else "`config check` does not end with 0"


def _not_compared(site: Site) -> str:
    if site.command("config", "check").returncode == Exit.BOOKS_DISAGREE:
        return "nothing is paid: the database was not compared with the logs"
    return _not_credited(site)


TROUBLES = (
    Trouble(
        "rate", "The month has begun, and no city has a run.",
        "`run start` says what stands in the way", "A run is late or missing", _no_rate, _not_credited,
    ),
    Trouble(
        "fund", "The lines are planned, and no city is credited.",
        "`run start` ends with 1", "A run waits on its payday", _small_fund, _not_credited,
    ),
    Trouble(
        "approval", "The lines are planned, and nobody goes on.",
        "`run start` ends with 14", "A run waits on its payday", _waits_for_approval, _not_credited,
    ),
    Trouble(
        "store", "A store in Tijuana says that it was not told of its families' vouchers.",
        "`store list`", "Notices are undelivered", _store_gone, _not_told,
    ),
    Trouble(
        "issuer", "The outside issuer refused some families.",
        "`run start` ended with 3; `run cases` lists them", "When something is wrong", _issuer_refuses, _not_credited,
    ),
    Trouble(
        "killed", "The host went down in the middle of the month.",
        "`run status` shows a run that nobody finishes", "When something is wrong", _killed, _not_credited,
    ),
    Trouble(
        "disk", "The disk with the log is full.",
        "`run start` ends with 1; `ls -l` of the log's folder shows what it writes to", "When something is wrong",
        _full_disk, _not_logged,
    ),
    Trouble(
        "key", "Cron's `run start` fails since somebody tidied up the host.",
        "`run start` ends with 2", "What an exit code means", _open_key, _key_open,
    ),
    Trouble(
        "log", "The dashboard says that an event is missing.",
        "`logs verify` of the log ends with 13", "The dashboard", _lost_lines, _not_logged,
    ),
    Trouble(
        "restored", "The disk died in mid-month; the morning's backup was put back, and nothing is paid.",
        f"`run start` ends with 13; only the hand-over file of {HANDED_OVER} had been made, and sent",
        "A database that was restored", _restored, _not_compared,
    ),
)  # fmt: skip


def find(name: str) -> Trouble | None:
    """The trouble of this name."""
    return next((each for each in TROUBLES if each.name == name), None)
