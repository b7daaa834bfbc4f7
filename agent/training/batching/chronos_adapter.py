"""A panel as the library's own classes take it, for instance `fit(PreparedSeries(panel, h), prediction_length=h)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from chronos.chronos2.preprocess import PreparedInput

from agent.data.panel import Panel


class PreparedSeries(Sequence[PreparedInput]):
    """The series of a panel, each read from the memory map when it is asked for: the panel may be larger than memory.

    The library takes any sequence that is no list as it is, and takes what it forecasts out of the series itself.
    """

    def __init__(self, panel: Panel, prediction_length: int) -> None:
        self._panel = panel
        self._prediction_length = prediction_length

    def __len__(self) -> int:
        return len(self._panel)

    @overload
    def __getitem__(self, index: int) -> PreparedInput: ...

    @overload
    def __getitem__(self, index: slice) -> list[PreparedInput]: ...

    def __getitem__(self, index: int | slice) -> PreparedInput | list[PreparedInput]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        columns = self._panel.columns
        return {
            # A copy: torch wants to be able to write.
            "context": torch.tensor(self._panel.series(range(len(self))[index])),
            # Known for the points of the series, not for those after them.
            "future_covariates": torch.full((columns.all, self._prediction_length), torch.nan),
            "n_targets": columns.targets,
            "n_covariates": columns.past + columns.known,
            "n_future_covariates": columns.known,
        }
