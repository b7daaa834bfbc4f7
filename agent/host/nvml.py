"""The GPUs as the NVIDIA driver sees them, through NVML: no CUDA context, no torch."""

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


_ANSWER_SECONDS = 30.0
_FRESH_SECONDS = 60.0


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


def ask(seconds: float = _ANSWER_SECONDS, look: Callable[[], Driver] = look) -> Driver | NoDriver:
    """`look`, its failure as a value, and not waited for without end: a driver that has lost a GPU may never answer."""
    found: list[Driver | NoDriver] = []

    def asking() -> None:
        try:
            found.append(look())
        except NoDriver as error:
            found.append(error)

    thread = threading.Thread(target=asking, name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else GpuLost(f"the driver has not answered for {seconds:.0f} s")


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


class Gauge(Background):
    """Asks for the utilisation now and then, so that whoever wants it never waits for a driver that hangs."""

    def __init__(
        self,
        sample: Callable[[], float | None] = utilisation,
        seconds: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("gpu-gauge", seconds_to_end=1)
        self._sample = sample
        self._seconds = seconds
        self._monotonic = monotonic
        self._last: tuple[float, float | None] = (monotonic(), None)

    def read(self) -> float | None:
        """The utilisation as it was lately; None without a GPU, and when the last answer is older than a minute."""
        at, value = self._last
        return value if self._monotonic() - at < _FRESH_SECONDS else None

    def _run(self) -> None:
        while True:
            value = self._sample()
            self._last = (self._monotonic(), value)
            if self._over.wait(self._seconds):
                return
