"""Two processes in the library's own `fit`, over gloo: `python -m tests.agent.training.stock_two FOLDER`.

Each leaves hashes of what its model was given. They find each other the engine's way, and train the library's.
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

from agent.training.loop import distributed
from agent.training.loop.distributed import Place


def hashes(folder: Path) -> list[list[str]]:
    """Of the batches of both ranks, in their order."""
    command = [*_command(folder), "--rank", "0", "--processes", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return [(folder / f"batches-{rank}").read_text().split() for rank in (0, 1)]


class Watch(TrainerCallback):
    """Writes down what the model is given."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at each forward pass from now on."""

        def see(_module: Any, _arguments: Any, more: dict[str, Any]) -> None:
            with self._path.open("a") as seen:
                seen.write(hashlib.sha256(more["context"].nan_to_num().numpy().tobytes()).hexdigest() + "\n")

        kwargs["model"].register_forward_pre_hook(see, with_kwargs=True)


def main() -> int:
    """Be one of the two."""
    # The test imports this module, and this what the test's module has.
    from tests.agent.training.test_upstream import fitted  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    place = Place(options.rank, options.processes)
    context = (
        distributed.leading(place.count, _command(options.folder))
        if place.rank == 0
        else distributed.following(place, options.port)
    )
    with context:
        fitted(options.folder / f"out-{place.rank}", callbacks=[Watch(options.folder / f"batches-{place.rank}")])
    return 0


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.agent.training.stock_two", str(folder)]


if __name__ == "__main__":
    sys.exit(main())
