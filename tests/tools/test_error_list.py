"""The list of errors is that of the code."""

from __future__ import annotations

import re

from tools.error_list import DOCUMENT, error_classes, errors, with_errors


def test_the_document_lists_each_error_by_its_words() -> None:
    document = DOCUMENT.read_text()
    assert document == with_errors(document), "run `python -m tools.error_list`"


def test_words_are_read_from_the_code() -> None:
    found = errors()
    assert ("--max-cost: the price of … in this region is not known", "give --price") in found["InvalidInput"]
    assert sum(map(len, found.values())) > 150


def test_every_error_has_a_hint() -> None:
    assert [(name, problem) for name, rows in errors().items() for problem, hint in rows if not hint] == []


def test_every_error_has_an_anchor_of_its_own_and_every_anchor_an_error() -> None:
    document = DOCUMENT.read_text()
    anchors = re.findall(r'<a id="(error-[a-z0-9-]+)"></a>', document)
    assert len(anchors) == len(set(anchors)) == sum(len(rows) for rows in errors().values())
    assert all(re.match(r'\| <a id="error-', line) for line in document.splitlines() if "<a id=" in line)


def test_every_kind_of_error_has_an_entry_and_every_entry_an_error() -> None:
    entries = re.findall(r"^### (\w+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(errors()) <= set(entries)
    assert set(entries) <= error_classes() | {"InvalidDocument", "LostRace", "Superseded", "Fenced"}
