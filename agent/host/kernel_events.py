"""What the box knows of a trainer's end, and the trainer does not: who was killed for memory, and which GPU failed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.host.cgroup import killed_in_trainer_cgroup

KERNEL_LOG, VMSTAT = Path("/dev/kmsg"), Path("/proc/vmstat")
_RECORD = re.compile(r"\d+,(?P<sequence>\d+),[^;]*;(?P<text>.*)")
_XID = re.compile(r"NVRM: Xid \((?P<device>[^)]*)\): (?P<number>\d+)")
_XIDS_OF_HARDWARE = {
    48: "a double-bit memory error",
    61: "its internal micro-controller stopped",
    62: "its internal micro-controller halted",
    64: "a memory row could not be remapped",
    74: "an NVLink error",
    79: "it has fallen off the bus",
    94: "a contained memory error",
    95: "an uncontained memory error",
    110: "a security fault",
    119: "its system processor does not answer",
    120: "its system processor failed",
    140: "an unrecovered memory error",
}
"""The driver's reports after which a GPU needs a reset or a repair. Others, like 13 and 31, are a program's fault."""


@dataclass(frozen=True, slots=True)
class Xid:
    """A report of the NVIDIA driver in the kernel log, whose records `sequence` counts."""

    sequence: int
    device: str
    number: int

    @property
    def fatal(self) -> bool:
        """Whether the GPU is not fit for work any more."""
        return self.number in _XIDS_OF_HARDWARE

    def __str__(self) -> str:
        return f"Xid {self.number} of {self.device}" + (f": {_XIDS_OF_HARDWARE[self.number]}" if self.fatal else "")


def xids(kernel_log: Path = KERNEL_LOG) -> tuple[Xid, ...]:
    """All that the driver reported since boot; none where the log may not be read."""
    return tuple(
        Xid(sequence, found["device"], int(found["number"]))
        for sequence, text in _records(kernel_log)
        if (found := _XID.search(text))
    )


class Box:
    """What has happened to the box since this was made."""

    def __init__(
        self,
        kernel_log: Path = KERNEL_LOG,
        vmstat: Path = VMSTAT,
        killed_in_group: Callable[[], int | None] = killed_in_trainer_cgroup,
    ) -> None:
        self._kernel_log = kernel_log
        self._killed_in_group = killed_in_group
        self._killed_in_group_before = killed_in_group() or 0
        self._vmstat = vmstat
        self._killed_before = _killed_for_memory(vmstat)
        self._last_before = max((sequence for sequence, _ in _records(kernel_log)), default=-1)

    def killed_for_memory(self) -> int:
        """How many processes of the trainer the kernel has killed because memory ran out, the box's or their group's.

        Without a group of their own: how many on the box.
        """
        if (of_trainer := self._killed_in_group()) is not None:
            return of_trainer - self._killed_in_group_before
        return _killed_for_memory(self._vmstat) - self._killed_before

    def gpu_fault(self) -> str | None:
        """The first fault that the driver reported after which a GPU is not fit for work."""
        fresh = (found for found in xids(self._kernel_log) if found.sequence > self._last_before)
        return next((str(found) for found in fresh if found.fatal), None)


def _killed_for_memory(vmstat: Path) -> int:
    try:
        counters = dict(line.split() for line in vmstat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counters.get("oom_kill", 0))


def _records(kernel_log: Path) -> Iterator[tuple[int, str]]:
    """(sequence, text) of every record. The device gives one a read, and waits for news unless told not to."""
    try:
        log = os.open(kernel_log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    raw = b""
    try:
        while True:
            try:
                chunk = os.read(log, 16 * 1024)
            except BrokenPipeError:  # a record was overwritten before we came to it
                continue
            except OSError:
                break
            if not chunk:
                break
            raw += chunk
    finally:
        os.close(log)
    for line in raw.decode(errors="replace").splitlines():
        if record := _RECORD.match(line):
            yield int(record["sequence"]), record["text"]
