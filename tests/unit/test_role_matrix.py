"""That nothing is left out of who may do what: no table, no column, no command."""

from typer.main import get_command

from console.main import app
from models.rights import RIGHTS, ROLES, list_rights
from models.tables import Table
from tests.operations import ELSEWHERE, OPERATIONS

#: Not of models/tables.py: views, and Alembic's own.
BESIDE = {"alembic_version", "entry", "policy_rail"}


def test_every_table_has_its_rights() -> None:
    """One that has none can be read by workers, and written by nobody: what needs it is refused at the first use."""
    assert set(Table.metadata.tables) | BESIDE <= set(RIGHTS)
    assert set(RIGHTS) <= set(Table.metadata.tables) | BESIDE


def test_every_column_that_is_named_is_there() -> None:
    """The server passes over one that is not, since an older schema may lack it."""
    for right in list_rights():
        if right.columns and right.table in Table.metadata.tables:
            columns = set(Table.metadata.tables[right.table].columns.keys())
            assert set(right.columns) <= columns, right


def test_every_role_that_is_named_is_one() -> None:
    for table, roles in RIGHTS.items():
        assert {f"despensa_{role}" for role in roles} <= set(ROLES), table


def test_every_command_is_an_operation_or_asks_no_database() -> None:
    """Whoever adds a command says who may do it."""
    told = {command for operation in OPERATIONS for command in operation.commands}

    assert told & ELSEWHERE == set()
    assert told | ELSEWHERE == set(commands_of(get_command(app)))


def commands_of(command: object, *path: str) -> list[str]:
    """Every command below, by its words."""
    below = getattr(command, "commands", None)
    if not below:
        return [" ".join(path)]
    return [each for word, under in below.items() for each in commands_of(under, *path, word)]
