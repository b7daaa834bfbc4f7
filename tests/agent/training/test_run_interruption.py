"""Runs that are interrupted, or short of time."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from chronos import BaseChronosPipeline

from agent.protocol.metrics_log import Metrics, interruptions
from agent.protocol.trainer import StoppedEarly, StopSignal
from agent.training.run import run
from chronos_ec2.training_config.parse import parse_config
from tests.agent.builders import tiny_chronos
from tests.agent.training.runs import toy_workdir, train


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
