"""The thread that renews the run's lease."""

from __future__ import annotations

from collections.abc import Callable

from agent.background import Background


class HeartbeatThread(Background):
    """Calls `tick`, which says in how many seconds to call it again, until the context ends."""

    def __init__(self, tick: Callable[[], float], seconds_to_end: float) -> None:
        super().__init__("heartbeat", seconds_to_end)
        self._tick = tick

    def _run(self) -> None:
        while not self._over.wait(self._tick()):
            pass
