"""The command's last line of defence: no traceback, no text of an error that may hold a family."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from console.main import _translated
from models.errors import Exit


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperationalError("SELECT 'SECRET'", {}, Exception("SECRET")), Exit.NO_DATABASE, "does not answer: Exception"),
        (IntegrityError("INSERT", {"id": "SECRET"}, Exception("SECRET")), Exit.FAILED, "the database refused"),
        (OSError(28, "No space left on device", "log"), Exit.FAILED, "No space left on device: log"),
        (KeyError("SECRET"), Exit.FAILED, "a defect: KeyError"),
    ],
)
def test_unexpected_error_is_told_by_its_type(error: Exception, code: Exit, said: str) -> None:
    told = _translated(error)

    assert told.exit_code == code
    assert said in str(told)
    assert "SECRET" not in f"{told} {told.hint}"
