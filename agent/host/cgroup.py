"""A cgroup with a memory limit for the trainer: when memory runs out, the trainer dies and not the instance.

systemd delegates the cgroup of the agent's unit to the agent (`Delegate=yes`). The trainer gets a child cgroup that
leaves some memory to the agent and the system, and that counts its OOM kills. Without delegation there is no limit.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
DELEGATED = "CHRONOS_CGROUP_DELEGATED"
"""Environment variable of the unit: the cgroup of this process is delegated to it."""
_RESERVE = 2**30
_OOM_FILES = ("memory.events", "memory.oom_control")
"""The file that counts OOM kills in cgroups version 2, and in version 1."""
_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Controller:
    """A cgroup controller, and the names of its limit file in version 2 and in version 1."""

    name: str
    limit_files: tuple[str, ...]


MEMORY = Controller("memory", ("memory.max", "memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class TrainerCgroup:
    """The trainer's cgroup. Without a `path` there is no limit."""

    path: Path | None = None

    @property
    def command_prefix(self) -> tuple[str, ...]:
        """Prepended to a command, runs it in this cgroup from its first instruction, as the same process."""
        if self.path is None:
            return ()
        # If joining fails, it runs without a limit: an exit code of the shell would be taken for the command's.
        return ("/bin/sh", "-c", 'echo $$ > "$0"; exec "$@"', str(self.path / "cgroup.procs"))


def trainer_cgroup(
    root: Path = _ROOT, own: Path = _OWN, meminfo: Path = Path("/proc/meminfo"), controller: Controller = MEMORY
) -> TrainerCgroup:
    """Create the trainer's cgroup, or find it. Returns one without a limit if there is no delegated cgroup."""
    if DELEGATED not in os.environ:
        return TrainerCgroup()
    try:
        here = _unit_cgroup(root, own.read_text())
        trainer = here / "trainer"
        if not trainer.exists():
            _enable(controller, here)
            trainer.mkdir()
        limit = _trainer_limit(here, meminfo, controller)
        _existing(trainer, controller.limit_files).write_text(str(limit))
    except (OSError, ValueError, KeyError) as error:
        # A run without this limit works, until memory runs out.
        _log.warning("the trainer's memory is not limited: %s", error)
        return TrainerCgroup()
    _log.info("the trainer's memory is limited to %.1f GiB", limit / 2**30)
    return TrainerCgroup(trainer)


def trainer_oom_kills(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """How many processes of the trainer's cgroup were OOM-killed, for its limit or the machine's; None without one."""
    if DELEGATED not in os.environ:
        return None
    try:
        events = _existing(_unit_cgroup(root, own.read_text()) / "trainer", _OOM_FILES).read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _unit_cgroup(root: Path, own: str) -> Path:
    """The memory cgroup of the agent's unit. Lines of `own` are number:controllers:path, as in /proc/self/cgroup."""
    groups = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in own.split())}
    ours = root / "memory" / groups["memory"] if "memory" in groups else root / groups[""]
    return ours.parent if ours.name == "agent" else ours


def _enable(controller: Controller, here: Path) -> None:
    """Enable a controller for child cgroups. In version 2 the parent may then hold no processes: the agent moves."""
    if not (here / "cgroup.controllers").exists():
        return
    (here / "agent").mkdir(exist_ok=True)
    (here / "agent" / "cgroup.procs").write_text(str(os.getpid()))
    (here / "cgroup.subtree_control").write_text(f"+{controller.name}")


def _trainer_limit(here: Path, meminfo: Path, controller: Controller) -> int:
    """The unit's limit, or the machine's memory if it has none, minus the reserve."""
    total = (
        int(next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal")).split()[1]) * 1024
    )
    limit = _existing(here, controller.limit_files).read_text().strip()
    available = total if limit == "max" else min(total, int(limit))
    return available - min(_RESERVE, available // 4)


def _existing(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of the names that exists. Raises FileNotFoundError."""
    for name in names:
        if (path := folder / name).exists():
            return path
    raise FileNotFoundError(f"{folder} has no {' and no '.join(names)}")
