"""Every metric against utilsforecast and fev, on data with gaps, short series, constants, zeros and several windows.

utilsforecast is a dependency of statsforecast. fev gets an environment of its own, made on first use.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from utilsforecast import losses

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows, hold_out
from agent.chronos.evaluate.metrics import errors, scores
from agent.data.panel import Panel
from benchmarks.publish import ROOT
from benchmarks.training.workload import Section, write_panel
from chronos_ec2.local.tool_venv import isolated_python

LOCK = ROOT / "benchmarks" / "metric-oracles.txt"
_CASES = 300
_LEVELS = np.array(QUANTILES)
_NAMES = [str(level) for level in QUANTILES]
_FEV = """
import sys
import numpy as np
from fev.metrics import MASE, SQL, WQL
data = np.load(sys.argv[1])
levels = data["levels"].tolist()
found = {}
for name in {key.split("/")[0] for key in data if "/" in key}:
    past, lengths, truth, forecasts, season = (data[f"{name}/{one}"] for one in
                                               ("past", "lengths", "truth", "forecasts", "season"))
    ends = np.cumsum(lengths)

    def score(metric, rows):
        return metric.compute(
            y_true=truth[rows, :, None], y_pred=forecasts[rows][:, :, None, len(levels) // 2],
            y_past=np.concatenate([past[ends[row] - lengths[row] : ends[row]] for row in rows])[:, None],
            y_past_lengths=lengths[rows], q_pred=forecasts[rows][:, :, None, :], seasonality=int(season),
            quantile_levels=levels,
        )

    with np.errstate(all="ignore"):
        # A series without a seasonal error is infinite or NaN by itself.
        rows = {kind: [score(kind(), [row]) for row in range(len(truth))] for kind in (MASE, SQL)}
        for kind, values in rows.items():
            finite = [value for value in values if np.isfinite(value)]
            found[f"{name}/{kind.__name__.lower()}"] = np.mean(finite) if finite else np.nan
        found[f"{name}/wql"] = score(WQL(), list(range(len(truth))))
np.savez(sys.argv[2], **found)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A panel, its held-out windows, and forecasts of them."""

    panel: Panel
    test: HeldOutWindows
    forecasts: Any

    @property
    def ours(self) -> dict[str, float]:
        """Our scores."""
        return scores(errors(self.test, self.forecasts))

    def rows(self) -> Iterator[tuple[str, int, Any, Any, Any]]:
        """Name, cutoff, history, truth and forecasts of each window that can be judged, in float64."""
        for window, position in np.ndindex(*self.test.cutoffs.shape):
            truth = self.test.truth[window, position, 0].astype(np.float64)
            if np.isfinite(truth).any():
                index, cutoff = int(self.test.series[position]), int(self.test.cutoffs[window, position])
                history = self.panel.series(index, cutoff)[0].astype(np.float64)
                yield str(index), cutoff, history, truth, self.forecasts[window, position, 0].astype(np.float64)


def cases(folder: Path, count: int = _CASES) -> Iterator[Case]:
    """Random cases, the same each time."""
    for number in range(count):
        random = np.random.default_rng(number)
        horizon, windows, season = (int(random.integers(*one)) for one in ((1, 6), (1, 4), (1, 9)))
        held_out = horizon * windows
        series = [_series(random, held_out + int(random.integers(1, 40))) for _ in range(random.integers(1, 7))]
        panel = write_panel(folder / str(number), series)
        test = hold_out(panel, horizon, windows, season)
        if not test.observed.any():
            continue
        test = test.select(np.flatnonzero(test.observed))
        noise = random.normal(0, 3, (*test.truth.shape, len(QUANTILES)))
        forecasts = np.sort(np.nan_to_num(test.truth)[..., None] + noise, axis=-1).astype(np.float32)
        # Some forecasts of 0, also for observations of 0.
        forecasts[random.random(test.truth.shape) < 0.1] = 0
        yield Case(panel, test, forecasts)


def _series(random: np.random.Generator, length: int) -> Any:
    """White noise, counts with zeros, a constant, or nothing but zeros, often with gaps."""
    kinds = (random.normal(20, 5, length), random.poisson(0.7, length), np.full(length, 7.0), np.zeros(length))
    values = np.array(kinds[random.choice(4, p=(0.5, 0.3, 0.1, 0.1))], dtype=np.float32)
    if random.random() < 0.5:
        values[random.random(length) < random.choice((0.1, 0.5))] = np.nan
    if random.random() < 0.2:
        values[: random.integers(length)] = np.nan
    return values


def by_utilsforecast(case: Case) -> dict[str, float]:
    """The scores of a case from utilsforecast's losses."""
    train, points, seen = [], [], set()
    for name, cutoff, history, truth, forecasts in case.rows():
        # It cuts the training data at each cutoff itself.
        if name not in seen:
            seen.add(name)
            values = case.panel.series(int(name))[0].astype(np.float64)
            train.append(pd.DataFrame({"unique_id": name, "ds": np.arange(len(values)), "y": values}))
        frame = pd.DataFrame(forecasts, columns=_NAMES)
        frame = frame.assign(unique_id=name, ds=cutoff + np.arange(len(truth)), cutoff=len(history) - 1, y=truth)
        points.append(frame)
    past, judged = pd.concat(train), pd.concat(points).dropna(subset=["y"])
    judged = judged.assign(**{"m-lo-80": judged["0.1"], "m-hi-80": judged["0.9"]})
    season, quantiles = case.test.season, {"m": _NAMES}
    weights = judged.groupby(["unique_id", "cutoff"])["y"].count()

    def over_points(found: Any, column: str = "m") -> float:
        return float(np.average(found.set_index(["unique_id", "cutoff"])[column].loc[weights.index], weights=weights))

    def over_rows(found: Any, column: str = "m") -> float:
        values = found[column].to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    loss = over_points(losses.mqloss(judged, quantiles, _LEVELS)) * 2 * len(judged)
    size = float(judged["y"].abs().sum())
    return {
        "mase": over_rows(losses.mase(judged, ["0.5"], season, past), "0.5"),
        "wql": loss / size if size else float("nan"),
        "sql": 2 * over_rows(losses.scaled_mqloss(judged, quantiles, _LEVELS, season, past)),
        "smape": 200 * over_points(losses.smape(judged, ["0.5"]), "0.5"),
        "coverage_80": over_points(losses.coverage(judged, ["m"], 80)),
    }


def by_fev(found: Mapping[str, Case], folder: Path, python: Path) -> dict[str, dict[str, float]]:
    """MASE, SQL and WQL of each case from fev. Windows are series of their own to it: it averages over them."""
    arrays: dict[str, Any] = {"levels": _LEVELS}
    for name, case in found.items():
        _, _, past, truth, forecasts = zip(*case.rows(), strict=True)
        arrays[f"{name}/past"] = np.concatenate(past)
        arrays[f"{name}/lengths"] = np.array([len(one) for one in past])
        arrays[f"{name}/truth"], arrays[f"{name}/forecasts"] = np.stack(truth), np.stack(forecasts)
        arrays[f"{name}/season"] = np.array(case.test.season)
    np.savez(folder / "cases.npz", **arrays)
    files = [str(folder / "cases.npz"), str(folder / "scores.npz")]
    subprocess.run([str(python), "-W", "ignore", "-c", _FEV, *files], check=True, cwd=folder)
    theirs = np.load(folder / "scores.npz")
    return {name: {one: float(theirs[f"{name}/{one}"]) for one in ("mase", "sql", "wql")} for name in found}


def gap(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The largest relative difference of the scores that an oracle has; infinite if one of two is undefined."""
    worst = 0.0
    for name, value in theirs.items():
        one, other = ours[name], value if np.isfinite(value) else float("nan")
        if np.isnan(one) != np.isnan(other):
            return float("inf")
        if not np.isnan(one):
            worst = max(worst, abs(one - other) / max(1.0, abs(other)))
    return worst


def metrics_oracle(say: Callable[[str], None] = print) -> Section:
    """The largest gap between our scores and those of both oracles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {str(number): case for number, case in enumerate(cases(folder))}
        python = isolated_python("metric oracles", LOCK.read_text(), say)
        theirs = {"utilsforecast": {one: by_utilsforecast(case) for one, case in found.items()}}
        theirs["fev"] = by_fev(found, folder, python)
        gaps = {
            oracle: max(gap(case.ours, answers[one]) for one, case in found.items())
            for oracle, answers in theirs.items()
        }
    figures = {"cases": len(found), "largest_gap": max(gaps.values()), "by_oracle": gaps}
    listed = "\n".join(f"- {oracle}: {worst:.2g}" for oracle, worst in gaps.items())
    text = (
        f"{len(found)} random panels with gaps, short series, constants, zeros and one to three windows. The largest "
        f"relative difference of any score from that of an oracle:\n\n{listed}\n\nutilsforecast has MASE, SQL, sMAPE, "
        "coverage, and the quantile loss that WQL divides by the observations; fev has MASE, SQL and WQL."
    )
    return Section("Metrics against oracles", {"metrics_oracle": figures}, text)
