"""The sizes of the measurements: those for a GPU, and small ones that rehearse the script on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.training.workload import TINY, Shape


@dataclass(frozen=True, slots=True)
class Sizes:
    """`steps` timed training steps of `rows` windows at each of the `contexts`; `series` are forecast."""

    shape: Shape
    rows: int
    contexts: tuple[int, ...]
    steps: int
    series: int
    precisions: tuple[str, ...]
    compile_backend: str
    """`eager` captures the graph without compiling it, which takes minutes on a CPU."""


# The shape of amazon/chronos-2.
GPU = Sizes(Shape(768, 64, 3072, 12, 12, 16, 0.1), 256, (512, 2048), 20, 4096, ("bf16", "fp16"), "inductor")
SMALL = Sizes(TINY, 4, (32,), 3, 8, ("bf16",), "eager")
