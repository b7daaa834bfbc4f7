"""Processes in virtual time: code that waits in the middle of a call, while everybody else continues."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread

from chronos_ec2.testing.clock import VirtualTime
from chronos_ec2.testing.faults import Crash


class VirtualProcess:
    """A call that can sleep in virtual time and be killed while it sleeps.

    It has a thread of its own, but only one runs at a time: whoever starts or resumes it waits until it sleeps or ends.
    So histories stay the same each time. What the call raises, except Crash, is raised by whoever resumed it last.
    """

    def __init__(self, time: VirtualTime, call: Callable[[], None]) -> None:
        self._time = time
        self._call = call
        self._turn, self._back = Lock(), Lock()
        self._turn.acquire()
        self._back.acquire()
        self._killed = False
        self._sleeps = 0
        self._error: BaseException | None = None
        self.ended = False

    def start(self) -> None:
        """Run the call until it sleeps or ends."""
        Thread(target=self._run, daemon=True).start()
        self._wait()

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass, within the call. Raises Crash if the process is killed meanwhile."""
        self._sleeps += 1
        this = self._sleeps
        self._time.after(seconds, lambda: self._resume(this))
        if not self._killed:
            self._back.release()
            self._turn.acquire()
        if self._killed:
            raise Crash

    def kill(self) -> None:
        """Let the process crash where it sleeps."""
        self._killed = True
        self._resume(self._sleeps)

    def _resume(self, sleep: int) -> None:
        if sleep == self._sleeps and not self.ended:
            self._turn.release()
            self._wait()

    def _wait(self) -> None:
        self._back.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            self._call()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            self._error = error
        finally:
            self.ended = True
            self._back.release()
