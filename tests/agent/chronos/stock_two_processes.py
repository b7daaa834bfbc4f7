"""The library's own `fit` in two processes over gloo: `python -m tests.agent.chronos.stock_two_processes FOLDER`.

Each writes hashes of its model's inputs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agent.chronos.training import distributed
from agent.chronos.training.distributed import Process


def hashes(folder: Path) -> list[list[str]]:
    """Hashes of the batches of both ranks, in order."""
    command = [*_command(folder), "--rank", "0", "--processes", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return [(folder / f"batches-{rank}").read_text().split() for rank in (0, 1)]


class RecordInputs(TrainerCallback):
    """Records hashes of the model's inputs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hook into each forward pass."""

        def record(_module: Any, _arguments: Any, more: dict[str, Any]) -> None:
            with self._path.open("a") as hashes:
                hashes.write(hashlib.sha256(more["context"].nan_to_num().numpy().tobytes()).hexdigest() + "\n")

        kwargs["model"].register_forward_pre_hook(record, with_kwargs=True)


def main() -> int:
    """Be rank 0, or the worker."""
    # Imported here, because the test module imports this one.
    from tests.agent.chronos.test_upstream import fitted  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    process = Process(options.rank, options.processes)
    group = (
        distributed.start_workers(process.world_size, _command(options.folder))
        if process.rank == 0
        else distributed.worker_group(process, options.port)
    )
    with group:
        fitted(
            options.folder / f"out-{process.rank}", callbacks=[RecordInputs(options.folder / f"batches-{process.rank}")]
        )
    return 0


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.agent.chronos.stock_two_processes", str(folder)]


if __name__ == "__main__":
    sys.exit(main())
