"""The links of the documents lead to files and headings of this checkout. None leaves it: there is no network."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:img|a|source)[^>]*?(?:src|href|srcset)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """What a document links to, in its prose."""
    prose = _CODE.sub("", _FENCED.sub("", text))
    return [first or second for first, second in _LINK.findall(prose)]


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a document: those of its headings, as GitHub makes them, and its own."""
    text = _FENCED.sub("", path.read_text())
    found: set[str] = set(_ANCHOR.findall(text))
    for heading in _HEADING.findall(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = next(n for n in range(99) if (f"{anchor}-{n}" if n else anchor) not in found)
        found.add(f"{anchor}-{number}" if number else anchor)
    return frozenset(found)


def broken(document: Path) -> list[str]:
    """The links of a document that lead nowhere."""
    found = []
    for link in links(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document) == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '# One thing\n## `two` things, twice\n## `two` things, twice\n<a id="own"></a>\n[a](#one-thing) [b](#own)\n'
        "[c](#two-things-twice-1) [d](#three) [e](page.md#own) [f](missing.md) `[g](missing.md)` [h](https://x.example)\n"
        '```\n[i](missing.md)\n```\n<img src="missing.svg">\n'
    )
    assert broken(page) == ["#three", "missing.md", "missing.svg"]
