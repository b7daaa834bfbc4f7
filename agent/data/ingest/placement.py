"""Which rows a series has and where they are on its common step: duplicates, empty edges, gaps, short series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agent.data.findings import EXAMPLES, Finding, Findings, for_instance, setting_for, some_of
from agent.data.frequency import Grid, clock_change, find_grid, name_of, usual_step
from agent.data.ingest.months import DAY_SECONDS, days_of_month
from agent.data.ingest.scan import Mask
from agent.data.ingest.sorting import Numbers, Rows
from agent.data.panel import Indices
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.frequency import same_frequency

_MAX_FILL_RATIO = 10
"""Maximum points per observation after filling gaps, of the data set and of each series."""
_MONTH_SECONDS = 28 * 86_400
_FIRST_DATE, _LAST_DATE = 19_000_101, 22_001_231
ADJACENT = "ignore treats rows as adjacent"


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows, their positions within their series (n,), None if adjacent, and the lengths of the series (S,)."""

    rows: Rows
    slots: Indices | None
    lengths: Indices

    def places(self, offsets: Indices) -> Indices | None:
        """(n,) positions of the rows in the block; None without gaps."""
        return None if self.slots is None else self.slots + offsets[self.rows.codes]


@dataclass(frozen=True, slots=True)
class FolderColumns:
    """Which files rows are from, and the columns that only the names of their folders have and no setting names.

    `ends` (f,): the number of rows up to the end of each file; `keys`: the columns of each. `order` (n,): the row
    numbers in the files of all rows; None if they are in this order.
    """

    ends: Indices
    keys: Sequence[Mapping[str, Any]]
    order: Numbers | None

    def files(self, rows: Indices) -> Indices:
        """The files of rows by position."""
        return np.searchsorted(self.ends, rows if self.order is None else self.order[rows], side="right")

    def that_tell_apart(self, first: Indices) -> list[str]:
        """The columns in which any of these rows differs from the next."""
        names = dict.fromkeys(name for keys in self.keys for name in keys)
        if not names:
            return []
        pairs = np.unique(np.stack([self.files(first), self.files(first + 1)]), axis=1).T.tolist()
        return [name for name in names if any(self.keys[a].get(name) != self.keys[b].get(name) for a, b in pairs)]

    def lost(self, dropped: Indices) -> tuple[str, int] | None:
        """A folder all of whose rows would be dropped, and their number."""
        totals: dict[str, int] = {}
        left: dict[str, int] = {}
        rows, gone = np.diff(self.ends, prepend=0), np.bincount(self.files(dropped), minlength=len(self.keys))
        for keys, of_file, of_gone in zip(self.keys, rows.tolist(), gone.tolist(), strict=True):
            folder = "/".join(f"{name}={value}" for name, value in keys.items())
            totals[folder] = totals.get(folder, 0) + of_file
            left[folder] = left.get(folder, 0) + of_file - of_gone
        return next(((folder, totals[folder]) for folder, rest in left.items() if folder and rest == 0), None)


def drop_duplicates(rows: Rows, data: Data, folders: FolderColumns, findings: Findings) -> Rows:
    """Keep the last of the rows with the same item and time, if that is accepted."""
    repeated = rows.inside & (rows.ticks[1:] == rows.ticks[:-1])
    if not repeated.any():
        return rows
    where, series = f"column {data.timestamp!r}", rows.codes[1:][repeated]
    examples = some_of(rows.names, series)
    count = int(repeated.sum())
    problem = f"{count} rows repeat a time of their series{for_instance(examples, 'in')}"
    first = np.flatnonzero(repeated)
    apart = folders.that_tell_apart(first)
    remedy = setting_for("duplicates", "drop keeps the last of them")
    if apart:
        problem += f"; they are in folders of different {', '.join(apart)}, which data.item_id does not name"
        remedy = f"data.item_id: [{', '.join([*apart, *data.item_id])}] keeps them apart; {remedy}"
    elif clock_change(rows.ticks[1:][repeated], rows.time_type):
        problem += "; they are at a change of clocks, where local times occur twice"
        remedy = f"write times with their zone, df[column].dt.tz_localize(…, ambiguous='infer'); {remedy}"
    counts = {"rows": count, "series": len(np.unique(series))}
    findings.report(Finding("duplicates", where, problem, remedy, counts, examples))
    if apart and (lost := folders.lost(first)):
        problem = f"all {lost[1]} rows of the folder {lost[0]} repeat times of other folders, and would be dropped"
        remedy = f"data.item_id: [{', '.join([*apart, *data.item_id])}], or leave that folder out of the data set"
        raise InvalidInput("data.path", problem, remedy)
    return rows.keep(np.append(~repeated, True))


def place(rows: Rows, data: Data, findings: Findings) -> Placed:
    """Find the common step, and the position of each row."""
    counts = np.bincount(rows.codes, minlength=len(rows.names))
    if data.problems.gaps == "ignore":
        return Placed(rows, None, counts)
    where, inside = f"column {data.timestamp!r}", rows.inside
    business = data.frequency is None or same_frequency(data.frequency, "B")
    grid = find_grid(rows.ticks, inside, rows.time_type, business=business)
    adjacent = setting_for("gaps", ADJACENT)
    if grid is None:
        findings.report(_irregular(rows, inside, where))
        return Placed(rows, None, counts)
    _check_frequencies(rows, grid, inside, where)
    step = grid.spacing.name(rows.ticks_per_second)
    if data.frequency is not None and inside.any() and not same_frequency(data.frequency, step):
        raise InvalidInput(where, f"the step is {step}, not {data.frequency}", "data.frequency")
    missing = grid.jumps > 1
    if not missing.any():
        return Placed(replace(rows, spacing=grid.spacing), None, counts)
    if rows.ticks_per_second is None:
        _refuse_dates_as_numbers(rows.ticks, where)
    series = rows.codes[1:][missing]
    examples, affected = some_of(rows.names, series), len(np.unique(series))
    absent = int((grid.jumps[missing] - 1).sum())
    problem = f"{absent} times are missing from the step {step}, in {affected} of {len(counts)} series"
    problem += for_instance(examples, "in")
    remedy = setting_for("gaps", f"fill inserts missing observations, {ADJACENT}")
    if absent and _within_a_day(rows, missing) and clock_change(rows.ticks[:-1][missing], rows.time_type):
        problem += "; they are at a change of clocks, where local times are skipped"
        remedy = f"write times with their zone, df[column].dt.tz_localize(…); {remedy}"
    _check_bound(rows, grid, counts, where, adjacent)
    findings.report(Finding("gaps", where, problem, remedy, {"times": absent, "series": affected}, examples))
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.concatenate([[0], np.cumsum(grid.jumps)])
    slots -= np.repeat(slots[firsts], counts)
    filled = replace(rows, spacing=grid.spacing, ticks=grid.ticks, local=grid.local)
    return Placed(filled, slots, slots[firsts + counts - 1] + 1)


def _within_a_day(rows: Rows, missing: Mask) -> bool:
    """Whether no gap is a day long: clocks skip hours."""
    return bool((np.diff(rows.ticks)[missing] < DAY_SECONDS * (rows.ticks_per_second or 0)).all())


def drop_short(placed: Placed, setting: str, min_length: int, findings: Findings) -> Placed:
    """Drop series with too few points to be evaluated, if that is the setting."""
    rows, lengths = placed.rows, placed.lengths
    short = lengths < min_length
    if not short.any():
        return placed
    positions = np.flatnonzero(short)
    examples = tuple(f"{one_line(rows.names[one], 40)} ({lengths[one]})" for one in positions[:EXAMPLES])
    problem = f"{len(positions)} of {len(lengths)} series have fewer than the {min_length} points that the evaluation "
    problem += f"needs{for_instance(examples)}"
    if short.all():
        raise InvalidInput("data.path", problem, "lower prediction_length or evaluation.windows")
    remedy = setting_for(
        "short", "train leaves them out of the evaluation, drop removes them; or lower prediction_length"
    )
    findings.report(Finding("short", "data.path", problem, remedy, {"series": len(positions)}, examples))
    if setting == "train":
        return placed
    keep = ~short[rows.codes]
    return Placed(rows.without(short), None if placed.slots is None else placed.slots[keep], lengths[~short])


def _check_bound(rows: Rows, grid: Grid, counts: Indices, where: str, adjacent: str) -> None:
    """Refuse times so far apart that almost all points of the data set, or of a series, would be missing."""
    points = np.bincount(rows.codes[1:][rows.inside], grid.jumps[rows.inside], len(counts)) + 1
    sparse = points > _MAX_FILL_RATIO * counts
    if not sparse.any():
        return
    widest = int(np.argmax(np.where(sparse[rows.codes[1:]] & rows.inside, grid.jumps, 0)))
    name = one_line(rows.names[rows.codes[widest]], 40)
    step = grid.spacing.name(rows.ticks_per_second)
    earlier, later = rows.time(int(rows.ticks[widest])), rows.time(int(rows.ticks[widest + 1]))
    problem = (
        f"in {int(sparse.sum())} of {len(counts)} series filling the gaps would make over {_MAX_FILL_RATIO} points of "
        f"each row; the widest gap, in {name}, is {int(grid.jumps[widest]) - 1} times of step {step} between {earlier} "
        f"and {later}"
    )
    raise InvalidInput(where, problem, f"remove the row if one of these times is not real, or {adjacent}")


def _check_frequencies(rows: Rows, grid: Grid, inside: Mask, where: str) -> None:
    """Refuse series that never take the common step, and a common step that would leave almost nothing but gaps."""
    shortest = _shortest(rows, grid.jumps, inside)
    coarse, fine = np.flatnonzero(shortest > 1), np.flatnonzero(shortest == 1)
    if len(coarse):
        fewer, kind = (coarse, "longer") if len(coarse) <= len(fine) else (fine, "shorter")
        problem = f"{len(fewer)} of {len(rows.names)} series have a {kind} step than the others, for instance "
        problem += ", ".join(
            f"{one_line(rows.names[one], 40)} ({grid.spacing.name(rows.ticks_per_second, int(shortest[one]))})"
            for one in fewer[:EXAMPLES].tolist()
        )
        raise InvalidInput(where, problem, setting_for("gaps", "ignore, or train each frequency by itself"))
    if not grid.usual and grid.jumps.sum() > _MAX_FILL_RATIO * inside.sum():
        finding = _irregular(rows, inside, where)
        raise InvalidInput(finding.where, finding.problem, finding.remedy)


def _shortest(rows: Rows, jumps: Indices, inside: Mask) -> Indices:
    """(S,) the smallest step of each series in multiples of the common one; 0 for fewer than three points."""
    if not (jumps > 1).any():
        return np.ones(len(rows.names), dtype=np.int64)
    codes = rows.codes[1:][inside]
    shortest = np.full(len(rows.names), np.iinfo(np.int64).max)
    np.minimum.at(shortest, codes, jumps[inside])
    shortest[np.bincount(codes, minlength=len(rows.names)) < 2] = 0
    return shortest


def _irregular(rows: Rows, inside: Mask, where: str) -> Finding:
    """The steps that are not multiples of the most frequent one, or change the day of the month."""
    steps, second = np.diff(rows.ticks), rows.ticks_per_second
    steps[~inside] = 0
    usual = usual_step(steps)
    name, month_starts = name_of(usual, second), ""
    if second and usual >= _MONTH_SECONDS * second:
        days = days_of_month(rows.ticks, second)
        values, counts = np.unique(days, return_counts=True)
        odd, name = inside & (days[1:] != values[np.argmax(counts)]), "a month"
        month_starts = "df[column].dt.to_period('M').dt.to_timestamp() makes them starts of months, if each has one; "
    else:
        odd = steps % usual != 0
    if not odd.any():
        odd = inside & (steps != usual)
    series = rows.codes[1:][odd]
    examples, affected = some_of(rows.names, series), len(np.unique(series))
    problem = f"the times have no common step: {int(odd.sum())} of {int(inside.sum())} steps are not multiples of "
    problem += f"{name}, in {affected} of {len(rows.names)} series{for_instance(examples, 'in')}"
    remedy = month_starts + setting_for("gaps", ADJACENT)
    by_an_hour = second is not None and (np.abs(steps[odd] - usual) == 3600 * second).all()
    if by_an_hour and clock_change(rows.ticks[:-1][odd], rows.time_type):
        problem += "; they are at a change of clocks, which UTC and times without a zone do not have"
        remedy = f"write times in their own zone, df[column].dt.tz_convert(…); {remedy}"
    return Finding("steps", where, problem, remedy, {"steps": int(odd.sum()), "series": affected}, examples)


def _refuse_dates_as_numbers(ticks: Indices, where: str) -> None:
    """Refuse integer times with gaps that are all dates such as 20240131, months such as 202401, or weeks."""
    first, last = int(ticks.min()), int(ticks.max())
    if first >= _FIRST_DATE and last <= _LAST_DATE:
        if _between(ticks // 100 % 100, 12) and _between(ticks % 100, 31):
            raise InvalidInput(
                where, "its integers are dates, and 20240131 and 20240201 are 70 apart",
                "write times: pandas.to_datetime(column, format='%Y%m%d')",
            )  # fmt: skip
    elif first >= _FIRST_DATE // 100 and last <= _LAST_DATE // 100:
        if _between(ticks % 100, 12):
            raise InvalidInput(
                where, "its integers are months of years, and 202312 and 202401 are 89 apart",
                "write times: pandas.to_datetime(column, format='%Y%m')",
            )  # fmt: skip
        if _between(ticks % 100, 53):
            raise InvalidInput(
                where, "its integers are weeks of years, and 202352 and 202401 are 49 apart",
                "write times: pandas.to_datetime(column.astype(str) + '1', format='%G%V%u')",
            )  # fmt: skip


def _between(parts: Indices, last: int) -> bool:
    return bool(((parts >= 1) & (parts <= last)).all())
