"""Why a trainer died that it cannot report itself: OOM kills and GPU faults, from the kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.host.cgroup import trainer_oom_kills

KERNEL_LOG, VMSTAT = Path("/dev/kmsg"), Path("/proc/vmstat")
_RECORD = re.compile(r"\d+,(?P<sequence>\d+),[^;]*;(?P<text>.*)")
_XID = re.compile(r"NVRM: Xid \((?P<device>[^)]*)\): (?P<number>\d+)")
_HARDWARE_XIDS = {
    48: "double-bit ECC error",
    61: "internal micro-controller breakpoint or warning",
    62: "internal micro-controller halt",
    64: "ECC page retirement or row remapping failed",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    94: "contained ECC error",
    95: "uncontained ECC error",
    110: "security fault",
    119: "GSP RPC timeout",
    120: "GSP error",
    140: "unrecovered ECC error",
}
"""Xid errors after which the GPU needs a reset or a repair. Others, like 13 and 31, are usually the program's fault.

Source: NVIDIA's Xid catalogue, https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
"""


@dataclass(frozen=True, slots=True)
class Xid:
    """An Xid error that the NVIDIA driver logged. `sequence` is the number of its record in the kernel log."""

    sequence: int
    device: str
    number: int

    @property
    def fatal(self) -> bool:
        """Whether the GPU can no longer be used."""
        return self.number in _HARDWARE_XIDS

    def __str__(self) -> str:
        return f"Xid {self.number} on {self.device}" + (f": {_HARDWARE_XIDS[self.number]}" if self.fatal else "")


def xids(kernel_log: Path = KERNEL_LOG) -> tuple[Xid, ...]:
    """All Xid errors since boot; empty if the kernel log may not be read."""
    return tuple(
        Xid(sequence, found["device"], int(found["number"]))
        for sequence, text in _records(kernel_log)
        if (found := _XID.search(text))
    )


class KernelEvents:
    """OOM kills and GPU faults since this object was created."""

    def __init__(
        self,
        kernel_log: Path = KERNEL_LOG,
        vmstat: Path = VMSTAT,
        cgroup_oom_kills: Callable[[], int | None] = trainer_oom_kills,
    ) -> None:
        self._kernel_log = kernel_log
        self._vmstat = vmstat
        self._cgroup_oom_kills = cgroup_oom_kills
        self._cgroup_before = cgroup_oom_kills() or 0
        self._machine_before = _machine_oom_kills(vmstat)
        self._sequence_before = max((sequence for sequence, _ in _records(kernel_log)), default=-1)

    def oom_kills(self) -> int:
        """How many processes of the trainer's cgroup were OOM-killed; without a cgroup, of the whole machine."""
        if (killed := self._cgroup_oom_kills()) is not None:
            return killed - self._cgroup_before
        return _machine_oom_kills(self._vmstat) - self._machine_before

    def gpu_fault(self) -> str | None:
        """The first Xid error after which a GPU can no longer be used."""
        fresh = (found for found in xids(self._kernel_log) if found.sequence > self._sequence_before)
        return next((str(found) for found in fresh if found.fatal), None)


def _machine_oom_kills(vmstat: Path) -> int:
    try:
        counters = dict(line.split() for line in vmstat.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counters.get("oom_kill", 0))


def _records(kernel_log: Path) -> Iterator[tuple[int, str]]:
    """(sequence, text) of every record. A read of the device returns one record, and blocks at the end by default."""
    try:
        log = os.open(kernel_log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    raw = b""
    try:
        while True:
            try:
                chunk = os.read(log, 16 * 1024)
            except BrokenPipeError:  # a record was overwritten before it was read
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
