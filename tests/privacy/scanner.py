"""Finds a text in bytes however it was written: a name in base64, in hexadecimal or compressed is still a name."""

import base64
import gzip
import html
import json
import quopri
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

#: Compressed parts of a file are looked into as deep as this.
DEPTH_MAX = 3
_GZIP, _ZLIB = b"\x1f\x8b\x08", (b"\x78\x01", b"\x78\x9c", b"\x78\xda")


def folded(text: str) -> str:
    """In small letters, without accents: how a name stands in an address or a key."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(each for each in plain if not unicodedata.combining(each)).casefold()


def _base64(text: str) -> Iterator[bytes]:
    """Wherever it begins in what was encoded; the first and last characters depend on their neighbours."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text.encode())
        yield encoded.rstrip(b"=")[(4 if shift else 0) : -1 or None]


#: How a text may have been written; each gives what to look for in the bytes. `folded` and `compressed` are looked for
#: in what the bytes become instead.
ENCODINGS: dict[str, Callable[[str], Iterable[bytes]]] = {
    "plain": lambda text: [text.encode()],
    "latin-1": lambda text: [text.encode("latin-1", "ignore")],
    "utf-16 little": lambda text: [text.encode("utf-16-le")],
    "utf-16 big": lambda text: [text.encode("utf-16-be")],
    "json": lambda text: [json.dumps(text)[1:-1].encode()],
    "percent": lambda text: [quote(text, safe="").encode(), quote(text).encode()],
    "html": lambda text: [
        html.escape(text).encode(), "".join(f"&#{ord(each)};" for each in text).encode(),
        text.encode("ascii", "xmlcharrefreplace"),
    ],
    "quoted-printable": lambda text: [quopri.encodestring(text.encode())],
    "python": lambda text: [repr(text.encode())[2:-1].encode(), ascii(text)[1:-1].encode()],
    "base64": _base64,
    "hexadecimal": lambda text: [text.encode().hex().encode()],
    "folded": lambda text: [folded(text).encode()],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A text that should not be there."""

    canary: str
    encoding: str
    where: str


def scan(where: str, content: bytes, canaries: Iterable[str]) -> list[Found]:
    """Every canary in these bytes, by the first encoding in which it is there."""
    views = list(_views(content))
    found = []
    for canary in canaries:
        needles = {name: [each for each in write(canary) if each] for name, write in ENCODINGS.items()}
        for name, wanted in needles.items():
            if any(needle.lower() in view.lower() for view in views for needle in wanted):
                found.append(Found(canary, name, where))
                break
    return found


def _views(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, without accents and capitals, and what is compressed in them."""
    yield content
    yield folded(content.decode("utf-8", "ignore")).encode()
    if depth == DEPTH_MAX:
        return
    for place in re.finditer(re.escape(_GZIP), content):
        yield from _unpacked(content[place.start() :], lambda part: zlib.decompressobj(31).decompress(part), depth)
    for head in _ZLIB:
        for place in re.finditer(re.escape(head), content):
            yield from _unpacked(content[place.start() :], lambda part: zlib.decompressobj().decompress(part), depth)


def _unpacked(part: bytes, unpack: Callable[[bytes], bytes], depth: int) -> Iterator[bytes]:
    try:
        inside = unpack(part)
    except zlib.error:
        return
    yield from _views(inside, depth + 1)


def written(encoding: str, text: str) -> bytes:
    """The text in the midst of other bytes, as somebody might leave it: for the scanner's own test."""
    if encoding == "compressed":
        return b"head" + gzip.compress(f"family {text} here".encode()) + b"tail"
    if encoding == "base64":
        return base64.b64encode(f"a family {text} here".encode())
    if encoding == "hexadecimal":
        return f"a family {text} here".encode().hex().upper().encode()
    if encoding == "folded":
        return f"a family {folded(text)} here".encode()
    return b"a family " + next(iter(ENCODINGS[encoding](text))) + b" here"
