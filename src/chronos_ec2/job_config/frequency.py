"""Names of a time series' step: ISO 8601 durations such as PT30M, and pandas aliases such as 30min."""

from __future__ import annotations

import re

_ISO = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_ISO_UNITS = ((12, 0.0), (1, 0.0), (0, 604_800.0), (0, 86_400.0), (0, 3600.0), (0, 60.0), (0, 1.0))
_BUSINESS_DAYS = re.compile(r"(\d*)B(?:([MQYA])([SE]?)(?:-[A-Z]{3})?)?")
_MONTHS = {"Q": 3, "Y": 12, "A": 12}
_PANDAS = re.compile(r"(\d*)([A-Za-z]+)(?:-[A-Z]{3})?")
_PANDAS_UNITS = {
    (0, 604_800.0): ("W",), (0, 86_400.0): ("D",), (0, 3600.0): ("h", "H"), (0, 60.0): ("min", "T"),
    (0, 1.0): ("s", "S"), (0, 1e-3): ("ms", "L"), (1, 0.0): ("MS", "ME", "M"), (3, 0.0): ("QS", "QE", "Q"),
    (12, 0.0): ("YS", "YE", "Y", "AS", "A"),
}  # fmt: skip


def same_frequency(one: str, other: str) -> bool:
    """Whether two names mean the same step, as W and P7D do."""
    return length_of(one) == length_of(other)


def length_of(name: str) -> tuple[int, float] | str | None:
    """(months, seconds) of a step; (0, -n) for a number n, the step of integer times; None for an unknown name.

    Business days are neither: their length is a name, such as 1B, or 3BME for the last ones of a quarter.
    """
    if (business := _BUSINESS_DAYS.fullmatch(name)) is not None:
        count, months, edge = business.groups()
        suffix = f"M{edge or 'E'}" if months else ""
        return f"{int(count or 1) * _MONTHS.get(months, 1)}B{suffix}"
    if name.isdecimal():
        return 0, -float(name)
    if (parts := _ISO.fullmatch(name)) is not None and any(parts.groups()):
        counts = [float(part or 0) for part in parts.groups()]
        months = sum(count * unit for count, (unit, _) in zip(counts, _ISO_UNITS, strict=True))
        return int(months), sum(count * unit for count, (_, unit) in zip(counts, _ISO_UNITS, strict=True))
    if (alias := _PANDAS.fullmatch(name)) is not None:
        count = int(alias[1] or 1)
        for (months, seconds), names in _PANDAS_UNITS.items():
            if alias[2] in names:
                return months * count, round(seconds * count, 9)
    return None
