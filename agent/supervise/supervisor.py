"""Runs the trainer as a child process: follows its metrics, passes a stop on, and lets it never outlive the agent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from agent.errors import RunFailed
from agent.host.cgroup import trainer_cgroup
from agent.host.kernel_events import Box
from agent.protocol.workdir import Workdir
from agent.supervise.diagnosis import End, diagnose, exit_report
from agent.supervise.metrics_tail import MetricsTail
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
TO_STOP, TO_UPLOAD = 0.5, 0.75
"""Shares of the time to leave in by which the trainer has to be gone, and what it saved in S3."""
_KILL_SECONDS = 10
_PY_SPY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of each checkpoint, its step and whether it is the best, and that the time to train is over.

    Both are called between two looks at the trainer: they must not wait for anything.
    """

    on_checkpoint: Callable[[int, bool], None]
    on_time_up: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a trainer may take: half of the grace to obey an order to stop, `to_move` until its stacks are wanted.

    `to_end` is what it is told of the time until deadline or price end the run; who still trains after `to_ask` is
    asked to stop.
    """

    grace: timedelta
    to_move: timedelta
    to_end: timedelta
    to_ask: timedelta
    between_gpu_looks: timedelta = timedelta(seconds=15)


def supervise(
    workdir: Workdir, progress: Progress, control: Control, timeouts: Timeouts, listener: Listener, box: Box
) -> dict[str, Any]:
    """Run the trainer to its end and return its result.

    Raises:
        RunFailed: it crashed, or the GPU did.
        Stopped: it ended because a graceful end was asked for.
        Fenced: the run is not ours any more; the trainer was killed.
    """
    tail = MetricsTail(workdir.metrics, progress, listener.on_checkpoint)
    with workdir.trainer_log.open("ab") as log:
        process = _start(workdir, log.fileno(), timeouts.to_end.total_seconds())
    progress.trainer(process.pid)
    stacks = _Stacks(process, workdir.trainer_log, progress, timeouts.to_move)
    try:
        looks = (stacks.look, _gpu_watch(box, timeouts), _time_watch(control, timeouts.to_ask, listener.on_time_up))
        _watch(process, control, timeouts.grace, tail, looks)
    finally:
        progress.trainer(None if _end(process) else process.pid)
    tail.read()
    control.check()
    if process.returncode != 0:
        raise diagnose(_end_of(process.returncode, workdir, box))
    return read_result(workdir.result)


def _start(workdir: Workdir, log: int, seconds: float) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # On the box's own disk, and new for each run: the library trusts whatever file it finds there.
        "XDG_CACHE_HOME": str(workdir.cache),
    }
    command = [
        *trainer_cgroup().command_prefix,
        sys.executable,
        "-m",
        "agent.trainer",
        "--workdir",
        str(workdir.root.resolve()),
        "--parent",
        str(os.getpid()),
        "--seconds",
        str(seconds),
    ]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # A group of its own, so that its own children can be killed with it.
        start_new_session=True,
    )
    _log.info("trainer started, process %d", process.pid)
    return process


def _watch(
    process: subprocess.Popen[bytes],
    control: Control,
    grace: timedelta,
    tail: MetricsTail,
    looks: Sequence[Callable[[], None]],
) -> None:
    told = False
    while not _ended(process):
        control.check_fence()
        if control.stop is not None and not told:
            told = True
            process.terminate()
        if told and control.stop_time_left(grace, TO_STOP) <= timedelta(0):
            _log.warning("the trainer did not stop in time, and is killed")
            return
        tail.read()
        if tail.started:
            # Before its first line it does not listen yet, and would die of a signal that it does not know.
            if control.take_checkpoint_request():
                process.send_signal(signal.SIGUSR1)
            for look in looks:
                look()
        time.sleep(_LOOK_SECONDS)


def _gpu_watch(box: Box, timeouts: Timeouts) -> Callable[[], None]:
    """Raises RunFailed soon after a GPU has failed: a trainer that waits for it would wait for ever."""
    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if time.monotonic() - last >= timeouts.between_gpu_looks.total_seconds():
            last = time.monotonic()
            if fault := box.gpu_fault():
                raise diagnose(End(0, "the trainer was ended", gpu_fault=fault))

    return look


def _time_watch(control: Control, to_ask: timedelta, on_time_up: Callable[[], None]) -> Callable[[], None]:
    """By this box's own clock, which only has to count: a trainer need not know its time, nor a watchdog be there."""
    ends = time.monotonic() + to_ask.total_seconds()

    def look() -> None:
        if control.stop is None and time.monotonic() >= ends:
            on_time_up()

    return look


class _Stacks:
    """Has a trainer that stands still show its stacks in its log, once for each time that it does."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, progress: Progress, after: timedelta) -> None:
        self._process = process
        self._log = log
        self._progress = progress
        self._after = after
        self._shown = False

    def look(self) -> None:
        """Ask for the stacks when it is time."""
        stalled = self._progress.snapshot().stalled_for
        if stalled < self._after:
            self._shown = False
        elif not self._shown:
            self._shown = True
            _log.warning("no progress for %.0f s: the stacks go to %s", stalled.total_seconds(), self._log.name)
            self._process.send_signal(signal.SIGUSR2)
            # Beside the watching: a process that hangs in the kernel keeps py-spy waiting too.
            threading.Thread(target=self._spy, name="py-spy", daemon=True).start()

    def _spy(self) -> None:
        """The stacks of the trainer's own children too, and of a trainer that has no thread left to show its own."""
        if (command := py_spy()) is None:
            _log.warning("there is no py-spy to show the stacks of the trainer's children")
            return
        with self._log.open("ab") as log, contextlib.suppress(OSError, subprocess.TimeoutExpired):
            dump = [command, "dump", "--pid", str(self._process.pid), "--subprocesses"]
            subprocess.run(dump, stdout=log, stderr=log, timeout=_PY_SPY_SECONDS, check=False)


def py_spy() -> str | None:
    """The command, which no PATH need know: `pip --target` puts it into a folder beside the packages."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        packages = str(metadata.distribution("py-spy").locate_file("bin"))
        places = (packages, str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        return shutil.which("py-spy", path=os.pathsep.join(places))
    return None


def _end_of(code: int, workdir: Workdir, box: Box) -> End:
    return End(
        code,
        exit_report(workdir.trainer_log, code),
        box.killed_for_memory(),
        box.gpu_fault(),
        shutil.disk_usage(workdir.root).free,
    )


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, without reaping it: until then nobody else can be given its process id."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Kill whatever is left of the trainer's group, and reap the trainer; whether it is gone.

    One that waits for a lost GPU inside the kernel does not even die of SIGKILL. Its box can end all the same.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        code = process.wait(timeout=_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error("the trainer, process %d, cannot be killed", process.pid)
        return False
    _log.info("trainer ended, exit code %d", code)
    return True


def read_result(path: Path) -> dict[str, Any]:
    """What the trainer left. Raises RunFailed when that is nothing."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunFailed(Cause.USER_CODE, "the trainer ended without a result") from error
    return result
