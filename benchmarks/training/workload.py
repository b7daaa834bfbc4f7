"""What the sections share: random models and series, rounds, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from chronos import Chronos2Pipeline
from chronos.chronos2 import Chronos2CoreConfig, Chronos2Model

from agent.data.panel import Columns, Panel, PanelWriter

ROUNDS = 5
HORIZON = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A section of docs/benchmarks.md, and its figures by their names in build/bench.json."""

    title: str
    figures: dict[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The architecture of a Chronos-2."""

    d_model: int
    d_kv: int
    d_ff: int
    layers: int
    heads: int
    patch: int
    dropout: float


TINY = Shape(16, 8, 32, 1, 2, 16, 0.1)


def random_pipeline(shape: Shape, context: int) -> Chronos2Pipeline:
    """A Chronos-2 with random weights."""
    torch.manual_seed(0)
    config = Chronos2CoreConfig(
        d_model=shape.d_model, d_kv=shape.d_kv, d_ff=shape.d_ff, num_layers=shape.layers, num_heads=shape.heads,
        dropout_rate=shape.dropout, initializer_factor=0.05,
        chronos_config={
            "context_length": context, "input_patch_size": shape.patch, "input_patch_stride": shape.patch,
            "output_patch_size": shape.patch, "max_output_patches": -(-HORIZON // shape.patch),
            "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "use_arcsinh": True, "use_reg_token": True,
            "time_encoding_scale": context,
        },
    )  # fmt: skip
    return Chronos2Pipeline(Chronos2Model(config))


def random_series(count: int, length: int) -> list[Any]:
    """`count` series of white noise."""
    random = np.random.default_rng(0)
    return [random.normal(size=length).astype(np.float32) for _ in range(count)]


def write_panel(folder: Path, series: Sequence[Any]) -> Panel:
    """A panel of series with one target, of which no value is missing."""
    lengths = [len(one) for one in series]
    writer = PanelWriter(folder, Columns(1))
    block = writer.new_block(sum(lengths))
    block.write(0, 0, np.concatenate(series))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = pa.table({"item_id": range(len(series))})
    times = np.arange(sum(lengths)), (pa.int64(), pa.int64())
    return writer.finish(block, ids, offsets, *times, {"complete": True})


def ratio(stock: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Medians of both, and the median of the ratios of each round."""
    found = statistics.median(one / two for one, two in zip(stock, ours, strict=True))
    return {"stock": statistics.median(stock), "ours": statistics.median(ours), "ratio": round(found, 3)}
