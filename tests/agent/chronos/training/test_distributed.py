"""Two processes that train together over gloo: their batches, and that they end together however one ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline

from agent.chronos.batching.split import Split
from agent.chronos.evaluate.evaluate import EvaluatedModels, forecast_models
from agent.chronos.evaluate.metrics import table
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.evaluate.reference_models import reference_models
from agent.chronos.model.families import family_of
from agent.chronos.model.load import load_pipeline
from agent.chronos.training import distributed
from agent.chronos.training.engine import latest_checkpoint
from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.supervise.diagnosis import last_error
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.chronos.builders import a_family, a_panel
from tests.agent.chronos.runs import a_base, panel_of
from tests.agent.chronos.training import two_processes
from tests.agent.chronos.training.jobs import STEPS, assert_equal

STEPS_TO_END = 60


def test_two_processes_train_like_one_with_the_batches_of_both(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """`python -m benchmarks.training ddp` publishes the properties."""
    found = two_processes.compare(tmp_path)
    for name in ("batches", "distinct_batches", "loss_gap"):
        record_property(name, getattr(found, name))
    assert (found.batches, found.distinct_batches) == (2 * STEPS, 2 * STEPS)
    assert found.loss_gap < 1e-5
    assert_equal(*found.two)
    assert found.two[0].keys() == found.one.keys()
    for name, weight in found.two[0].items():
        torch.testing.assert_close(weight, found.one[name], rtol=1e-3, atol=2e-5)
    shared, alone = found.forecasts
    assert shared.tobytes() == alone.tobytes()


@pytest.mark.thorough
def test_out_of_memory_in_one_process_ends_both_with_advice(tmp_path: Path) -> None:
    a_panel(tmp_path)
    done = two_processes.run_both(tmp_path, "--fail", "memory")
    assert done.returncode == 2
    advice = "training.batch_size: a batch does not fit into the GPU's memory (halve it and double training.gradient_"
    assert done.stderr.splitlines()[-1].startswith(advice)


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["hardware", "forecast"])
def test_an_error_in_the_worker_is_diagnosed(tmp_path: Path, when: str) -> None:
    a_panel(tmp_path)
    done = two_processes.run_both(tmp_path, "--fail", when)
    log = tmp_path / "trainer.log"
    log.write_text(done.stderr)
    assert last_error(log, done.returncode) == f"RuntimeError: {two_processes.HARDWARE}"


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [distributed.choose_world_size(setting, "cuda") for setting in (None, 2)] == [4, 2]
    assert [distributed.choose_world_size(setting, "cpu") for setting in (None, 2)] == [1, 2]
    with pytest.raises(InvalidInput, match=r"training\.processes: 5 is more than the 4 GPUs of the instance"):
        distributed.choose_world_size(5, "cuda")


def ready(folder: Path, steps: int) -> Workdir:
    folder.mkdir(exist_ok=True)
    workdir = a_workdir(folder)
    pq.write_table(toy_series(), workdir.data / "toy.parquet")
    workdir.config.write_text(json.dumps(config(steps)))
    return workdir


def config(steps: int) -> dict[str, Any]:
    early = {"every_steps": 20, "patience": 1000}
    return tiny_chronos(steps=steps, checkpoint_steps=10, early_stopping=early, processes=2)


@contextmanager
def trainer(workdir: Workdir) -> Iterator[subprocess.Popen[str]]:
    """The real trainer, as the agent starts it."""
    command = [sys.executable, "-m", "agent.trainer", "--workdir", str(workdir.root), "--parent", str(os.getpid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def worker_of(rank_0: subprocess.Popen[str]) -> int:
    """The process id of the worker."""
    children = Path(f"/proc/{rank_0.pid}/task/{rank_0.pid}/children").read_text().split()
    return next(
        int(pid)
        for pid in children
        if b"agent.chronos.training.rank_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def wait_until(condition: Callable[[], object], rank_0: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert rank_0 is None or rank_0.poll() is None, rank_0.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Ended, perhaps as a zombie."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_resume_after_a_kill_is_exact_bit_for_bit(tmp_path: Path) -> None:
    straight, killed = ready(tmp_path / "straight", STEPS_TO_END), ready(tmp_path / "killed", STEPS_TO_END)
    with trainer(killed) as first:
        wait_until(lambda: latest_checkpoint(killed.checkpoints), first)
        worker = worker_of(first)
        first.kill()
    wait_until(lambda: gone(worker))
    with (
        closing(Metrics(Path(os.devnull))) as metrics,
        pytest.raises(InvalidInput, match="was made with other processes"),
    ):
        run(killed, parse_config(single(config(STEPS_TO_END)), "test"), metrics, StopSignal())
    for workdir in (killed, straight):
        with trainer(workdir) as last:
            assert last.wait(timeout=600) == 0, last.communicate()
    results = [json.loads(workdir.result.read_text()) for workdir in (killed, straight)]
    assert results[0]["resumed_from"] >= 10
    assert [(result["steps"], result["processes"]) for result in results] == [(STEPS_TO_END, 2)] * 2
    assert results[0]["best_step"] == results[1]["best_step"]
    ours, theirs = (BaseChronosPipeline.from_pretrained(one.model).model.state_dict() for one in (killed, straight))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def single(config: dict[str, Any]) -> dict[str, Any]:
    """The same with one process."""
    return config | {"training": config["training"] | {"processes": 1}}


@pytest.mark.thorough
def test_the_evaluation_of_two_processes_has_the_scores_of_one(tmp_path: Path) -> None:
    """With a base and a champion, an adapter to merge, and windows for the selection."""
    champion = tmp_path / "champion"
    a_family("chronos-bolt").save(champion)
    workdir = ready(tmp_path / "run", 4)
    settings = config(4) | {"model": {"base": a_base(tmp_path, "chronos-2"), "lora": {"rank": 2}}}
    settings["evaluation"] = {"champion": str(champion), "windows": 2, "export": "trained", "baselines": []}
    workdir.config.write_text(json.dumps(settings))
    with trainer(workdir) as rank_0:
        assert rank_0.wait(timeout=600) == 0, rank_0.communicate()
    parsed = parse_config(settings, "test")
    panel = panel_of(workdir, parsed)
    trained = family_of(load_pipeline(str(workdir.model), "cpu"), parsed.context_length, parsed.prediction_length)
    split, references = Split.of(panel, parsed), reference_models(parsed, workdir)
    models = EvaluatedModels(split.test)
    with closing(Metrics(Path(os.devnull))) as metrics:
        alone = Forecaster(panel, metrics, StopSignal())
        for name, _, forecasts, _ in forecast_models(trained, references, split, alone):
            models.add(name, forecasts)
    found = json.loads((workdir.evaluation / "report.json").read_text())["models"]
    assert found.keys() == {"trained", "base", "champion", "seasonal_naive"}
    assert {name: found[name] for name in models.errors} == table(models.errors)


@pytest.mark.thorough
def test_sigterm_stops_both_after_the_same_step_with_a_checkpoint(tmp_path: Path) -> None:
    workdir = ready(tmp_path, 10**6)
    with trainer(workdir) as rank_0:
        wait_until(lambda: latest_checkpoint(workdir.checkpoints), rank_0)
        worker = worker_of(rank_0)
        # The worker ignores its own signals.
        os.kill(worker, signal.SIGTERM)
        rank_0.send_signal(signal.SIGUSR1)
        rank_0.terminate()
        assert rank_0.wait(timeout=600) == 0, rank_0.communicate()
        assert gone(worker)
    result = json.loads(workdir.result.read_text())
    assert (result["stopped_early"], result["stopped_by"]) == (True, "signal")
    latest = latest_checkpoint(workdir.checkpoints)
    assert latest is not None
    assert latest.name == f"checkpoint-{result['steps']}"


@pytest.mark.thorough
def test_when_the_worker_is_killed_the_trainer_ends_by_the_same_signal(tmp_path: Path) -> None:
    workdir = ready(tmp_path, 10**6)
    with trainer(workdir) as rank_0:
        wait_until(lambda: latest_checkpoint(workdir.checkpoints), rank_0)
        os.kill(worker_of(rank_0), signal.SIGKILL)
        assert rank_0.wait(timeout=600) == -signal.SIGKILL
        assert "Traceback" not in rank_0.communicate()[1]
    assert not workdir.result.exists()
