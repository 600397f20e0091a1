"""Whether two registrations are one person: by a keyed hash of the number of a document, never by the number.

The number is turned into HMAC-SHA-256 as soon as it is read, under the latest version of the `person` key; only the
hash is stored. It is of one programme: two programmes cannot be joined by it.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from models.errors import Misconfigured
from models.keys import Key, KeyRing
from models.storage import Query, Tx

#: Between the parts of a number, and at its ends: written by some, left out by others.
_IGNORED = str.maketrans("", "", " -./_")
_NUMBER = re.compile(r"(?=(?:[A-Z]*[0-9]){4})[A-Z0-9]{5,40}", re.ASCII)

COUNT_BY_KEY_VERSION = Query("""
-- count_by_key_version: enrolments by the version of the person key on which they rest; a row for each version
SELECT person_key_version, COUNT(*) AS enrolments FROM enrolment
WHERE person_hash IS NOT NULL AND programme_id = COALESCE(CAST(:programme_id AS BIGINT), programme_id)
GROUP BY person_key_version ORDER BY person_key_version
""")


class BadPersonKey(ValueError):
    """What is no number of a document. Says the rule, never the value."""


def normalised(text: str) -> str:
    """The number of a document as it is hashed, so that two spellings of one number are one.

    Capitals and small letters are the same; spaces, hyphens, dots, slashes and underscores are left out, and zeros at
    the beginning, which spreadsheets drop. Four digits are asked for, so that no name can be one, and more than one
    character, so that no filler can. Everything beyond ASCII is refused rather than read one way or another.
    """
    number = text.translate(_IGNORED).upper() if text.isascii() else ""
    if not _NUMBER.fullmatch(number) or len(set(number)) == 1:
        raise BadPersonKey(
            "must be the number of a document: 5 to 40 letters a-z and digits, at least four of them digits and not "
            "all the same; spaces and - . / _ are ignored"
        )
    return number.lstrip("0")


@dataclass(frozen=True, slots=True)
class Persons:
    """Hashes the persons of one programme."""

    keys: KeyRing
    programme: str

    @property
    def version(self) -> int:
        """On which new hashes rest."""
        return self.keys.latest.version

    @property
    def earlier(self) -> list[Key]:
        """The versions under which a person may have been hashed before."""
        return [key for key in self.keys.keys if key.version != self.version]

    def hashed(self, text: str) -> str:
        """64 hexadecimal digits for the number of a document, under the latest version. Raises BadPersonKey."""
        return self._hashed(self.keys.latest, text)

    def hashed_earlier(self, text: str) -> list[str]:
        """Likewise, under each version before."""
        return [self._hashed(key, text) for key in self.earlier]

    def _hashed(self, key: Key, text: str) -> str:
        message = f"person:{self.programme}:{normalised(text)}".encode()
        return hmac.digest(key.secret, message, hashlib.sha256).hex()


def count_by_person_key_version(tx: Tx, *, programme_id: int | None = None) -> dict[int, int]:
    """How many enrolments rest on which version of the person key; those that are held or stopped, too.

    They may come back, and would not be compared with a person who was hashed without their version. A version may
    leave the key file only when it is not among them.
    """
    rows = tx.all(COUNT_BY_KEY_VERSION, programme_id=programme_id)
    return {int(row.person_key_version): int(row.enrolments) for row in rows}


def require_versions(tx: Tx, keys: KeyRing, *, programme_id: int) -> None:
    """Raises Misconfigured where enrolments of a programme rest on a version that the key file lacks."""
    known = {key.version for key in keys.keys}
    for version, enrolments in count_by_person_key_version(tx, programme_id=programme_id).items():
        if version not in known:
            raise Misconfigured(
                f"version {version} of the person key is missing, and {enrolments} enrolments rest on it",
                hint="restore the key file from its backup: without it a person enrolled twice would not be seen",
            )
