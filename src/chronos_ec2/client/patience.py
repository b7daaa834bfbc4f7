"""Reads again and again, for as long as a person watches a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from chronos_ec2.bootstrap.operator import OperatorWorld, forget_credentials
from chronos_ec2.domain.errors import NoCredentials, NotAllowed, ServiceUnavailable

Found = TypeVar("Found")
_log = logging.getLogger(__name__)
GIVES_UP_AFTER = 3600.0
"""Seconds without an answer, or without credentials that AWS accepts."""


def _to_log(problem: str, hint: str) -> None:
    _log.warning("%s%s", problem, hint and f" ({hint})")


class PatientReader:
    """Reads through a network that is gone, and through credentials that are expired until somebody renews them.

    `warn` gets problem and hint when AWS does not answer, and that it answers again.
    """

    def __init__(
        self, connect: Callable[[], OperatorWorld], pause: float, warn: Callable[[str, str], None] = _to_log
    ) -> None:
        self._connect = connect
        self._pause = pause
        self._warn = warn
        self.world = connect()

    def read(self, query: Callable[[OperatorWorld], Found]) -> Found:
        """What the query returns. Says when AWS does not answer or refuses, and when it answers again.

        Raises:
            ServiceUnavailable, NoCredentials, NotAllowed: after an hour.
        """
        since: float | None = None
        while True:
            try:
                found = query(self.world)
            except (ServiceUnavailable, NoCredentials, NotAllowed) as error:
                since = self._wait(error, since)
                continue
            if since is not None:
                self._warn("AWS answers again", "")
            return found

    def _wait(self, error: ServiceUnavailable | NoCredentials | NotAllowed, since: float | None) -> float:
        now = time.monotonic()
        if since is None:
            hint = "" if error.hint == error.usual_hint else error.hint
            self._warn(f"{error.problem}; trying again for up to {GIVES_UP_AFTER / 60:.0f} min", hint)
        elif now - since > GIVES_UP_AFTER:
            raise error
        time.sleep(self._pause)
        if isinstance(error, NoCredentials):
            # A client keeps the credentials with which it was made.
            forget_credentials()
            self._reconnect()
        return now if since is None else since

    def _reconnect(self) -> None:
        try:
            self.world = self._connect()
        except (ServiceUnavailable, NoCredentials, NotAllowed):
            return  # the next query says so
