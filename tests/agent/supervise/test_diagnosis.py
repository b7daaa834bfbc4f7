"""Each way to die has its cause and its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.protocol.trainer import NOT_FINITE, USER_ERROR
from agent.supervise.diagnosis import End, diagnose, exit_report
from chronos_ec2.domain.records.status import Cause

GPU_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.56 GiB"
)


@pytest.mark.parametrize(
    ("code", "words", "box", "cause", "told"),
    [
        (1, GPU_OOM, {}, Cause.USER_CODE, "the memory of the GPU ran out: torch.OutOfMemoryError"),
        (1, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`", {}, Cause.USER_CODE,
         "the memory of the GPU ran out"),
        (-9, "killed by SIGKILL after 10%", {"killed_for_memory": 1}, Cause.USER_CODE,
         "the memory of the instance ran out: killed by SIGKILL after 10%"),
        (1, "MemoryError", {}, Cause.USER_CODE, "the memory of the instance ran out"),
        (1, "RuntimeError: [enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory", {},
         Cause.USER_CODE, "the memory of the instance ran out"),
        (-9, "killed by SIGKILL", {}, Cause.USER_CODE, "the trainer failed: killed by SIGKILL (perhaps"),
        (-11, "killed by SIGSEGV", {"killed_for_memory": 1}, Cause.USER_CODE, "the trainer failed: killed by SIGSEGV"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.", {"killed_for_memory": 1},
         Cause.USER_CODE, "the memory of the instance ran out: RuntimeError: DataLoader worker (pid 4711)"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.", {}, Cause.USER_CODE,
         "the trainer failed: RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. (perhaps"),
        (1, "torch.AcceleratorError: CUDA error: out of memory", {}, Cause.USER_CODE, "the memory of the GPU ran out"),
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
        (-6, "killed by SIGABRT", {"gpu_fault": "Xid 79 of PCI:0000:00:1e"}, Cause.INFRA,
         "the GPU failed: Xid 79 of PCI:0000:00:1e; killed by SIGABRT (another instance may do better"),
        (1, "RuntimeError: CUDA error: device-side assert triggered", {}, Cause.USER_CODE,
         "the trainer failed: RuntimeError: CUDA error: device-side assert"),
        (1, "ValueError: bad", {}, Cause.USER_CODE, "the trainer failed: ValueError: bad"),
        (2, "config.json: disk: No space left on device is not a key", {}, Cause.USER_CODE,
         "the trainer failed: config.json"),
    ],
)  # fmt: skip
def test_why_a_trainer_died(code: int, words: str, box: dict[str, Any], cause: Cause, told: str) -> None:
    failed = diagnose(End(code, words, **box))
    assert str(failed).startswith(told)
    assert failed.verdict.cause is cause
    assert failed.elsewhere is (cause is Cause.INFRA)


def test_the_codes_are_those_of_the_protocol() -> None:
    assert (USER_ERROR, NOT_FINITE) == (2, 3)


@pytest.mark.parametrize(
    ("log", "code", "told"),
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
        ("10%\r20%\nout of luck\n\n", 2, "out of luck"),
        ("", 7, "exit code 7, and not a word"),
        ("", -9, "killed by SIGKILL"),
        ("30 %\n", -9, "killed by SIGKILL after 30 %"),
        ("\x1b[31mred\n", 1, "[31mred"),
    ],
)
def test_what_it_said_last(tmp_path: Path, log: str, code: int, told: str) -> None:
    path = tmp_path / "trainer.log"
    path.write_text(log)
    assert exit_report(path, code) == told
