"""The points to forecast: their times after the end of each series, and the covariates that are known for them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.data.columns import check_columns
from agent.data.covariate_schema import check_kind, recoded
from agent.data.findings import Findings, for_instance, setting_for, some_of
from agent.data.frequency import Grid, find_grid, instants_of, local_readings, local_ticks, ticks_per_day
from agent.data.ingest.parts import open_parts
from agent.data.ingest.scan import LARGEST, scan
from agent.data.ingest.sorting import Rows, sort
from agent.data.panel import Block, Floats, Indices, Panel, item_names
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.frequency import same_frequency

_WHERE = "future"


@dataclass(frozen=True, slots=True)
class Horizon:
    """The `length` points after the end of each series of a panel, by the common step of its longest one."""

    panel: Panel
    grid: Grid
    length: int

    @classmethod
    def of(cls, panel: Panel, data: Data, length: int) -> Horizon:
        """Raises InvalidInput if there is no common step, so that nobody knows the next times."""
        longest = int(np.argmax(panel.lengths))
        ticks = panel.ticks[panel.offsets[longest] : panel.offsets[longest + 1]]
        business = data.frequency is None or same_frequency(data.frequency, "B")
        if len(ticks) == 1:
            problem = "no series has two points, so the times to forecast are unknown"
            raise InvalidInput(
                f"column {data.timestamp!r}", problem, "add earlier observations, at least to one series"
            )
        grid = _grid(ticks, panel.time_type, business=business)
        if grid is None:
            problem = "its times have no common step, so the times to forecast are unknown"
            raise InvalidInput(f"column {data.timestamp!r}", problem, "data.problems.gaps: fill, or regular times")
        return cls(panel, grid, length)

    def ticks(self, series: Indices) -> Indices:
        """(n, h) times of the points to forecast."""
        spacing, kind = self.grid.spacing, self.panel.time_type
        first, last = self.panel.ticks[self.panel.offsets[series]], self.panel.ticks[self.panel.offsets[series + 1] - 1]
        if self.grid.local:
            first, last = (local_ticks(one, kind) for one in (first, last))
        positions = spacing.positions(last)[:, None] + np.arange(1, self.length + 1)
        # Not of the last time, which clocks may have moved.
        found = spacing.ticks(positions.ravel(), np.repeat(spacing.phase(first), self.length))
        return (instants_of(found, kind) if self.grid.local else found).reshape(positions.shape)

    def steps(self, series: Indices, ticks: Indices) -> Indices:
        """(n,) how many steps after the last point of its series each time is: from 1 on in the future."""
        last = self.panel.ticks[self.panel.offsets[series + 1] - 1]
        if self.grid.local:
            last, ticks = (local_ticks(one, self.panel.time_type) for one in (last, ticks))
        return self.grid.spacing.positions(ticks) - self.grid.spacing.positions(last)


def _grid(ticks: Indices, kind: pa.DataType, *, business: bool) -> Grid | None:
    """The common step; days and months are those of the times' zone, also if its clocks change only in the future."""
    inside = np.ones(len(ticks) - 1, dtype=bool)
    if getattr(kind, "tz", None):
        for reading in local_readings(ticks, kind):
            local = find_grid(reading, inside, pa.timestamp(kind.unit), business=business)
            if local is not None and (local.spacing.calendar or local.spacing.step % ticks_per_day(kind) == 0):
                return replace(local, local=True)
    return find_grid(ticks, inside, kind, business=business)


def read_future(files: Sequence[Path], data: Data, horizon: Horizon, series: Indices) -> Floats:
    """(K, n, h) known covariates of the points to forecast of some series.

    Texts get the codes of the panel's categories; one that they do not have is a missing value. Rows after the horizon
    and of other series are not needed and make no difference.

    Raises:
        InvalidInput: a column is text here and a number in the data, or the reverse; values too large; rows of the
            past; times that are repeated or not on the common step; missing points. The text has counts and examples.
    """
    known, panel = data.known_covariates, horizon.panel
    asked = data.model_copy(update={"target": [], "past_covariates": []})
    parts = open_parts(files, asked)
    count = check_columns(parts, asked, Findings(data.problems))
    with (
        tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder,
        closing(Block(Path(folder) / "future.npy", len(known), count)) as block,
    ):
        found = scan(parts, asked, block, lambda _rows: None)
        rows, _ = sort(found, data.item_id, block, lambda _rows: None)
        places = _places(rows, data, horizon, series)
        filled = np.full((len(known), len(series) * horizon.length), np.nan, dtype=np.float32)
        for index, column in enumerate(found.columns):
            check_kind(column.name, column.texts, panel.categories, f"of {_WHERE}", "the data")
            values = block.read(index)[places.rows]
            if column.texts is not None:
                values = recoded(values, column.texts, panel.categories[column.name])
            filled[index, places.points] = _finite(values, column.name, rows, places, data)
    return filled.reshape(len(known), len(series), horizon.length)


def _finite(values: Floats, name: str, rows: Rows, places: _Places, data: Data) -> Floats:
    """The values; those that are too large for the models are missing, if the settings accept that."""
    huge = np.abs(values) > LARGEST
    if not huge.any():
        return values
    problem = f"{int(huge.sum())} values are infinite or larger than {LARGEST:.0e}"
    problem += for_instance(some_of(rows.names, rows.codes[places.rows[huge]]), "in")
    if data.problems.infinite == "refuse":
        remedy = setting_for("infinite", "fill treats them as missing")
        raise InvalidInput(f"column {name!r} of {_WHERE}", problem, remedy)
    return np.where(huge, np.float32(np.nan), values)


@dataclass(frozen=True, slots=True)
class _Places:
    """The rows that are needed, by position, and where each belongs among the n x h points to forecast."""

    rows: Indices
    points: Indices


def _places(rows: Rows, data: Data, horizon: Horizon, series: Indices) -> _Places:
    panel, where = horizon.panel, f"column {data.timestamp!r} of {_WHERE}"
    ticks = _as_history(rows, panel, where)
    names = panel.items.take(pa.array(series))
    position = pc.index_in(item_names(rows.ids), value_set=names)
    of_row: Any = position.fill_null(-1).to_numpy(zero_copy_only=False)[rows.codes]
    needed = np.flatnonzero(of_row >= 0)
    of_row, ticks = of_row[needed], ticks[needed]
    steps = horizon.steps(series[of_row], ticks)
    if (past := steps < 1).any():
        examples = some_of(rows.names, rows.codes[needed[past]])
        problem = f"{int(past.sum())} rows are not after the last observation of their series"
        raise InvalidInput(where, problem + for_instance(examples, "in"), "leave out what the data set already has")
    inside = steps <= horizon.length
    needed, of_row, ticks, steps = (one[inside] for one in (needed, of_row, ticks, steps))
    points = of_row * horizon.length + steps - 1
    wanted = horizon.ticks(series)
    if (odd := wanted.ravel()[points] != ticks).any():
        first = int(np.flatnonzero(odd)[0])
        problem = (
            f"{int(odd.sum())} times are not on the common step of the data, for instance {rows.time(ticks[first])}"
        )
        raise InvalidInput(where, problem, f"their next time is {_time(panel, wanted.ravel()[points[first]])}")
    counts = np.bincount(points, minlength=wanted.size)
    if (repeated := counts > 1).any():
        examples = some_of(names, np.flatnonzero(repeated) // horizon.length)
        problem = f"{int(repeated.sum())} times occur twice{for_instance(examples, 'in')}"
        raise InvalidInput(where, problem, "leave one of each out")
    if (missing := counts == 0).any():
        _refuse_missing(missing, wanted, panel, names)
    return _Places(needed, points)


def _refuse_missing(missing: Any, wanted: Indices, panel: Panel, names: pa.StringArray) -> None:
    horizon, first = wanted.shape[1], int(np.flatnonzero(missing)[0])
    lacking = np.flatnonzero(missing.reshape(wanted.shape).any(axis=1))
    name = one_line(names[first // horizon].as_py(), 40)
    problem = (
        f"{int(missing.sum())} of {missing.size} points to forecast have no row, in {len(lacking)} of {len(names)} "
    )
    problem += f"series, for instance {_time(panel, int(wanted.ravel()[first]))} of {name}"
    raise InvalidInput(_WHERE, problem, f"it needs the {horizon} points after the end of each series that is forecast")


def _as_history(rows: Rows, panel: Panel, where: str) -> Indices:
    """(n,) the times as ticks of the panel."""
    mine, theirs = rows.time_type, panel.time_type
    if mine == theirs:
        return rows.ticks
    zones = (getattr(mine, "tz", None) is None, getattr(theirs, "tz", None) is None)
    if pa.types.is_integer(mine) != pa.types.is_integer(theirs) or zones[0] != zones[1]:
        raise InvalidInput(where, f"is {mine}, and {theirs} in the data", "write both alike")
    try:
        cast: Indices = pa.array(rows.ticks).cast(mine).cast(theirs).cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        problem = f"is {mine}, and {theirs} in the data: {one_line(str(error), 120)}"
        raise InvalidInput(where, problem, "write both alike") from error
    return cast


def _time(panel: Panel, tick: int) -> str:
    return str(pa.scalar(int(tick), pa.int64()).cast(panel.time_type).cast(panel.stored_type).cast(pa.string()))
