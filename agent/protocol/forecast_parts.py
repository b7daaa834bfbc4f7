"""The parts of a forecast that are done, as the trainer tells its agent and its successor: the job's checkpoint.

The trainer writes a part under its final name only once it is whole, then a checkpoint with `parts.json`, which lists
all parts so far. The agent uploads the parts that a checkpoint names before the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.trainer import write_json

PARTS = "parts.json"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ForecastPart:
    """One file of forecasts. Items and times are texts.

    `rows_without_numbers`: of targets without an observation to forecast from. `quantiles_cross`: rows with quantiles
    out of order.
    """

    name: str
    rows: int
    items: int
    bytes: int
    sha256: str
    first_item: str
    last_item: str
    first_timestamp: str
    last_timestamp: str
    rows_without_numbers: int = 0
    quantiles_cross: int = 0


@dataclass(frozen=True, slots=True)
class DoneParts:
    """The parts so far, in order, and what the next one has to begin with to be the same as without interruption.

    `ends`: for each part, the shard of the data and the number of its series up to the part's end. `attention` and
    `windows`: how the model forecasts, and how many windows at once after some number did not fit into memory.
    `findings`: what was accepted about the data, each with its `shard`.
    """

    parts: tuple[ForecastPart, ...] = ()
    ends: tuple[tuple[int, int], ...] = ()
    attention: str | None = None
    windows: int | None = None
    findings: tuple[dict[str, Any], ...] = ()

    @property
    def items(self) -> int:
        """Series that are forecast."""
        return sum(part.items for part in self.parts)

    def of_shard(self, number: int) -> int:
        """Series of a shard of the data that are forecast."""
        return max((series for shard, series in self.ends if shard == number), default=0)

    def add(self, part: ForecastPart, end: tuple[int, int], attention: str | None, windows: int | None) -> DoneParts:
        """With one more part."""
        return replace(self, parts=(*self.parts, part), ends=(*self.ends, end), attention=attention, windows=windows)

    def of_data(self, shard: int, findings: Iterable[Mapping[str, Any]]) -> DoneParts:
        """With the findings of a shard of the data."""
        others = (one for one in self.findings if one["shard"] != shard)
        return replace(self, findings=(*others, *({"shard": shard, **one} for one in findings)))

    @property
    def left_out(self) -> int:
        """Series without any number, which have no forecast."""
        return sum(int(one["counts"]["series"]) for one in self.findings if one["kind"] == "empty")

    def first(self, count: int) -> DoneParts:
        """The first parts alone."""
        return replace(self, parts=self.parts[:count], ends=self.ends[:count])

    def save(self, checkpoints: Path) -> int:
        """Write a checkpoint atomically, and return its step: the number of series that are forecast."""
        folder = folder_of(checkpoints, self.items)
        draft = folder.with_name(f"draft-{self.items}")
        draft.mkdir(exist_ok=True)
        write_json(draft / PARTS, {"schema_version": _SCHEMA_VERSION, **asdict(self)})
        draft.replace(folder)
        return self.items


def done_parts(folder: Path) -> DoneParts:
    """The parts that a checkpoint's folder names."""
    found: dict[str, Any] = json.loads((folder / PARTS).read_text())
    parts = tuple(ForecastPart(**part) for part in found["parts"])
    ends = tuple((int(shard), int(series)) for shard, series in found["ends"])
    return DoneParts(parts, ends, found["attention"], found["windows"], tuple(found["findings"]))


def latest_parts(checkpoints: Path) -> DoneParts:
    """The parts of the latest checkpoint on this instance; none without one."""
    steps = steps_in(checkpoints)
    return done_parts(folder_of(checkpoints, steps[-1])) if steps else DoneParts()
