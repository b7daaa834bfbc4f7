"""The GPUs as the NVIDIA driver sees them, through NVML: no CUDA context, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

_SLOWDOWNS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "hardware thermal slowdown",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; memory in bytes. None is what the card, or its driver, does not say.

    `uncorrected_errors` are those of its memory since the driver was loaded, `slowed_by` why its clocks are held back.
    """

    name: str
    memory: int
    uncorrected_errors: int | None = None
    slowed_by: tuple[str, ...] = ()
    persistence: bool | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVML says."""

    version: str
    gpus: tuple[Gpu, ...]


class NoDriver(Exception):
    """NVML is not there or does not answer: no NVIDIA driver is loaded. The text is NVML's."""


class GpuLost(NoDriver):
    """The driver has lost a GPU."""


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError_GpuIsLost as error:
        raise GpuLost(str(error)) from error
    except pynvml.NVMLError as error:
        raise NoDriver(str(error)) from error


def look() -> Driver:
    """Driver and GPUs of this box. Raises NoDriver."""
    with _nvml():
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return Driver(pynvml.nvmlSystemGetDriverVersion(), tuple(_gpu(handle) for handle in handles))


def _gpu(handle: Any) -> Gpu:
    errors = _if_known(
        lambda: pynvml.nvmlDeviceGetTotalEccErrors(
            handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        )
    )
    reasons = _if_known(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
    persistence = _if_known(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle))
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        memory=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
        uncorrected_errors=errors,
        slowed_by=tuple(name for bit, name in _SLOWDOWNS.items() if reasons & bit),
        persistence=None if persistence is None else bool(persistence),
    )


def _if_known(ask: Callable[[], int]) -> int | None:
    """An answer that not every card or driver has."""
    try:
        return ask()
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return None


@dataclass(frozen=True, slots=True)
class Load:
    """Mean utilisation of all GPUs in percent, and the bytes of their memory that are in use, by whomever."""

    utilisation: float
    memory: int


def load() -> Load | None:
    """The load of this box's GPUs; None without any. For people only: hung collectives spin at 100 %."""
    try:
        with _nvml():
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            rates = [float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
            memory = sum(pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles)
    except NoDriver:
        return None
    return Load(sum(rates) / len(rates), memory) if rates else None


def utilisation() -> float | None:
    """As in `load`."""
    found = load()
    return None if found is None else found.utilisation
