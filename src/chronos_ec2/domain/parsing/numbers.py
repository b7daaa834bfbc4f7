"""Numbers that people give."""

from __future__ import annotations

from typing import TypeVar

from chronos_ec2.domain.errors import InvalidInput

Number = TypeVar("Number", int, float)


def check_number(value: Number, where: str, least: float, most: float, *, above: bool = False) -> Number:
    """Return `value` if it is from `least` to `most`, else raise InvalidInput for `where`.

    With `above` it has to be more than `least`. NaN is in no range.
    """
    if least <= value <= most and not (above and value == least):
        return value
    hint = f"above {least:.15g}, at most {most:.15g}" if above else f"from {least:.15g} to {most:.15g}"
    raise InvalidInput(where, f"{value} is out of range", hint)
