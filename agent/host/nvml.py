"""The state of the GPUs from the NVIDIA driver, through NVML: no CUDA context, no torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from agent.background import Background

_SLOWDOWNS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "hardware thermal slowdown",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}
_TIMEOUT_SECONDS = 30.0
_FRESH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. `memory` is in bytes. None is a value that the card or its driver does not report.

    `uncorrected_errors` counts ECC errors since the driver was loaded; `slowed_by` says why its clocks are throttled.
    """

    name: str
    memory: int
    uncorrected_errors: int | None = None
    slowed_by: tuple[str, ...] = ()
    persistence: bool | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver, and its GPUs."""

    version: str
    gpus: tuple[Gpu, ...]


class NoDriver(Exception):
    """NVML is missing or does not answer: no NVIDIA driver is loaded. The text is NVML's."""


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


def read_driver() -> Driver:
    """The driver and GPUs of this machine. Raises NoDriver."""
    with _nvml():
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return Driver(pynvml.nvmlSystemGetDriverVersion(), tuple(_gpu(handle) for handle in handles))


def _gpu(handle: Any) -> Gpu:
    errors = _if_supported(
        lambda: pynvml.nvmlDeviceGetTotalEccErrors(
            handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        )
    )
    reasons = _if_supported(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
    persistence = _if_supported(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle))
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        memory=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
        uncorrected_errors=errors,
        slowed_by=tuple(name for bit, name in _SLOWDOWNS.items() if reasons & bit),
        persistence=None if persistence is None else bool(persistence),
    )


def _if_supported(query: Callable[[], int]) -> int | None:
    """A value that not every card or driver reports."""
    try:
        return query()
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return None


def query_driver(seconds: float = _TIMEOUT_SECONDS) -> Driver | NoDriver:
    """`read_driver` with a timeout, and its error as a value: a driver that has lost a GPU may never answer."""
    found: list[Driver | NoDriver] = []

    def query() -> None:
        try:
            found.append(read_driver())
        except NoDriver as error:
            found.append(error)

    thread = threading.Thread(target=query, name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else GpuLost(f"the driver has not answered for {seconds:.0f} s")


@dataclass(frozen=True, slots=True)
class Load:
    """Mean utilisation of all GPUs in percent, and their memory in use by any process, in bytes."""

    utilisation: float
    memory: int


def load() -> Load | None:
    """The load of the GPUs, None without any. For information only: a hung collective operation shows 100 %."""
    try:
        with _nvml():
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            rates = [float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
            memory = sum(pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles)
    except NoDriver:
        return None
    return Load(sum(rates) / len(rates), memory) if rates else None


def utilisation() -> float | None:
    """Mean utilisation of all GPUs in percent, None without any."""
    found = load()
    return None if found is None else found.utilisation


class UtilisationSampler(Background):
    """Samples the utilisation periodically, so that readers never wait for a driver that hangs."""

    def __init__(
        self,
        sample: Callable[[], float | None] = utilisation,
        seconds: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("gpu-utilisation", join_seconds=1)
        self._sample = sample
        self._seconds = seconds
        self._monotonic = monotonic
        self._last: tuple[float, float | None] = (monotonic(), None)

    def read(self) -> float | None:
        """The latest sample. None without a GPU, and if the sample is older than a minute."""
        at, value = self._last
        return value if self._monotonic() - at < _FRESH_SECONDS else None

    def _run(self) -> None:
        while True:
            value = self._sample()
            self._last = (self._monotonic(), value)
            if self._over.wait(self._seconds):
                return
