"""Find and kill processes by a mark in their environment.

A pid is reused, and a process leaves its group by starting a session. The environment that a process was started with
is inherited by everything that it starts, so a variable there finds them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chronos_ec2.domain.errors import ChronosError

_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class StillAlive(ChronosError):
    """Killed processes are still alive."""


def marked(name: str, value: str) -> list[int]:
    """Return the pids of the processes that were started with the environment variable `name` set to `value`.

    This process, processes of other users and zombies are not among them.
    """
    mark = f"{name}={value}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes()
        except OSError:  # it has just ended, or belongs to another user
            continue
        if mark in variables.split(b"\0"):
            found.append(int(entry.name))
    return found


def is_marked(pid: int, name: str, value: str) -> bool:
    """Whether `pid` is alive and was started with that variable."""
    return pid in marked(name, value)


def kill_marked(name: str, value: str, timeout: float = 10.0) -> int:
    """Kill every process with a mark until there is none. Returns how many were killed.

    Raises:
        StillAlive: `timeout` seconds were not enough.
    """
    killed: set[int] = set()
    end = time.monotonic() + timeout
    while left := marked(name, value):
        if time.monotonic() > end:
            raise StillAlive(f"these processes do not end: {left}", "end them with `kill -9`, then try again")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(left)
        time.sleep(0.02)
    for pid in killed:
        reap(pid)
    return len(killed)


def reap(pid: int) -> None:
    """Reap a child that has ended; leave any other process alone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def start_detached(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    """Start a process that outlives this one, in its own session, with its output in `log`. Returns its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        list(command),
        dict(variables),
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent, of pid `parent`, ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os.kill(os.getpid(), with_signal)
