"""What runs beside the work, in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """A thread that runs while its context lasts. At the end it is waited for so many seconds and then left behind.

    A daemon: it may hang in a call for as long as it likes without keeping the process, and so the box, alive.
    """

    def __init__(self, name: str, seconds_to_end: float) -> None:
        self._name = name
        self._seconds_to_end = seconds_to_end
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=self._seconds_to_end)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread is not None and self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """What the thread does until `_over` is set."""
