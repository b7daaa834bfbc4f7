"""A panel as input for the library's own `fit`: `fit(PreparedSeries(panel, h), prediction_length=h)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from chronos.chronos2.preprocess import PreparedInput

from agent.data.panel import Panel


class PreparedSeries(Sequence[PreparedInput]):
    """The series of a panel as chronos-forecasting's PreparedInput, read on access: the panel may exceed memory.

    The library treats a Sequence that is not a list as lazy, and takes the forecast points from the series itself.
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
            return [self[position] for position in range(*index.indices(len(self)))]
        columns = self._panel.columns
        return {
            # A copy, because torch needs writable memory.
            "context": torch.tensor(self._panel.series(range(len(self))[index])),
            # Known covariates after the end of a series are not in the panel.
            "future_covariates": torch.full((columns.all, self._prediction_length), torch.nan),
            "n_targets": columns.targets,
            "n_covariates": columns.past + columns.known,
            "n_future_covariates": columns.known,
        }
