"""The trainer as a child: its ends, and that it never outlives the agent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from agent.errors import RunFailed
from agent.host.kernel_events import Box
from agent.supervise.metrics_tail import MetricsTail
from agent.supervise.supervisor import Listener, Timeouts, supervise
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from chronos_ec2.worker.progress import Progress
from tests.agent.builders import NOW, a_config, a_workdir, tiny_chronos, toy_series

STOP = Stop(Cause.REQUESTED, "a person", NOW)


class Supervised:
    """One supervised trainer."""

    def __init__(self, tmp_path: Path, config: dict[str, Any]) -> None:
        self.workdir = a_workdir(tmp_path)
        self.workdir.config.write_text(json.dumps(config))
        self.progress = Progress()
        self.control = Control()
        self.checkpoints: list[int] = []
        self.pids: list[int] = []
        self.when_seen: Callable[[], None] | None = None
        self.when_saved: Callable[[], None] = lambda: None

    def run(
        self, timeouts: float = 1.0, to_move: float = 60.0, box: Box | None = None, to_ask: float = 3600
    ) -> dict[str, Any]:
        listener = Listener(self._saved, self._time_is_up)
        hour = timedelta(hours=1)
        times = Timeouts(
            timedelta(seconds=2 * timeouts), timedelta(seconds=to_move), hour, timedelta(seconds=to_ask),
            timedelta(seconds=0.1),
        )  # fmt: skip
        over = threading.Event()
        watcher = threading.Thread(target=self._look, args=[over])
        watcher.start()
        try:
            return supervise(self.workdir, self.progress, self.control, times, listener, box or Box())
        finally:
            over.set()
            watcher.join()

    def _saved(self, step: int, _best: bool) -> None:
        self.checkpoints.append(step)
        self.when_saved()

    def _time_is_up(self) -> None:
        self.control.request_stop(Stop(Cause.OVER_DEADLINE, "the deadline", NOW))

    def _look(self, over: threading.Event) -> None:
        while not over.wait(0.01):
            now = self.progress.snapshot()
            if now.trainer_pid:
                self.pids.append(now.trainer_pid)
            if now.step and self.when_seen:
                act, self.when_seen = self.when_seen, None
                act()

    @property
    def gone(self) -> bool:
        return all(not alive(pid) for pid in set(self.pids))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def probe(ending: str = "ok", steps: int = 5, step_seconds: float = 0.02) -> dict[str, Any]:
    return a_config(probe={"ending": ending, "steps": steps, "step_seconds": step_seconds})


def test_a_trainer_that_ends_well_leaves_its_result(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe())
    assert box.run() == {"stopped_early": False, "steps": 5}
    now = box.progress.snapshot()
    assert (now.step, now.total_steps, now.trainer_pid) == (5, 5, None)


def test_a_crash_is_told_by_its_last_line(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("crash"))
    with pytest.raises(RunFailed, match="ProbeCrash: the probe was told to crash after 5 steps") as caught:
        box.run()
    assert caught.value.verdict.cause is Cause.USER_CODE
    assert "Traceback" in box.workdir.trainer_log.read_text()


def test_a_trainer_that_runs_out_of_memory_is_told_what_to_lower(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("oom"))
    with pytest.raises(RunFailed, match=r"the memory of the instance ran out: MemoryError \(lower training.batch_size"):
        box.run()


def test_a_training_that_diverged_is_told_so(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("nan"))
    with pytest.raises(RunFailed, match="the training diverged: the loss at step 5 is nan"):
        box.run()


def test_a_slow_trainer_is_not_a_dead_one(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("slow", step_seconds=0.05))
    assert box.run(to_move=0.2)["steps"] == 5
    assert "Current thread" in box.workdir.trainer_log.read_text()


def test_a_configuration_that_the_trainer_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    box = Supervised(tmp_path, a_config(prediction_length=0))
    with pytest.raises(RunFailed, match=r"the trainer failed: config.json: prediction_length: "):
        box.run()


def test_a_stop_is_passed_on_and_obeyed(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe(steps=10_000))
    box.when_seen = lambda: box.control.request_stop(STOP)
    with pytest.raises(Stopped):
        box.run(timeouts=20)
    assert json.loads(box.workdir.result.read_text())["stopped_early"] is True
    assert box.gone


def test_a_hung_trainer_makes_no_progress_and_is_killed_after_the_patience(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("hang", steps=1))
    box.when_seen = lambda: threading.Timer(1.0, box.control.request_stop, [STOP]).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        box.run(timeouts=0.5)
    assert time.monotonic() - started < 15
    assert box.progress.snapshot().stalled_for > timedelta(seconds=1)
    assert not box.workdir.result.exists()
    assert box.gone


def test_a_trainer_that_does_not_look_at_the_time_is_asked_when_it_is_over(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe(steps=10_000))
    with pytest.raises(Stopped) as caught:
        box.run(timeouts=20, to_ask=0.5)
    assert caught.value.verdict.cause is Cause.OVER_DEADLINE
    assert json.loads(box.workdir.result.read_text())["stopped_early"] is True


def test_a_fence_kills_the_trainer_at_once(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("hang", steps=1))
    box.when_seen = lambda: box.control.fence("not ours")
    with pytest.raises(Fenced):
        box.run(timeouts=60)
    assert box.gone


AGENT = """
import sys
from datetime import timedelta
from pathlib import Path
from agent.host.kernel_events import Box
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress
from agent.supervise.supervisor import Listener, Timeouts, supervise
from agent.protocol.workdir import Workdir
times = Timeouts(timedelta(seconds=9), timedelta(seconds=60), timedelta(hours=1), timedelta(hours=1))
supervise(Workdir(Path(sys.argv[1])), Progress(), Control(), times, Listener(print, lambda: None), Box())
"""


def test_the_trainer_does_not_outlive_an_agent_that_is_killed(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("hang", steps=1))
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(box.workdir.root)], cwd=Path(__file__).parents[3])
    wait_until(lambda: '"step": 1' in read(box.workdir.metrics))
    (trainer,) = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    wait_until(lambda: not Path(f"/proc/{trainer}").exists() or "Z" in state(trainer))


def state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_chronos_2_stops_where_it_is_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    box = Supervised(tmp_path, tiny_chronos(steps=100_000, checkpoint_steps=100_000))
    pq.write_table(toy_series(), box.workdir.data / "toy.parquet")
    box.when_seen = lambda: box.control.request_stop(STOP)
    with pytest.raises(Stopped):
        box.run(timeouts=60)
    result = json.loads(box.workdir.result.read_text())
    assert result["stopped_early"] is True
    assert box.checkpoints == [result["steps"]]
    saved = {path.name for path in (box.workdir.checkpoints / f"checkpoint-{result['steps']}").iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"} <= saved


def test_metrics_are_read_line_by_whole_line(tmp_path: Path) -> None:
    path, progress, checkpoints = tmp_path / "metrics.jsonl", Progress(), list[tuple[int, bool]]()
    tail = MetricsTail(path, progress, lambda step, best: checkpoints.append((step, best)))
    tail.read()
    path.write_text('{"step": 1, "total_steps": 9}\n{"step": 2, "tot')
    tail.read()
    assert progress.snapshot().step == 1
    with path.open("a") as stream:
        stream.write('al_steps": 9}\nnot json\n[]\n{"event": "checkpoint", "step": 2}\n')
        stream.write('{"event": "checkpoint", "step": 3, "best": true}\n')
    tail.read()
    assert progress.snapshot().step == 2
    assert checkpoints == [(2, False), (3, True)]


def test_what_an_earlier_attempt_did_does_not_hide_that_this_one_moves(tmp_path: Path) -> None:
    path, progress, checkpoints = tmp_path / "metrics.jsonl", Progress(), list[int]()
    path.write_text('{"step": 900, "total_steps": 999}\n{"event": "checkpoint", "step": 900}\n')
    tail = MetricsTail(path, progress, lambda step, _best: checkpoints.append(step))
    tail.read()
    assert (tail.started, progress.snapshot().counter, checkpoints) == (False, 0, [])
    with path.open("a") as stream:
        stream.write('{"step": 801, "total_steps": 999}\n')
    tail.read()
    assert (tail.started, progress.snapshot().counter, progress.snapshot().step) == (True, 1, 801)


def test_a_trainer_that_stands_still_shows_where_and_is_left_alone(tmp_path: Path) -> None:
    box = Supervised(tmp_path, probe("hang", steps=1))

    def stop_when_shown() -> None:
        wait_until(lambda: 'MainThread"' in box.workdir.trainer_log.read_text())
        box.control.request_stop(STOP)

    box.when_seen = stop_when_shown
    with pytest.raises(Stopped):
        box.run(timeouts=0.2, to_move=0.3)
    log = box.workdir.trainer_log.read_text()
    # Once, although it stood still for longer; it says in which line, and so does py-spy.
    assert log.count("Current thread") == 1
    assert " in _hang" in log
    assert re.search(r"Thread \d+ \(idle\): \"MainThread\"", log)
    assert re.search(r"    _hang \(agent/trainer/probe.py:\d+\)", log)


def test_py_spy_is_found_where_pip_puts_it_beside_the_packages(tmp_path: Path) -> None:
    (tmp_path / "packages" / "bin").mkdir(parents=True)
    (tmp_path / "packages" / "py_spy-9.dist-info").mkdir()
    (tmp_path / "packages" / "py_spy-9.dist-info" / "METADATA").write_text("Name: py-spy\nVersion: 9\n")
    command = tmp_path / "packages" / "bin" / "py-spy"
    command.write_text("")
    command.chmod(0o755)
    variables = os.environ | {"PYTHONPATH": f"{tmp_path / 'packages'}:src", "PATH": os.defpath}
    ask = [sys.executable, "-c", "from agent.supervise.supervisor import py_spy; print(py_spy())"]
    found = subprocess.run(
        ask, cwd=Path(__file__).parents[3], env=variables, capture_output=True, text=True, check=True
    )
    assert found.stdout == f"{command}\n"


SEIZE = """
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0
print("seized", flush=True)
sys.stdin.read()
"""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is left behind, as it must
def test_a_trainer_that_cannot_be_killed_does_not_keep_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its parent a process that another one traces looks like one that hangs in the kernel: it is never gone."""
    monkeypatch.setattr("agent.supervise.supervisor._KILL_SECONDS", 1)
    box = Supervised(tmp_path, probe("hang", steps=1))
    tracers: list[subprocess.Popen[bytes]] = []

    def trace() -> None:
        command = [sys.executable, "-c", SEIZE, str(box.pids[-1])]
        tracers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert tracers[0].stdout is not None
        seized.append(tracers[0].stdout.readline())
        box.control.request_stop(STOP)

    seized: list[bytes] = []
    box.when_seen = trace
    started = time.monotonic()
    with pytest.raises(Stopped):
        box.run(timeouts=0.2)
    took = time.monotonic() - started
    tracers[0].communicate()
    if seized != [b"seized\n"]:
        pytest.skip("this machine lets nobody trace")
    assert took < 30
    assert box.progress.snapshot().trainer_pid == box.pids[-1]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(box.pids[-1], 0)


def test_a_wish_for_a_checkpoint_reaches_the_trainer_only_once_it_listens(tmp_path: Path) -> None:
    config = a_config(probe={"steps": 100_000, "step_seconds": 0.02, "checkpoint_steps": 100_000})
    box = Supervised(tmp_path, config)
    box.control.request_checkpoint("a reason")
    box.when_saved = lambda: box.control.request_stop(STOP)
    with pytest.raises(Stopped):
        box.run(timeouts=60)
    assert 0 < box.checkpoints[0] < 100_000


def test_a_gpu_that_fails_ends_the_trainer_soon(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,100,-;NVRM: loading\n")

    def fail() -> None:
        with log.open("a") as stream:
            stream.write("4,2,200,-;NVRM: Xid (PCI:0000:00:1e): 79, pid=1, GPU has fallen off the bus.\n")

    box = Supervised(tmp_path, probe("hang", steps=1))
    box.when_seen = fail
    with pytest.raises(RunFailed, match="the GPU failed: Xid 79 of PCI:0000:00:1e: it has fallen off") as caught:
        box.run(box=Box(log))
    assert caught.value.verdict.cause is Cause.INFRA
    assert box.gone
