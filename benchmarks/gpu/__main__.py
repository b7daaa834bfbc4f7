"""`make bench-gpu`: measure what only a GPU can show, in at most nine minutes; `--small` rehearses it on a CPU.

It needs the checkout and what it imports, on any machine: `pip install --no-deps --target build/gpu-packages` what the
machine lacks, carry that folder along, and set PYTHONPATH=src:build/gpu-packages. Writes build/bench-gpu.json after
each part, so that a part that fails or takes too long costs no other.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.gpu import checks, speed
from benchmarks.gpu.sizes import GPU, SMALL, Sizes

FIGURES = Path(__file__).parents[2] / "build" / "bench-gpu.json"
_SECONDS = 510.0
"""After so many no further part is begun."""


def parts(sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """The parts by name, the most important first."""
    return {
        "preflight": checks.preflight,
        **{f"gates {one}": partial(checks.gates, one) for one in sizes.precisions},
        **{f"resume {one}": partial(checks.resume, sizes, one) for one in sizes.precisions},
        "evaluation": partial(speed.forecasts, sizes),
        "out_of_memory": partial(checks.out_of_memory, sizes),
        **{f"steps {one}": partial(speed.steps, sizes, one) for one in sizes.contexts},
    }


def measure(sizes: Sizes, path: Path, monotonic: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Run the parts in order, and write the figures after each."""
    began = monotonic()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found: dict[str, Any] = {"gpu": gpu, "torch": torch.__version__, "seconds": {}, "failed": {}}
    for name, part in parts(sizes).items():
        start = monotonic()
        if start - began > _SECONDS:
            found["failed"][name] = "no time left"
            continue
        print(f"{name} …", flush=True)
        try:
            found[name] = part()
        except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
            traceback.print_exc()
            found["failed"][name] = repr(error)
        found["seconds"][name] = round(monotonic() - start, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    """Print the figures; returns 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes, on a GPU or a CPU")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if not options.small and not torch.cuda.is_available():
        sys.exit("no GPU: --small rehearses on the CPU")
    found = measure(SMALL if options.small else GPU, options.figures)
    print(json.dumps(found, indent=1))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
