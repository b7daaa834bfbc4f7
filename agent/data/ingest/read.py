"""Read long-format Parquet, one row per series and time, into a panel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.data.columns import check_columns, stored_time
from agent.data.findings import Finding, Findings, for_instance, setting_for, some_of
from agent.data.ingest.parts import Part, open_parts
from agent.data.ingest.placement import FolderColumns, Placed, drop_duplicates, drop_short, place
from agent.data.ingest.scan import LARGEST, Scan, exact, scan
from agent.data.ingest.sorting import Numbers, Rows, sort
from agent.data.panel import Block, Columns, Floats, Panel, PanelWriter
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data

_SMALLEST = 1e-22
"""Smaller deviations have squares that float32 rounds to 0, and series of them are constants to the models."""
_MIN_SPREAD = 2**-14
"""Smallest difference of a series' numbers, relative to the largest, of which float32 leaves a thousandth exact."""
_GB = 1e9
Progress = Callable[[int, int], None]
"""Called again and again with the number of values done and their total."""


def ignore_progress(done: int, total: int) -> None:
    """The default Progress."""


def read_panel(
    files: Sequence[Path],
    data: Data,
    min_length: int,
    folder: Path,
    progress: Progress = ignore_progress,
    findings: Findings | None = None,
    *,
    constant: bool = False,
) -> Panel:
    """Read all series into a panel in a folder. Text covariates become codes from 0.

    `constant`: whether series of a single number stay, which can be forecast; nothing can be learnt from them. Series
    without any number are then left out and counted.

    Rows before the first and after the last observation of a series are left out. Of all rows only item, time and
    position are in memory, and of the values one column at a time.

    Raises:
        InvalidInput: a column is missing or of the wrong type, an item or time is null, the disk is too small, or the
            data have a problem that `data.problems` refuses: the text has counts, examples and the setting that
            accepts them.
    """
    findings = Findings(data.problems) if findings is None else findings
    parts = open_parts(files, data)
    count = check_columns(parts, data, findings)
    columns = Columns(len(data.target), len(data.past_covariates), len(data.known_covariates))
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_disk(folder.parent, disk_bytes(count, columns.all))
    writer, steps = PanelWriter(folder, columns), _Steps(progress, count * (1 + 2 * columns.all))
    try:
        block = writer.new_block(count)
        found = scan(parts, data, block, steps.add)
        rows, order = sort(found, data.item_id, block, steps.add)
        _check_values(found, rows, order, block, findings)
        folders = _folder_columns(found, order, data)
        rows = drop_duplicates(rows, data, folders, findings)
        rows, complete = _observed(rows, data, block, findings, constant)
        placed = drop_short(place(rows, data, findings), data.problems.short, min_length, findings)
        about = {
            "names": data.values,
            "categories": {column.name: column.texts for column in found.columns if column.texts is not None},
            "findings": [finding.to_document() for finding in findings],
            "complete": complete and placed.slots is None,
        }
        types = found.time_type, stored_time(parts, data.timestamp, found.time_type)
        return _write(writer, block, placed, types, about, steps)
    except BaseException:
        writer.abandon()
        raise


class _Steps:
    """Counts the values that were read, sorted and written, and reports them as progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        """Some more are done."""
        self._done += count
        self._progress(self._done, self._total)

    def finish(self) -> None:
        """All are done, also those that did not have to be written again."""
        if self._done < self._total:
            self.add(self._total - self._done)


def disk_bytes(rows: int, columns: int) -> int:
    """The largest space that reading takes beside the files: a panel with its times, and the draft it is made from."""
    return rows * (2 * 4 * columns + 8)


def check_disk(folder: Path, needed: int) -> None:
    """Refuse what does not fit before it is written."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"reading takes {needed / _GB:.1f} GB, and {free / _GB:.1f} GB are free"
        raise InvalidInput("data.path", problem, "launch with a larger root volume")


def _check_values(found: Scan, rows: Rows, order: Numbers | None, block: Block, findings: Findings) -> None:
    """Find values that are infinite or too large, and series that float32 cannot tell from constants."""
    for index, column in enumerate(found.columns):
        if column.largest > LARGEST:
            _check_size(rows, column.name, index, block, findings)
        if column.rounded:
            _check_rounding(found.parts, rows, order, column.name, block.read(index))


def _check_size(rows: Rows, name: str, index: int, block: Block, findings: Findings) -> None:
    values = block.read(index)
    with np.errstate(invalid="ignore"):
        huge = np.abs(values) > LARGEST
    series, infinite = rows.codes[huge], np.isinf(values).any()
    examples = some_of(rows.names, series)
    counts = {"values": int(huge.sum()), "series": len(np.unique(series))}
    what = "infinite" if infinite else f"larger than {LARGEST:.0e}, too large for the models' arithmetic"
    problem = f"{counts['values']} values are {what}, in {counts['series']} of {len(rows.names)} series"
    remedy = setting_for("infinite", "fill treats them as missing")
    if not infinite:
        remedy = f"write them in a larger unit; {remedy}"
    findings.report(
        Finding("infinite", f"column {name!r}", problem + for_instance(examples, "in"), remedy, counts, examples)
    )
    values[huge] = np.nan
    block.write(index, 0, values)


def _check_rounding(parts: Sequence[Part], rows: Rows, order: Numbers | None, name: str, values: Floats) -> None:
    """Refuse series whose variation is lost in float32, such as a meter that counts in units from a billion on."""
    starts = rows.starts
    low, high = (edge.reduceat(values, starts) for edge in (np.fmin, np.fmax))
    size = np.maximum(np.abs(low), np.abs(high))
    close = np.flatnonzero((high - low < _MIN_SPREAD * size) & (size > 0))
    if not len(close):
        return
    numbers = exact(parts, name)
    numbers = numbers if order is None else numbers[order]
    low, high = (edge.reduceat(numbers, starts)[close] for edge in (np.fmin, np.fmax))
    # A difference in the last digits of double precision is no variation, but what arithmetic leaves of a constant.
    varies = high - low > 1e-12 * size[close]
    if not varies.any():
        return
    lost = close[varies]
    examples = some_of(rows.names, lost)
    one = int(np.argmax(varies))
    problem = (
        f"{len(lost)} of {len(rows.names)} series vary too little for their size, and would be rounded"
        f"{for_instance(examples)}; {examples[0]} is between {low[one]:.15g} and {high[one]:.15g}"
    )
    raise InvalidInput(f"column {name!r}", problem, "subtract a constant from each of them, or write differences")


def _folder_columns(found: Scan, order: Numbers | None, data: Data) -> FolderColumns:
    """The columns of folders that the settings do not name, by row."""
    named = {*data.item_id, data.timestamp, *data.values}
    keys = [
        {name: value.as_py() for name, value in part.keys.items() if name not in named} for part in found.parts
    ]  # fmt: skip
    return FolderColumns(found.ends, keys, order)


def _observed(rows: Rows, data: Data, block: Block, findings: Findings, constant: bool) -> tuple[Rows, bool]:
    """Leave out what is before the first and after the last observation, and series with nothing to learn from.

    If `constant` series stay, only those without any number are left out.

    Also says whether all targets of all rows that are left are observed.
    """
    starts = rows.starts
    empty, observed = np.ones(len(rows.names), dtype=bool), np.zeros(len(rows.codes), dtype=bool)
    complete = np.ones(len(rows.codes), dtype=bool)
    for index in range(len(data.target)):
        values = rows.of(block.read(index))
        low = np.fmin.reduceat(values, starts)
        spread = np.fmax.reduceat(values, starts) - low
        empty &= np.isnan(low) if constant else ~(spread > 0)
        if (tiny := (spread > 0) & (spread < _SMALLEST)).any():
            problem = (
                f"{int(tiny.sum())} of {len(tiny)} series vary by less than {_SMALLEST:.0e}, too little for the "
                f"models' arithmetic{for_instance(some_of(rows.names, np.flatnonzero(tiny)))}"
            )
            raise InvalidInput(f"column {data.target[index]!r}", problem, "write them in a smaller unit")
        present = np.isfinite(values)
        observed |= present
        complete &= present
    if empty.any():
        examples = some_of(rows.names, np.flatnonzero(empty))
        lack = "number, so there is nothing to forecast from" if constant else "two different numbers"
        problem = f"{int(empty.sum())} of {len(empty)} series have no {lack}{for_instance(examples)}"
        where = "column " + ", ".join(map(repr, data.target))
        if empty.all():
            raise InvalidInput(where, problem, "write observations" if constant else "write values that change")
        remedy = setting_for("empty", "drop removes them")
        counts = {"series": int(empty.sum())}
        findings.report(Finding("empty", where, problem, remedy, counts, examples, accepted=constant))
        observed = observed[~empty[rows.codes]]
        rows = rows.without(empty)
    if observed.all():
        return rows, bool(complete.all())
    return _trim(rows, observed, data, findings), False


def _trim(rows: Rows, observed: Any, data: Data, findings: Findings) -> Rows:
    starts, positions = rows.starts, np.arange(len(observed))
    first = np.minimum.reduceat(np.where(observed, positions, len(observed)), starts)
    last = np.maximum.reduceat(np.where(observed, positions, -1), starts)
    before, after = positions < first[rows.codes], positions > last[rows.codes]
    where = "column " + ", ".join(map(repr, data.target))
    for kind, outside, text in (("leading", before, "before the first"), ("trailing", after, "after the last")):
        if outside.any():
            series = rows.codes[outside]
            counts = {"rows": int(outside.sum()), "series": len(np.unique(series))}
            examples = some_of(rows.names, series)
            problem = f"{counts['rows']} rows are {text} observation of their series and left out, in "
            problem += f"{counts['series']} of {len(rows.names)} series{for_instance(examples, 'in')}"
            findings.report(Finding(kind, where, problem, "", counts, examples, accepted=True))
    outside = before | after
    return rows.keep(~outside) if outside.any() else rows


def _write(
    writer: PanelWriter, block: Block, placed: Placed, time_types: Any, about: dict[str, Any], steps: _Steps
) -> Panel:
    """Put the values of the rows at their places."""
    rows = placed.rows
    offsets = np.concatenate([[0], np.cumsum(placed.lengths)])
    places = placed.places(offsets)
    ticks = rows.ticks_of_all(offsets, places)
    if rows.kept is None and places is None:
        steps.finish()
        return writer.finish(block, rows.ids, offsets, ticks, time_types, about)
    check_disk(block.path.parent, 4 * len(about["names"]) * int(offsets[-1]))
    final = writer.new_block(int(offsets[-1]))
    for index in range(len(about["names"])):
        values = rows.of(block.read(index))
        if places is not None:
            gaps = np.full(int(offsets[-1]), np.nan, np.float32)
            gaps[places] = values
            values = gaps
        final.write(index, 0, values)
        steps.add(block.length)
    return writer.finish(final, rows.ids, offsets, ticks, time_types, about)
