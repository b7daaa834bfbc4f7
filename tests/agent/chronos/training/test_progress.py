"""What training reports and when it stops: metrics, checkpoints on request, the time limit."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agent.chronos.model.families import Batch
from agent.chronos.training.engine import fit, latest_checkpoint
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal
from tests.agent.builders import FakeTime
from tests.agent.chronos.training.jobs import STEPS, Fp16OnTheCpu, a_job, lines_with_a_loss, metrics_lines, train


def test_a_loss_that_is_not_finite_ends_the_run(panel: Panel, tmp_path: Path) -> None:
    job = a_job(panel, "chronos-2")

    def broken(number: int, part: int, parts: int) -> Batch:
        batch = job.batch(number, part, parts)
        batch["context"].fill_(float("inf"))
        return batch

    with pytest.raises(LossNotFinite, match="loss of step 1 is nan"):
        train(replace(job, batch=broken), tmp_path / "run")


def test_the_log_tells_of_the_loss_but_not_at_every_step(
    panel: Panel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(a_job(panel, "chronos-2"), tmp_path / "run")
    (first, *_) = lines_with_a_loss(tmp_path / "run")
    said = re.findall(r"step \d+ of \d+, loss .*", capsys.readouterr().err)
    assert said == [f"step 1 of {STEPS}, loss {first['loss']:.4g}"]


def test_training_ends_at_the_time_limit(panel: Panel, tmp_path: Path) -> None:
    done, _ = train(replace(a_job(panel, "chronos-2"), stop_at=0.0), tmp_path / "run")
    assert (done.steps, done.complete, done.stopped_by) == (1, True, "time")
    latest = latest_checkpoint(tmp_path / "run")
    assert latest is not None
    assert latest.name == "checkpoint-1"


def test_the_last_weights_are_validated_at_the_time_limit(panel: Panel, tmp_path: Path) -> None:
    job = a_job(panel, "chronos-2", early_stopping={"every_steps": 100, "patience": 3})
    done, _ = train(replace(job, stop_at=0.0), tmp_path / "run")
    assert (done.steps, done.best_step, done.stopped_by) == (1, 1, "time")


def test_too_little_time_for_all_steps_is_reported_early(panel: Panel, tmp_path: Path) -> None:
    stop = StopSignal()

    class StopsAfterTheWarning(Metrics):
        def event(self, name: str, **details: Any) -> None:
            stop.asked |= name == "short_of_time"
            super().event(name, **details)

    metrics = StopsAfterTheWarning(tmp_path / "metrics.jsonl")
    done = fit(replace(a_job(panel, "chronos-2", steps=10**8), stop_at=time.monotonic() + 600), tmp_path, metrics, stop)
    metrics.close()
    (warning,) = [line for line in metrics_lines(tmp_path) if line.get("event") == "short_of_time"]
    assert 10 <= warning["step"] < 100
    assert warning["step"] < warning["expected"] < warning["total_steps"] == 10**8
    assert done.stopped_by == "signal"


def test_metrics_estimate_the_remaining_time(panel: Panel, tmp_path: Path) -> None:
    job = replace(a_job(panel, "chronos-2", steps=20), stop_at=time.monotonic() + 600)
    train(job, tmp_path / "run")
    left = [line.get("eta_seconds") for line in lines_with_a_loss(tmp_path / "run")]
    assert left[:10] == [None] * 10
    assert all(0 < seconds < 600 for seconds in left[12:-1])
    assert left[-1] == 0
    assert "short_of_time" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_requested_checkpoint_is_written_after_the_step(panel: Panel, tmp_path: Path) -> None:
    class SaveRequested(StopSignal):
        """A rebalance recommendation in the second step."""

        def __init__(self) -> None:
            super().__init__()
            self._calls = 0

        def take_save_request(self) -> bool:
            self._calls += 1
            return self._calls == 2

    metrics = Metrics(tmp_path / "metrics.jsonl")
    fit(a_job(panel, "chronos-2"), tmp_path, metrics, SaveRequested())
    metrics.close()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (2, 3, 6, 8)]


def test_metrics_report_steps_checkpoints_and_validation(panel: Panel, tmp_path: Path) -> None:
    settings = {"early_stopping": {"every_steps": 4, "patience": 9}}
    train(a_job(panel, "chronos-2", **settings), tmp_path / "run")
    lines = metrics_lines(tmp_path / "run")
    assert [line["step"] for line in lines if line.get("event") == "checkpoint"] == [3, 6, 8]
    # The loss falls with each validation, so the weights of step 8 are the best; 3 and 6 were not validated.
    assert [line.get("best", False) for line in lines if line.get("event") == "checkpoint"] == [False, False, True]
    assert [line["step"] for line in lines if line.get("event") == "validated"] == [4, 8]
    assert [line["step"] for line in lines if "loss" in line and "event" not in line] == list(range(1, STEPS + 1))


def test_the_weights_of_the_lowest_validation_loss_are_kept(panel: Panel, tmp_path: Path) -> None:
    """Each validation after the first one is against targets that are further away."""
    job = a_job(panel, "chronos-2", early_stopping={"every_steps": 2, "patience": 9}, checkpoint_steps=STEPS)
    distance = itertools.count()

    def validation() -> Iterator[Batch]:
        assert not job.model.training, "dropout in a validation"
        batch = job.batch(0, 0, 1)
        yield batch | {"future_target": batch["future_target"] + 1000 * next(distance)}

    done, weights = train(replace(job, validation=validation), tmp_path)
    assert (done.steps, done.best_step) == (STEPS, 2)
    last = load_file(tmp_path / f"checkpoint-{STEPS}" / "model.safetensors")
    best = torch.load(tmp_path / f"checkpoint-{STEPS}" / "best", weights_only=True)["weights"]
    assert [name for name in best if not torch.equal(weights[name], best[name])] == []
    assert [name for name in best if not torch.equal(weights[name], last[name])] != []


def test_a_long_validation_is_progress(panel: Panel, tmp_path: Path) -> None:
    """Two batches of a validation, at a pace of one call of the clock a second."""
    job = a_job(panel, "chronos-2", early_stopping={"every_steps": 4, "patience": 9})
    metrics = Metrics(tmp_path / "metrics.jsonl", monotonic=itertools.count().__next__)
    fit(replace(job, validation=lambda: iter([job.batch(0, 0, 1)] * 2)), tmp_path, metrics, StopSignal())
    metrics.close()
    found = [(line["event"], line["step"]) for line in metrics_lines(tmp_path) if "validat" in line.get("event", "")]
    assert found == [(event, step) for step in (4, 8) for event in ("validating", "validating", "validated")]


def test_pieces_of_work_are_reported_once_a_second(tmp_path: Path) -> None:
    clock = FakeTime()
    with closing(Metrics(tmp_path / "metrics.jsonl", clock)) as metrics:
        for seconds in (0, 0.5, 0.6, 0.1, 1):
            clock.advance(seconds)
            metrics.ongoing("validating", at=clock())
    assert [line["at"] for line in metrics_lines(tmp_path)] == pytest.approx([1000, 1001.1, 1002.2])


@pytest.mark.parametrize("workers", [0, 2])
def test_metrics_have_throughput_and_data_wait(panel: Panel, tmp_path: Path, workers: int) -> None:
    job = a_job(panel, "chronos-2", workers=workers, gradient_accumulation=2)
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    train(job, quick)
    make = job.batch

    def late(number: int, part: int, parts: int) -> Batch:
        time.sleep(0.1)
        return make(number, part, parts)

    train(replace(a_job(panel, "chronos-2", workers=0, gradient_accumulation=2), batch=late), slow)
    first, *rest = lines_with_a_loss(quick)
    assert {"loss", "lr", "grad_norm"} < first.keys()
    assert len(rest) == STEPS - 1
    for line in rest:
        assert line["grad_norm"] > 0
        assert line["series_per_second"] > 0
        # No GPU, and no scaler.
        assert not {"gpu_util", "gpu_mem", "scaler_scale", "skipped_steps"} & line.keys()
    waits = [line["data_wait_ms"] for line in lines_with_a_loss(slow)[1:]]
    assert min(waits) >= 200
    assert max(line["series_per_second"] for line in lines_with_a_loss(slow)[1:]) <= 2 * 4 / 0.2


def test_metrics_have_the_loss_scale(panel: Panel, tmp_path: Path) -> None:
    train(a_job(panel, "chronos-2", precision="fp16"), tmp_path / "run", trainer_class=Fp16OnTheCpu)
    last = lines_with_a_loss(tmp_path / "run")[-1]
    assert (last["scaler_scale"], last["skipped_steps"]) == (2.0**10, 0)
