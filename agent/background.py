"""Background threads."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """A daemon thread that runs for the duration of a context, and is joined for `join_seconds` at its end.

    A thread that hangs in a call is left behind, and does not keep the process, and so the instance, alive.
    """

    def __init__(self, name: str, join_seconds: float) -> None:
        self._name = name
        self._join_seconds = join_seconds
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
            self._thread.join(timeout=self._join_seconds)

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """The body of the thread, until `_over` is set."""
