"""A hand-over file that comes back: every row proves itself, and no message shows what stands in one."""

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from models.errors import RefusedInput
from models.handed_over import Files, read_handed_over
from models.handover import EXPORT_HEADER, export_row
from models.keys import Key, KeyRing, pin

KEYS = KeyRing("pin", (Key(1, b"a" * 32), Key(2, b"b" * 32)))
RUN_ID = 7
Rows = list[list[str]]


def content(*, count: int = 5) -> Rows:
    """As `voucher export` writes it; the last row under the second version of the key."""
    rows = [list(EXPORT_HEADER)]
    for number in range(1, count + 1):
        voucher_id = RUN_ID * 10_000_000 + number
        digits = pin(KEYS, version=1 + (number == count), voucher_id=voucher_id)
        rows.append(
            list(
                export_row(
                    voucher_id=voucher_id, registration_id=f"REG-{number}", amount_minor=50_000 + number,
                    currency="MXN", until=date(2027, 1, 30), pin_digits=digits,
                )
            )
        )  # fmt: skip
    return rows


def write(path: Path, rows: Rows) -> Path:
    """As a file."""
    with path.open("w", newline="") as sink:
        csv.writer(sink, lineterminator="\n").writerows(rows)
    return path


def read(*paths: Path) -> Files:
    """Of the run that all this is about."""
    return read_handed_over(paths, run_id=RUN_ID, currency="MXN", keys=KEYS)


def test_files_are_read_as_they_were_written_each_voucher_once(tmp_path: Path) -> None:
    early, late = write(tmp_path / "early.csv", content()[:4]), write(tmp_path / "late.csv", content())

    files = read(early, late)

    assert [voucher.voucher_id % 10 for voucher in files.vouchers] == [1, 2, 3, 4, 5]
    assert [voucher.key_version for voucher in files.vouchers] == [1, 1, 1, 1, 2]
    assert files.amount_minor == 250_015
    assert len(set(files.digests)) == 2


def _other_pin(rows: Rows) -> None:
    rows[3][2] = f"{(int(rows[3][2]) + 1) % 10**6:06}"


def _same_family(rows: Rows) -> None:
    rows[3][0] = rows[4][0]


def _doubled_row(rows: Rows) -> None:
    rows.append(rows[3])


def _other_currency(rows: Rows) -> None:
    rows[3][4] = "USD"


def _nothing_paid(rows: Rows) -> None:
    rows[3][3] = "0.00"


def _wrong_digit(rows: Rows) -> None:
    rows[3][1] = rows[3][1][:-1] + str((int(rows[3][1][-1]) + 1) % 10)


def _lost_column(rows: Rows) -> None:
    rows[3].pop()


def _other_date(rows: Rows) -> None:
    rows[3][5] = "30/01/2027"


def _other_header(rows: Rows) -> None:
    rows[0][0] = "family"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_pin, "its PIN is none that our keys give"),
        (_same_family, "its family has another voucher"),
        (_doubled_row, "stands in this file twice"),
        (_other_currency, "is none that we wrote"),
        (_nothing_paid, "is none that we wrote"),
        (_wrong_digit, "check digit"),
        (_lost_column, "has 5 columns"),
        (_other_date, "cannot be read"),
        (_other_header, "is no hand-over file"),
    ],
)
def test_changed_file_is_refused_without_a_word_of_a_family(
    tmp_path: Path, change: Callable[[Rows], None], told: str
) -> None:
    rows = content()
    secrets = {cell for row in rows[1:] for cell in (row[0], row[2])}
    change(rows)

    with pytest.raises(RefusedInput, match=told) as caught:
        read(write(tmp_path / "changed.csv", rows))

    assert not any(secret in f"{caught.value} {caught.value.hint}" for secret in secrets)


def test_voucher_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match="is of run id 7, not 8"):
        read_handed_over([write(tmp_path / "a.csv", content())], run_id=8, currency="MXN", keys=KEYS)


def test_two_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    other = content()
    other[2][3] = "1.00"

    with pytest.raises(RefusedInput, match="another file says something else"):
        read(write(tmp_path / "one.csv", content()), write(tmp_path / "other.csv", other))
