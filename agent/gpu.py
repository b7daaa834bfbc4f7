"""The GPUs as the NVIDIA driver sees them, through NVML: no CUDA context, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVML says."""

    version: str
    gpus: tuple[Gpu, ...]


class NoDriver(Exception):
    """NVML is not there or does not answer: no NVIDIA driver is loaded. The text is NVML's."""


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise NoDriver(str(error)) from error


def look() -> Driver:
    """Driver and GPUs of this box. Raises NoDriver."""
    with _nvml():
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = [Gpu(pynvml.nvmlDeviceGetName(one), pynvml.nvmlDeviceGetMemoryInfo(one).total) for one in handles]
        return Driver(pynvml.nvmlSystemGetDriverVersion(), tuple(gpus))


def utilisation() -> float | None:
    """Mean utilisation of all GPUs in percent, for people only: hung collectives spin at 100 %. None without GPUs."""
    try:
        with _nvml():
            count = pynvml.nvmlDeviceGetCount()
            rates = [
                float(pynvml.nvmlDeviceGetUtilizationRates(pynvml.nvmlDeviceGetHandleByIndex(index)).gpu)
                for index in range(count)
            ]
    except NoDriver:
        return None
    return sum(rates) / len(rates) if rates else None
