"""Where a call to the memory adapters can go wrong: before its effect, or after it with the answer lost."""

from __future__ import annotations

from typing import Protocol


class Faults(Protocol):
    """Decides the fate of each call. `call` is AWS's name of the operation, like `s3:PutObject`.

    Both may raise what a real adapter raises (ServiceUnavailable, LostRace, CapacityUnavailable), or what ends a
    process (`Crash`).
    """

    def before(self, call: str) -> None:
        """The request has not reached AWS; raising means that it never does."""
        ...

    def after(self, call: str) -> None:
        """The call has had its effect; raising means that the caller does not learn it."""
        ...


class NoFaults:
    """Everything works."""

    def before(self, call: str) -> None:
        """Nothing goes wrong."""

    def after(self, call: str) -> None:
        """Nothing goes wrong."""


class Crash(BaseException):
    """The process that made the call is gone. Not an Exception: no handler of the code under test may survive it."""
