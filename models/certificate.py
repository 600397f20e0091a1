"""The certificate of a run: the form of its file, its keys, and what is read back from it. No database is asked.

The first line is the head, one JSON object in one canonical form. Then one line for each family that was credited: the
HMAC of its registration id under a key of that programme and month, ascending. The last line is an Ed25519 signature of
the first; the head holds the digest of the lines between. deploy/CERTIFICATES.md shows how to check it without us.
"""

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, starmap
from operator import lt
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import NotFound, RefusedInput
from models.keys import Key

FORMAT: Literal["despensa-certificate-1"] = "despensa-certificate-1"
#: A family's line: 64 hexadecimal digits and its end. The last line: 128 and its end.
FAMILY_BYTES = 65
SIGNATURE_BYTES = 129
#: More than a programme of all the municipalities of Mexico, with ten parts each, has to say.
HEAD_BYTES_MAX = 8_000_000
#: Families read at a time.
CHUNK = 16_384

_SIGNATURE = re.compile(rb"[0-9a-f]{128}\n")
_PUBLIC_KEY = re.compile(r"(?:ed25519:)?(?P<hex>[0-9a-f]{64})")
#: A public key file: what `despensa certificate key` prints.
KEY_FILE_BYTES_MAX = 65_536
WHOLE = "ask whoever signed it for the file as it was made; no editor and no spreadsheet may have changed it"

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Minor = Annotated[int, Field(ge=0, le=10**17)]
Text = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,100}$")]
Cycle = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}$")]
RunCode = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}/[0-9]{5}(\.[0-9]{1,4})?$")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Instant = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """Exactly these fields, of exactly these types: a text is no number, and true is none either."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Sum(_Part):
    """So many families, and what they were to get or have got."""

    families: Count
    amount_minor: Minor


class Rate(_Part):
    """One unit of the programme's value in the currency of the vouchers, as it was frozen at plan."""

    from_currency: Currency
    millionths: Annotated[int, Field(ge=1, le=10**15)]
    source: Text
    date: Text


class FundShare(_Part):
    """What one donor's fund paid of the run."""

    fund: Name
    donor: Name
    families: Count
    amount_minor: Minor


class ApprovalAct(_Part):
    """Who approved the lines with this digest: a person, or the programme's policy."""

    level: Annotated[int, Field(ge=1, le=2)]
    by: Name
    at: Instant
    how: Literal["person", "policy"]


class ReleasedRun(_Part):
    """A run of the same programme and month that was released, as of this certificate's place in the journal."""

    run: RunCode
    families: Count
    amount_minor: Minor
    lines_digest: Digest


class JournalPlace(_Part):
    """A place in the sealed journal: all that is said is true as of it."""

    seq: Annotated[int, Field(ge=1, le=10**17)]
    hash: Digest


class Head(_Part):
    """What a certificate says: its first line."""

    format: Literal["despensa-certificate-1"]
    public_key: Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{64}$")]
    key_version: Annotated[int, Field(ge=1, le=10**9)]
    created_at: Instant
    programme: Code
    programme_name: Name
    location: Annotated[str, Field(pattern=r"^[0-9]{5}$")]
    location_name: Name
    cycle: Cycle
    part: Annotated[int, Field(ge=1, le=9999)]
    run: RunCode
    state: Literal["completed", "completed_with_cases", "cancelled"]
    currency: Currency
    planned: Sum
    credited: Sum
    cases_open: Sum
    not_owed: Sum
    rate: Rate | None  #: None where the programme's value is in the vouchers' own currency
    funds: list[FundShare]
    lines_digest: Digest  #: of the lines, as planned, approved and released
    planned_by: Name
    planned_at: Instant
    approvals: list[ApprovalAct]
    released_by: Text  #: empty where it was not recorded
    released_at: Instant
    completed_at: Instant
    journal: JournalPlace
    released_runs: list[ReleasedRun]
    families_sha256: Digest  #: of the lines between the first and the last

    def line(self) -> bytes:
        """The one form that it has: sorted names, no spaces, ASCII, and the end of the line."""
        return _canonical(self.model_dump())


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file that has the form of a certificate. Whether it is true, `console.certificate_verify` finds out."""

    path: Path
    head: Head
    head_line: bytes
    families: int  #: lines between the first and the last
    signature: bytes

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the signature is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.head_line)
        except (InvalidSignature, ValueError):
            return False
        return True

    def chunks(self) -> Iterator[list[bytes]]:
        """The families' lines without their ends, some thousands at a time; flat memory, whatever the file's size.

        Raises RefusedInput for a line that is none.
        """
        with _open(self.path) as stream:
            stream.seek(len(self.head_line))
            for first in range(0, self.families, CHUNK):
                count = min(CHUNK, self.families - first)
                chunk = stream.read(count * FAMILY_BYTES)
                if chunk[FAMILY_BYTES - 1 :: FAMILY_BYTES] != b"\n" * count or (
                    chunk.translate(None, b"0123456789abcdef") != b"\n" * count
                ):
                    raise _refused(self.path, _first_wrong(chunk, first), "is no family's: 64 digits of 0-9a-f")
                yield chunk.split(b"\n")[:-1]

    def lines(self) -> Iterator[bytes]:
        """The families' lines without their ends."""
        for chunk in self.chunks():
            yield from chunk


def read_certificate(path: Path) -> CertificateFile:
    """A file's head and signature; its families are read by whoever needs them.

    Raises NotFound, and RefusedInput naming line and rule for what has not the form of a certificate: an unknown or
    missing field, one that is given twice, another spelling of a number or a text, bytes at the end, other line ends.
    """
    with _open(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        line = stream.readline(HEAD_BYTES_MAX)
        head = _parse_head(path, line)
        rest = size - len(line) - SIGNATURE_BYTES
        families = rest // FAMILY_BYTES
        if rest < 0 or rest % FAMILY_BYTES:
            raise RefusedInput(f"{path} is cut off, or has more at its end than its signature", hint=WHOLE)
        stream.seek(size - SIGNATURE_BYTES)
        signature = stream.read(SIGNATURE_BYTES)
    if not _SIGNATURE.fullmatch(signature):
        raise _refused(path, families + 2, "is no signature: 128 digits of 0-9a-f, and the end of the file")
    return CertificateFile(path, head, line, families, bytes.fromhex(signature[:-1].decode()))


def is_ascending(chunk: list[bytes], last: bytes) -> bool:
    """Whether each line is greater than the one before, the first one than `last`: so no family stands there twice."""
    return last < chunk[0] and all(starmap(lt, pairwise(chunk)))


def write_families(stream: BinaryIO, digests: Iterable[bytes]) -> tuple[int, str]:
    """Write families' lines of sorted HMACs. Returns how many, and the SHA-256 of these lines."""
    count, digest = 0, hashlib.sha256()
    for each in digests:
        line = each.hex().encode() + b"\n"
        digest.update(line)
        stream.write(line)
        count += 1
    return count, digest.hexdigest()


def signing_key(key: Key) -> Ed25519PrivateKey:
    """What signs certificates, derived from a version of the certificate key. The public half tells nothing of it."""
    return Ed25519PrivateKey.from_private_bytes(_derived(key, b"despensa certificate: signing"))


def public_key_text(key: Key) -> str:
    """The public half, as certificates and `despensa certificate key` have it."""
    return "ed25519:" + signing_key(key).public_key().public_bytes_raw().hex()


def cycle_key(key: Key, *, programme: str, cycle: str) -> bytes:
    """Under what the families of one programme and month are hashed: over months nobody can join them."""
    return _derived(key, f"despensa certificate: families\n{programme}\n{cycle}".encode())


def family_hmac(key: bytes, registration_id: str) -> bytes:
    """A family in a certificate. Without the key nobody finds it by trying registration ids."""
    return hmac.digest(key, registration_id.encode(), "sha256")


def sign(key: Key, head_line: bytes) -> bytes:
    """The last line of a certificate."""
    return signing_key(key).sign(head_line).hex().encode() + b"\n"


def key_fingerprint(public_key: str) -> str:
    """For comparing over the telephone: 128 bits of the SHA-256 of a public key, in eight groups."""
    digest = hashlib.sha256(bytes.fromhex(public_key.removeprefix("ed25519:"))).hexdigest()
    return "-".join(digest[place : place + 4] for place in range(0, 32, 4))


def read_public_keys(typed: str) -> set[str]:
    """What `--key` means: a public key, or a file with one a line, as `despensa certificate key` prints them.

    Raises RefusedInput for anything else; what it holds is not repeated, since it may be a secret taken by mistake.
    """
    found = _PUBLIC_KEY.fullmatch(typed)
    if found is not None:
        return {"ed25519:" + found["hex"]}
    path = Path(typed)
    with _open(path) as stream:
        content = stream.read(KEY_FILE_BYTES_MAX + 1)
    keys = set()
    for number, text in enumerate(content.splitlines(), start=1):
        first = text.decode("ascii", "replace").partition(" ")[0]
        if not first.startswith("ed25519:") or not _PUBLIC_KEY.fullmatch(first):
            raise RefusedInput(f"{path}, line {number}: this is no public key", hint="despensa certificate key > FILE")
        keys.add(first)
    if not keys or len(content) > KEY_FILE_BYTES_MAX:
        raise RefusedInput(f"{path} holds no public key", hint="despensa certificate key > FILE")
    return keys


def _derived(key: Key, label: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label).derive(key.secret)


def _canonical(values: object) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _parse_head(path: Path, line: bytes) -> Head:
    if not line.endswith(b"\n"):
        raise _refused(path, 1, "does not end")
    try:
        values = json.loads(line.decode("ascii"))
        canonical = _canonical(values) == line
    except (ValueError, RecursionError):
        raise _refused(path, 1, "is no JSON in ASCII") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _refused(path, 1, f"is no head of the format {FORMAT}")
    if not canonical:  # a name given twice, too: what was read has it once
        raise _refused(path, 1, "is not written in its one form: a name twice, not sorted, or with spaces")
    try:
        return Head.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        # A name that is not ours may be anything.
        named = f"`{where}`" if re.fullmatch(r"[a-z0-9_.]{1,100}", where) else "field"
        raise _refused(path, 1, f"has no usable {named}: {first['type']}") from None


def _first_wrong(chunk: bytes, first: int) -> int:
    """The number in its file of the first line that is no family's."""
    for place in range(0, len(chunk), FAMILY_BYTES):
        if not re.fullmatch(rb"[0-9a-f]{64}\n", chunk[place : place + FAMILY_BYTES]):
            return first + place // FAMILY_BYTES + 2
    return first + 2


def _refused(path: Path, number: int, rule: str) -> RefusedInput:
    return RefusedInput(f"{path}, line {number} {rule}", hint=WHOLE)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """A file that lies on a disk: nobody is waited for at the other end of a pipe. Raises NotFound, RefusedInput."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedInput(f"{path} is no file", hint="copy what it holds into one")
    with open(descriptor, "rb") as stream:
        yield stream
