"""Signals to the trainer, and the stacks of a stalled one in its log."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from importlib import metadata
from pathlib import Path

from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
_PY_SPY_SECONDS = 10


class StackDump:
    """Dumps the stacks once per stall: those of the trainer with SIGUSR2, those of all its processes with py-spy."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, progress: Progress, after: timedelta) -> None:
        self._process = process
        self._log = log
        self._progress = progress
        self._after = after
        self._dumped = False

    def check(self) -> None:
        """Dump the stacks if the trainer has stalled for long enough."""
        stalled = self._progress.snapshot().stalled_for
        if stalled < self._after:
            self._dumped = False
        elif not self._dumped:
            self._dumped = True
            _log.warning("no progress for %.0f s: stacks are written to %s", stalled.total_seconds(), self._log.name)
            signal_trainer(self._process, signal.SIGUSR2)
            # In a thread, because py-spy blocks too if the trainer hangs in the kernel.
            threading.Thread(target=self._run_py_spy, name="py-spy", daemon=True).start()

    def _run_py_spy(self) -> None:
        """Covers the trainer's child processes, and a trainer that cannot run its own signal handler."""
        if (command := py_spy()) is None:
            _log.warning("py-spy is not installed: no stacks of the trainer's child processes")
            return
        with self._log.open("ab") as log, contextlib.suppress(OSError, subprocess.TimeoutExpired):
            dump = [command, "dump", "--pid", str(self._process.pid), "--subprocesses"]
            subprocess.run(dump, stdout=log, stderr=log, timeout=_PY_SPY_SECONDS, check=False)


def signal_trainer(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a trainer that is not reaped yet; one that has exited ignores it.

    `Popen.send_signal` would reap a trainer that has exited, whose process id the supervisor still relies on.
    """
    os.kill(process.pid, number)


def py_spy() -> str | None:
    """The path of the command. `pip install --target` puts it beside the packages, in no folder of PATH."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        packages = str(metadata.distribution("py-spy").locate_file("bin"))
        places = (packages, str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        return shutil.which("py-spy", path=os.pathsep.join(places))
    return None
