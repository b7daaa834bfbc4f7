"""Runs the trainer as a child process: follows its metrics, passes a stop on, and lets it never outlive the agent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.endings import RunFailed
from agent.orders import Orders
from agent.progress import Progress
from agent.workdir import Workdir
from chronos_ec2.domain.run import Cause
from chronos_ec2.domain.text import one_line

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_TAIL_BYTES = 16 * 1024
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of what the trainer does: of each checkpoint's step, and now and then that it goes on."""

    on_checkpoint: Callable[[int], None]
    on_look: Callable[[], None]


def supervise(
    workdir: Workdir, progress: Progress, orders: Orders, patience: timedelta, listener: Listener
) -> dict[str, Any]:
    """Run the trainer to its end and return its result. After an order to stop it has `patience` to obey.

    Raises:
        RunFailed: it crashed.
        Stopped: it ended because a graceful end was asked for.
        Fenced: the run is not ours any more; the trainer was killed.
    """
    with workdir.trainer_log.open("ab") as log:
        process = _start(workdir, log.fileno())
    progress.trainer(process.pid)
    tail = MetricsTail(workdir.metrics, progress, listener.on_checkpoint)
    try:
        _watch(process, orders, patience, tail, listener.on_look)
    finally:
        _end(process)
        progress.trainer(None)
    tail.read()
    orders.check()
    if process.returncode != 0:
        raise RunFailed(Cause.USER_CODE, f"the trainer failed: {epitaph(workdir.trainer_log, process.returncode)}")
    return read_result(workdir.result)


def _start(workdir: Workdir, log: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # On the box's own disk, and new for each run: the library trusts whatever file it finds there.
        "XDG_CACHE_HOME": str(workdir.cache),
    }
    command = [
        sys.executable,
        "-m",
        "agent.trainer",
        "--workdir",
        str(workdir.root.resolve()),
        "--parent",
        str(os.getpid()),
    ]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parent.parent,
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
    orders: Orders,
    patience: timedelta,
    tail: MetricsTail,
    on_look: Callable[[], None],
) -> None:
    kill_at: float | None = None
    while not _ended(process):
        orders.check_fence()
        if orders.stop is not None and kill_at is None:
            kill_at = time.monotonic() + patience.total_seconds()
            process.terminate()
        if kill_at is not None and time.monotonic() >= kill_at:
            _log.warning("the trainer did not stop within %.0f s, and is killed", patience.total_seconds())
            return
        tail.read()
        on_look()
        time.sleep(_LOOK_SECONDS)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, without reaping it: until then nobody else can be given its process id."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the trainer's group, and reap the trainer."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    _log.info("trainer ended, exit code %d", code)


class MetricsTail:
    """Follows `metrics.jsonl`, and turns whole lines into progress. Broken lines are skipped: they prove nothing."""

    def __init__(self, path: Path, progress: Progress, on_checkpoint: Callable[[int], None]) -> None:
        self._path = path
        self._progress = progress
        self._on_checkpoint = on_checkpoint
        self._offset = 0

    def read(self) -> None:
        """Take in what was written since."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                fresh = stream.read()
        except FileNotFoundError:
            return
        whole, newline, _ = fresh.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                _log.warning("not a line of metrics: %s", one_line(line.decode(errors="replace"), 120))

    def _take(self, line: dict[str, Any]) -> None:
        event = line.get("event")
        if event is None:
            self._progress.stepped(int(line["step"]), int(line["total_steps"]), line.get("loss"))
            return
        self._progress.work()
        if event == "checkpoint":
            self._on_checkpoint(int(line["step"]))


def epitaph(log: Path, code: int) -> str:
    """Why a trainer died, in one line: the last exception in its log, or its last line, or its exit code."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    _, traceback, after = text.rpartition(_TRACEBACK)
    lines = [line for line in re.split(r"[\r\n]+", after) if line.strip()]
    exception = next((line for line in lines if not line[0].isspace()), None) if traceback else None
    last = exception or (lines[-1] if lines else f"exit code {code}, and not a word")
    return one_line(last, 300)


def read_result(path: Path) -> dict[str, Any]:
    """What the trainer left. Raises RunFailed when that is nothing."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunFailed(Cause.USER_CODE, "the trainer ended without a result") from error
    return result
