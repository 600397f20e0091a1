"""What an import would change, told before it is applied."""

from dataclasses import dataclass, field

#: Changes that are shown one by one; the rest is counted.
CHANGES_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a file that changes what is there: which fields, never their values."""

    line: int
    fields: str


@dataclass(slots=True)
class FileReport:
    """What a file comes to."""

    file: str
    kind: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rehashed: int = 0  #: enrolments that rest on a newer version of the person key; no row is changed by that
    conflicts: int = 0  #: newly found: see `despensa enrolment conflicts`
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Of the file."""
        return self.added + self.changed + self.unchanged

    @property
    def changes_anything(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self.added or self.changed or self.rehashed)

    def count(self, line: int, changed_fields: list[str] | None) -> None:
        """One row: None where it is new, otherwise the fields in which it differs."""
        if changed_fields is None:
            self.added += 1
        elif not changed_fields:
            self.unchanged += 1
        else:
            self.changed += 1
            self.show(line, ", ".join(changed_fields))

    def show(self, line: int, fields: str) -> None:
        """A change, as long as there are few."""
        if len(self.changes) < CHANGES_SHOWN_MAX:
            self.changes.append(Change(line, fields))
