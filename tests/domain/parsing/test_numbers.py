"""Numbers that people give."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.numbers import check_number


@pytest.mark.parametrize("value", [1, 1.5, 20])
def test_a_number_within_its_range_is_taken(value: float) -> None:
    assert check_number(value, "--x", 1, 20) == value


@pytest.mark.parametrize("value", [0.99, 20.01, -1, float("inf"), float("nan")])
def test_a_number_out_of_its_range_names_the_range(value: float) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_number(value, "--x", 1, 20)
    assert refusal.value.where == "--x"
    assert str(refusal.value) == f"--x: {value} is out of range (from 1 to 20)"


def test_a_range_may_leave_its_least_number_out() -> None:
    assert check_number(0.01, "--x", 0, 20, above=True) == 0.01
    assert check_number(20, "--x", 0, 20, above=True) == 20
    with pytest.raises(InvalidInput) as refusal:
        check_number(0, "--x", 0, 20, above=True)
    assert str(refusal.value) == "--x: 0 is out of range (above 0, at most 20)"
