"""Names that do not exist."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.parsing.names import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("slaes", ["sales", "stocks"], "did you mean sales?"),
        ("1a2b3c", ["20260131T120000Z-1a2b3c", "20260131T120000Z-ffffff"], "did you mean 20260131T120000Z-1a2b3c?"),
        ("weather", ["sales"], ""),
        ("sales", ["sales"], ""),
        ("s", ["sales"], ""),
        ("sales", [], ""),
    ],
)
def test_the_name_that_was_probably_meant(name: str, known: list[str], remedy: str) -> None:
    assert did_you_mean(name, known) == remedy
    assert did_you_mean(name, known, "see the list") == f"{remedy} see the list".lstrip()
