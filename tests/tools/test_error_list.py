"""The list of errors is that of the code."""

from __future__ import annotations

from tools.error_list import DOCUMENT, errors, with_errors


def test_the_document_lists_each_error_by_its_words() -> None:
    document = DOCUMENT.read_text()
    assert document == with_errors(document), "run `python -m tools.error_list`"


def test_words_are_read_from_the_code() -> None:
    found = errors()
    assert ("--max-cost: the price of … in this region is not known", "give --price") in found["InvalidInput"]
    assert sum(map(len, found.values())) > 150
