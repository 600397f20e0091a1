"""The key files, and what is derived from them: PINs, voucher numbers, signing secrets, references for issuers.

A key file holds one line a version, `VERSION HEX`, of 32 random bytes. The latest version is used for new things;
earlier ones stay until nothing rests on them (models.key_rotation). No PIN and no secret is ever stored. An issuer's
access token is not derived but given by the issuer: a file of its own beside the keys.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from models.errors import Misconfigured, RefusedInput
from models.key_files import put, stage
from models.secret_files import read_secret

#: The keys that a host needs that runs workers or hands vouchers over; each kind in its own file: pin.key, and so on.
SERVICE_KINDS = ("pin", "webhook", "reference")
#: And those of a desk: where families are imported, and where certificates are signed. No service reads them.
DESK_KINDS = ("person", "certificate")
KINDS = SERVICE_KINDS + DESK_KINDS
KEY_BYTES = 32
#: A key that is so many bytes again and again was typed, and is none: no random one is. Zeros are one byte of these.
PERIODS = (1, 2, 4, 8, 16)
PIN_DIGITS = 6
MENDED_BY = "restore it from its backup, or copy it from another host"

_LINE = re.compile(r"(?P<version>[1-9][0-9]{0,8}) (?P<secret>(?:[0-9a-fA-F]{2})+)\r?")

#: Damm's quasigroup of order 10: catches every wrong digit and every swap of neighbours. Source: H. M. Damm, 2004.
_DAMM = (
    (0, 3, 1, 7, 5, 9, 8, 6, 4, 2),
    (7, 0, 9, 2, 1, 5, 4, 8, 6, 3),
    (4, 2, 0, 6, 8, 7, 1, 3, 5, 9),
    (1, 7, 5, 0, 9, 8, 3, 4, 2, 6),
    (6, 1, 2, 3, 0, 4, 5, 9, 7, 8),
    (3, 6, 7, 4, 2, 0, 9, 5, 8, 1),
    (5, 8, 6, 9, 7, 2, 0, 1, 3, 4),
    (8, 9, 4, 5, 3, 6, 2, 0, 1, 7),
    (9, 4, 3, 8, 6, 1, 7, 2, 0, 5),
    (2, 5, 8, 1, 4, 3, 6, 7, 9, 0),
)


@dataclass(frozen=True, slots=True)
class Key:
    """One version of a key."""

    version: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All versions of one kind of key."""

    kind: str
    keys: tuple[Key, ...]

    @property
    def latest(self) -> Key:
        """The version for new things."""
        return max(self.keys, key=lambda key: key.version)

    def get(self, version: int) -> Key:
        """This version. Raises Misconfigured: a key is kept until nothing rests on it."""
        found = next((key for key in self.keys if key.version == version), None)
        if found is None:
            raise Misconfigured(
                f"version {version} of the {self.kind} key is missing on this host",
                hint=f"copy {self.kind}.key from the host on which it was made, or restore it",
            )
        return found

    @property
    def versions(self) -> list[int]:
        """Of its keys, ascending."""
        return sorted(key.version for key in self.keys)


def init_keys(folder: Path) -> list[Path]:
    """Make the key files that are missing, 0600 in a folder 0700. Returns those made; an existing file stays.

    Without asking whether something rests on them, as for a new database: `models.key_rotation.make` asks.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    for kind in KINDS:
        path = key_path(folder, kind)
        if path.exists():
            load_keys(folder, kind)
            continue
        stage(path, key_text(KeyRing(kind, (new_key(1),))))
        put(path)
        made.append(path)
    return made


def new_key(version: int) -> Key:
    """One of the system's random source."""
    return Key(version, secrets.token_bytes(KEY_BYTES))


def key_path(folder: Path, kind: str) -> Path:
    """Where a key lies."""
    return folder / f"{kind}.key"


def load_keys(folder: Path, kind: str) -> KeyRing:
    """Read a key file.

    Raises Misconfigured, which tells path and rule and never the content, if it is missing, no file, too long, readable
    by others, malformed, short, not random, if it holds a version or a key twice, or one that is another kind's, too.
    """
    path = key_path(folder, kind)
    keys = read_keys(path, kind)
    for other in KINDS:
        if other != kind and _secrets_of(folder, other) & {key.secret for key in keys.keys}:
            raise Misconfigured(f"{path} holds the same key as {key_path(folder, other)}", hint=MENDED_BY)
    return keys


def read_keys(path: Path, kind: str) -> KeyRing:
    """The keys in one file, whatever lies beside it. Raises Misconfigured as `load_keys` does."""
    text = read_secret(
        path, what=f"the {kind} key", hint="despensa keys init; on a further host: copy it from the first"
    )
    if not text.strip():
        raise Misconfigured(f"the {kind} key {path} is empty", hint=MENDED_BY)
    lines = text.removesuffix("\n").split("\n")
    keys = [_parse(path, number, line) for number, line in enumerate(lines, start=1)]
    if len({key.version for key in keys}) < len(keys) or len({key.secret for key in keys}) < len(keys):
        raise Misconfigured(f"the {kind} key {path} holds a version or a key twice", hint=MENDED_BY)
    return KeyRing(kind, tuple(keys))


def key_text(keys: KeyRing) -> str:
    """A key file's content."""
    return "".join(f"{key.version} {key.secret.hex()}\n" for key in keys.keys)


def fingerprint(kind: str, key: Key) -> str:
    """By which hosts tell that they have the same key: 16 hexadecimal digits of an HMAC. Nothing leads back from it."""
    return hmac.new(key.secret, f"fingerprint:{kind}:{key.version}".encode(), hashlib.sha256).hexdigest()[:16]


def pin(keys: KeyRing, *, version: int, voucher_id: int) -> str:
    """The PIN of a voucher: six digits of HMAC-SHA-256 over its id. 64 bits modulo a million: no bias that counts."""
    digest = hmac.new(keys.get(version).secret, b"pin:%d" % voucher_id, hashlib.sha256).digest()
    return str(int.from_bytes(digest[:8]) % 10**PIN_DIGITS).zfill(PIN_DIGITS)


def voucher_number(disbursement_id: int) -> str:
    """The number on a voucher: the disbursement's id and a check digit."""
    return f"{disbursement_id}{_check_digit(str(disbursement_id))}"


def parse_voucher_number(text: str) -> int:
    """The disbursement of a voucher number. Raises RefusedInput for a wrong check digit: somebody mistyped."""
    if not (text.isascii() and text.isdigit() and 2 <= len(text) <= 19) or _check_digit(text[:-1]) != int(text[-1]):
        raise RefusedInput("this is no voucher number: the check digit does not fit", hint="type it again")
    return int(text[:-1])


def store_secret(keys: KeyRing, *, store_id: str, version: int, key_version: int | None = None) -> str:
    """A store's signing secret, as Standard Webhooks writes it: derived, so that none is stored.

    `version` counts the secrets of this store; without `key_version` the latest version of the key is meant.
    """
    key = keys.latest if key_version is None else keys.get(key_version)
    message = f"store:{store_id}:{version}".encode()
    digest = hmac.new(key.secret, message, hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(digest).decode()


def credit_reference(keys: KeyRing, *, programme: str, registration_id: str, cycle: str) -> str:
    """Under what an issuer knows the credit of a family for a month: 64 hexadecimal digits.

    Derived, so that a restored backup sends what was paid under the same reference; keyed, so that an issuer can
    neither read a registration id from it nor tell which months are one family's. Its key is never rotated.
    """
    message = f"credit:{programme}:{cycle}:{registration_id}".encode()
    return hmac.new(keys.get(1).secret, message, hashlib.sha256).hexdigest()


def token_path(folder: Path, programme: str) -> Path:
    """Where the access token for a programme's issuer lies."""
    return folder / f"issuer-{programme}.token"


def load_token(folder: Path, programme: str) -> str:
    """An issuer's access token. Raises Misconfigured if it is missing, readable by others, or not one word."""
    path = token_path(folder, programme)
    token = read_secret(path, what="the issuer's token", hint=f"write it there, then: chmod 600 {path}").strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise Misconfigured(f"the issuer's token {path} is not one printable word", hint="ask the issuer for it")
    return token


def _check_digit(digits: str) -> int:
    interim = 0
    for digit in digits:
        interim = _DAMM[interim][int(digit)]
    return interim


def _secrets_of(folder: Path, kind: str) -> set[bytes]:
    """Of another kind, to compare; what is wrong with it is told by whoever needs it."""
    try:
        return {key.secret for key in read_keys(key_path(folder, kind), kind).keys}
    except Misconfigured:
        return set()


def _parse(path: Path, number: int, text: str) -> Key:
    found = _LINE.fullmatch(text)
    if found is None:
        raise Misconfigured(f"{path} line {number} is not `VERSION HEX`", hint=MENDED_BY)
    key = Key(int(found["version"]), bytes.fromhex(found["secret"]))
    if len(key.secret) != KEY_BYTES:
        raise Misconfigured(f"{path} line {number}: a key has {KEY_BYTES} bytes", hint=MENDED_BY)
    if any(key.secret == key.secret[:period] * (KEY_BYTES // period) for period in PERIODS):
        raise Misconfigured(f"{path} line {number}: a key is random, and this one repeats itself", hint=MENDED_BY)
    return key
