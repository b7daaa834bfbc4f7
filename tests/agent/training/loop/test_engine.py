"""A run that was killed and went on has the weights of one that was not, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal
from agent.training.batching.sampler import Sampler, Windows
from agent.training.loop import engine
from agent.training.loop.engine import Trained, Work, fit, newest_checkpoint
from agent.training.loop.hf_trainer import StepTrainer
from agent.training.model import load
from agent.training.model.families import Batch
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import EarlyStopping, Lora, Optimisation
from tests.agent.training.builders import CONTEXT, FAMILIES, HORIZON, a_family, a_panel

STEPS = 8
Weights = dict[str, torch.Tensor]


class Killed(BaseException):
    """The end of a process, in a test that has only one."""


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    return a_panel(tmp_path_factory.mktemp("panel"))


def work_on(
    panel: Panel, family: str, lora: bool = False, dropout: float = 0.1, windows: int = 4, **settings: Any
) -> Work:
    """A new model with the same weights each time, and the batches of a seed."""
    chronos = a_family(family, dropout)
    if lora:
        torch.manual_seed(2)
        load.adapt(chronos, Lora())
    ends = panel.lengths - HORIZON
    chosen: dict[str, Any] = {"steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_steps": 3}
    optimisation = Optimisation.model_validate(chosen | settings)
    sampler = Sampler(Windows(panel, ends, CONTEXT, HORIZON, HORIZON), windows, "series", seed=3)

    def validation() -> Iterator[Batch]:
        yield chronos.batch(panel, sampler.draw(10**6))

    return Work(
        model=chronos.model,
        batch=lambda number, part, parts: chronos.batch(panel, sampler.draw(number).part(part, parts)),
        validation=validation if optimisation.early_stopping else None,
        settings=optimisation,
        precision=optimisation.precision if optimisation.precision != "auto" else "fp32",
        label=chronos.label,
        made_with={"data": "d", "settings": {}},
        windows=windows,
    )


class MortalMetrics(Metrics):
    """Metrics of a process that dies in the step after so many."""

    def __init__(self, path: Path, dies_after: int | None) -> None:
        super().__init__(path)
        self._dies_after = dies_after

    def step(self, step: int, *arguments: Any, **more: Any) -> None:
        if step == self._dies_after:
            raise Killed
        super().step(step, *arguments, **more)


def trained(work: Work, folder: Path, dies_after: int | None = None) -> tuple[Trained, Weights]:
    folder.mkdir(exist_ok=True)
    metrics = MortalMetrics(folder / "metrics.jsonl", dies_after)
    try:
        done = fit(work, folder, metrics, StopSignal())
    finally:
        metrics.close()
    return done, {name: weight.detach().clone() for name, weight in work.model.named_parameters()}


def losses(folder: Path) -> list[float]:
    """Of each step that was logged."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line and "event" not in line]


def assert_equal(ours: Weights, theirs: Weights) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


class Fp16OnTheCpu(StepTrainer):  # type: ignore[misc]
    """Autocast and a scaler, as on a T4; on a CPU the library would leave both out without a word."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.accelerator.native_amp = True
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)


@pytest.mark.parametrize(
    ("precision", "workers"),
    [
        ("fp32", 0),
        ("fp16", 2),
        *(pytest.param(*more, marks=pytest.mark.thorough) for more in (("fp32", 2), ("fp16", 0))),
    ],
)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_equal_bit_for_bit_after_a_death_between_checkpoints(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, lora: bool, precision: str, workers: int
) -> None:
    if precision == "fp16":
        monkeypatch.setattr(engine, "StepTrainer", Fp16OnTheCpu)
    settings = {"precision": precision, "workers": workers}
    _, straight = trained(work_on(panel, family, lora, **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        trained(work_on(panel, family, lora, **settings), tmp_path / "killed", dies_after=5)
    assert (tmp_path / "killed" / "checkpoint-3" / "scaler.pt").exists() is (precision == "fp16")
    done, resumed = trained(work_on(panel, family, lora, **settings), tmp_path / "killed")
    assert done.resumed_from == 3
    assert done.steps == STEPS
    assert_equal(resumed, straight)
    changed = [name for name, weight in work_on(panel, family, lora).model.named_parameters()
               if not torch.equal(weight, straight[name])]  # fmt: skip
    assert changed


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_was_done_is_not_trained_on(panel: Panel, tmp_path: Path, family: str, lora: bool) -> None:
    _, weights = trained(work_on(panel, family, lora, schedule="constant"), tmp_path / "run")
    again, same = trained(work_on(panel, family, lora, schedule="constant"), tmp_path / "run")
    assert (again.steps, again.resumed_from, again.complete) == (STEPS, STEPS, True)
    assert_equal(same, weights)


def test_nor_are_the_best_weights_of_one(panel: Panel, tmp_path: Path) -> None:
    early = EarlyStopping(every_steps=1, timeouts=100).model_dump()
    settings = {"early_stopping": early, "learning_rate": 0.1, "schedule": "constant"}
    first, weights = trained(work_on(panel, "chronos-2", **settings), tmp_path / "run")
    again, same = trained(work_on(panel, "chronos-2", **settings), tmp_path / "run")
    assert (again.steps, again.best_step) == (STEPS, first.best_step)
    assert_equal(same, weights)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_average_of_the_weights_goes_on_bit_for_bit(panel: Panel, tmp_path: Path, lora: bool) -> None:
    early = EarlyStopping(every_steps=2, timeouts=100).model_dump()
    settings: dict[str, Any] = {"ema": 0.9, "early_stopping": early, "learning_rate": 0.1}
    expected, straight = trained(work_on(panel, "chronos-2", lora, **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        trained(work_on(panel, "chronos-2", lora, **settings), tmp_path / "killed", dies_after=7)
    done, resumed = trained(work_on(panel, "chronos-2", lora, **settings), tmp_path / "killed")
    assert (done.resumed_from, done.best_step) == (6, expected.best_step)
    assert_equal(resumed, straight)
    again, same = trained(work_on(panel, "chronos-2", lora, **settings), tmp_path / "killed")
    assert again.steps == STEPS
    assert_equal(same, straight)


@pytest.mark.parametrize("early", [None, {"every_steps": 1, "patience": 100}], ids=["last", "best"])
def test_the_average_is_what_training_ends_with(panel: Panel, tmp_path: Path, early: dict[str, int] | None) -> None:
    """After the first step 2/11 of it are the weights from before."""
    before = {name: weight.clone() for name, weight in work_on(panel, "chronos-2").model.named_parameters()}
    _, after = trained(work_on(panel, "chronos-2", steps=1), tmp_path / "without")
    _, average = trained(work_on(panel, "chronos-2", steps=1, ema=0.999, early_stopping=early), tmp_path / "with")
    for name, weight in average.items():
        torch.testing.assert_close(weight, before[name] * 2 / 11 + after[name] * 9 / 11)


def test_weights_are_trained_on_as_if_there_were_no_average(panel: Panel, tmp_path: Path) -> None:
    """Though it takes their place whenever it is validated."""
    early = {"every_steps": 1, "patience": 100}
    trained(work_on(panel, "chronos-2", early_stopping=early), tmp_path / "without")
    trained(work_on(panel, "chronos-2", early_stopping=early, ema=0.9), tmp_path / "with")
    ours, theirs = (load_file(tmp_path / name / "checkpoint-8" / "model.safetensors") for name in ("with", "without"))
    assert_equal(ours, theirs)


@pytest.mark.parametrize("before_and_after", [(0, 2), (2, 0)])
def test_nor_does_it_matter_who_makes_the_batches(
    panel: Panel, tmp_path: Path, before_and_after: tuple[int, int]
) -> None:
    before, after = before_and_after
    _, straight = trained(work_on(panel, "chronos-2"), tmp_path / "straight")
    with pytest.raises(Killed):
        trained(work_on(panel, "chronos-2", workers=before), tmp_path / "killed", dies_after=5)
    done, resumed = trained(work_on(panel, "chronos-2", workers=after), tmp_path / "killed")
    assert done.resumed_from == 3
    assert_equal(resumed, straight)


def test_batches_that_make_up_one_step_are_gone_on_from_too(panel: Panel, tmp_path: Path) -> None:
    settings = {"gradient_accumulation": 2, "steps": 6}
    _, straight = trained(work_on(panel, "chronos-2", **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        trained(work_on(panel, "chronos-2", **settings), tmp_path / "killed", dies_after=5)
    done, resumed = trained(work_on(panel, "chronos-2", **settings), tmp_path / "killed")
    assert done.resumed_from == 3
    assert_equal(resumed, straight)


def test_the_best_weights_so_far_survive_too(panel: Panel, tmp_path: Path) -> None:
    settings = {"early_stopping": EarlyStopping(every_steps=1, timeouts=100).model_dump(), "learning_rate": 0.1}
    expected, straight = trained(work_on(panel, "chronos-2", **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        trained(work_on(panel, "chronos-2", **settings), tmp_path / "killed", dies_after=7)
    done, resumed = trained(work_on(panel, "chronos-2", **settings), tmp_path / "killed")
    assert (done.best_step, done.resumed_from) == (expected.best_step, 6)
    assert_equal(resumed, straight)


def test_it_stops_early_and_a_checkpoint_of_then_is_not_trained_on(panel: Panel, tmp_path: Path) -> None:
    settings = {
        "early_stopping": {"every_steps": 1, "patience": 2}, "learning_rate": 3.0, "steps": 50, "checkpoint_steps": 50,
    }  # fmt: skip
    first, weights = trained(work_on(panel, "chronos-2", **settings), tmp_path / "run")
    assert first.complete
    assert first.stopped_by == "early stopping"
    assert first.best_step is not None
    assert first.steps == first.best_step + 2
    again, same = trained(work_on(panel, "chronos-2", **settings), tmp_path / "run")
    assert (again.steps, again.complete) == (first.steps, True)
    assert_equal(same, weights)


def test_a_checkpoint_made_with_something_else_is_refused(panel: Panel, tmp_path: Path) -> None:
    trained(work_on(panel, "chronos-2"), tmp_path / "run")
    other = replace(work_on(panel, "chronos-2"), made_with={"data": "other", "settings": {}})
    with pytest.raises(InvalidInput, match="was made with other data"):
        trained(other, tmp_path / "run")


def test_another_gpu_goes_on_and_says_that_it_is_another(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_on(precision: str) -> Work:
        made_with = {"data": "d", "settings": {}, "precision": precision}
        return replace(work_on(panel, "chronos-2", precision=precision), made_with=made_with)

    with monkeypatch.context() as t4:
        t4.setattr(engine, "StepTrainer", Fp16OnTheCpu)
        with pytest.raises(Killed):
            trained(made_on("fp16"), tmp_path / "run", dies_after=5)
    done, _ = trained(made_on("fp32"), tmp_path / "run")
    assert (done.resumed_from, done.steps) == (3, STEPS)
    assert "checkpoint-3 was made with other precision" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_death_while_a_checkpoint_is_completed_leaves_it_incomplete(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def dies(path: Path, target: Path) -> Path:
        if target.name != "made_with.json":
            return rename(path, target)
        assert path.read_text()
        raise Killed

    with monkeypatch.context() as last_moment:
        last_moment.setattr(Path, "replace", dies)
        with pytest.raises(Killed):
            trained(work_on(panel, "chronos-2"), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint-3").exists()
    assert newest_checkpoint(tmp_path / "run") is None


def test_a_checkpoint_that_is_not_complete_is_passed_over(panel: Panel, tmp_path: Path) -> None:
    trained(work_on(panel, "chronos-2"), tmp_path / "run")
    whole = newest_checkpoint(tmp_path / "run")
    assert whole is not None
    (whole / "made_with.json").unlink()
    older = newest_checkpoint(tmp_path / "run")
    assert older is not None
    assert older.name == "checkpoint-6"


def test_a_loss_that_is_no_number_ends_the_run(panel: Panel, tmp_path: Path) -> None:
    work = work_on(panel, "chronos-2")

    def broken(number: int, part: int, parts: int) -> Batch:
        batch = work.batch(number, part, parts)
        batch["context"].fill_(float("inf"))
        return batch

    with pytest.raises(LossNotFinite, match="loss of step 1 is nan"):
        trained(replace(work, batch=broken), tmp_path / "run")


def only_rows(model: torch.nn.Module, rows: int, from_call: int = 0) -> None:
    """A GPU whose memory holds so many rows, from one of its calls on."""
    calls = 0

    def check(_module: Any, _arguments: Any, more: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        first = next(iter(more.values()))
        if calls > from_call and len(first) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(check, with_kwargs=True)


@pytest.mark.parametrize("from_call", [0, 2, 5], ids=["at once", "later", "after a checkpoint"])
def test_a_batch_that_does_not_fit_is_taken_in_parts(panel: Panel, tmp_path: Path, from_call: int) -> None:
    settings = {"dropout": 0.0, "learning_rate": 1e-3}
    _, whole = trained(work_on(panel, "chronos-2", **settings), tmp_path / "whole")
    work = work_on(panel, "chronos-2", **settings)
    only_rows(work.model, 1, from_call)
    done, weights = trained(work, tmp_path / "parts")
    assert (done.steps, done.parts) == (STEPS, 4)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-3, atol=2e-5)


def with_gaps(panel: Panel) -> Panel:
    values = panel.values.copy()
    values[:, ::7] = np.nan
    values[:, 40:48] = np.nan
    return replace(panel, values=values)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_different_sizes_count_by_what_they_hold(panel: Panel, tmp_path: Path, family: str) -> None:
    """Three windows in two parts, of one and of two; with gaps Chronos-T5 has unlike numbers of tokens in each."""
    settings: dict[str, Any] = {"dropout": 0.0, "learning_rate": 1e-3, "windows": 3, "gradient_accumulation": 2}
    gaps = with_gaps(panel)
    _, whole = trained(work_on(gaps, family, **settings), tmp_path / "whole")
    work = work_on(gaps, family, **settings)
    only_rows(work.model, 2)
    done, weights = trained(work, tmp_path / "parts")
    assert (done.steps, done.parts) == (STEPS, 2)
    pairs = zip(losses(tmp_path / "parts"), losses(tmp_path / "whole"), strict=True)
    assert all(ours == pytest.approx(theirs, rel=1e-4) for ours, theirs in pairs)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-3, atol=2e-4)


def test_windows_of_several_rows_are_parted_as_windows(panel: Panel, tmp_path: Path) -> None:
    """Four windows of a batch of 256 rows: more than four parts there are not."""
    work = work_on(panel, "chronos-2", batch_size=256)
    only_rows(work.model, 0)
    with pytest.raises(InvalidInput, match="not even one window fits into the GPU's memory"):
        trained(work, tmp_path)


def test_training_ends_in_time(panel: Panel, tmp_path: Path) -> None:
    done, _ = trained(replace(work_on(panel, "chronos-2"), stop_at=0.0), tmp_path / "run")
    assert (done.steps, done.complete, done.stopped_by) == (1, True, "time")
    newest = newest_checkpoint(tmp_path / "run")
    assert newest is not None
    assert newest.name == "checkpoint-1"


def test_the_last_weights_may_be_the_best_when_time_ends_the_training(panel: Panel, tmp_path: Path) -> None:
    work = work_on(panel, "chronos-2", early_stopping={"every_steps": 100, "patience": 3})
    done, _ = trained(replace(work, stop_at=0.0), tmp_path / "run")
    assert (done.steps, done.best_step, done.stopped_by) == (1, 1, "time")


def test_it_says_early_that_the_time_is_too_short_for_all_steps(panel: Panel, tmp_path: Path) -> None:
    stop = StopSignal()

    class StopsWhenTold(Metrics):
        def event(self, name: str, **details: Any) -> None:
            stop.asked |= name == "short_of_time"
            super().event(name, **details)

    metrics = StopsWhenTold(tmp_path / "metrics.jsonl")
    done = fit(
        replace(work_on(panel, "chronos-2", steps=10**8), stop_at=time.monotonic() + 600), tmp_path, metrics, stop
    )
    metrics.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (told,) = [line for line in lines if line.get("event") == "short_of_time"]
    assert 10 <= told["step"] < 100
    assert told["step"] < told["expected"] < told["total_steps"] == 10**8
    assert done.stopped_by == "signal"


def test_metrics_tell_when_it_will_be_done(panel: Panel, tmp_path: Path) -> None:
    work = replace(work_on(panel, "chronos-2", steps=20), stop_at=time.monotonic() + 600)
    trained(work, tmp_path / "run")
    left = [line.get("eta_seconds") for line in lines_with_a_loss(tmp_path / "run")]
    assert left[:10] == [None] * 10
    assert all(0 < seconds < 600 for seconds in left[12:-1])
    assert left[-1] == 0
    assert "short_of_time" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_checkpoint_that_is_asked_for_is_written_after_the_step(panel: Panel, tmp_path: Path) -> None:
    class Warned(StopSignal):
        """EC2 recommends to leave in the second step."""

        def __init__(self) -> None:
            super().__init__()
            self._looks = 0

        def take_save_request(self) -> bool:
            self._looks += 1
            return self._looks == 2

    metrics = Metrics(tmp_path / "metrics.jsonl")
    fit(work_on(panel, "chronos-2"), tmp_path, metrics, Warned())
    metrics.close()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (2, 3, 6, 8)]


def test_lines_of_metrics_tell_of_steps_checkpoints_and_validation(panel: Panel, tmp_path: Path) -> None:
    settings = {"early_stopping": {"every_steps": 4, "patience": 9}}
    trained(work_on(panel, "chronos-2", **settings), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("event") == "checkpoint"] == [3, 6, 8]
    # The loss falls with each look, so that the last look's weights are the best; there was none at 3 and 6.
    assert [line.get("best", False) for line in lines if line.get("event") == "checkpoint"] == [False, False, True]
    assert [line["step"] for line in lines if line.get("event") == "validated"] == [4, 8]
    assert [line["step"] for line in lines if "loss" in line and "event" not in line] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    ("device", "asked", "workers"), [("cpu", None, 0), ("cpu", 1, 1), ("meta", None, 2), ("meta", 0, 0)]
)
def test_a_gpu_does_not_wait_for_its_batches(
    panel: Panel, tmp_path: Path, device: str, asked: int | None, workers: int
) -> None:
    """`meta` plays a device that is no CPU."""
    work = work_on(panel, "chronos-2", workers=asked)
    work.model.to(device)
    arguments = engine._arguments(work, 1, tmp_path)
    assert (arguments.dataloader_num_workers, arguments.dataloader_pin_memory) == (workers, device != "cpu")


_CHILD = """
import sys, torch
from pathlib import Path
from tests.agent.training.builders import a_panel
from tests.agent.training.loop.test_engine import trained, work_on
folder = Path(sys.argv[1])
done, weights = trained(work_on(a_panel(folder), "chronos-2", steps=200), folder / "run")
torch.save(weights, folder / "weights.pt")
print(done.resumed_from, flush=True)
"""


def test_a_real_process_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    def child(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", _CHILD, str(folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

    with child(tmp_path / "straight") as straight, child(tmp_path / "killed") as killed:
        while newest_checkpoint(tmp_path / "killed" / "run") is None:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
        straight.communicate(timeout=120)
    with child(tmp_path / "killed") as second:
        out, _ = second.communicate(timeout=120)
    assert int(out) >= 3
    ours, theirs = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("killed", "straight"))
    assert_equal(ours, theirs)


def lines_with_a_loss(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("workers", [0, 2])
def test_metrics_say_how_fast_it_goes_and_what_it_waits_for(panel: Panel, tmp_path: Path, workers: int) -> None:
    work = work_on(panel, "chronos-2", workers=workers, gradient_accumulation=2)
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    trained(work, quick)
    make = work.batch

    def late(number: int, part: int, parts: int) -> Batch:
        time.sleep(0.1)
        return make(number, part, parts)

    trained(replace(work_on(panel, "chronos-2", workers=0, gradient_accumulation=2), batch=late), slow)
    first, *rest = lines_with_a_loss(quick)
    assert {"loss", "lr", "grad_norm"} < first.keys()
    assert len(rest) == STEPS - 1
    for line in rest:
        assert line["grad_norm"] > 0
        assert line["series_per_second"] > 0
        # Nobody measured a GPU here, and nothing was scaled.
        assert not {"gpu_util", "gpu_mem", "scaler_scale", "skipped_steps"} & line.keys()
    waits = [line["data_wait_ms"] for line in lines_with_a_loss(slow)[1:]]
    assert min(waits) >= 200
    assert max(line["series_per_second"] for line in lines_with_a_loss(slow)[1:]) <= 2 * 4 / 0.2


def test_metrics_say_what_the_scaler_does(panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "StepTrainer", Fp16OnTheCpu)
    trained(work_on(panel, "chronos-2", precision="fp16"), tmp_path / "run")
    last = lines_with_a_loss(tmp_path / "run")[-1]
    assert (last["scaler_scale"], last["skipped_steps"]) == (2.0**10, 0)
