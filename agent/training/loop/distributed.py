"""One process for each GPU of the box, as torch knows them: rank 0 leads, the others train with it and do nothing else.

The leader is the trainer that the agent started: signals, exit code, metrics and result are those of one process. The
others die with it, and it ends as soon as one of them fails, the way that one did (docs/adr/0010-ranks.md).
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

from chronos_ec2.domain.errors import InvalidInput

_HOST = "127.0.0.1"
# Longer than any checkpoint takes to write. Whoever stands still for ever is ended by the agent's own limit.
_PATIENCE = timedelta(hours=1)
_LOOK_SECONDS = 0.1
# Until a process that has failed has written why, and ended.
_LAST_WORDS_SECONDS = 20.0
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1


def how_many(asked: int | None, device: str) -> int:
    """Processes to train with: as many as asked for, or one for each GPU. Raises InvalidInput for more than GPUs."""
    if device == "cpu":
        return asked or 1
    gpus = torch.cuda.device_count()
    if asked is not None and asked > gpus:
        raise InvalidInput("training.processes", f"{asked} are more than the {gpus} GPUs of the box", "leave it out")
    return asked or gpus


def refuse_launcher() -> None:
    """Raises InvalidInput under torchrun and its like: every process of theirs would take itself for the leader."""
    if preset := sorted({"RANK", "WORLD_SIZE"} & os.environ.keys()):
        problem = f"{' and '.join(preset)} is set, as torchrun does"
        raise InvalidInput("training.processes", problem, "start one trainer: it starts the others itself")


def share_cores(processes: int) -> None:
    """Set the threads of this process, one of so many that are equal.

    One core stays free. OpenMP's threads wait for each other by spinning, so that on two cores one other busy process
    made training four times slower with two threads than with one.
    """
    torch.set_num_threads(max(1, ((os.cpu_count() or 1) - 1) // processes))


@contextmanager
def leading(count: int, command: Sequence[str]) -> Iterator[None]:
    """Train inside with `count` processes, of which this is the first; `command` starts another, given its place.

    The others are gone when the context is left. When one fails before that, this process ends as it did.
    """
    if count == 1:
        yield
        return
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    others = [_start(command, Place(rank, count), store.port) for rank in range(1, count)]
    over = threading.Event()
    watch = threading.Thread(target=_end_as_they_do, args=(others, over), name="ranks", daemon=True)
    watch.start()
    try:
        with joined(Place(0, count), store):
            yield
            # All is trained: how the others end from here on is of no consequence.
            over.set()
    finally:
        # Before they are killed: the watch must not take that for a failure.
        over.set()
        watch.join()
        _kill(others)


@contextmanager
def following(place: Place, port: int) -> Iterator[None]:
    """Train inside as another process of the leader that listens on this port."""
    with joined(place, TCPStore(_HOST, port, is_master=False, timeout=_PATIENCE)):
        yield


@contextmanager
def joined(place: Place, store: Store) -> Iterator[None]:
    """Be one of the processes that find each other through a store."""
    # What accelerate and transformers go by; they would also choose the number of threads.
    os.environ |= {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.rank),
        "WORLD_SIZE": str(place.count),
        "LOCAL_WORLD_SIZE": str(place.count),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        # All on one box: the network is not asked for the box's own name.
        "GLOO_SOCKET_IFNAME": "lo",
    }
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place.rank)
    else:
        # Accelerate would number the CPU by the rank, and torch loads no checkpoint to a CPU with a number.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    # Decisions travel between CPUs, so that no GPU is waited for.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    hook = sys.excepthook
    try:
        distributed.init_process_group(backend, store=store, rank=place.rank, world_size=place.count, timeout=_PATIENCE)
        # Torch would put the rank before each line of a traceback, from which the agent reads what went wrong.
        sys.excepthook = hook
        yield
    except BaseException as error:
        if isinstance(error, RuntimeError):
            # Torch's own. If it is that another process is gone, that one says why, and the leader ends us all before
            # this one hides it. If it is another, it is told after this time.
            time.sleep(_LAST_WORDS_SECONDS)
        if together():
            # Destroyed, the group would wait for what the others do not send; left as it is, torch would complain last.
            with suppress(RuntimeError):
                distributed.distributed_c10d._abort_process_group()  # noqa: SLF001 - there is no public way
        raise
    distributed.destroy_process_group()


def together() -> bool:
    """Whether other processes train with this one."""
    return distributed.is_initialized()


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if together() else 1


def led(*wishes: bool) -> list[bool]:
    """What the leader wishes, in every process."""
    if not together():
        return list(wishes)
    said = torch.tensor(wishes, dtype=torch.uint8)
    distributed.broadcast(said, src=0)
    return [bool(wish) for wish in said.tolist()]


def summed(*numbers: float) -> list[float]:
    """The sums over all processes, added in the same order in each, so that all decide the same by them."""
    if not together():
        return list(numbers)
    ours = torch.tensor(numbers, dtype=torch.float64)
    everyones = [torch.empty_like(ours) for _ in range(count())]
    distributed.all_gather(everyones, ours)
    return [float(number) for number in sum(everyones, start=torch.zeros_like(ours))]


def _start(command: Sequence[str], place: Place, port: int) -> subprocess.Popen[bytes]:
    where = ["--parent", os.getpid(), "--rank", place.rank, "--processes", place.count, "--port", port]
    return subprocess.Popen([*command, *map(str, where)], stdin=subprocess.DEVNULL)


def _end_as_they_do(others: Sequence[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """End this process, which may wait for another in vain, when that one has failed."""
    while not over.wait(_LOOK_SECONDS):
        if not any(other.poll() for other in others):
            continue
        # A signal first: who was killed took the others along, not the other way round.
        code = min(code for other in others if (code := other.poll()))
        _kill(others)
        sys.stderr.flush()
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code if code > 0 else _FAILED)


def _kill(others: Sequence[subprocess.Popen[bytes]]) -> None:
    for other in others:
        other.kill()
    for other in others:
        other.wait()
