"""Why a trainer failed, and what to do about it: a table of diagnoses, of which the first match counts."""

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
_DISK_FULL_BYTES = 100 * 10**6

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
class TrainerExit:
    """How a trainer ended: its exit code, its last error message, and what the kernel reports."""

    code: int
    message: str
    oom_kills: int = 0
    gpu_fault: str | None = None
    disk_free: int = 10**12

    @property
    def killed(self) -> bool:
        """Whether the trainer or one of its data loader processes was killed by SIGKILL, as the OOM killer does."""
        return self.code == -signal.SIGKILL or bool(_WORKER_KILLED.search(self.message))


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    problem: str
    matches: Callable[[TrainerExit], object]
    cause: Cause
    remedy: str
    elsewhere: bool = False


_DIAGNOSES = (
    _Diagnosis(
        "the GPU failed",
        lambda end: end.gpu_fault or _GPU_LOST.search(end.message),
        Cause.INFRA,
        "another instance may work: launch again",
        elsewhere=True,
    ),
    _Diagnosis(
        "the instance ran out of memory",
        lambda end: (end.killed and end.oom_kills) or _MEMORY.search(end.message),
        Cause.USER_CODE,
        "lower training.batch_size or context_length, or use an instance type with more memory",
    ),
    _Diagnosis(
        "the GPU ran out of memory",
        lambda end: _GPU_MEMORY.search(end.message),
        Cause.USER_CODE,
        "lower training.batch_size or context_length, or use an instance type with a larger GPU",
    ),
    _Diagnosis(
        "the disk is full",
        lambda end: end.disk_free < _DISK_FULL_BYTES or _DISK.search(end.message),
        Cause.USER_CODE,
        "launch with a larger root volume, or save checkpoints less often",
    ),
    _Diagnosis(
        "the training diverged",
        lambda end: end.code == NOT_FINITE,
        Cause.USER_CODE,
        "lower training.learning_rate, or add training.warmup_steps",
    ),
    _Diagnosis(
        "the trainer failed",
        lambda end: end.killed,
        Cause.USER_CODE,
        "possibly out of memory: see logs/trainer.log",
    ),
)
"""The cause is USER_CODE if every instance would fail in the same way: another attempt would only cost money."""


def diagnose(end: TrainerExit) -> RunFailed:
    """The failure, as one line with a remedy."""
    found = next((one for one in _DIAGNOSES if one.matches(end)), None)
    if found is None or end.code == USER_ERROR:
        return RunFailed(Cause.USER_CODE, f"the trainer failed: {end.message}")
    evidence = f"{end.gpu_fault}; {end.message}" if end.gpu_fault else end.message
    return RunFailed(found.cause, f"{found.problem}: {evidence} ({found.remedy})", found.elsewhere)


def last_error(log: Path, code: int) -> str:
    """The last exception in the trainer's log, or else its last line, or else its exit code, as one line.

    With the exit codes of `agent.protocol.trainer.report_error` it is the last line: any traceback is an earlier one.
    """
    text = _tail(log)
    _, traceback, after = ("", "", text) if code in (USER_ERROR, NOT_FINITE) else text.rpartition(_TRACEBACK)
    lines = [line for line in re.split(r"[\r\n]+", after) if line.strip()]
    exception = next((line for line in lines if not line[0].isspace()), None) if traceback else None
    message = exception or (lines[-1] if lines else None)
    if code < 0:
        # A signal interrupted it: its last line need not be the reason.
        name = f"killed by {signal.Signals(-code).name}"
        return one_line(f"{name} after {message}" if message else name, 300)
    return one_line(message or f"exit code {code}, without output", 300)


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")
