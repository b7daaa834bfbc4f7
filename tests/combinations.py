"""Parameters of tests of which most combinations are thorough."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest


def combinations(every: Iterable[tuple[object, ...]], quick: Collection[tuple[object, ...]]) -> list[object]:
    """Each combination as a parameter set; all but the quick ones are left to `make test-thorough`."""
    return [
        pytest.param(*one, id="-".join(map(str, one)), marks=() if one in quick else pytest.mark.thorough)
        for one in every
    ]
