"""Forecasts in batches that fit into memory, and the time to reserve for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typing_extensions import override

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows, hold_out
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.batching.split import Split
from agent.chronos.evaluate import time_budget
from agent.chronos.evaluate.predict import Forecaster, Ranks
from agent.chronos.evaluate.reference_models import ReferenceModel, reference_models
from agent.chronos.model.block_attention import BlockEncoder
from agent.chronos.model.families import Chronos2Family, Family
from agent.data.panel import Columns, Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import FakeTime, tiny_chronos
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family, a_panel


def test_a_model_that_samples_its_forecasts_gets_fewer_windows_at_a_time() -> None:
    assert a_family("chronos-2").forecast_windows(Columns(1, 1, 2)) == 256 // 4
    assert a_family("chronos-bolt").forecast_windows(Columns(2)) == 256 // 2
    # Twenty samples each.
    assert a_family("chronos-t5").forecast_windows(Columns(1)) == 256 // 20


class SmallGpu(Chronos2Family):
    """A Chronos-2 on a GPU whose memory holds so many windows. Records how many were tried."""

    def __init__(self, family: Family, windows: int) -> None:
        super().__init__(family.pipeline, CONTEXT, HORIZON)
        self.windows = windows
        self.tried: list[int] = []

    @override
    def forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        self.tried.append(len(windows.series))
        if len(windows.series) > self.windows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forecast(panel, windows, quantiles)


def forecasts(family: Family, panel: Panel, test: HeldOutWindows, tmp_path: Path) -> Floats:
    with closing(Metrics(tmp_path / "metrics.jsonl")) as metrics:
        return Forecaster(panel, metrics, StopSignal()).forecast(family, test)


def test_forecasts_that_do_not_fit_into_memory_are_made_in_smaller_batches(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), a_family("chronos-2", dropout=0.0)
    family.model.eval()
    test = hold_out(panel, HORIZON, 2, 6)
    whole = forecasts(family, panel, test, tmp_path)
    small = SmallGpu(family, 3)
    parts = forecasts(small, panel, test, tmp_path)
    assert small.tried == [8, 4, *(2 * [2, 2, 2, 2])]
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("name", ["chronos-2", "chronos-t5"])
def test_ranks_share_the_batches_and_make_the_forecasts_of_one(tmp_path: Path, name: str, processes: int) -> None:
    panel, family = a_panel(tmp_path), a_family(name, dropout=0.0)
    family.model.eval()
    family.fitting = 3
    test = hold_out(panel, HORIZON, 2, 6)
    alone = forecasts(family, panel, test, tmp_path)
    # More would fit into the memory of these ranks, but not of another one.
    family.fitting = 5
    turns: list[list[Floats | None]] = []
    for rank in reversed(range(processes)):
        blocks: list[Floats | None] = []
        turns.insert(0, blocks)

        def gather(block: Floats | None, blocks: list[Floats | None] = blocks) -> list[Floats | None]:
            blocks.append(block)
            return [one[len(blocks) - 1] for one in turns] if len(turns) == processes else []

        with closing(Metrics(tmp_path / "metrics.jsonl")) as metrics:
            shares = Ranks(rank, processes, gather, smallest=lambda number: min(number, 3))
            shared = Forecaster(panel, metrics, StopSignal(), ranks=shares).forecast(family, test)
    assert shared.tobytes() == alone.tobytes()
    # Eight series in batches of three are three batches for each window.
    assert sum(block is not None for blocks in turns for block in blocks) == 2 * 3
    assert max(map(len, turns)) == -(-2 * 3 // processes)


def test_every_model_forecasts_with_block_attention(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), a_family("chronos-2", dropout=0.0)
    family.model.eval()
    assert family.attention is None
    forecasts(family, panel, hold_out(panel, HORIZON, 1, 6), tmp_path)
    assert family.attention == "block"
    assert isinstance(family.model.encoder, BlockEncoder)


def test_quantiles_do_not_cross(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), a_family("chronos-2", dropout=0.0)
    family.model.eval()
    test = hold_out(panel, HORIZON, 2, 6)
    crossing = family.forecast(panel, next(test.batches(0, 8)), QUANTILES)
    assert (np.diff(crossing, axis=-1) < 0).any()
    found = forecasts(family, panel, test, tmp_path)
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_allclose(found[0], np.sort(crossing, axis=-1), rtol=1e-5)


def test_a_forecast_that_never_fits_is_an_error(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), SmallGpu(a_family("chronos-2"), 0)
    with pytest.raises(InvalidInput, match="a single forecast does not fit into the GPU's memory"):
        forecasts(family, panel, hold_out(panel, HORIZON, 1, 6), tmp_path)


class SlowModel(Chronos2Family):
    """Takes ten seconds per forecast."""

    def __init__(self, family: Family, clock: FakeTime) -> None:
        super().__init__(family.pipeline, CONTEXT, HORIZON)
        self._clock = clock

    @override
    def forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        self._clock.advance(10)
        return super().forecast(panel, windows, quantiles)


def test_time_is_reserved_for_every_pass_of_every_model(tmp_path: Path) -> None:
    """Two test windows and one for validation, with trained model, base and champion: ten seconds each."""
    panel, clock = a_panel(tmp_path), FakeTime()

    class SlowReference(ReferenceModel):
        """Takes seven seconds to load."""

        @override
        def load(self, trained: Family, cached: bool = False) -> Family:
            clock.advance(7)
            return SlowModel(ReferenceModel.load(self, trained, cached), clock)

    base = tmp_path / "base"
    a_family("chronos-2").save(base)
    config: Any = tiny_chronos() | {"model": {"base": str(base)}, "prediction_length": HORIZON}
    config["evaluation"] = {"windows": 2, "champion": str(base), "baselines": []}
    parsed = parse_config(config, "test")
    seconds = time_budget.evaluation_seconds(
        SlowModel(a_family("chronos-2"), clock),
        [
            SlowReference(one.name, one.key, one.given, one.source)
            for one in reference_models(parsed, Workdir(tmp_path))
        ],
        Split.of(panel, parsed),
        monotonic=clock,
    )
    # The eight series are one batch. The trained model is loaded too, to be compared with that in memory.
    assert seconds == pytest.approx(1.5 * (3 * 3 * 10 + 3 * 7) + 60, abs=1e-3)
