"""The thread that says every few seconds that the box lives, and hears at the same time what became of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.claim import Identity, Record
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)


class LeaseRenewer:
    """Sends heartbeats and hears what became of the run. Times are monotonic: the wall clock may jump."""

    def __init__(
        self,
        send: Callable[[], None],
        record: Record,
        control: Control,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._alive = alive
        self._send = send
        self._record = record
        self._control = control
        self._limits = limits
        self._monotonic = monotonic
        self._last_success = monotonic()

    def tick(self) -> float:
        """Send one beat, hear the news, and say in how many seconds to come again. Never raises."""
        # Before the calls: they may hang for minutes, and an S3 that is down is no reason to end a box that works.
        self._alive()
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a beat, the next one has to be tried
            return self._failed(error)
        self._last_success = self._monotonic()
        self._listen()
        return self._limits.heartbeat.total_seconds()

    def _failed(self, error: Exception) -> float:
        silence = self._monotonic() - self._last_success
        _log.warning("no beat for %.0f s: %s", silence, error)
        if silence >= self._limits.self_fence.total_seconds():
            # The watchdog is faster; this is for the case that both are cut off from S3.
            self._control.fence(f"no heartbeat reached S3 for {silence:.0f} s")
        return self._limits.heartbeat_retry.total_seconds()

    def _listen(self) -> None:
        try:
            run = self._record.look()
        except Fenced as error:
            self._control.fence(str(error))
        except Exception as error:  # noqa: BLE001 - no news is no order; the thread has to live
            _log.warning("the lock could not be looked at: %s", error)
        else:
            if run is not None and run.stop is not None:
                self._control.give_stop(run.stop)


class HeartbeatWriter:
    """Composes and writes one beat. Raises what the store raises."""

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        record: Record,
        identity: Identity,
        progress: Progress,
        gpu_utilisation: Callable[[], float | None],
    ) -> None:
        self._gpu_utilisation = gpu_utilisation
        self._store = store
        self._clock = clock
        self._record = record
        self._identity = identity
        self._progress = progress

    def __call__(self) -> None:
        """Write one beat."""
        run, now = self._record.run, self._progress.snapshot()
        beat = Heartbeat(
            run_id=run.run_id,
            attempt=run.attempt,
            instance_id=self._identity.instance_id,
            boot_id=self._identity.boot_id,
            status=run.status,
            counter=now.counter,
            stalled_for=now.stalled_for,
            step=now.step,
            total_steps=now.total_steps,
            bytes_synced=now.bytes_synced,
            loss=now.loss,
            trainer_pid=now.trainer_pid,
            checkpoint_age=now.checkpoint_age,
            gpu_utilisation=self._gpu_utilisation(),
            sent_at=format_time(self._clock.now()),
        )
        self._store.write_heartbeat(self._identity.environment, beat)
