"""Each failure of a trainer has a cause and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.protocol.trainer import NOT_FINITE, USER_ERROR
from agent.supervise.diagnosis import TrainerExit, diagnose, last_error
from chronos_ec2.domain.records.status import Cause

GPU_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.56 GiB"
)


@pytest.mark.parametrize(
    ("code", "message", "kernel", "cause", "expected"),
    [
        (1, GPU_OOM, {}, Cause.USER_CODE, "the GPU ran out of memory: torch.OutOfMemoryError"),
        (1, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`", {}, Cause.USER_CODE,
         "the GPU ran out of memory"),
        (-9, "killed by SIGKILL after 10%", {"oom_kills": 1}, Cause.USER_CODE,
         "the instance ran out of memory: killed by SIGKILL after 10%"),
        (1, "MemoryError", {}, Cause.USER_CODE, "the instance ran out of memory"),
        (1, "RuntimeError: [enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory", {},
         Cause.USER_CODE, "the instance ran out of memory"),
        (-9, "killed by SIGKILL", {}, Cause.USER_CODE, "the trainer failed: killed by SIGKILL (possibly"),
        (-11, "killed by SIGSEGV", {"oom_kills": 1}, Cause.USER_CODE, "the trainer failed: killed by SIGSEGV"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.", {"oom_kills": 1},
         Cause.USER_CODE, "the instance ran out of memory: RuntimeError: DataLoader worker (pid 4711)"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.", {}, Cause.USER_CODE,
         "the trainer failed: RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. (possibly"),
        (1, "torch.AcceleratorError: CUDA error: out of memory", {}, Cause.USER_CODE, "the GPU ran out of memory"),
        (3, "the loss at step 12 is nan", {}, Cause.USER_CODE,
         "the training diverged: the loss at step 12 is nan (lower training.learning_rate"),
        (1, "OSError: [Errno 28] No space left on device: 'optimizer.pt'", {}, Cause.USER_CODE, "the disk is full"),
        (1, "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)", {},
         Cause.USER_CODE, "the disk is full"),
        (-7, "killed by SIGBUS", {"disk_free": 0}, Cause.USER_CODE, "the disk is full: killed by SIGBUS"),
        (1, "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", {}, Cause.INFRA,
         "the GPU failed: torch.AcceleratorError"),
        (1, "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable", {}, Cause.INFRA,
         "the GPU failed"),
        (-6, "killed by SIGABRT", {"gpu_fault": "Xid 79 on PCI:0000:00:1e"}, Cause.INFRA,
         "the GPU failed: Xid 79 on PCI:0000:00:1e; killed by SIGABRT (another instance may work"),
        (1, "RuntimeError: CUDA error: device-side assert triggered", {}, Cause.USER_CODE,
         "the trainer failed: RuntimeError: CUDA error: device-side assert"),
        (1, "ValueError: bad", {}, Cause.USER_CODE, "the trainer failed: ValueError: bad"),
        (2, "config.json: disk: No space left on device is not a key", {}, Cause.USER_CODE,
         "the trainer failed: config.json"),
    ],
)  # fmt: skip
def test_why_a_trainer_failed(code: int, message: str, kernel: dict[str, Any], cause: Cause, expected: str) -> None:
    failed = diagnose(TrainerExit(code, message, **kernel))
    assert str(failed).startswith(expected)
    assert failed.verdict.cause is cause
    assert failed.elsewhere is (cause is Cause.INFRA)


def test_the_exit_codes_are_those_of_the_protocol() -> None:
    assert (USER_ERROR, NOT_FINITE) == (2, 3)


@pytest.mark.parametrize(
    ("log", "code", "expected"),
    [
        (
            "fine\nTraceback (most recent call last):\n  File x\nValueError: bad\nits second line\n",
            1,
            "ValueError: bad",
        ),
        (
            "Traceback (most recent call last):\n  File x\nValueError: survived\ndata.path: no files\n",
            2,
            "data.path: no files",
        ),
        (
            "Traceback (most recent call last):\n  File x\nValueError: survived\nthe loss at step 9 is nan\n",
            3,
            "the loss at step 9 is nan",
        ),
        ("10%\r20%\nthe reason\n\n", 2, "the reason"),
        ("", 7, "exit code 7, without output"),
        ("", -9, "killed by SIGKILL"),
        ("30 %\n", -9, "killed by SIGKILL after 30 %"),
        ("\x1b[31mred\n", 1, "[31mred"),
    ],
)
def test_the_last_error_in_the_log(tmp_path: Path, log: str, code: int, expected: str) -> None:
    path = tmp_path / "trainer.log"
    path.write_text(log)
    assert last_error(path, code) == expected
