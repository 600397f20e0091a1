"""What can be said of the dashboard's page without a browser."""

import ast
import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from models.states import CaseReason, NoticeState, RunState

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "console" / "dashboard" / "static"
VIEWS = ROOT / "console" / "dashboard" / "views.py"
VENDORED = {"uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
OURS = sorted(path for path in STATIC.iterdir() if path.name not in VENDORED and path.suffix != ".md")
FILE_LINES_MAX, GZIPPED_BYTES_MAX = 300, 80_000
#: Each would parse a text as HTML or as code, or ask somebody else.
BANNED = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment", "srcdoc",
    "eval(", "new Function", "import(", "http:", "https:", "//cdn", "@import", "url(", "console.",
)  # fmt: skip
#: Only as the name of a namespace: nothing is fetched from it.
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
#: Of each field of views.py that holds a code: the list of words in which the page has it.
CODES = {
    ("Fault", "rule"): "rule",
    ("Missing", "role"): "role",
    ("File", "state"): "file",
    ("Head", "books"): "books",
    ("City", "state"): "city",
    ("CaseGroup", "waits_for"): "cases",
    ("StoreRow", "state"): "store",
    ("InstanceRow", "state"): "instance",
    ("FindView", "kind"): "kind",
    ("FindView", "refusal"): "refusal",
}
#: These are no words for a reader, but choose what is shown.
UNWORDED = {("FindView", "kind"): {"nothing"}}


def words(language: str) -> dict[str, str | dict[str, str]]:
    """A language's list."""
    text = (STATIC / f"words_{language}.js").read_text()
    listed = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert isinstance(listed, dict)
    return listed


def texts(word: str | dict[str, str]) -> list[str]:
    """Its forms."""
    return [word] if isinstance(word, str) else list(word.values())


def codes_of(owner: str, name: str) -> set[str]:
    """Those that a field's comment in views.py lists: `one: what it is · two`, or `one, two or three`."""
    text = VIEWS.read_text()
    node = next(each for each in ast.parse(text).body if isinstance(each, ast.ClassDef) and each.name == owner)
    body = "\n".join(text.splitlines()[node.lineno : node.end_lineno])
    found = re.search(rf"((?:^ +#:.*\n)*)^ +{name}: .*?(?:#:(.*))?$", body, re.MULTILINE)
    assert found is not None
    comment = " ".join(part.strip() for part in (*found[1].split("#:"), found[2] or ""))
    if "·" in comment:
        listed = [part.partition(":")[0] for part in comment.split("·")]
    else:
        listed = re.split(r"[,;:]|\bor\b", re.sub(r"\([^)]*\)", "", comment))
    return {part.strip() for part in listed if re.fullmatch(r"[a-z][a-z_]*", part.strip())}


def test_vendored_files_are_what_was_published() -> None:
    text = (STATIC / "VENDORED.md").read_text()
    stated = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)}

    assert set(stated) == VENDORED
    for name, digest in stated.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name
    assert "1.6.32" in text and "MIT" in text and "npm pack uplot@1.6.32" in text
    assert "1.6.32" in (STATIC / "uPlot.iife.min.js").read_text()[:200]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_file_is_tidy(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")
    code = "\n".join(line for line in text.splitlines() if not line.strip().startswith(("//", "*", "/*")))

    assert text.count("\n") <= FILE_LINES_MAX
    for banned in BANNED:
        assert banned not in code, banned
    if path.suffix == ".html":
        assert not re.search(r"\s(?:on\w+|style)=|<script(?! src=\"/static/)|<style", text)


def test_page_is_small() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in STATIC.iterdir()) < GZIPPED_BYTES_MAX


def test_both_languages_say_the_same_things() -> None:
    spanish, english = words("es"), words("en")

    assert list(spanish) == list(english)
    for key in english:
        names = [[set(re.findall(r"\{(\w+)\}", text)) for text in texts(each[key])] for each in (spanish, english)]
        assert len(names[0]) == len(names[1]), key
        assert set.union(*names[0]) == set.union(*names[1]), key
        assert all(text.strip() for each in (spanish, english) for text in texts(each[key])), key


def test_every_text_that_is_asked_for_is_there_and_every_one_is_asked_for() -> None:
    code = "".join(path.read_text() for path in OURS if path.suffix == ".js" and not path.name.startswith("words_"))
    asked = set(re.findall(r'"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)"', code))
    #: Put together: `nav.${name}`, word("city", code), and the like.
    built = set(re.findall(r"`([a-z_.]+)\.\$\{", code))
    built |= set(re.findall(r'(?:word|explain|state|choice)\("(\w+)", ', code))
    called = set(re.findall(r'\b(?:t|sentence|nothing)\("([a-z][a-z0-9_.]*)"', code))

    assert called <= set(words("en")), called - set(words("en"))
    idle = {
        key for key in words("en") if key not in asked and not any(key.startswith(f"{prefix}.") for prefix in built)
    }
    assert idle == set()


@pytest.mark.parametrize("owner_and_name", CODES, ids=".".join)
def test_every_code_that_the_server_names_has_a_word(owner_and_name: tuple[str, str]) -> None:
    codes = codes_of(*owner_and_name) - UNWORDED.get(owner_and_name, set())

    assert len(codes) >= 2
    assert {code for code in codes if f"{CODES[owner_and_name]}.{code}" not in words("en")} == set()


@pytest.mark.parametrize(
    ("domain", "codes"),
    [("run", RunState), ("notice", NoticeState), ("reason", CaseReason)],
    ids=["run", "notice", "reason"],
)
def test_every_state_and_reason_has_a_word(domain: str, codes: type[RunState | NoticeState | CaseReason]) -> None:
    assert {str(code) for code in codes if f"{domain}.{code}" not in words("en")} == set()
