"""Which lines of a log are meant: by run, location, event, level, time, or the life of one voucher. No database.

A location's name, and the batches of a voucher, are in the lines themselves: a chooser learns them before it chooses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from models.errors import NotFound, RefusedInput

Line = dict[str, int | str | bool | None]

LEVELS = ("info", "warning", "error")
#: A disbursement's id divided by it is its run's. As in models.tables, which takes long to import.
LINES_PER_RUN = 10_000_000
#: The actor whose attempts are a batch's.
CREDIT_ACTOR = "credit_batch"
#: A line is parsed for learning only if it may have one of these fields.
TEACHING = (b'"location_name"', b'"first_id"')

_RUN = re.compile(r"(?:(?P<programme>[^/]+)/)?(?P<run>[0-9]{4}-[0-9]{2}/[0-9]{5})(?P<part>\.[1-9][0-9]*)?")
_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_CODE = re.compile(r"[0-9]{5}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(slots=True)
class Chooser:
    """What an operator asked for. Empty and None mean all."""

    run: str = ""
    programme: str = ""
    location: str = ""  #: its code, or a name until `settle`
    event: str = ""  #: such as case.*
    level: str = ""  #: at least
    since: str = ""  #: an instant, as lines have it
    disbursement_id: int | None = None
    _names: dict[str, set[str]] = field(default_factory=dict)  #: codes by name, as the lines have them
    _batches: set[int] = field(default_factory=set)  #: that cover the disbursement

    @property
    def chooses(self) -> bool:
        """Whether not every line is meant."""
        return self.disbursement_id is not None or any(
            (self.run, self.programme, self.location, self.event, self.level, self.since)
        )

    @property
    def must_learn(self) -> bool:
        """Whether the files must be read once before lines can be chosen."""
        return self.disbursement_id is not None or self._has_name

    @property
    def _has_name(self) -> bool:
        return bool(self.location) and not _CODE.fullmatch(self.location)

    def learn(self, line: Line) -> None:
        """Remember what this line says of names, and of batches that cover the disbursement."""
        name, code = line.get("location_name"), line.get("location")
        if isinstance(name, str) and isinstance(code, str):
            self._names.setdefault(name, set()).add(code)
        batch = line.get("batch_id")
        if isinstance(batch, int) and self._covers(line):
            self._batches.add(batch)

    def settle(self) -> None:
        """Turn a location's name into its code. Raises NotFound where the lines have none, or several, of that name."""
        if not self._has_name:
            return
        typed = self.location.casefold()
        exact = {name for name in self._names if name.casefold() == typed}
        named = exact or {name for name in self._names if typed in name.casefold()}
        codes = sorted({code for name in named for code in self._names[name]})
        if len(codes) != 1:
            what = f"several locations ({', '.join(codes)}) are" if codes else "no location is"
            raise NotFound(f"in these lines {what} called {self.location!r}", hint="use the five-digit code")
        self.location = codes[0]

    def takes(self, line: Line) -> bool:
        """Whether the line is meant."""
        return (
            (not self.run or line.get("run") == self.run)
            and (not self.programme or line.get("programme") == self.programme)
            and (not self.location or line.get("location") == self.location)
            and (not self.event or fnmatchcase(str(line["event"]), self.event))
            and (not self.level or line["level"] in LEVELS[LEVELS.index(self.level) :])
            and (not self.since or str(line["timestamp"]) >= self.since)
            and (self.disbursement_id is None or self._speaks_of_disbursement(line))
        )

    def _speaks_of_disbursement(self, line: Line) -> bool:
        """Its case, its batches, their attempts, and what concerns its whole run."""
        assert self.disbursement_id is not None  # noqa: S101  # asked by `takes`
        if "disbursement_id" in line:
            return line["disbursement_id"] == self.disbursement_id
        if "first_id" in line:
            return self._covers(line)
        if "actor" in line:
            return line["actor"] == CREDIT_ACTOR and line.get("subject_id") in self._batches
        if "run_id" in line:
            return line["run_id"] == self.disbursement_id // LINES_PER_RUN
        return line.get("batch_id") in self._batches

    def _covers(self, line: Line) -> bool:
        first, last = line.get("first_id"), line.get("last_id")
        if not (isinstance(first, int) and isinstance(last, int)) or self.disbursement_id is None:
            return False
        return first <= self.disbursement_id <= last


def chooser(
    *, run: str, location: str, event: str, level: str, voucher: str, disbursement: int | None, since: str,
    events: Iterable[str], now: datetime,
) -> Chooser:  # fmt: skip
    """From what was typed. Raises RefusedInput naming the option that cannot be meant so."""
    typed = _RUN.fullmatch(run)
    if run and typed is None:
        raise RefusedInput(f"--run {run!r}: a run is typed like 2026-12/02004, with .2 for part 2")
    if level and level not in LEVELS:
        raise RefusedInput(f"--level {level!r} is none of {', '.join(LEVELS)}")
    if event and not any(fnmatchcase(name, event) for name in events):
        near = difflib.get_close_matches(event, list(events), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "despensa logs schema --markdown lists them"
        raise RefusedInput(f"--event {event!r}: no event is called so", hint=hint)
    if voucher and disbursement is not None:
        raise RefusedInput("--voucher and --disbursement say the same: give one of them")
    part = (typed["part"] or "") if typed else ""
    return Chooser(
        run=typed["run"] + ("" if part == ".1" else part) if typed else "",
        programme=(typed["programme"] or "") if typed else "",
        location=location, event=event, level=level, since=parse_since(since, now=now) if since else "",
        disbursement_id=_disbursement(voucher) if voucher else disbursement,
    )  # fmt: skip


def parse_since(text: str, *, now: datetime) -> str:
    """An instant as lines have it, from one, a date, or an age such as 90s, 15m, 2h or 3d. UTC unless it says else."""
    from models.columns import instant_text

    age = _AGE.fullmatch(text)
    if age:
        return instant_text(now - timedelta(**{_UNITS[age[2]]: int(age[1])}))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedInput(
            f"--since {text!r} is no instant and no age", hint="such as 15m, 2h, 3d, 2026-12-01, 2026-12-01T17:00Z"
        ) from None
    return instant_text(instant if instant.tzinfo else instant.replace(tzinfo=UTC))


def _disbursement(voucher: str) -> int:
    from models.keys import parse_voucher_number

    try:
        return parse_voucher_number(voucher)
    except RefusedInput:
        raise RefusedInput(
            f"--voucher {voucher!r}: the check digit does not fit",
            hint="type the number again; the id of a disbursement is given with --disbursement",
        ) from None
