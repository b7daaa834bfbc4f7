"""A control group for the trainer, so that it is the trainer that dies when memory runs out, and not the box.

The unit of the agent has a control group of its own in which it may do as it likes (`Delegate=yes`). In it the trainer
gets a part with less memory than there is; the rest is for the agent and the system. Elsewhere there is no such part.
The part also counts whom of it the kernel has killed for memory.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
DELEGATED = "CHRONOS_CGROUP_DELEGATED"
"""Environment variable with which the unit says that the control group of the process is its own to divide."""
_RESERVE = 2**30
_CONTROLLER = "memory"
_LIMIT = ("memory.max", "memory.limit_in_bytes")
"""The name of the limit in version 2 and in version 1 of the kernel's interface."""
_EVENTS = ("memory.events", "memory.oom_control")
"""Likewise what counts those that were killed."""
_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class TrainerCgroup:
    """The trainer's part of the memory; without a `path`, no limit."""

    path: Path | None = None

    @property
    def command_prefix(self) -> tuple[str, ...]:
        """What goes before a command so that it runs in here from its first instruction, as the same process."""
        if self.path is None:
            return ()
        # Where that fails it runs without a limit: an exit code of the shell's would be taken for the command's.
        return ("/bin/sh", "-c", 'echo $$ > "$0"; exec "$@"', str(self.path / "cgroup.procs"))


def trainer_cgroup(root: Path = _ROOT, own: Path = _OWN, meminfo: Path = Path("/proc/meminfo")) -> TrainerCgroup:
    """The trainer's control group, made when it is not there; one without limits where there is none to be had."""
    if DELEGATED not in os.environ:
        return TrainerCgroup()
    try:
        here = _home(root, own.read_text())
        trainer = here / "trainer"
        if not trainer.exists():
            _divide(here)
            trainer.mkdir()
        limit = _allowed(here, meminfo)
        _first(trainer, _LIMIT).write_text(str(limit))
    except (OSError, ValueError, KeyError) as error:
        # A run without this limit is as good as any run, until its memory runs out.
        _log.warning("the trainer's memory is not limited: %s", error)
        return TrainerCgroup()
    _log.info("the trainer may use %.1f GiB of memory", limit / 2**30)
    return TrainerCgroup(trainer)


def killed_in_trainer_cgroup(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """How many processes of the trainer's group were killed for memory, its own or the box's; None without a group."""
    if DELEGATED not in os.environ:
        return None
    try:
        events = _first(_home(root, own.read_text()) / "trainer", _EVENTS).read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _home(root: Path, own: str) -> Path:
    """The group of the agent's unit that memory is counted in. Lines of `own` are number:controllers:path."""
    groups = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in own.split())}
    ours = root / "memory" / groups["memory"] if "memory" in groups else root / groups[""]
    return ours.parent if ours.name == "agent" else ours


def _divide(here: Path) -> None:
    """Version 2 has no processes in a group that is divided: the agent moves into a part of its own."""
    if not (here / "cgroup.controllers").exists():
        return
    (here / "agent").mkdir(exist_ok=True)
    (here / "agent" / "cgroup.procs").write_text(str(os.getpid()))
    (here / "cgroup.subtree_control").write_text(f"+{_CONTROLLER}")


def _allowed(here: Path, meminfo: Path) -> int:
    """What the agent's unit may use, the box's memory if that is not limited, without the reserve."""
    total = (
        int(next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal")).split()[1]) * 1024
    )
    limit = _first(here, _LIMIT).read_text().strip()
    available = total if limit == "max" else min(total, int(limit))
    return available - min(_RESERVE, available // 4)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    """Which of the names is there. Raises FileNotFoundError."""
    for name in names:
        if (path := folder / name).exists():
            return path
    raise FileNotFoundError(f"{folder} has no {' and no '.join(names)}")
