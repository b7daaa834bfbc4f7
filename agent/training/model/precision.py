"""The precision that a model is trained in: fp32 weights, and autocast in half precision where it pays."""

from __future__ import annotations

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
