"""Heartbeats: each one tells the watchdog that the instance is alive, then checks that the run still belongs to it."""

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
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_session import Identity, RunSession

_log = logging.getLogger(__name__)


class LeaseRenewer:
    """Sends heartbeats and passes on what the lock says. Times are monotonic: the wall clock may jump."""

    def __init__(
        self,
        send: Callable[[], None],
        session: RunSession,
        control: Control,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
        ping: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._session = session
        self._control = control
        self._limits = limits
        self._monotonic = monotonic
        self._ping = ping
        self._last_success = monotonic()

    def tick(self) -> float:
        """Send one heartbeat and read the lock. Returns the seconds until the next call. Never raises."""
        # Before the calls to S3, which may block for minutes: an S3 outage must not end an instance that works.
        self._ping()
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - whatever failed, the next heartbeat must be tried
            return self._failed(error)
        self._last_success = self._monotonic()
        self._read_lock()
        return self._limits.heartbeat.total_seconds()

    def _failed(self, error: Exception) -> float:
        silence = self._monotonic() - self._last_success
        _log.warning("no heartbeat for %.0f s: %s", silence, error)
        if silence >= self._limits.self_fence.total_seconds():
            # The watchdog acts sooner. This covers the case that it cannot reach S3 either.
            self._control.fence(f"no heartbeat reached S3 for {silence:.0f} s")
        return self._limits.heartbeat_retry.total_seconds()

    def _read_lock(self) -> None:
        try:
            run = self._session.read()
        except Fenced as error:
            self._control.fence(str(error))
        except Exception as error:  # noqa: BLE001 - an unknown lock is no reason to stop, and heartbeats must continue
            _log.warning("lock not read: %s", error)
        else:
            if run is not None and run.stop is not None:
                self._control.request_stop(run.stop)


class HeartbeatWriter:
    """Composes a heartbeat and writes it to the store, whose errors it raises."""

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        session: RunSession,
        identity: Identity,
        progress: Progress,
        gpu_utilisation: Callable[[], float | None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._session = session
        self._identity = identity
        self._progress = progress
        self._gpu_utilisation = gpu_utilisation

    def __call__(self) -> None:
        """Write one heartbeat."""
        run, now = self._session.run, self._progress.snapshot()
        heartbeat = Heartbeat(
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
        self._store.write_heartbeat(self._identity.environment, heartbeat)
