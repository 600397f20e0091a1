"""Pages lead somewhere: each relative link, and each heading that one names, is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "deploy").rglob("*.md")), ROOT / "tests" / "benchmarks" / "README.md"]
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")


def headings(page: Path) -> set[str]:
    """As links name them: lower case, hyphens for spaces, no other signs."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path, text: str) -> list[str]:
    """The links of this text that lead nowhere, seen from this page."""
    found = []
    for link in LINK.finditer(text):
        target = page.parent / link["path"] if link["path"] else page
        if not target.exists():
            found.append(link["path"])
        elif link["heading"] and link["heading"] not in headings(target):
            found.append(f"{link['path']}#{link['heading']}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](RUNBOOK.md#no-such-heading) [b](no-such.md) [c](RUNBOOK.md#no-worker) [d](https://example.org)"

    assert broken(ROOT / "deploy" / "README.md", text) == ["RUNBOOK.md#no-such-heading", "no-such.md"]
