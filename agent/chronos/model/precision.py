"""The precision that a model computes in: fp32 weights, and autocast in half precision where it pays.

Training and all forecasts of a run, also those of the models that it is compared with, are made in the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agent.host.precision import precision_of

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(setting: str, device: str) -> str:
    """`training.precision` on a device; `auto` goes by the GPU's compute capability.

    On a CPU fp16 becomes fp32, because transformers silently ignores it there.
    """
    if device == "cpu":
        return "bf16" if setting == "bf16" else "fp32"
    if setting != "auto":
        return setting
    major, _ = torch.cuda.get_device_capability()
    return precision_of(major)


@contextmanager
def tf32_with_bf16(precision: str) -> Iterator[None]:
    """Within the context, fp32 matrix products may use TF32 if the rest is in bf16; that is more precise than bf16."""
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    if precision == "bf16":
        settings.fp32_precision = "tf32"
    try:
        yield
    finally:
        settings.fp32_precision = before


@contextmanager
def autocast(precision: str, device: str) -> Iterator[None]:
    """Compute as training in this precision does."""
    dtype = AUTOCAST_DTYPES.get(precision)
    with tf32_with_bf16(precision), torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None):
        yield
