"""The training precision that a GPU's compute capability allows."""

from __future__ import annotations


def precision_of(major: int) -> str:
    """bf16 from compute capability 8, fp16 on 7 (V100, T4), fp32 below.

    `torch.cuda.is_bf16_supported` is no guide: it is true on a T4, which only emulates bf16.
    """
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"
