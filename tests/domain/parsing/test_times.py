"""Durations that people write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.times import brief_span, check_span, short_span

LEAST, MOST = timedelta(minutes=1), timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)),
     ("1.5h", timedelta(minutes=90)), ("60s", LEAST), ("168h", MOST)],
)  # fmt: skip
def test_a_duration_has_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert check_span(text, "--wait", LEAST, MOST) == span


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2 h", " 2h", "2H", "2d", "1e3s", "nan", "infh", "٢h", "2h\n", "2h30m", "9" * 400 + "h"],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_span(text, "--wait", LEAST, MOST)
    assert str(refused.value) == (
        f"--wait: {text[:40]!r} is not a duration (between 1m and 168h, such as 90s, 30m or 2h)"
    )


@pytest.mark.parametrize("text", ["59s", "0h", "169h", "999999999h"])
def test_a_duration_out_of_range_names_the_range(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--wait: .* is out of range \(between 1m and 168h"):
        check_span(text, "--wait", LEAST, MOST)


@pytest.mark.parametrize("text", ["45s", "90m", "2h", "100s"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert short_span(check_span(text, "--wait", timedelta(0), MOST)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"), (0.9, "0s"), (119.9, "119s"), (120, "2m"), (7199, "119m"), (7200, "2.0h"), (172_799, "48.0h"),
        (172_800, "2d"), (863_999, "9d"),
    ],
)  # fmt: skip
def test_a_column_has_short_durations(seconds: float, text: str) -> None:
    assert brief_span(timedelta(seconds=seconds)) == text
