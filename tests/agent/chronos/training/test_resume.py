"""A run that was killed and resumed ends with the weights of an uninterrupted one, bit for bit.

`python -m benchmarks.training resume` counts the tests named `bit_for_bit`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agent.chronos.training.engine import TrainingJob, latest_checkpoint
from agent.chronos.training.hf_trainer import StepTrainer
from agent.data.panel import Panel
from chronos_ec2.domain.errors import InvalidInput
from tests.agent.chronos.builders import FAMILIES
from tests.agent.chronos.training.jobs import STEPS, Fp16OnTheCpu, Killed, a_job, assert_equal, train
from tests.combinations import combinations

EACH_VALUE = {
    ("chronos-2", "lora", "fp16", 2), ("chronos-bolt", "full", "fp32", 0), ("chronos-t5", "full", "fp32", 2),
}  # fmt: skip
"""Every family, and each value of weights, precision and workers."""


@pytest.mark.parametrize(
    ("family", "weights", "precision", "workers"),
    combinations(product(FAMILIES, ("full", "lora"), ("fp32", "fp16"), (0, 2)), quick=EACH_VALUE),
)
def test_resume_is_bit_for_bit_after_a_kill_between_checkpoints(
    panel: Panel, tmp_path: Path, family: str, weights: str, precision: str, workers: int
) -> None:
    lora = weights == "lora"
    trainer_class = Fp16OnTheCpu if precision == "fp16" else StepTrainer
    settings = {"precision": precision, "workers": workers}
    _, straight = train(a_job(panel, family, lora, **settings), tmp_path / "straight", None, trainer_class)
    with pytest.raises(Killed):
        train(a_job(panel, family, lora, **settings), tmp_path / "killed", 5, trainer_class)
    assert (tmp_path / "killed" / "checkpoint-3" / "scaler.pt").exists() is (precision == "fp16")
    done, resumed = train(a_job(panel, family, lora, **settings), tmp_path / "killed", None, trainer_class)
    assert done.resumed_from == 3
    assert done.steps == STEPS
    assert_equal(resumed, straight)
    changed = [name for name, weight in a_job(panel, family, lora).model.named_parameters()
               if not torch.equal(weight, straight[name])]  # fmt: skip
    assert changed


@pytest.mark.parametrize(
    ("family", "weights"), combinations(product(FAMILIES, ("full", "lora")), quick={("chronos-2", "full")})
)
def test_a_complete_run_is_not_trained_further(panel: Panel, tmp_path: Path, family: str, weights: str) -> None:
    lora = weights == "lora"
    _, trained = train(a_job(panel, family, lora, schedule="constant"), tmp_path / "run")
    again, same = train(a_job(panel, family, lora, schedule="constant"), tmp_path / "run")
    assert (again.steps, again.resumed_from, again.complete) == (STEPS, STEPS, True)
    assert_equal(same, trained)


def test_the_best_weights_of_a_complete_run_stay_bit_for_bit(panel: Panel, tmp_path: Path) -> None:
    early = {"every_steps": 1, "patience": 100}
    settings = {"early_stopping": early, "learning_rate": 0.1, "schedule": "constant"}
    first, weights = train(a_job(panel, "chronos-2", **settings), tmp_path / "run")
    again, same = train(a_job(panel, "chronos-2", **settings), tmp_path / "run")
    assert (again.steps, again.best_step) == (STEPS, first.best_step)
    assert_equal(same, weights)


@pytest.mark.parametrize("lora", [pytest.param(False, marks=pytest.mark.thorough), True], ids=["full", "lora"])
def test_resume_of_the_ema_is_bit_for_bit(panel: Panel, tmp_path: Path, lora: bool) -> None:
    early = {"every_steps": 2, "patience": 100}
    settings: dict[str, Any] = {"ema": 0.9, "early_stopping": early, "learning_rate": 0.1}
    expected, straight = train(a_job(panel, "chronos-2", lora, **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        train(a_job(panel, "chronos-2", lora, **settings), tmp_path / "killed", kill_after=7)
    done, resumed = train(a_job(panel, "chronos-2", lora, **settings), tmp_path / "killed")
    assert (done.resumed_from, done.best_step) == (6, expected.best_step)
    assert_equal(resumed, straight)
    again, same = train(a_job(panel, "chronos-2", lora, **settings), tmp_path / "killed")
    assert again.steps == STEPS
    assert_equal(same, straight)


@pytest.mark.parametrize("early", [None, {"every_steps": 1, "patience": 100}], ids=["last", "best"])
def test_training_ends_with_the_ema(panel: Panel, tmp_path: Path, early: dict[str, int] | None) -> None:
    """After the first step the decay is 2/11."""
    before = {name: weight.clone() for name, weight in a_job(panel, "chronos-2").model.named_parameters()}
    _, after = train(a_job(panel, "chronos-2", steps=1), tmp_path / "without")
    _, average = train(a_job(panel, "chronos-2", steps=1, ema=0.999, early_stopping=early), tmp_path / "with")
    for name, weight in average.items():
        torch.testing.assert_close(weight, before[name] * 2 / 11 + after[name] * 9 / 11)


def test_the_ema_does_not_affect_the_weights_themselves(panel: Panel, tmp_path: Path) -> None:
    """Although it replaces them for each validation."""
    early = {"every_steps": 1, "patience": 100}
    train(a_job(panel, "chronos-2", early_stopping=early), tmp_path / "without")
    train(a_job(panel, "chronos-2", early_stopping=early, ema=0.9), tmp_path / "with")
    ours, theirs = (load_file(tmp_path / name / "checkpoint-8" / "model.safetensors") for name in ("with", "without"))
    assert_equal(ours, theirs)


@pytest.mark.parametrize(("before", "after"), [(0, 2), pytest.param(2, 0, marks=pytest.mark.thorough)])
def test_resume_is_bit_for_bit_with_another_number_of_workers(
    panel: Panel, tmp_path: Path, before: int, after: int
) -> None:
    _, straight = train(a_job(panel, "chronos-2"), tmp_path / "straight")
    with pytest.raises(Killed):
        train(a_job(panel, "chronos-2", workers=before), tmp_path / "killed", kill_after=5)
    done, resumed = train(a_job(panel, "chronos-2", workers=after), tmp_path / "killed")
    assert done.resumed_from == 3
    assert_equal(resumed, straight)


def test_resume_with_gradient_accumulation_is_bit_for_bit(panel: Panel, tmp_path: Path) -> None:
    settings = {"gradient_accumulation": 2, "steps": 6}
    _, straight = train(a_job(panel, "chronos-2", **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        train(a_job(panel, "chronos-2", **settings), tmp_path / "killed", kill_after=5)
    done, resumed = train(a_job(panel, "chronos-2", **settings), tmp_path / "killed")
    assert done.resumed_from == 3
    assert_equal(resumed, straight)


def test_resume_of_the_best_weights_is_bit_for_bit(panel: Panel, tmp_path: Path) -> None:
    settings = {"early_stopping": {"every_steps": 1, "patience": 100}, "learning_rate": 0.1}
    expected, straight = train(a_job(panel, "chronos-2", **settings), tmp_path / "straight")
    with pytest.raises(Killed):
        train(a_job(panel, "chronos-2", **settings), tmp_path / "killed", kill_after=7)
    done, resumed = train(a_job(panel, "chronos-2", **settings), tmp_path / "killed")
    assert (done.best_step, done.resumed_from) == (expected.best_step, 6)
    assert_equal(resumed, straight)


def test_early_stopping_is_final_also_after_a_resume(panel: Panel, tmp_path: Path) -> None:
    settings = {
        "early_stopping": {"every_steps": 1, "patience": 2}, "learning_rate": 3.0, "steps": 50, "checkpoint_steps": 50,
    }  # fmt: skip
    first, weights = train(a_job(panel, "chronos-2", **settings), tmp_path / "run")
    assert first.complete
    assert first.stopped_by == "early stopping"
    assert first.best_step is not None
    assert first.steps == first.best_step + 2
    again, same = train(a_job(panel, "chronos-2", **settings), tmp_path / "run")
    assert (again.steps, again.complete) == (first.steps, True)
    assert_equal(same, weights)


def test_a_checkpoint_made_with_other_data_is_refused(panel: Panel, tmp_path: Path) -> None:
    train(a_job(panel, "chronos-2"), tmp_path / "run")
    other = replace(a_job(panel, "chronos-2"), made_with={"data": "other", "settings": {}})
    with pytest.raises(InvalidInput, match="was made with other data"):
        train(other, tmp_path / "run")


def test_resume_on_another_gpu_reports_that_it_is_not_exact(panel: Panel, tmp_path: Path) -> None:
    def made_on(precision: str) -> TrainingJob:
        made_with = {"data": "d", "settings": {}, "precision": precision}
        return replace(a_job(panel, "chronos-2", precision=precision), made_with=made_with)

    with pytest.raises(Killed):
        train(made_on("fp16"), tmp_path / "run", 5, Fp16OnTheCpu)
    done, _ = train(made_on("fp32"), tmp_path / "run")
    assert (done.resumed_from, done.steps) == (3, STEPS)
    assert "checkpoint-3 was made with other precision" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_a_kill_while_a_checkpoint_is_completed_leaves_it_incomplete(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def kill(path: Path, target: Path) -> Path:
        if target.name != "made_with.json":
            return rename(path, target)
        assert path.read_text()
        raise Killed

    with monkeypatch.context() as last_moment:
        last_moment.setattr(Path, "replace", kill)
        with pytest.raises(Killed):
            train(a_job(panel, "chronos-2"), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint-3").exists()
    assert latest_checkpoint(tmp_path / "run") is None


def test_an_incomplete_checkpoint_is_skipped(panel: Panel, tmp_path: Path) -> None:
    train(a_job(panel, "chronos-2"), tmp_path / "run")
    latest = latest_checkpoint(tmp_path / "run")
    assert latest is not None
    (latest / "made_with.json").unlink()
    older = latest_checkpoint(tmp_path / "run")
    assert older is not None
    assert older.name == "checkpoint-6"


_CHILD = """
import sys, torch
from itertools import product
from pathlib import Path
from tests.agent.chronos.builders import a_panel
from tests.agent.chronos.training.jobs import a_job, train
folder = Path(sys.argv[1])
done, weights = train(a_job(a_panel(folder), "chronos-2", steps=100), folder / "run")
torch.save(weights, folder / "weights.pt")
print(done.resumed_from, flush=True)
"""


@pytest.mark.thorough
def test_resume_is_bit_for_bit_after_sigkill_of_a_real_process(panel: Panel, tmp_path: Path) -> None:
    def child(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", _CHILD, str(folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

    with child(tmp_path / "killed") as killed:
        while latest_checkpoint(tmp_path / "killed" / "run") is None:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    with child(tmp_path / "killed") as second:
        out, _ = second.communicate(timeout=600)
    assert int(out) >= 3
    ours = torch.load(tmp_path / "killed" / "weights.pt", weights_only=True)
    _, straight = train(a_job(panel, "chronos-2", steps=100), tmp_path / "straight")
    assert_equal(ours, straight)
