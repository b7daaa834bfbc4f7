"""Runs the trainer as a child process: follows its metrics, passes requests on, and kills it if it does not stop."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.errors import RunFailed
from agent.host.cgroup import trainer_cgroup
from agent.host.kernel_events import KernelEvents
from agent.protocol.workdir import Workdir
from agent.supervise.diagnosis import TrainerExit, diagnose, last_error
from agent.supervise.metrics_tail import MetricsTail
from agent.supervise.stack_dump import StackDump, signal_trainer
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
STOP_SHARE, UPLOAD_SHARE = 0.5, 0.75
"""Shares of the stop time by which the trainer must have exited, and its last checkpoint must be uploaded."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Called between two polls of the trainer, so they must not block.

    `on_checkpoint` gets the step of each checkpoint, and whether it is the best. `on_time_up` is called when the time
    to train is over.
    """

    on_checkpoint: Callable[[int, bool], None]
    on_time_up: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a trainer.

    The trainer has half of `grace` to stop. After `stall` without progress its stacks are dumped. It is told to end
    within `training`; if it has not ended after `stop`, it is asked to stop.
    """

    grace: timedelta
    stall: timedelta
    training: timedelta
    stop: timedelta
    gpu_check: timedelta = timedelta(seconds=15)
    kill: timedelta = timedelta(seconds=10)

    @classmethod
    def of(cls, left: timedelta, limits: Limits) -> Timeouts:
        """The time limits of a trainer whose run has to end within `left`.

        It is told to end before it would be asked to stop. The stacks of a stalled trainer must be uploaded before the
        watchdog ends the run.
        """
        return cls(
            limits.grace,
            stall=limits.progress / 2,
            training=left - limits.grace - limits.sweep,
            stop=left - limits.grace,
        )


def supervise(
    workdir: Workdir,
    progress: Progress,
    control: Control,
    timeouts: Timeouts,
    callbacks: Callbacks,
    kernel_events: KernelEvents,
) -> dict[str, Any]:
    """Run the trainer until it exits, and return its result.

    Raises:
        RunFailed: the trainer or a GPU failed.
        Stopped: a graceful stop was requested.
        Fenced: the run no longer belongs to this agent. The trainer was killed.
    """
    tail = MetricsTail(workdir.metrics, progress, callbacks.on_checkpoint)
    with workdir.trainer_log.open("ab") as log:
        process = _start(workdir, log.fileno(), timeouts.training.total_seconds())
    progress.trainer(process.pid)
    try:
        checks = (
            StackDump(process, workdir.trainer_log, progress, timeouts.stall).check,
            _gpu_check(kernel_events, timeouts.gpu_check),
            _time_check(control, timeouts.stop, callbacks.on_time_up),
        )
        _watch(process, control, timeouts.grace, tail, checks)
    finally:
        exited = _kill(process, timeouts.kill)
        progress.trainer(None if exited else process.pid)
    tail.read()
    control.check()
    if process.returncode != 0:
        raise diagnose(_exit_of(process.returncode, workdir, kernel_events))
    return read_result(workdir.result)


def _start(workdir: Workdir, log: int, seconds: float) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # On the instance's disk and new for each run, because libraries trust any file they find in their cache.
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
        # A process group of its own, so that its child processes can be killed with it.
        start_new_session=True,
    )
    _log.info("trainer started, process %d", process.pid)
    return process


def _watch(
    process: subprocess.Popen[bytes],
    control: Control,
    grace: timedelta,
    tail: MetricsTail,
    checks: Sequence[Callable[[], None]],
) -> None:
    """Return when the trainer has exited, or has to be killed."""
    terminated = False
    while not has_exited(process):
        control.check_fence()
        if control.stop is not None and not terminated:
            terminated = True
            signal_trainer(process, signal.SIGTERM)
        if terminated and control.stop_time_left(grace, STOP_SHARE) <= timedelta(0):
            _log.warning("the trainer did not stop in time and is killed")
            return
        tail.read()
        if tail.started:
            # Before its first line its signal handlers are not installed, and signals would kill it.
            if control.take_checkpoint_request():
                signal_trainer(process, signal.SIGUSR1)
            for check in checks:
                check()
        time.sleep(_POLL_SECONDS)


def _gpu_check(kernel_events: KernelEvents, interval: timedelta) -> Callable[[], None]:
    """Raises RunFailed soon after a GPU fault: a trainer that waits for the GPU may hang for ever."""
    last = time.monotonic()

    def check() -> None:
        nonlocal last
        if time.monotonic() - last >= interval.total_seconds():
            last = time.monotonic()
            if fault := kernel_events.gpu_fault():
                raise diagnose(TrainerExit(0, "the trainer was killed", gpu_fault=fault))

    return check


def _time_check(control: Control, limit: timedelta, on_time_up: Callable[[], None]) -> Callable[[], None]:
    """Enforces the time limit by the monotonic clock, without the watchdog and whether or not the trainer obeys it."""
    ends = time.monotonic() + limit.total_seconds()

    def check() -> None:
        if control.stop is None and time.monotonic() >= ends:
            on_time_up()

    return check


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has exited, without reaping it: until then its process id cannot be reused."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: subprocess.Popen[bytes], timeout: timedelta) -> bool:
    """Kill what is left of the trainer's process group, and reap the trainer. Returns whether it has exited.

    A process that waits in the kernel for a lost GPU survives even SIGKILL. The instance can power off anyway.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        code = process.wait(timeout=timeout.total_seconds())
    except subprocess.TimeoutExpired:
        _log.error("the trainer, process %d, cannot be killed", process.pid)
        return False
    _log.info("trainer exited, code %d", code)
    return True


def _exit_of(code: int, workdir: Workdir, kernel_events: KernelEvents) -> TrainerExit:
    return TrainerExit(
        code,
        last_error(workdir.trainer_log, code),
        kernel_events.oom_kills(),
        kernel_events.gpu_fault(),
        shutil.disk_usage(workdir.root).free,
    )


def read_result(path: Path) -> dict[str, Any]:
    """The result that the trainer wrote. Raises RunFailed if there is none."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunFailed(Cause.USER_CODE, "the trainer exited without a result") from error
    return result
