"""One session with the command on the embedded AWS: data, four runs, a drill, and every screen on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tools.screens.terminal import WIDTHS, Shown, show

_CONFIG = """\
data: {{path: training-data/sales/}}
prediction_length: 14
context_length: 96
model: {{from_scratch: {{d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_heads: 2, patch: 7}}}}
training: {{steps: {steps}, minutes: 1.5, batch_size: 16, learning_rate: {rate}, checkpoint_steps: 500}}
evaluation: {{season_length: 7, baselines: []}}
"""
_EVALUATION = "job: evaluate\ndata: {path: training-data/sales/}\nevaluation: {season_length: 7, baselines: []}\n"
_STEP, _SHARE = re.compile(r"step (\d+) of (\d+)"), 0.7
_STACK = "<frozen runpy>"
_DAYS, _STORES = 400, 24
_LAUNCH = ("launch", "--config", "train.yaml", "--allow-cpu", "--max-cost", "2")


@dataclass
class Session:
    """What has been shown, by screen and width, and what came of it.

    Attributes:
        environ: the variables that point at the embedded AWS.
        faults: what the drill harms, all if it is empty.
    """

    environ: Mapping[str, str]
    folder: Path
    faults: str = ""
    screens: dict[str, list[tuple[Shown, str]]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Each run as its launch has printed it, with its plan."""
    drill: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Go through all screens. Raises RuntimeError if a command fails."""
        self._prepare()
        self._shoot("help", "--help")
        self._shoot("data-check", "data", "check", "raw.csv", "--horizon", "14")
        self._json("upload", "data", "sales", "sales")
        self._shoot("plan-first", *_LAUNCH, "--plan")
        first = self._launch(*_LAUNCH)
        second = self._launch("launch", "--config", "slower.yaml", *_LAUNCH[3:], "--lane", "second")
        self._follow(first)
        self._json("monitor", second)
        model = f"run:{first}"
        forecast = self._launch("forecast", "--data", "sales", "--horizon", "14", "--model", model, "--allow-cpu")
        self._json("monitor", forecast)
        compared = ("--config", "evaluate.yaml", "--models", f"{model},run:{second}", "--horizon", "14")
        evaluation = self._launch("evaluate", *compared, "--allow-cpu")
        self._json("monitor", evaluation)
        self._shoot("plan", *_LAUNCH, "--plan")
        self._shoot("runs", "runs")
        self._shoot("runs-show", "runs", "show", first)
        self._shoot("runs-compare", "runs", "compare", first, second)
        self._shoot("results", "results", first, "--to", "results")
        for name, run_id in (("train", first), ("forecast", forecast), ("evaluate", evaluation)):
            self._json("report", run_id, "--to", f"{name}.html")
        self._harm()
        self._shoot("doctor", "doctor")
        self._shoot("verify", "verify")
        self._shoot("error-run", "runs", "show", first[:-1] + ("0" if first[-1] != "0" else "1"))
        self._shoot("error-config", "launch", "--config", "wrong.yaml", "--plan")

    def costs(self) -> list[tuple[float, float]]:
        """By run: what it has cost, and the most that its plan said."""
        ended = [(self._json("runs", "show", each["run_id"]), each["plan"]) for each in self.runs]
        return [(run["cost_usd"], plan["worst_case"]["usd"]) for run, plan in ended]

    def _prepare(self) -> None:
        (self.folder / "sales").mkdir(parents=True)
        random, days = np.random.default_rng(7), np.arange(_DAYS)
        stores = pd.concat(
            pd.DataFrame({
                "item_id": f"store-{number:02d}", "timestamp": pd.date_range("2025-01-01", periods=_DAYS),
                "target": (50 + 10 * number + 12 * np.sin(2 * np.pi * days / 7) + random.normal(0, 3, _DAYS)).round(1),
            })
            for number in range(_STORES)
        )  # fmt: skip
        stores.to_csv(self.folder / "sales" / "sales.csv", index=False)
        # What somebody's file may have: rows that are there twice, a closed store, days that are missing.
        closed, missing = stores.item_id == "store-07", (stores.item_id == "store-11") & stores.index.isin([250, 251])
        raw = pd.concat([stores[~closed & ~missing], stores[closed].assign(target=0.0), stores.iloc[100:103]])
        raw.to_csv(self.folder / "raw.csv", index=False)
        (self.folder / "evaluate.yaml").write_text(_EVALUATION)
        (self.folder / "train.yaml").write_text(_CONFIG.format(steps=3000, rate="2e-3"))
        (self.folder / "slower.yaml").write_text(_CONFIG.format(steps=500, rate="5e-4"))
        (self.folder / "wrong.yaml").write_text(_CONFIG.format(steps=500, rate="5e-4").replace("steps:", "stepps:", 1))

    def _launch(self, *arguments: str) -> str:
        self.runs.append(self._json(*arguments))
        return str(self.runs[-1]["run_id"])

    def _follow(self, run_id: str) -> None:
        """Follow a run in four terminals at once: live and compact, in both widths."""
        with ThreadPoolExecutor(4) as pool:
            live = [pool.submit(self._show, width, "monitor", run_id, "--interval", "1") for width in WIDTHS]
            lines = [pool.submit(self._show, width, "monitor", run_id, "--compact") for width in WIDTHS]
        shown = [future.result() for future in live]
        self.screens["monitor"] = [(each, _in_training(each.screens)) for each in shown]
        self.screens["monitor-end"] = [(each, each.left) for each in shown]
        self.screens["monitor-compact"] = [(future.result(), future.result().left) for future in lines]

    def _harm(self) -> None:
        chosen = ["--only", self.faults] if self.faults else []
        shown = self._show(WIDTHS[0], "drill", *chosen, "--interval", "1", "--yes")
        self.drill = json.loads((self.folder / "drill.json").read_text())
        wide = self._show(WIDTHS[1], "drill", "--only", "good-end", "--interval", "1", "--yes")
        self.screens["drill"] = [(each, each.left) for each in (shown, wide)]

    def _shoot(self, name: str, *arguments: str) -> None:
        shown = [self._show(width, *arguments) for width in WIDTHS]
        self.screens[name] = [(each, each.left) for each in shown]

    def _show(self, width: int, *arguments: str) -> Shown:
        return show([program(), *arguments], width, self.environ, self.folder)

    def _json(self, *arguments: str) -> Any:
        done = subprocess.run(
            [program(), *arguments, "--json"], capture_output=True, text=True, env=dict(self.environ),
            cwd=self.folder, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"chronos-ec2 {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def program() -> str:
    """The command of this environment."""
    return str(Path(sys.executable).with_name("chronos-ec2"))


def _in_training(screens: Sequence[str]) -> str:
    """A screen of the second half of the training, without the stacks that a busy machine's slow start leaves."""
    steps = {each: int(found[1]) / int(found[2]) for each in screens if (found := _STEP.search(each))}
    return min(steps, key=lambda each: (_STACK in each, abs(steps[each] - _SHARE)))
