"""Proving log files: every sealed line's hash, and its place in the chain, from the files alone.

Lines may come in any order, several times and from several files, plain or packed with gzip: a line's place is its
`seq`. A line is proven by its own hash over the hash that the line before it carries. So a changed, dropped,
exchanged or added line is found; that the last lines are missing is found only with the database, or with a last
hash that somebody kept.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from console.log_gaps import Gap, find_gaps
from console.log_hosts import RollCall
from models.errors import NotFound, RefusedInput
from models.journal import GENESIS, hash_of_line
from models.kept_head import Head
from models.restores import RESTORED, Restore, are_void, is_void, list_restores
from models.storage import Query, Tx

Line = dict[str, int | str | bool | None]

GZIP_MAGIC = b"\x1f\x8b"
HASH_CHARACTERS = frozenset("0123456789abcdef")
#: Faults that a report names; one is enough to distrust a log.
FAULTS_MAX = 20

GET_HEAD = Query("-- get_head: the last seal, and how far a log was written\nSELECT seq, emitted_seq FROM journal_head")

FIND_SEAL = Query("""
-- find_seal: the seal at one place of the log
SELECT prev_hash, hash FROM seal WHERE seq = :seq
""")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands."""

    path: Path
    number: int  #: of the line, from 1

    def __str__(self) -> str:
        return f"{self.path}, line {self.number}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that breaks the chain."""

    seq: int
    place: Place
    reason: str

    def __str__(self) -> str:
        return f"seq {self.seq} ({self.place}): {self.reason}"

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"seq": self.seq, "file": str(self.place.path), "line": self.place.number, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed line, and where it stands."""

    seq: int
    line: Line
    place: Place

    def refusal(self, prev_hash: str) -> str:
        """Why it does not follow the line with this hash; empty if it does."""
        if hash_of_line(prev_hash, self.line) == self.line["hash"]:
            return ""
        return "its hash is not that of its fields after the line before it: one of the two was changed"


@dataclass(slots=True)
class Verification:
    """What a reading of log files came to."""

    lines: int = 0  #: sealed lines, each place once
    repeated: int = 0  #: sealed lines that said again what another said
    unsealed: int = 0  #: operational lines: they have no place and no hash
    first_seq: int = 0  #: the first place that the files hold; 0 where they hold none
    last_seq: int = 0
    hash: str = GENESIS  #: of the last line; who keeps it can prove the log as far as there
    first: Sealed | None = None
    last: Sealed | None = None
    faults: list[Fault] = field(default_factory=list)
    broken: int = 0  #: faults that are more than a missing place
    torn: list[Place] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    void_gaps: list[Gap] = field(default_factory=list)  #: of which restores have voided every place: no fault
    restores: list[Restore] = field(default_factory=list)  #: that the lines tell of, in the order of their places
    lost_heads: list[str] = field(default_factory=list)  #: hashes that somebody kept, and no line has
    kept_heads: int = 0  #: places of kept heads whose lines are there, with the hashes that they had
    earlier_heads: int = 0  #: of kept heads before the first of these lines: nothing is said of them
    roll_call: RollCall = field(default_factory=RollCall)

    @property
    def from_genesis(self) -> bool:
        """Whether the files begin with the log. Otherwise the first line has nothing before it that proves it."""
        return self.first_seq == 1

    @property
    def agrees(self) -> bool:
        """Whether the sealed lines are whole and true, as far as these files can show."""
        return not self.faults and not self.lost_heads

    def is_forgotten(self, gap: Gap) -> bool:
        """Whether all its places are void: what is missing there counts nowhere."""
        return are_void(gap.first_seq, gap.last_seq, self.restores)

    def add(self, sealed: Sealed, reason: str, *, missing: bool = False) -> None:
        """Remember a fault, if there are not too many. `missing`: only the place before it is not there."""
        self.broken += bool(reason) and not missing
        if reason and len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(sealed.seq, sealed.place, reason))

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "agrees": self.agrees,
            "lines": self.lines,
            "repeated": self.repeated,
            "unsealed": self.unsealed,
            "torn": len(self.torn),
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "hash": self.hash,
            "from_genesis": self.from_genesis,
            "faults": [fault.as_json() for fault in self.faults],
            "missing": [gap.as_json() for gap in self.gaps],
            "restores": [
                {"kept_seq": restore.kept_seq, "forgotten_seq": restore.forgotten_seq} for restore in self.restores
            ],
            "lost_heads": self.lost_heads,
            "kept_heads": self.kept_heads,
            "earlier_heads": self.earlier_heads,
            "missing_hosts": [absence.as_json() for absence in self.roll_call.absences()],
        }


class _BrokenLine(Exception):
    """A line that is no log line; its text says why."""


class _TornLine(_BrokenLine):
    """A line that is no JSON: a writer was cut off there, or is still writing."""


def verify(paths: Sequence[Path], *, heads: Sequence[str] = (), kept: Sequence[Head] = ()) -> Verification:
    """Prove the sealed lines of log files, given in any order. Each of `heads`, hashes that were kept, must be there,
    and each of `kept` at its place, from the first line of the files on.

    Reads each file twice: first for the hashes, since a line is proven by the one before it, wherever that stands.
    A line that is no JSON is passed over and noted in `torn`; RefusedInput is raised for any other that is no log line.
    """
    found = Verification()
    hashes = _read_hashes(paths, found)
    known = {GENESIS, *hashes.values()} if heads else set()
    found.lost_heads = [head for head in heads if head not in known]
    _look_for_kept(found, hashes, kept)
    if not hashes:
        return found
    for gap in find_gaps(sorted(hashes)):
        (found.void_gaps if found.is_forgotten(gap) else found.gaps).append(gap)
    around: dict[int, list[Gap]] = {}
    for gap in [*found.gaps, *found.void_gaps]:
        around.setdefault(gap.first_seq - 1, []).append(gap)
        around.setdefault(gap.last_seq + 1, []).append(gap)
    found.lines, found.first_seq, found.last_seq = len(hashes), min(hashes), max(hashes)
    found.hash = hashes[found.last_seq]
    missing: set[int] = set()
    for sealed in _read_sealed(paths):
        if sealed.seq not in hashes:
            continue  # written since the first reading
        for gap in around.get(sealed.seq, ()):
            gap.hear(sealed.line)
        if sealed.seq == found.first_seq:
            found.first = found.first or sealed
        if sealed.seq == found.last_seq:
            found.last = found.last or sealed
        _prove(found, sealed, hashes, missing)
    return found


def compare(tx: Tx, found: Verification) -> int:
    """Hold verified files against the seals of the database, adding faults for what does not agree.

    Returns how many lines a log was written since the last of these files: they are missing here, or elsewhere.
    """
    head = tx.one(GET_HEAD)
    if found.first is not None and found.last is not None:
        first_seal = tx.first(FIND_SEAL, seq=found.first_seq)
        if first_seal is not None:
            found.add(found.first, found.first.refusal(str(first_seal.prev_hash)))
        last_seal = tx.first(FIND_SEAL, seq=found.last_seq)
        if last_seal is None and is_void(found.last_seq, list_restores(tx)):
            pass  # it was forgotten by a restored backup, as the database knows
        elif last_seal is None:
            found.add(found.last, f"the database has sealed no more than seq {head.seq}: was an older backup restored?")
        elif last_seal.hash != found.hash:
            found.add(found.last, "its hash is not the one in the database")
    return max(0, int(head.emitted_seq) - found.last_seq)


def read_lines(path: Path, torn: list[Place] | None = None) -> Iterator[tuple[Place, Line]]:
    """The lines of a log file with their places, parsed. Blank lines are passed over.

    A line that is no JSON was cut off by a crash or a full disk, or is still being written: its place goes to `torn`.
    What it was to say was written again, if it has a place in the chain; otherwise that place is missing.
    Raises RefusedInput naming file and line for any other that is no log line, NotFound for no such file.
    """
    for place, text in read_texts(path):
        if not text.strip():
            continue
        try:
            line = _parse(text)
        except _TornLine:
            if torn is not None:
                torn.append(place)
            continue
        except _BrokenLine as error:
            raise _refused(place, str(error)) from None
        yield place, line


def read_texts(path: Path) -> Iterator[tuple[Place, bytes]]:
    """The lines of a file as they are, with their places. Raises NotFound, and RefusedInput for a damaged gzip file."""
    packed = is_packed(path)
    try:
        with _open(path, packed=packed) as stream:
            for number, text in enumerate(stream, start=1):
                yield Place(path, number), text
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise RefusedInput(f"{path} is a damaged gzip file", hint="pack it again, or restore it") from None


def is_packed(path: Path) -> bool:
    """Whether a file is packed with gzip, by its first bytes, whatever it is called. Raises NotFound."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == GZIP_MAGIC
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None


def _read_hashes(paths: Sequence[Path], found: Verification) -> dict[int, str]:
    hashes: dict[int, str] = {}
    restores: dict[int, Restore] = {}
    for path in paths:
        for place, line in read_lines(path, found.torn):
            if "seq" not in line:
                found.unsealed += 1
                found.roll_call.hear(line)
                continue
            sealed = Sealed(int(line["seq"] or 0), line, place)
            if line["event"] == RESTORED:
                restores[sealed.seq] = _restore(sealed)
            known = hashes.setdefault(sealed.seq, str(line["hash"]))
            if known != line["hash"]:
                found.add(sealed, "another line has this seq, with another hash")
            elif sealed.seq in hashes:
                found.repeated += 1
    found.repeated -= len(hashes)
    found.restores = [restores[seq] for seq in sorted(restores)]
    return hashes


def _read_sealed(paths: Sequence[Path]) -> Iterator[Sealed]:
    for path in paths:
        for place, line in read_lines(path):
            if "seq" in line:
                yield Sealed(int(line["seq"] or 0), line, place)


def _prove(found: Verification, sealed: Sealed, hashes: dict[int, str], missing: set[int]) -> None:
    """By the hash of the line before it, as far as there is one: in the files, or told by a restore."""
    ends = {restore.forgotten_seq: restore.forgotten_hash for restore in found.restores}
    prev_hash = GENESIS if sealed.seq == 1 else hashes.get(sealed.seq - 1, ends.get(sealed.seq - 1))
    if prev_hash is not None:
        found.add(sealed, sealed.refusal(prev_hash))
    elif sealed.seq == found.first_seq:
        found.add(sealed, _difference(found.first, sealed))
    elif sealed.seq not in missing and not is_void(sealed.seq - 1, found.restores):
        missing.add(sealed.seq)
        found.add(sealed, f"the line before it, seq {sealed.seq - 1}, is missing", missing=True)


def _restore(sealed: Sealed) -> Restore:
    try:
        return Restore.of(sealed.line)
    except (KeyError, TypeError):
        raise _refused(sealed.place, "it does not say what was restored") from None


def _look_for_kept(found: Verification, hashes: dict[int, str], kept: Sequence[Head]) -> None:
    first_seq = min(hashes, default=1)
    for head in kept:
        if head.seq < first_seq:
            found.earlier_heads += 1
        elif hashes.get(head.seq) == head.hash:
            found.kept_heads += 1
        elif head.seq in hashes or not is_void(head.seq, found.restores):
            found.lost_heads.append(f"{head.hash} at seq {head.seq}")


def _difference(first: Sealed | None, again: Sealed) -> str:
    """Nothing proves the first line, but those that repeat it must at least say the same."""
    if first is None or hash_of_line(GENESIS, first.line) == hash_of_line(GENESIS, again.line):
        return ""
    return f"it says something else than {first.place}"


def _refused(place: Place, reason: str) -> RefusedInput:
    return RefusedInput(f"{place}: {reason}", hint="look at the line; take it out of a copy to read the rest")


def _open(path: Path, *, packed: bool) -> BinaryIO:
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]  # it reads as one


def _parse(text: bytes) -> Line:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _TornLine from None
    if not isinstance(line, dict) or not isinstance(line.get("event"), str):
        raise _BrokenLine("this is no log line: no object with an `event`")
    if any(isinstance(value, list | dict) for value in line.values()):  # ours are flat; a deep one cannot be hashed
        raise _BrokenLine("a field holds a list or an object")
    # A name given twice would let one reader see another value than the next. Ours never have it.
    if orjson.dumps(line) != text.strip() and _names_repeat(text):
        raise _BrokenLine("a field is given twice")
    if "seq" in line:
        _require_seal(line)
    return line


def _require_seal(line: Line) -> None:
    seq, digest = line["seq"], line.get("hash")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
        raise _BrokenLine("`seq` is a whole number from 1 on")
    if not isinstance(digest, str) or len(digest) != len(GENESIS) or not HASH_CHARACTERS.issuperset(digest):
        raise _BrokenLine("`hash` is 64 hexadecimal digits")


def _names_repeat(text: bytes) -> bool:
    repeated = False

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    return repeated
