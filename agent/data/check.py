"""Check a data set before it is trained on: everything that an instance would refuse, found without torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from agent.data.findings import Finding, Findings
from agent.data.frequency import frequency_of
from agent.data.ingest.future import Horizon, read_future
from agent.data.ingest.parts import open_parts
from agent.data.ingest.read import Progress, ignore_progress, read_panel
from agent.data.panel import Panel, plain_times
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.held_out import min_series_length
from chronos_ec2.job_config.jobs import ForecastConfig, JobConfig


@dataclass(frozen=True, slots=True)
class Summary:
    """What the settings read: series, of which some are long enough to be evaluated, points, and the step.

    `observations`: points whose targets are not all missing. `first` and `last`: the times between which all are.
    """

    series: int
    evaluated: int
    points: int
    observations: int
    frequency: str | None
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class DataReport:
    """All findings about a data set. `summary` is None if it could not be read to the end.

    The summary is of the data as they would be read with the setting of each finding.
    """

    findings: tuple[Finding, ...]
    summary: Summary | None

    @property
    def accepted(self) -> bool:
        """Whether a run would train on the data."""
        return self.summary is not None and all(one.accepted for one in self.findings)

    @property
    def settings(self) -> tuple[str, ...]:
        """The lines for the configuration that settle what is refused, as far as there are any."""
        return tuple(dict.fromkeys(one.setting for one in self.findings if one.setting))

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        summary = None if self.summary is None else {name: getattr(self.summary, name) for name in Summary.__slots__}
        findings = [one.to_document() for one in self.findings]
        return {"accepted": self.accepted, "summary": summary, "findings": findings, "settings": list(self.settings)}


def check_data(
    files: Sequence[Path],
    config: JobConfig,
    progress: Progress = ignore_progress,
    look: Callable[[Panel], None] = lambda _panel: None,
) -> DataReport:
    """Read a data set as an instance would, and collect all findings instead of stopping at the first.

    `look` gets the panel, if the data could be read to the end; it is deleted afterwards.
    """
    findings, summary = Findings(config.data.problems, collect=True), None
    with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder:
        try:
            panel = read_panel(
                files, config.data, min_series_length(config), Path(folder) / "panel", progress, findings,
                constant=isinstance(config, ForecastConfig),
            )  # fmt: skip
            summary = _summary(panel, min_series_length(config))
            look(panel)
        except InvalidInput as error:
            findings.add(error)
    return DataReport(tuple(findings), summary)


def future_check(files: Sequence[Path], config: ForecastConfig) -> Callable[[Panel], None]:
    """A check for `look`: whether these files have the known covariates of every point to forecast.

    It raises InvalidInput with counts and examples of what is missing.
    """

    def check(panel: Panel) -> None:
        chosen = [index for index, item in enumerate(panel.items.to_pylist()) if fnmatchcase(item, config.series)]
        read_future(files, config.data, Horizon.of(panel, config.data, config.prediction_length), np.array(chosen))

    return check


def columns_ahead(files: Sequence[Path], data: Data) -> list[str]:
    """The columns of a second data set that can be known covariates: all but item, time, targets and pandas' index."""
    first = open_parts(files, data)[0]
    others = {*data.item_id, data.timestamp, *data.target}
    return [name for name in (*first.schema.names, *first.keys) if name not in others and not name.startswith("__")]


def some_series(panel: Panel, count: int = 6) -> list[dict[str, Any]]:
    """A few series from the shortest to the longest, each with its name, its times and the values of its target.

    Missing observations are NaN.
    """
    order = np.argsort(panel.lengths, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).astype(int))]
    names, lengths = panel.items, panel.lengths
    return [
        {
            "item": names[int(index)].as_py(),
            "times": plain_times(panel.times(int(index), 0, int(lengths[index]))),
            "values": panel.series(int(index))[0].tolist(),
        }
        for index in chosen
    ]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a data set: its type as it was written, and its key in `data`, empty if no run reads it."""

    name: str
    type: str
    role: str


def columns_of(files: Sequence[Path], data: Data) -> list[Column]:
    """The columns of the first file with rows, and of the names of its folders. Raises InvalidInput."""
    first = open_parts(files, data)[0]
    roles = {data.timestamp: "timestamp"}
    for role in ("item_id", "target", "past_covariates", "known_covariates"):
        roles |= dict.fromkeys(getattr(data, role), role)
    kinds = [(field.name, field.type) for field in first.schema] + [
        (name, one.type) for name, one in first.keys.items()
    ]
    return [Column(name, str(kind), roles.get(name, "")) for name, kind in kinds]


def _summary(panel: Panel, min_length: int) -> Summary:
    observed = np.isfinite(panel.values[: panel.columns.targets]).any(axis=0)
    first, last = (str(time) for time in panel.times_at(np.array([panel.ticks.argmin(), panel.ticks.argmax()])))
    return Summary(
        series=len(panel),
        evaluated=int((panel.lengths >= min_length).sum()),
        points=len(panel.ticks),
        observations=int(observed.sum()),
        frequency=frequency_of(panel),
        first=first,
        last=last,
    )
