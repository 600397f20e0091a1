"""Reading CSV strictly: UTF-8, commas, the columns that are asked for and no other, in any order.

A refusal names file, line, field and rule, and never the value: it may be of a family.
"""

import codecs
import csv
import io
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar, cast

from models.errors import RefusedInput

T = TypeVar("T")
#: No field of ours is longer; a longer one is an unclosed quote.
FIELD_CHARACTERS_MAX = 2_000
#: Of a file that is read whole.
SMALL_FILE_BYTES_MAX = 1_048_576


class BadFile(RefusedInput):
    """A file breaks a rule. Nothing was changed."""

    def __init__(self, path: Path, rule: str, *, line: int = 0, field: str = "") -> None:
        place = path.name + (f" line {line}" if line else "") + (f", {field}" if field else "")
        super().__init__(f"{place}: {rule}", hint="nothing was changed; mend the file, then repeat the command")
        self.file = path.name
        self.line = line
        self.field = field
        self.rule = rule


class BrokenRule(ValueError):
    """What a field parser raises: the rule, never the value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, by column."""

    path: Path
    line: int
    values: dict[str, str]

    def read(self, field: str, parse: Callable[[str], T]) -> T:
        """A field through its parser. Raises BadFile with the parser's rule."""
        try:
            return parse(self.values[field])
        except (BrokenRule, ValueError) as error:
            raise self.refuse(field, str(error)) from None

    def refuse(self, field: str, rule: str) -> BadFile:
        """What to raise where a field breaks a rule that needs more than its text."""
        return BadFile(self.path, rule, line=self.line, field=field)


def read_rows(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = (), none_allowed: bool = False
) -> Iterator[Row]:
    """The rows of a CSV file, one at a time. Raises BadFile; an empty file is refused, and so is one of a header alone,
    unless `none_allowed`.

    An optional column that the file does not have is in no row.
    """
    with _open(path) as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            _check_header(path, header, columns, optional)
            count = 0
            for cells in reader:
                if len(cells) != len(header):
                    rule = f"has {len(cells)} fields where the header has {len(header)}"
                    raise BadFile(path, rule, line=reader.line_num)
                count += 1
                yield Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            rule = "a quote is not closed" if "end of data" in str(error) or "limit" in str(error) else "is not CSV"
            raise BadFile(path, rule, line=reader.line_num) from None
        except UnicodeDecodeError:
            raise BadFile(path, "is not UTF-8; save it as CSV UTF-8", line=_undecodable_line(path)) from None
    if count == 0 and not none_allowed:
        raise BadFile(path, "holds a header and no rows")


def read_bytes(path: Path) -> bytes:
    """A small file, whole. Raises BadFile where it cannot be read."""
    require_file(path)
    try:
        with path.open("rb") as source:
            content = source.read(SMALL_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadFile(path, f"cannot be read: {type(error).__name__}") from None
    if len(content) > SMALL_FILE_BYTES_MAX:
        raise BadFile(path, f"is larger than {SMALL_FILE_BYTES_MAX} bytes")
    return content


def require_file(path: Path) -> None:
    """Raises BadFile for what is none: a pipe would hold the database until somebody writes into it."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise BadFile(path, f"cannot be read: {type(error).__name__}") from None
    if not is_file:
        raise BadFile(path, "is no file")


def _open(path: Path) -> TextIO:
    require_file(path)
    try:
        source = path.open("rb")
    except OSError as error:
        raise BadFile(path, f"cannot be read: {type(error).__name__}") from None
    start = source.peek(4)[:4]
    if not start:
        source.close()
        raise BadFile(path, "is empty")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        source.close()
        raise BadFile(path, "is UTF-16; save it as CSV UTF-8", line=1)
    csv.field_size_limit(FIELD_CHARACTERS_MAX)
    return io.TextIOWrapper(cast(BinaryIO, _NoNul(path, source)), encoding="utf-8-sig", newline="")


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> None:
    known = (*columns, *optional)
    if len(header) == 1 and ";" in header[0]:
        raise BadFile(path, "its columns are separated by semicolons; they must be separated by commas", line=1)
    doubled = sorted({name for name in header if header.count(name) > 1 and name in known})
    if doubled:
        raise BadFile(path, "the column stands twice", line=1, field=doubled[0])
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadFile(path, "the column is missing", line=1, field=missing[0])
    if not set(header) <= set(known):
        rule = f"has columns that are not known; known are {', '.join(known)}"
        raise BadFile(path, rule, line=1)


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as source:
        for number, line in enumerate(source, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


class _NoNul(io.RawIOBase):
    """Passes bytes on, and refuses a NUL: it is no text, and databases differ on it."""

    def __init__(self, path: Path, source: BinaryIO) -> None:
        self._path = path
        self._source = source
        self._lines = 1

    def readable(self) -> bool:
        """For the wrapper."""
        return True

    def read1(self, size: int = -1) -> bytes:
        """What TextIOWrapper calls."""
        chunk = self._source.read(65_536 if size is None or size < 0 else size)
        place = chunk.find(b"\0")
        if place >= 0:
            line = self._lines + chunk.count(b"\n", 0, place)
            raise BadFile(self._path, "holds a NUL character", line=line)
        self._lines += chunk.count(b"\n")
        return chunk

    read = read1

    def close(self) -> None:
        """The file, too."""
        self._source.close()
        super().close()
