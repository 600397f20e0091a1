"""What `doctor` says of the key files of this host against what rests on them, and against those of other hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from console.config import Check
from console.doctor_database import if_allowed
from models.errors import DespensaError, Exit

if TYPE_CHECKING:
    from models.key_rotation import Recorded, Use
    from models.keys import KeyRing
    from models.settings import Settings
    from models.storage import Database


def key_use_checks(settings: Settings, database: Database) -> Iterator[Check]:
    """A line for each kind that has versions and a file here; what is wrong with the file alone is told before."""
    from models.key_files import staged_path
    from models.key_rotation import ROTATED_KINDS, recorded, uses_of
    from models.keys import key_path, load_keys

    def look(kind: str, keys: KeyRing) -> Check:
        with database.reading() as tx:
            known, uses = recorded(tx, kind), uses_of(tx, kind)
        return key_use_check(keys, known, uses, begun=os.path.lexists(staged_path(key_path(settings.keys, kind))))

    for kind in ROTATED_KINDS:
        try:
            keys = load_keys(settings.keys, kind)
        except DespensaError:
            continue
        yield if_allowed(f"key {kind} in use", partial(look, kind, keys))


def key_use_check(keys: KeyRing, known: Recorded, uses: dict[int, Use], *, begun: bool) -> Check:
    """Whether this host has every version that something rests on, and the same keys as the others."""
    from models.key_rotation import different, unfinished

    name, kind = f"key {keys.kind} in use", keys.kind
    copy = f"copy {kind}.key from the host on which it was made, or restore it from its backup"
    missing = [use for version, use in sorted(uses.items()) if version not in keys.versions and use.in_force]
    if missing:
        detail = "; ".join(f"version {use.version} is missing here: {use}" for use in missing)
        return Check(name, "failed", detail, copy, Exit.MISUSED)
    wrong = different(keys, known)
    if wrong:
        detail = f"version {wrong[0]} here is another key than the one that was recorded"
        return Check(name, "failed", detail, copy, Exit.MISUSED)
    elsewhere = sorted(known.at_work - set(keys.versions))
    if elsewhere and not begun:
        detail = f"version {elsewhere[0]} was made on another host, and is not here yet"
        return Check(name, "warning", detail, copy)
    if begun:
        return Check(name, "warning", "a change of it was begun here, and not finished", "repeat the keys command")
    retired = sorted(known.retired & set(keys.versions))
    if retired:
        detail = f"version {retired[0]} is retired, and still in the file"
        return Check(name, "warning", detail, f"despensa keys retire {kind} {retired[0]}")
    resting = "; ".join(f"version {version}: {use}" for version, use in sorted(uses.items()))
    left = unfinished(keys, uses)
    return Check(name, "ok", "; ".join(each for each in (resting, left) if each) or "nothing rests on it yet")
