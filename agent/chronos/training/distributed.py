"""One process per GPU of the instance, with torch.distributed (docs/adr/0010-ranks.md).

Rank 0 is the trainer that the agent started. It starts the others as workers and alone handles signals, metrics and the
result. They train together and share the forecasts of the evaluation. The workers die with rank 0, and it ends as soon
as one of them fails, with the same exit code or signal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from agent.chronos.evaluate.predict import Ranks
from agent.data.panel import Floats
from chronos_ec2.domain.errors import InvalidInput

ERROR_DELAY_SECONDS = 20.0
"""How long an error from torch is held back: usually it means that another process failed, which says why."""
_HOST = "127.0.0.1"
# Longer than any checkpoint takes to write. The agent's own limit ends a trainer that hangs.
_TIMEOUT = timedelta(hours=1)
_POLL_SECONDS = 0.1
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Process:
    """The rank of this process, and the number of processes that train together."""

    rank: int = 0
    world_size: int = 1


def choose_world_size(setting: int | None, device: str) -> int:
    """Number of processes: `training.processes`, or one per GPU. Raises InvalidInput for more than there are GPUs."""
    if device == "cpu":
        return setting or 1
    gpus = torch.cuda.device_count()
    if setting is not None and setting > gpus:
        problem = f"{setting} is more than the {gpus} GPUs of the instance"
        raise InvalidInput("training.processes", problem, "leave it out")
    return setting or gpus


def refuse_torchrun() -> None:
    """Raises InvalidInput under torchrun or a similar launcher, where every process would act as rank 0."""
    if variables := sorted({"RANK", "WORLD_SIZE"} & os.environ.keys()):
        problem = f"{' and '.join(variables)} is set, as torchrun does"
        raise InvalidInput("training.processes", problem, "start one trainer: it starts the others itself")


def limit_threads(processes: int) -> None:
    """Divide the CPU cores among the processes, leaving one core free.

    OpenMP threads wait for each other by spinning: on two cores with one other busy process, training with two threads
    was four times slower than with one.
    """
    torch.set_num_threads(max(1, ((os.cpu_count() or 1) - 1) // processes))


@contextmanager
def start_workers(world_size: int, command: Sequence[str], error_delay: float = ERROR_DELAY_SECONDS) -> Iterator[None]:
    """Be rank 0 of `world_size` processes; `command` plus options for rank, parent and port starts a worker.

    The workers are gone when the context is left. If one fails before, this process ends the same way.
    """
    if world_size == 1:
        yield
        return
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    workers = [_start(command, Process(rank, world_size), store.port) for rank in range(1, world_size)]
    done = threading.Event()
    monitor = threading.Thread(target=_exit_with_failed_worker, args=(workers, done), name="workers", daemon=True)
    monitor.start()
    try:
        with process_group(Process(0, world_size), store, error_delay):
            yield
            # All forecasts are made: how the workers end no longer matters.
            done.set()
    finally:
        # Before they are killed, which the monitor must not take for a failure.
        done.set()
        monitor.join()
        _kill(workers)


@contextmanager
def worker_group(process: Process, port: int, error_delay: float = ERROR_DELAY_SECONDS) -> Iterator[None]:
    """Be a worker of the rank 0 that listens on this port."""
    with process_group(process, TCPStore(_HOST, port, is_master=False, timeout=_TIMEOUT), error_delay):
        yield


@contextmanager
def process_group(process: Process, store: Store, error_delay: float = ERROR_DELAY_SECONDS) -> Iterator[None]:
    """Join torch's default process group."""
    # Read by accelerate and transformers, which would otherwise also choose the number of threads.
    os.environ |= {
        "RANK": str(process.rank),
        "LOCAL_RANK": str(process.rank),
        "WORLD_SIZE": str(process.world_size),
        "LOCAL_WORLD_SIZE": str(process.world_size),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        # All on one host: no lookup of its name.
        "GLOO_SOCKET_IFNAME": "lo",
    }
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(process.rank)
    else:
        # Accelerate would number the CPU by rank, and torch loads no checkpoint to a numbered CPU.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    # Flags are exchanged between CPUs, so that nothing waits for a GPU.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    hook = sys.excepthook
    try:
        distributed.init_process_group(
            backend, store=store, rank=process.rank, world_size=process.world_size, timeout=_TIMEOUT
        )
        # Torch would prefix each line of a traceback with the rank; the agent parses tracebacks.
        sys.excepthook = hook
        yield
    except BaseException as error:
        if isinstance(error, RuntimeError):
            # From torch. If it means that another process is gone, rank 0 ends all processes within this time.
            time.sleep(error_delay)
        if is_distributed():
            # Destroying the group would wait for the others; leaving it would make torch complain at exit.
            with suppress(RuntimeError):
                distributed.distributed_c10d._abort_process_group()  # noqa: SLF001 - there is no public way
        raise
    distributed.destroy_process_group()


def is_distributed() -> bool:
    """Whether several processes train together."""
    return distributed.is_initialized()


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if is_distributed() else 1


def broadcast_flags(*flags: bool) -> list[bool]:
    """Rank 0's flags, in every process."""
    if not is_distributed():
        return list(flags)
    tensor = torch.tensor(flags, dtype=torch.uint8)
    distributed.broadcast(tensor, src=0)
    return [bool(flag) for flag in tensor.tolist()]


def sum_over_processes(*numbers: float) -> list[float]:
    """Sums over all processes, added in the same order everywhere so that they are equal bit for bit."""
    if not is_distributed():
        return list(numbers)
    ours = torch.tensor(numbers, dtype=torch.float64)
    gathered = [torch.empty_like(ours) for _ in range(world_size())]
    distributed.all_gather(gathered, ours)
    return [float(number) for number in sum(gathered, start=torch.zeros_like(ours))]


def ranks() -> Ranks:
    """How the processes share forecasts."""
    if not is_distributed():
        return Ranks()
    return Ranks(distributed.get_rank(), world_size(), _gather, _smallest)


def _gather(block: Floats | None) -> list[Floats | None]:
    found: list[Floats | None] = [None] * world_size()
    distributed.gather_object(block, found if distributed.get_rank() == 0 else None)
    return found if distributed.get_rank() == 0 else []


def _smallest(number: int) -> int:
    tensor = torch.tensor(number)
    distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
    return int(tensor)


def _start(command: Sequence[str], process: Process, port: int) -> subprocess.Popen[bytes]:
    options = ["--parent", os.getpid(), "--rank", process.rank, "--processes", process.world_size, "--port", port]
    return subprocess.Popen([*command, *map(str, options)], stdin=subprocess.DEVNULL)


def _exit_with_failed_worker(workers: Sequence[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """End this process, which may be waiting for a worker forever, when that worker has failed."""
    while not done.wait(_POLL_SECONDS):
        if not any(worker.poll() for worker in workers):
            continue
        # Prefer a signal: a worker that was killed made the others fail, not the other way round.
        code = min(code for worker in workers if (code := worker.poll()))
        _kill(workers)
        sys.stderr.flush()
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code if code > 0 else _FAILED)


def _kill(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait()
