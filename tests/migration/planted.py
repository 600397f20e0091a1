"""Migrations of releases to come, planted: this code's own, and more, in a folder of the test's."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from models import schema

OURS = schema.MIGRATIONS

TEMPLATE = '''"""Planted.

Why: to be ahead.
"""

from alembic import op
from models.migrations.online import create_index

revision = "{revision}"
down_revision = "{down_revision}"
branch_labels = None
depends_on = None
PHASE = "{phase}"


def upgrade() -> None:
    {body}
'''


@dataclass(frozen=True, slots=True)
class Planted:
    """What a migration does, in Python."""

    phase: str
    body: str


def expand(body: str = "pass") -> Planted:
    """One that the release before works with."""
    return Planted("expand", body)


def contract(body: str = "pass") -> Planted:
    """One that it does not work with."""
    return Planted("contract", body)


def sql(*statements: str) -> str:
    """Statements, as a migration's body."""
    return "\n    ".join(f'op.execute("{statement}")' for statement in statements)


def planted_revision(number: int) -> str:
    """The number of the first, second, … planted one."""
    newest = max(path.name[:4] for path in (OURS / "versions").glob("[0-9]*.py"))
    return f"{int(newest) + number:04}"


def plant(folder: Path, *migrations: Planted) -> Path:
    """The folder for `schema.MIGRATIONS`: that of the code which knows these, too."""
    made = folder / f"migrations-{len(migrations)}"
    shutil.copytree(OURS, made, ignore=shutil.ignore_patterns("__pycache__"))
    for number, each in enumerate(migrations, start=1):
        revision = planted_revision(number)
        text = TEMPLATE.format(
            revision=revision, down_revision=planted_revision(number - 1), phase=each.phase, body=each.body
        )
        (made / "versions" / f"{revision}_planted.py").write_text(text)
    return made
