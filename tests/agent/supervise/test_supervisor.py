"""The trainer as a child process: how it ends, and that it never outlives the agent."""

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
from agent.host.kernel_events import KernelEvents
from agent.supervise.stack_dump import signal_trainer
from agent.supervise.supervisor import Callbacks, Timeouts, has_exited, supervise
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from chronos_ec2.worker.progress import Progress
from tests.agent.builders import NOW, FakeTime, a_config, a_workdir, tiny_chronos, toy_series

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
        self.on_first_step: Callable[[], None] | None = None
        self.on_checkpoint: Callable[[], None] = lambda: None

    def run(
        self,
        stop_seconds: float = 1.0,
        stall: float = 60.0,
        limit: float = 3600,
        kill: float = 10.0,
        kernel_events: KernelEvents | None = None,
    ) -> dict[str, Any]:
        callbacks = Callbacks(self._saved, self._time_is_up)
        timeouts = Timeouts(
            grace=timedelta(seconds=2 * stop_seconds),
            stall=timedelta(seconds=stall),
            training=timedelta(hours=1),
            stop=timedelta(seconds=limit),
            gpu_check=timedelta(seconds=0.1),
            kill=timedelta(seconds=kill),
        )
        over = threading.Event()
        watcher = threading.Thread(target=self._look, args=[over])
        watcher.start()
        try:
            events = kernel_events or KernelEvents()
            return supervise(self.workdir, self.progress, self.control, timeouts, callbacks, events)
        finally:
            over.set()
            watcher.join()

    def _saved(self, step: int, _best: bool) -> None:
        self.checkpoints.append(step)
        self.on_checkpoint()

    def _time_is_up(self) -> None:
        self.control.request_stop(Stop(Cause.OVER_DEADLINE, "the deadline", NOW))

    def _look(self, over: threading.Event) -> None:
        while not over.wait(0.01):
            now = self.progress.snapshot()
            if now.trainer_pid:
                self.pids.append(now.trainer_pid)
            if now.step and self.on_first_step:
                act, self.on_first_step = self.on_first_step, None
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


def test_a_trainer_ends_before_it_is_stopped_and_dumps_its_stacks_before_the_watchdog_acts() -> None:
    limits = Limits.from_overrides({"grace": 600, "sweep": 60, "progress": 900})
    timeouts = Timeouts.of(timedelta(hours=1), limits)
    assert timeouts.grace == timedelta(minutes=10)
    assert timeouts.stop == timedelta(minutes=50)
    assert timeouts.training == timedelta(minutes=49)
    assert timeouts.stall == timedelta(minutes=7, seconds=30)


def probe(ending: str = "ok", steps: int = 5, step_seconds: float = 0.02) -> dict[str, Any]:
    return a_config(probe={"ending": ending, "steps": steps, "step_seconds": step_seconds})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_a_trainer_that_has_just_exited_leaves_its_exit_to_the_supervisor(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        signal_trainer(process, number)
        assert has_exited(process)
        assert process.wait() == 3


class ExitsBeforeItIsStopped(Control):
    """A stop is requested at the moment in which the trainer exits, after the supervisor has looked at it."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def check_fence(self) -> None:
        super().check_fence()
        pid = self._progress.snapshot().trainer_pid
        if pid and self.stop is None:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            self.request_stop(STOP)


def test_a_trainer_that_exits_just_before_it_is_stopped_is_no_failure(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe())
    supervised.control = ExitsBeforeItIsStopped(supervised.progress)
    with pytest.raises(Stopped):
        supervised.run()
    assert json.loads(supervised.workdir.result.read_text())["steps"] == 5


def test_a_trainer_that_succeeds_leaves_its_result(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe())
    assert supervised.run() == {"stopped_early": False, "steps": 5}
    now = supervised.progress.snapshot()
    assert (now.step, now.total_steps, now.trainer_pid) == (5, 5, None)


def test_a_crash_is_reported_with_its_exception(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("crash"))
    with pytest.raises(RunFailed, match="ProbeCrash: the probe was told to crash after 5 steps") as caught:
        supervised.run()
    assert caught.value.verdict.cause is Cause.USER_CODE
    assert "Traceback" in supervised.workdir.trainer_log.read_text()


def test_out_of_memory_is_reported_with_what_to_lower(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("oom"))
    with pytest.raises(RunFailed, match=r"the instance ran out of memory: MemoryError \(lower training.batch_size"):
        supervised.run()


def test_a_diverged_training_is_reported(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("nan"))
    with pytest.raises(RunFailed, match="the training diverged: the loss of step 5 is nan"):
        supervised.run()


def test_a_slow_trainer_is_not_killed(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("slow", step_seconds=0.05))
    assert supervised.run(stall=0.2)["steps"] == 5
    assert "Current thread" in supervised.workdir.trainer_log.read_text()


def test_an_invalid_configuration_is_reported_in_one_line(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, a_config(prediction_length=0))
    with pytest.raises(RunFailed, match=r"the trainer failed: config.json: prediction_length: "):
        supervised.run()


def test_a_stop_request_is_passed_on_and_obeyed(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe(steps=10_000))
    supervised.on_first_step = lambda: supervised.control.request_stop(STOP)
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=20)
    assert json.loads(supervised.workdir.result.read_text())["stopped_early"] is True
    assert supervised.gone


def test_a_hung_trainer_makes_no_progress_and_is_killed_after_the_stop_time(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("hang", steps=1))
    supervised.on_first_step = lambda: threading.Timer(1.0, supervised.control.request_stop, [STOP]).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=0.5)
    assert time.monotonic() - started < 15
    assert supervised.progress.snapshot().stalled_for > timedelta(seconds=1)
    assert not supervised.workdir.result.exists()
    assert supervised.gone


def test_a_trainer_that_does_not_stop_is_killed_after_half_of_the_grace(tmp_path: Path) -> None:
    """The other half is for its last checkpoint and the verdict."""
    clock, killed_in_time = FakeTime(), threading.Event()
    supervised = Supervised(tmp_path, probe("hang", steps=1))
    supervised.control = Control(monotonic=clock)

    def stop() -> None:
        supervised.control.request_stop(STOP)
        clock.advance(0.5 * 600)
        # If half is not enough, the rest of the grace ends the test.
        threading.Timer(10, lambda: killed_in_time.is_set() or clock.advance(600)).start()

    supervised.on_first_step = stop
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=300)
    killed_in_time.set()
    assert clock.seconds == 1000 + 300


LOADER = """
import subprocess, sys
class Trainer:
    def __init__(self, config):
        pass
    def train(self, workdir, metrics, stop):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (workdir.root / "child").write_text(str(child.pid))
        metrics.step(1, 1)
        return {"steps": 1}
"""


def test_no_process_of_the_trainer_outlives_it(tmp_path: Path) -> None:
    """Data loaders keep the GPU's memory, and an instance that shuts down waits for them."""
    supervised = Supervised(tmp_path, a_config(trainer="with_loader:Trainer"))
    supervised.workdir.code.mkdir()
    (supervised.workdir.code / "with_loader.py").write_text(LOADER)
    assert supervised.run() == {"steps": 1}
    child = (supervised.workdir.root / "child").read_text()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and state(child) != "Z":
        if time.monotonic() > deadline:
            os.kill(int(child), signal.SIGKILL)
            pytest.fail("the trainer's child is still running")
        time.sleep(0.02)


def test_a_trainer_that_ignores_its_time_limit_is_asked_to_stop(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe(steps=1000))
    with pytest.raises(Stopped) as caught:
        supervised.run(stop_seconds=20, limit=0.5)
    assert caught.value.verdict.cause is Cause.OVER_DEADLINE
    assert json.loads(supervised.workdir.result.read_text())["stopped_early"] is True


def test_a_fence_kills_the_trainer_at_once(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("hang", steps=1))
    supervised.on_first_step = lambda: supervised.control.fence("not ours")
    with pytest.raises(Fenced):
        supervised.run(stop_seconds=2, limit=30)
    assert supervised.control.stop is None  # it did not wait for the time limit
    assert supervised.gone


AGENT = """
import sys
from datetime import timedelta
from pathlib import Path
from agent.host.kernel_events import KernelEvents
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress
from agent.supervise.stack_dump import signal_trainer
from agent.supervise.supervisor import Callbacks, Timeouts, has_exited, supervise
from agent.protocol.workdir import Workdir
timeouts = Timeouts(timedelta(seconds=9), timedelta(seconds=60), timedelta(hours=1), timedelta(hours=1))
supervise(Workdir(Path(sys.argv[1])), Progress(), Control(), timeouts, Callbacks(print, lambda: None), KernelEvents())
"""


def test_the_trainer_does_not_outlive_an_agent_that_is_killed(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("hang", steps=1))
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(supervised.workdir.root)], cwd=Path(__file__).parents[3])
    wait_until(lambda: '"step": 1' in read(supervised.workdir.metrics))
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


@pytest.mark.thorough
def test_chronos_2_stops_at_its_step_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, tiny_chronos(steps=100_000, checkpoint_steps=100_000))
    pq.write_table(toy_series(), supervised.workdir.data / "toy.parquet")
    supervised.on_first_step = lambda: supervised.control.request_stop(STOP)
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=60)
    result = json.loads(supervised.workdir.result.read_text())
    assert result["stopped_early"] is True
    assert supervised.checkpoints == [result["steps"]]
    saved = {path.name for path in (supervised.workdir.checkpoints / f"checkpoint-{result['steps']}").iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"} <= saved


def test_a_stalled_trainer_dumps_its_stacks_and_keeps_running(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, probe("hang", steps=1))

    def stop_after_dump() -> None:
        # Whether the thread already sleeps when py-spy looks is for the machine to say.
        hangs = r"Thread \d+ \((idle|active)\): \"MainThread\"\n(    .+\n)*?    _hang \(agent/trainer/probe.py:\d+\)"
        wait_until(lambda: re.search(hangs, supervised.workdir.trainer_log.read_text()) is not None)
        supervised.control.request_stop(STOP)

    supervised.on_first_step = stop_after_dump
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=0.2, stall=0.3)
    log = supervised.workdir.trainer_log.read_text()
    # Once per stall, by the trainer itself and by py-spy, with the line it hangs in.
    assert log.count("Current thread") == 1
    assert " in _hang" in log


def test_py_spy_is_found_where_pip_installs_it_with_target(tmp_path: Path) -> None:
    (tmp_path / "packages" / "bin").mkdir(parents=True)
    (tmp_path / "packages" / "py_spy-9.dist-info").mkdir()
    (tmp_path / "packages" / "py_spy-9.dist-info" / "METADATA").write_text("Name: py-spy\nVersion: 9\n")
    command = tmp_path / "packages" / "bin" / "py-spy"
    command.write_text("")
    command.chmod(0o755)
    variables = os.environ | {"PYTHONPATH": f"{tmp_path / 'packages'}:src", "PATH": os.defpath}
    ask = [sys.executable, "-c", "from agent.supervise.stack_dump import py_spy; print(py_spy())"]
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the process is left behind
def test_a_trainer_that_cannot_be_killed_does_not_block_the_agent(tmp_path: Path) -> None:
    """To its parent, a traced process looks like one that hangs in the kernel: it cannot be reaped."""
    supervised = Supervised(tmp_path, probe("hang", steps=1))
    tracers: list[subprocess.Popen[bytes]] = []

    def trace() -> None:
        command = [sys.executable, "-c", SEIZE, str(supervised.pids[-1])]
        tracers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert tracers[0].stdout is not None
        seized.append(tracers[0].stdout.readline())
        supervised.control.request_stop(STOP)

    seized: list[bytes] = []
    supervised.on_first_step = trace
    started = time.monotonic()
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=0.2, kill=1)
    took = time.monotonic() - started
    tracers[0].communicate()
    if seized != [b"seized\n"]:
        pytest.skip("ptrace is not permitted on this machine")
    assert took < 30
    assert supervised.progress.snapshot().trainer_pid == supervised.pids[-1]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(supervised.pids[-1], 0)


def test_a_checkpoint_request_waits_until_the_trainer_handles_signals(tmp_path: Path) -> None:
    config = a_config(probe={"steps": 100_000, "step_seconds": 0.02, "checkpoint_steps": 100_000})
    supervised = Supervised(tmp_path, config)
    supervised.control.request_checkpoint("a reason")
    supervised.on_checkpoint = lambda: supervised.control.request_stop(STOP)
    with pytest.raises(Stopped):
        supervised.run(stop_seconds=60)
    assert 0 < supervised.checkpoints[0] < 100_000


def test_a_gpu_fault_ends_the_trainer_soon(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,100,-;NVRM: loading\n")

    def fail() -> None:
        with log.open("a") as stream:
            stream.write("4,2,200,-;NVRM: Xid (PCI:0000:00:1e): 79, pid=1, GPU has fallen off the bus.\n")

    supervised = Supervised(tmp_path, probe("hang", steps=1))
    supervised.on_first_step = fail
    with pytest.raises(RunFailed, match="the GPU failed: Xid 79 on PCI:0000:00:1e: GPU has fallen off") as caught:
        supervised.run(kernel_events=KernelEvents(log), limit=30)
    assert caught.value.verdict.cause is Cause.INFRA
    assert supervised.gone
