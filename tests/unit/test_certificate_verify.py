"""A certificate is checked with nothing but a public key, and whatever is not true in it, or over a month, is found."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console import certificate
from console.certificate_verify import Month, verify
from models.certificate import cycle_key, family_hmac, key_fingerprint, public_key_text, read_public_keys, sign
from models.errors import BooksDisagree, Exit, RefusedInput
from models.keys import KEY_BYTES, Key
from tests.certificates import AMOUNT_MINOR, KEY, PUBLIC, digest_of, head_in, hmacs_of, written
from tests.command_line import CommandLine

ROOT = Path(__file__).parents[2]
OTHER_KEY = Key(2, bytes(range(1, KEY_BYTES + 1)))
FAMILIES = [f"R-{number:04}" for number in range(40)]
TIJUANA, NOGALES = "2026-12/02004", "2026-12/26043"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """A donor's computer: no settings, no database, no keys."""
    return CommandLine(monkeypatch, {"HOME": str(tmp_path / "nobody")})


def a_month(folder: Path, *, seqs: tuple[int, int] = (9, 12)) -> list[Path]:
    """Two cities: all runs of their month."""
    return [
        written(folder / "tijuana", FAMILIES[:25], seq=seqs[0]),
        written(folder / "nogales", FAMILIES[25:], location="26043", seq=seqs[1], runs=[(TIJUANA, 25)]),
    ]


def faults_of(paths: list[Path], keys: frozenset[str] = frozenset({PUBLIC})) -> str:
    """All that does not agree."""
    return "\n".join(fault for month in verify(paths, set(keys)) for fault in month.faults)


def test_month_that_holds_is_proven_and_complete(tmp_path: Path) -> None:
    (month,) = verify(a_month(tmp_path), {PUBLIC})

    assert month.faults == []
    assert (month.families, month.credited_minor) == (40, 40 * AMOUNT_MINOR)
    assert (month.missing, month.newest.journal.seq) == ([], 12)


def test_command_needs_no_setting_and_tells_what_was_proven_and_what_not(
    elsewhere: CommandLine, tmp_path: Path
) -> None:
    elsewhere.set({"DESPENSA_HOME": "not even absolute", "DESPENSA_DATABASE_URL": "nonsense"})

    outcome = elsewhere.run(certificate.app, "verify", *a_month(tmp_path), "--key", PUBLIC)

    assert outcome.code == Exit.DONE
    assert "40 families were credited, each of them once over these runs" in outcome.stdout
    assert "complete  these are the 2 runs that were released as of seq 12" in outcome.stdout
    assert "not proven  that families exist" in outcome.stdout
    assert f"--head {digest_of('12')}" in outcome.stdout


def test_runs_that_were_released_and_not_given_are_told(elsewhere: CommandLine, tmp_path: Path) -> None:
    """Over a part of a month nobody can say that no family was paid twice in it."""
    outcome = elsewhere.run(certificate.app, "verify", a_month(tmp_path)[1], "--key", PUBLIC)
    told = elsewhere.run(certificate.app, "verify", a_month(tmp_path)[1], "--key", PUBLIC, "--json").json

    assert outcome.code == Exit.DONE
    assert f"missing   1 of the 2 runs that were released as of seq 12: {TIJUANA}" in outcome.stdout
    assert "is not proven" in outcome.stdout
    month = told["months"][0]  # type: ignore[index]
    assert (month["complete"], month["missing"]) == (False, [TIJUANA])


def test_family_in_two_runs_of_a_month_is_found(elsewhere: CommandLine, tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "tijuana", FAMILIES[:25], seq=9),
        written(tmp_path / "nogales", FAMILIES[24:], location="26043", seq=12, runs=[(TIJUANA, 25)]),
    ]
    (twice,) = hmacs_of([FAMILIES[24]])

    outcome = elsewhere.run(certificate.app, "verify", *paths, "--key", PUBLIC, "--json")

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert f"the family {twice} is in" in str(outcome.error)
    assert outcome.json["months"][0]["paid_twice"] == 1  # type: ignore[index]


def test_family_of_two_months_has_lines_that_nobody_can_join(tmp_path: Path) -> None:
    december, january = hmacs_of(FAMILIES), hmacs_of(FAMILIES, cycle="2027-01")

    assert set(december) & set(january) == set()
    assert faults_of([written(tmp_path / "a", FAMILIES), written(tmp_path / "b", FAMILIES, cycle="2027-01")]) == ""
    other = {family_hmac(cycle_key(KEY, programme="other", cycle="2026-12"), each).hex() for each in FAMILIES}
    assert set(december) & other == set()


def test_no_line_is_what_somebody_without_the_key_could_compute(tmp_path: Path) -> None:
    content = written(tmp_path / "a", FAMILIES).read_bytes()
    public = bytes.fromhex(PUBLIC.removeprefix("ed25519:"))

    for each in FAMILIES:
        assert each.encode() not in content
        assert hashlib.sha256(each.encode()).hexdigest().encode() not in content
        assert family_hmac(public, each).hex().encode() not in content
    assert KEY.secret.hex().encode() not in content
    assert cycle_key(KEY, programme="northern-mexico", cycle="2026-12").hex().encode() not in content


def swap(lines: list[str]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def double(lines: list[str]) -> None:
    lines[3] = lines[4]


@pytest.mark.parametrize("damage", [swap, double])
@pytest.mark.parametrize("place", [0, 16_380])
def test_families_that_do_not_ascend_are_found_though_they_were_signed(
    tmp_path: Path, damage: Callable[[list[str]], None], place: int
) -> None:
    """By whoever has the key: a family twice in one run. Also where one chunk of the file ends and the next begins."""
    lines = sorted(digest_of(str(number)) for number in range(place + 10))
    part = lines[place:]
    damage(part)

    found = faults_of([written(tmp_path / "a", lines=[*lines[:place], *part])])

    assert "do not ascend" in found


def set_to(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Make a head say something else, and sign that."""

    def change(head: dict[str, Any]) -> None:
        for name in path[:-1]:
            head = head[int(name)] if isinstance(head, list) else head[name]
        head[path[-1]] = value

    return change


SECOND = {"level": 2, "by": "luz", "at": "2026-12-01T20:00:00.000000Z", "how": "person"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (set_to("credited", value={"families": 2, "amount_minor": 3 * AMOUNT_MINOR}), "3 families stand in it"),
        (set_to("credited", value={"families": 4, "amount_minor": 3 * AMOUNT_MINOR}), "it says 4"),
        (set_to("planned", value={"families": 4, "amount_minor": 3 * AMOUNT_MINOR}), "do not come to what was planned"),
        (set_to("planned", value={"families": 3, "amount_minor": 1}), "do not come to what was planned"),
        (set_to("not_owed", value={"families": 0, "amount_minor": 1}), "do not come to what was planned"),
        (set_to("funds", value=[]), "what the funds paid"),
        (set_to("run", value=NOGALES), "not that of its month"),
        (set_to("part", value=2), "not that of its month"),
        (set_to("families_sha256", value="0" * 64), "not those that were signed"),
        (set_to("planned_by", value="luz"), "who planned it approved it"),
        (set_to("approvals", value=[]), "who planned it approved it"),
        (lambda head: head["approvals"].append(SECOND), "one person approved it twice"),
        (set_to("lines_digest", value="0" * 64), "does not list its own run"),
        (set_to("released_runs", value=[]), "does not list its own run"),
    ],
)
def test_head_that_was_signed_and_does_not_hold_is_found(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    assert why in faults_of([written(tmp_path / "a", change=change)])


def test_completed_run_has_no_open_case(tmp_path: Path) -> None:
    def wait(head: dict[str, Any]) -> None:
        head["cases_open"] = {"families": 1, "amount_minor": 1}
        head["planned"] = {"families": 4, "amount_minor": 3 * AMOUNT_MINOR + 1}

    assert "it is completed, and cases are open" in faults_of([written(tmp_path / "a", change=wait)])


def test_policy_may_approve_what_anybody_planned(tmp_path: Path) -> None:
    def by_policy(head: dict[str, Any]) -> None:
        head["approvals"] = [{"level": 1, "by": "policy", "at": head["planned_at"], "how": "policy"}]

    path = written(tmp_path / "a", change=by_policy, runs=[])

    assert "four" not in faults_of([path])
    assert faults_of([path]) == ""


def other_currency(head: dict[str, Any]) -> None:
    head["currency"] = "USD"


def other_plan(head: dict[str, Any]) -> None:
    head["released_runs"][0]["lines_digest"] = "0" * 64


def forget_run(head: dict[str, Any]) -> None:
    del head["released_runs"][0]


def other_journal(head: dict[str, Any]) -> None:
    head["journal"] = {"seq": 9, "hash": "0" * 64}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_currency, "in several currencies"),
        (other_plan, f"what it says of run {TIJUANA} is not what the newest"),
        (forget_run, f"what it says of run {TIJUANA} is not what the newest"),
        (other_journal, "names another journal at its place 9"),
    ],
)
def test_certificates_of_a_month_that_contradict_each_other_are_found(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    tijuana = written(tmp_path / "tijuana", FAMILIES[:25], seq=9)
    nogales = written(
        tmp_path / "nogales", FAMILIES[25:], location="26043", seq=12, runs=[(TIJUANA, 25)], change=change
    )

    assert why in faults_of([tijuana, nogales])


def test_month_under_two_keys_cannot_be_compared_and_that_is_said(tmp_path: Path) -> None:
    """Their families have other lines under another key: one that was paid twice would not be seen."""
    paths = [
        written(tmp_path / "tijuana", FAMILIES, seq=9),
        written(tmp_path / "nogales", FAMILIES, location="26043", seq=12, runs=[(TIJUANA, 40)], key=OTHER_KEY),
    ]

    assert "of several keys" in faults_of(paths, frozenset({PUBLIC, public_key_text(OTHER_KEY)}))


def test_two_certificates_of_one_run_are_refused_and_the_newer_is_named(elsewhere: CommandLine, tmp_path: Path) -> None:
    """A case was decided later: the one from before is true as of then, and counts no more."""
    older, newer = written(tmp_path / "older", FAMILIES[:3], seq=9), written(tmp_path / "newer", FAMILIES[:4], seq=12)

    outcome = elsewhere.run(certificate.app, "verify", newer, older, "--key", PUBLIC)
    again = elsewhere.run(certificate.app, "verify", newer, newer, "--key", PUBLIC)

    assert (outcome.code, again.code) == (Exit.MISUSED, Exit.MISUSED)
    assert outcome.error is not None
    assert outcome.error.hint == f"{newer} is newer (as of 12) and replaces {older}"


def test_forger_with_an_own_key_is_found(elsewhere: CommandLine, tmp_path: Path) -> None:
    """All that it says agrees with itself: only who has the true key from elsewhere can tell."""
    forged = written(tmp_path / "forged", FAMILIES, key=OTHER_KEY)

    outcome = elsewhere.run(certificate.app, "verify", forged, "--key", PUBLIC)

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert "another key than the one that was given" in str(outcome.error)


def test_forger_who_names_the_true_key_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a", FAMILIES)
    head, *families, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([head, *families, sign(OTHER_KEY, head)]))

    assert "not the one that was signed" in faults_of([path])


def test_without_a_key_nothing_is_said_to_be_proven(elsewhere: CommandLine, tmp_path: Path) -> None:
    """A certificate names its own key, which anybody can make."""
    outcome = elsewhere.run(certificate.app, "verify", written(tmp_path / "a"))

    assert (outcome.code, outcome.stdout) == (Exit.MISUSED, "")
    assert "nothing is proven" in str(outcome.error)


def places_of(content: bytes) -> list[int]:
    """Here and there, and all around where a line ends and another begins."""
    edges = {edge + offset for edge, byte in enumerate(content) if byte == 10 for offset in (-1, 0, 1)}
    return sorted(edges & set(range(len(content))) | set(range(0, len(content), 17)))


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """Signature over the head, digest in the head over all between: nothing of a file is left out."""
    path = written(tmp_path / "a", FAMILIES[:2])
    content = path.read_bytes()

    for place in places_of(content):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = faults_of([path])
        except RefusedInput:
            continue
        assert found, f"byte {place} of {len(content)}"


def test_every_cut_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a", FAMILIES[:2])
    content = path.read_bytes()

    for length in places_of(content):
        path.write_bytes(content[:length])
        with pytest.raises(RefusedInput):
            verify([path], {PUBLIC})


def changed(content: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    for before, after in pairs:
        assert before in content
        content = content.replace(before, after, 1)
    return content


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text + b"\n", "cut off, or has more at its end"),
        (lambda text: text + b"0" * 64 + b"\n", "is no signature"),
        (lambda text: text.replace(b"\n", b"\r\n"), "line 1 is not written in its one form"),
        (lambda text: b"\xef\xbb\xbf" + text, "line 1 is no JSON in ASCII"),
        (lambda text: changed(text, (b'{"approvals"', b'{ "approvals"')), "line 1 is not written in its one form"),
        (lambda text: changed(text, (b'"part":1', b'"part":1,"part":1')), "line 1 is not written in its one form"),
        (lambda text: changed(text, (b'"part":1', b'"part":1.0')), "line 1 has no usable `part`: int_type"),
        (lambda text: changed(text, (b'"part":1', b'"part":1e0')), "line 1 is not written in its one form"),
        (lambda text: changed(text, (b'"part":1', b'"part":-0')), "line 1 is not written in its one form"),
        (lambda text: changed(text, (b'"part":1', b'"part":NaN')), "line 1 has no usable `part`"),
        (lambda text: changed(text, (b'"part":1', b'"part":true')), "line 1 has no usable `part`: int_type"),
        (lambda text: changed(text, (b'"part":1', b'"part":"1"')), "line 1 has no usable `part`: int_type"),
        (lambda text: changed(text, (b'"part":1', b'"part":' + b"9" * 5000)), "line 1 is no JSON in ASCII"),
        (lambda text: changed(text, (b'"part":1', b'"part":' + b"[" * 100_000)), "line 1 is no JSON in ASCII"),
        (lambda text: changed(text, (b'"part":1,', b"")), "line 1 has no usable `part`: missing"),
        (lambda text: changed(text, (b'"part":1', b'"part":1,"pay":1')), "line 1 has no usable `pay`: extra_forbidden"),
        (
            lambda text: changed(text, (b'"part":1', b'"p\\u001b[2J":1,"part":1')),
            "line 1 has no usable field: extra_forbidden",
        ),
        (lambda text: changed(text, (b"certificate-1", b"certificate-2")), "no head of the format despensa-"),
        (lambda text: b"[]\n" + text, "no head of the format"),
        (lambda text: b"", "line 1 does not end"),
        (lambda text: b"\x00" * 1000, "line 1 does not end"),
        (lambda text: text[: text.index(b"\n") + 1] + b"G" + text[text.index(b"\n") + 2 :], "line 2 is no family's"),
    ],
)  # fmt: skip
def test_what_has_not_the_form_is_refused_with_file_line_and_rule(
    elsewhere: CommandLine, tmp_path: Path, damage: Callable[[bytes], bytes], why: str
) -> None:
    path = written(tmp_path / "bad")
    path.write_bytes(damage(path.read_bytes()))

    outcome = elsewhere.run(certificate.app, "verify", path, "--key", PUBLIC)

    assert outcome.code == Exit.MISUSED
    assert str(outcome.error).startswith(f"{path}")
    assert why in str(outcome.error)
    assert "\x1b" not in str(outcome.error)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_and_nobody_is_waited_for(elsewhere: CommandLine, tmp_path: Path, what: str) -> None:
    import os

    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)

    assert elsewhere.run(certificate.app, "verify", path, "--key", PUBLIC).code == Exit.MISUSED
    assert elsewhere.run(certificate.app, "verify", written(tmp_path / "a"), "--key", path).code == Exit.MISUSED


def test_key_is_taken_from_what_certificate_key_prints(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{PUBLIC} version 1 fingerprint {key_fingerprint(PUBLIC)}\n{public_key_text(OTHER_KEY)}\n")

    assert read_public_keys(str(file)) == {PUBLIC, public_key_text(OTHER_KEY)}
    assert read_public_keys(PUBLIC) == read_public_keys(PUBLIC.removeprefix("ed25519:")) == {PUBLIC}


@pytest.mark.parametrize(
    "content", ["", "\n", f"1 {KEY.secret.hex()}\n", "ed25519:abc\n", f"{PUBLIC}x\n", "\x00" * 70_000]
)
def test_file_that_holds_no_public_key_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    """It may be the secret one, taken by mistake."""
    file = tmp_path / "keys"
    file.write_text(content)

    with pytest.raises(RefusedInput) as refused:
        read_public_keys(str(file))

    assert KEY.secret.hex() not in f"{refused.value} {refused.value.hint}"


def test_published_lines_of_python_check_a_month(tmp_path: Path) -> None:
    """Exactly as the page has them: a donor needs no word of ours."""
    page = (ROOT / "deploy" / "CERTIFICATES.md").read_text()
    (published,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "check.py"
    script.write_text(published)
    good = a_month(tmp_path)
    twice = written(tmp_path / "twice", FAMILIES[24:], location="26043", seq=12, runs=[(TIJUANA, 25)])
    swapped = tmp_path / "swapped"
    head, *families, signature = good[0].read_bytes().splitlines(keepends=True)
    swapped.write_bytes(b"".join([head, *families[::-1], signature]))
    other_head = tmp_path / "other_head"
    other_head.write_bytes(good[0].read_bytes().replace(b'"luz"', b'"eva"', 1))

    def run(*paths: Path) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, str(script), PUBLIC, *map(str, paths)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    assert len(published.splitlines()) <= 24
    ended = run(*good)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{good[0]}: 25 families, {25 * AMOUNT_MINOR} minor units of MXN" in ended.stdout
    assert f"a family of it is in {good[0]}, too" in run(good[0], twice).stderr
    assert "not the families that were signed" in run(swapped).stderr
    assert "InvalidSignature" in run(other_head).stderr


def test_page_names_every_field_of_the_head(tmp_path: Path) -> None:
    page = (ROOT / "deploy" / "CERTIFICATES.md").read_text()
    (table,) = re.findall(r"\| field of the head.*?\n\n", page, re.DOTALL)
    fields = {name for row in table.strip().splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert fields == set(head_in(written(tmp_path / "a")))


def test_large_month_is_checked_in_flat_memory(tmp_path: Path) -> None:
    """What is held at a time does not grow with the families."""
    import tracemalloc

    lines = sorted(digest_of(str(number)) for number in range(60_000))
    paths = [
        written(tmp_path / "a", lines=lines[::2], seq=9),
        written(tmp_path / "b", lines=lines[1::2], location="26043", seq=12, runs=[(TIJUANA, 30_000)]),
    ]
    tracemalloc.start()

    months: list[Month] = verify(paths, {PUBLIC})

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [month.faults for month in months] == [[]]
    assert peak < 9_000_000  # the lines alone would be more


def test_command_that_finds_something_says_so_and_nothing_else(elsewhere: CommandLine, tmp_path: Path) -> None:
    """No line of it says that anything was proven."""
    forged = written(tmp_path / "forged", key=OTHER_KEY)

    outcome = elsewhere.run(certificate.app, "verify", forged, *a_month(tmp_path)[1:], "--key", PUBLIC)

    assert isinstance(outcome.error, BooksDisagree)
    assert outcome.stdout == ""
