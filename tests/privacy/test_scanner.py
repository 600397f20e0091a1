"""The scanner finds what it looks for: without this, a test that finds nothing says nothing."""

import pytest

from tests.privacy.scanner import ENCODINGS, scan, written

NAME = "María Núñez <Peña> Nº5"
#: Twelve ways to write a name, and compressed besides.
WAYS = (*ENCODINGS, "compressed")


@pytest.mark.parametrize("encoding", WAYS)
def test_name_is_found_however_it_was_written(encoding: str) -> None:
    content = b'{"event":"x"}\n' * 50 + written(encoding, NAME) + b'\n{"event":"y"}\n' * 50

    assert [each.canary for each in scan("a log", content, [NAME, "Somebody Else"])] == [NAME]


def test_name_that_is_not_there_is_not_found() -> None:
    assert scan("a log", b"Maria Nunez" + bytes(range(256)) * 20, ["Juana Pe\u00f1a"]) == []


def test_twelve_encodings_are_known() -> None:
    assert len(ENCODINGS) == 12
