"""Two processes that train together, over gloo: what they train on, and that they end together however one ends."""

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

from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.supervise.diagnosis import exit_report
from agent.training.loop import distributed
from agent.training.loop.engine import newest_checkpoint
from agent.training.run import run
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.parse import parse_config
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.training.builders import a_panel
from tests.agent.training.loop import two_ranks
from tests.agent.training.loop.test_engine import STEPS

STEPS_TO_END = 60


def test_each_has_batches_of_its_own_and_both_are_one_with_the_batches_of_both(tmp_path: Path) -> None:
    found = two_ranks.compare(tmp_path)
    assert (found.batches, found.distinct_batches) == (2 * STEPS, 2 * STEPS)
    assert found.loss_gap < 1e-5
    assert found.ours.keys() == found.theirs.keys()
    for name, weight in found.ours.items():
        torch.testing.assert_close(weight, found.theirs[name], rtol=1e-3, atol=2e-5)


def test_a_gpu_that_is_too_small_ends_both_with_advice(tmp_path: Path) -> None:
    a_panel(tmp_path)
    done = two_ranks.both(tmp_path, "--trouble", "memory")
    assert done.returncode == 2
    advice = "training.batch_size: a batch does not fit into the GPU's memory (halve it and double training.gradient_"
    assert done.stderr.splitlines()[-1].startswith(advice)


def test_what_went_wrong_in_another_process_is_what_is_diagnosed(tmp_path: Path) -> None:
    a_panel(tmp_path)
    done = two_ranks.both(tmp_path, "--trouble", "hardware")
    log = tmp_path / "trainer.log"
    log.write_text(done.stderr)
    assert exit_report(log, done.returncode) == f"RuntimeError: {two_ranks.HARDWARE}"


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [distributed.how_many(asked, "cuda") for asked in (None, 2)] == [4, 2]
    assert [distributed.how_many(asked, "cpu") for asked in (None, 2)] == [1, 2]
    with pytest.raises(InvalidInput, match=r"training\.processes: 5 are more than the 4 GPUs of the box"):
        distributed.how_many(5, "cuda")


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
    """The real one, as the agent starts it."""
    command = [sys.executable, "-m", "agent.trainer", "--workdir", str(workdir.root), "--parent", str(os.getpid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def the_other(leader: subprocess.Popen[str]) -> int:
    """Its process id."""
    children = Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text().split()
    return next(
        int(pid) for pid in children if b"agent.training.rank_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def wait_until(true: Callable[[], object], leader: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 200
    while not true():
        assert leader is None or leader.poll() is None, leader.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Dead, though perhaps nobody has asked how."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.timeout(900)
def test_killed_and_gone_on_from_the_weights_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    straight, killed = ready(tmp_path / "straight", STEPS_TO_END), ready(tmp_path / "killed", STEPS_TO_END)
    with trainer(killed) as first:
        wait_until(lambda: newest_checkpoint(killed.checkpoints), first)
        other = the_other(first)
        first.kill()
    wait_until(lambda: gone(other))
    with (
        closing(Metrics(Path(os.devnull))) as metrics,
        pytest.raises(InvalidInput, match="was made with other processes"),
    ):
        run(killed, parse_config(alone(config(STEPS_TO_END)), "test"), metrics, StopSignal())
    for workdir in (killed, straight):
        with trainer(workdir) as last:
            assert last.wait(timeout=280) == 0, last.communicate()
    results = [json.loads(workdir.result.read_text()) for workdir in (killed, straight)]
    assert results[0]["resumed_from"] >= 10
    assert [(result["steps"], result["processes"]) for result in results] == [(STEPS_TO_END, 2)] * 2
    assert results[0]["best_step"] == results[1]["best_step"]
    ours, theirs = (BaseChronosPipeline.from_pretrained(one.model).model.state_dict() for one in (killed, straight))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def alone(config: dict[str, Any]) -> dict[str, Any]:
    """The same with one process."""
    return config | {"training": config["training"] | {"processes": 1}}


def test_a_signal_stops_both_after_the_same_step_with_a_checkpoint(tmp_path: Path) -> None:
    workdir = ready(tmp_path, 10**6)
    with trainer(workdir) as leader:
        wait_until(lambda: newest_checkpoint(workdir.checkpoints), leader)
        other = the_other(leader)
        # Only the leader has a say.
        os.kill(other, signal.SIGTERM)
        leader.send_signal(signal.SIGUSR1)
        leader.terminate()
        assert leader.wait(timeout=60) == 0, leader.communicate()
        assert gone(other)
    result = json.loads(workdir.result.read_text())
    assert (result["stopped_early"], result["stopped_by"]) == (True, "signal")
    newest = newest_checkpoint(workdir.checkpoints)
    assert newest is not None
    assert newest.name == f"checkpoint-{result['steps']}"


def test_when_one_is_killed_the_trainer_ends_as_it_did(tmp_path: Path) -> None:
    workdir = ready(tmp_path, 10**6)
    with trainer(workdir) as leader:
        wait_until(lambda: newest_checkpoint(workdir.checkpoints), leader)
        os.kill(the_other(leader), signal.SIGKILL)
        assert leader.wait(timeout=60) == -signal.SIGKILL
        assert "Traceback" not in leader.communicate()[1]
    assert not workdir.result.exists()
