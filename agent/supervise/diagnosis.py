"""Why a trainer died, and what to do about it: a table, of which the first row that fits is the answer."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import RunFailed
from agent.protocol.trainer import NOT_FINITE, USER_ERROR
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.status import Cause

_TAIL_BYTES = 16 * 1024
_TRACEBACK = "Traceback (most recent call last):"
_ROOM = 100 * 10**6

_GPU_LOST = re.compile(
    r"CUDA error: (?:uncorrectable|unknown error|hardware|.*(?:unavailable|not ready|no CUDA-capable|NVLink|ECC))"
    r"|GPU is lost|has fallen off the bus",
    re.IGNORECASE,
)
_GPU_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_MEMORY = re.compile(r"\bMemoryError\b|can't allocate memory|Cannot allocate memory|std::bad_alloc")
_WORKER_KILLED = re.compile(r"DataLoader worker .*killed by signal: Killed")
_DISK = re.compile(r"No space left on device|[Ee]rrno 28|os error 28")


@dataclass(frozen=True, slots=True)
class End:
    """How a trainer ended: its exit code and last words, and what the box knows."""

    code: int
    words: str
    killed_for_memory: int = 0
    gpu_fault: str | None = None
    disk_free: int = 10**12

    @property
    def killed(self) -> bool:
        """Whether somebody killed it, or a process that loads its data, for certain, as the kernel does for memory."""
        return self.code == -signal.SIGKILL or bool(_WORKER_KILLED.search(self.words))


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    fits: Callable[[End], object]
    cause: Cause
    remedy: str
    elsewhere: bool = False


_TABLE = (
    _Row(
        "the GPU failed",
        lambda end: end.gpu_fault or _GPU_LOST.search(end.words),
        Cause.INFRA,
        "another instance may do better: launch again",
        elsewhere=True,
    ),
    _Row(
        "the memory of the instance ran out",
        lambda end: (end.killed and end.killed_for_memory) or _MEMORY.search(end.words),
        Cause.USER_CODE,
        "lower training.batch_size or context_length, or use an instance type with more memory",
    ),
    _Row(
        "the memory of the GPU ran out",
        lambda end: _GPU_MEMORY.search(end.words),
        Cause.USER_CODE,
        "lower training.batch_size or context_length, or use an instance type with a larger GPU",
    ),
    _Row(
        "the disk is full",
        lambda end: end.disk_free < _ROOM or _DISK.search(end.words),
        Cause.USER_CODE,
        "launch with a larger root volume, or save checkpoints less often",
    ),
    _Row(
        "the training diverged",
        lambda end: end.code == NOT_FINITE,
        Cause.USER_CODE,
        "lower training.learning_rate, or add training.warmup_steps",
    ),
    _Row(
        "the trainer failed",
        lambda end: end.killed,
        Cause.USER_CODE,
        "perhaps for lack of memory: look at logs/trainer.log",
    ),
)
"""User code is what ends the same way on any instance; another attempt would only cost."""


def diagnose(end: End) -> RunFailed:
    """The failure that this end is, in one line with a remedy."""
    row = next((row for row in _TABLE if row.fits(end)), None)
    if row is None or end.code == USER_ERROR:
        return RunFailed(Cause.USER_CODE, f"the trainer failed: {end.words}")
    evidence = f"{end.gpu_fault}; {end.words}" if end.gpu_fault else end.words
    return RunFailed(row.cause, f"{row.what}: {evidence} ({row.remedy})", row.elsewhere)


def exit_report(log: Path, code: int) -> str:
    """What a trainer said last, in one line: the last exception in its log, or its last line, or its exit code.

    Who explains its end does so in its last line (`child.report_error`): a traceback before that is of something else.
    """
    text = _tail(log)
    _, traceback, after = ("", "", text) if code in (USER_ERROR, NOT_FINITE) else text.rpartition(_TRACEBACK)
    lines = [line for line in re.split(r"[\r\n]+", after) if line.strip()]
    exception = next((line for line in lines if not line[0].isspace()), None) if traceback else None
    said = exception or (lines[-1] if lines else None)
    if code < 0:
        # It was interrupted: what it said last need not be why.
        name = f"killed by {signal.Signals(-code).name}"
        return one_line(f"{name} after {said}" if said else name, 300)
    return one_line(said or f"exit code {code}, and not a word", 300)


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")
