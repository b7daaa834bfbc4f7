"""Runs that are interrupted, or short of time."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from chronos import BaseChronosPipeline

from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics, interruptions
from agent.protocol.trainer import StoppedEarly, StopSignal
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import tiny_chronos
from tests.agent.chronos.runs import report, toy_workdir, train


def test_a_run_resumes_where_a_signal_ended_it(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    straight = toy_workdir(tmp_path / "straight")
    train(straight, tiny_chronos(steps=6))
    workdir, stop = toy_workdir(tmp_path), StopSignal()
    stop.asked = False

    class AsksAfterTwo(Metrics):
        def step(self, step: int, *arguments: Any, **more: Any) -> None:
            stop.asked = step >= 2
            super().step(step, *arguments, **more)

    metrics = AsksAfterTwo(workdir.metrics)
    first = run(workdir, parse_config(tiny_chronos(steps=6), "test"), metrics, stop)
    metrics.close()
    assert (first["stopped_early"], first["steps"]) == (True, 2)
    assert not workdir.model.exists()
    second = train(workdir, tiny_chronos(steps=6))
    assert (second["resumed_from"], second["steps"]) == (2, 6)
    assert (first["interruptions"], second["interruptions"]) == ([], [{"reached": 2, "resumed_from": 2}])
    ours, theirs = (BaseChronosPipeline.from_pretrained(one.model).model.state_dict() for one in (workdir, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_interruptions_of_all_attempts_are_counted(tmp_path: Path) -> None:
    """The second attempt resumed and was killed while it wrote a line; the third found no checkpoint."""
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(
        '{"event": "began", "step": 0}\n{"step": 7, "total_steps": 9}\n'
        '{"event": "attempt", "attempt": 2, "step": 5}\n{"event": "began", "step": 5}\n'
        '{"step": 6, "total_steps": 9}\n{"st'
    )
    with closing(Metrics(metrics)) as third:
        third.event("began", step=0)
    assert interruptions(metrics) == [{"reached": 7, "resumed_from": 5}, {"reached": 6, "resumed_from": 0}]


def test_a_run_that_is_short_of_time_is_evaluated(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    result = train(workdir, tiny_chronos(steps=10_000), StopSignal(ends_at=time.monotonic() + 64))
    assert (result["stopped_by"], result["stopped_early"]) == ("time", False)
    assert 0 < result["steps"] < 10_000
    assert (workdir.model / "config.json").exists()


def test_a_run_is_evaluated_after_its_minutes(tmp_path: Path) -> None:
    result = train(toy_workdir(tmp_path), tiny_chronos(steps=100_000, minutes=0.02))
    assert (result["stopped_by"], result["stopped_early"]) == ("time", False)
    assert 0 < result["steps"] < 100_000


def test_a_signal_during_loading_stops_the_run(tmp_path: Path) -> None:
    stop = StopSignal()
    stop.asked = True
    with pytest.raises(StoppedEarly):
        train(toy_workdir(tmp_path), tiny_chronos(), stop)


class StopsAtBaselines(Metrics):
    """SIGTERM arrives when the statistical baselines are waited for; notes which processes run beside the training."""

    def __init__(self, path: Path, stop: StopSignal) -> None:
        super().__init__(path)
        self._stop = stop
        self.beside_training: set[str] = set()

    def step(self, step: int, *arguments: Any, **more: Any) -> None:
        self.beside_training |= {one.name for one in multiprocessing.active_children()}
        super().step(step, *arguments, **more)

    def event(self, name: str, **details: Any) -> None:
        self._stop.asked |= details.get("what") == "baselines"
        super().event(name, **details)


def test_baselines_are_fitted_beside_the_training_and_a_signal_keeps_the_evaluation(tmp_path: Path) -> None:
    workdir, stop = toy_workdir(tmp_path), StopSignal()
    config = tiny_chronos(steps=3)
    config["evaluation"] = {"season_length": 6, "baseline_series": 500}
    with closing(StopsAtBaselines(workdir.metrics, stop)) as metrics:
        result = run(workdir, parse_config(config, "test"), metrics, stop)
    assert any("Pool" in name for name in metrics.beside_training)
    assert not multiprocessing.active_children()
    assert (result["stopped_early"], result["evaluation"]["exported"]) == (False, "trained")
    found = result["evaluation"]["baselines"]
    assert found["tried"] < 12
    assert found["seconds_after_evaluation"] < 5
    assert report(workdir)["models"].keys() == {"trained", "seasonal_naive"}
    assert (workdir.model / "MODEL_CARD.md").exists()


def test_a_signal_while_training_ends_the_baselines(tmp_path: Path) -> None:
    workdir, stop = toy_workdir(tmp_path), StopSignal()
    config = tiny_chronos(steps=3)
    config["evaluation"] = {"season_length": 6}

    class AsksAtOnce(Metrics):
        def step(self, *arguments: Any, **more: Any) -> None:
            stop.asked = True
            super().step(*arguments, **more)

    with closing(AsksAtOnce(workdir.metrics)) as metrics:
        assert run(workdir, parse_config(config, "test"), metrics, stop)["stopped_early"]
    assert not multiprocessing.active_children()
