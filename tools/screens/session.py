"""One session with the command on the embedded AWS: a data set, two runs, a drill, and every screen on the way."""

from __future__ import annotations

import json
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
training: {{steps: {steps}, batch_size: 16, learning_rate: {rate}, checkpoint_steps: 500}}
evaluation: {{season_length: 7}}
"""
DRILL = "good-end,kill,agent-killed"


@dataclass
class Session:
    """What has been shown, by screen and width, and what came of it. `environ` points at the embedded AWS."""

    environ: Mapping[str, str]
    folder: Path
    program: str = str(Path(sys.executable).with_name("chronos-ec2"))
    screens: dict[str, list[tuple[Shown, str]]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Go through all screens."""
        self._prepare()
        self._shoot("data-check", "data", "check", "sales", "--config", "train.yaml")
        self._json("upload", "data", "sales", "sales")
        launch = ["launch", "--config", "train.yaml", "--allow-cpu", "--max-cost", "2"]
        self._shoot("plan", *launch, "--plan")
        planned = [self._json(*launch, "--plan")["plan"]["worst_case"]["usd"]]
        first = self._json(*launch)["run_id"]
        second = self._json(*launch[:2], "slow.yaml", *launch[3:], "--lane", "second")["run_id"]
        self._follow(first)
        self._json("monitor", second)
        self._shoot("runs", "runs")
        self._shoot("runs-show", "runs", "show", first)
        self._shoot("runs-compare", "runs", "compare", first, second)
        self._shoot("results", "results", first, "--to", "results")
        self._json("report", first, "--to", "report.html")
        planned.append(self._json(*launch, "--plan")["plan"]["worst_case"]["usd"])
        self._shoot("plan-known", *launch[:2], "slow.yaml", *launch[3:], "--plan")
        self._drill()
        self._shoot("doctor", "doctor")
        self._shoot("verify", "verify")
        self._shoot("error-typo", "runs", "show", first[:-1] + ("0" if first[-1] != "0" else "1"))
        self._shoot("error-config", "launch", "--config", "wrong.yaml", "--allow-cpu", "--plan")
        self.results |= {
            "planned": planned, "runs": [self._json("runs", "show", each) for each in (first, second)],
        }  # fmt: skip

    def _prepare(self) -> None:
        (self.folder / "sales").mkdir(parents=True, exist_ok=True)
        random, days = np.random.default_rng(7), np.arange(400)
        series = [
            pd.DataFrame({
                "item_id": f"store-{number:02d}", "timestamp": pd.date_range("2025-01-01", periods=400),
                "target": (50 + 10 * number + 12 * np.sin(2 * np.pi * days / 7) + random.normal(0, 3, 400)).round(1),
            })
            for number in range(24)
        ]  # fmt: skip
        pd.concat(series).to_csv(self.folder / "sales" / "sales.csv", index=False)
        (self.folder / "train.yaml").write_text(_CONFIG.format(steps=1500, rate="2e-3"))
        (self.folder / "slow.yaml").write_text(_CONFIG.format(steps=500, rate="5e-4"))
        (self.folder / "wrong.yaml").write_text(_CONFIG.format(steps=500, rate="5e-4").replace("steps:", "stepps:"))

    def _follow(self, run_id: str) -> None:
        """Follow a run in four terminals at once: live and compact, in both widths."""
        with ThreadPoolExecutor(4) as pool:
            live = [pool.submit(self._show, width, "monitor", run_id, "--interval", "1") for width in WIDTHS]
            lines = [pool.submit(self._show, width, "monitor", run_id, "--compact") for width in WIDTHS]
        shown = [future.result() for future in live]
        self.screens["monitor"] = [(each, _in_training(each.screens)) for each in shown]
        self.screens["monitor-end"] = [(each, each.left) for each in shown]
        self.screens["monitor-compact"] = [(future.result(), future.result().left) for future in lines]

    def _drill(self) -> None:
        shown = self._show(120, "drill", "--only", DRILL, "--interval", "1", "--yes")
        self.results["drill"] = json.loads((self.folder / "drill.json").read_text())
        self.screens["drill"] = [(shown, shown.left)]

    def _shoot(self, name: str, *arguments: str) -> None:
        shown = [self._show(width, *arguments) for width in WIDTHS]
        self.screens[name] = [(each, each.left) for each in shown]

    def _show(self, width: int, *arguments: str) -> Shown:
        return show(arguments, width, self.environ, self.folder, self.program)

    def _json(self, *arguments: str) -> Any:
        done = subprocess.run(
            [self.program, *arguments, "--json"], capture_output=True, text=True, env=dict(self.environ),
            cwd=self.folder, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"chronos-ec2 {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def _in_training(screens: Sequence[str]) -> str:
    """A screen of the middle of the training."""
    training = [each for each in screens if "progress" in each and "left" in each] or list(screens)
    return training[len(training) * 2 // 3]
