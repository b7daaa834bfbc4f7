"""The time by S3's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.run_session import RunSession


class S3Clock:
    """Corrects the clock of the instance, which may be wrong: deadline and price come from other clocks."""

    def __init__(self, store: RunStore, clock: Clock, session: RunSession) -> None:
        self._store = store
        self._clock = clock
        self._session = session
        self._offset: timedelta | None = None

    def now(self) -> datetime:
        """The time by S3's clock, or by the instance's before the first heartbeat."""
        return self._clock.now() - (self.offset() or timedelta(0))

    def offset(self) -> timedelta | None:
        """How far the clock of the instance is ahead, to about a second. None before the first heartbeat."""
        if self._offset is None:
            run = self._session.run
            found = self._store.read_heartbeat(run.lane.environment, run.run_id)
            if isinstance(found, HeartbeatReceived) and found.heartbeat.attempt == run.attempt:
                self._offset = parse_time(found.heartbeat.sent_at) - found.received_at
        return self._offset
