"""Heartbeats, on a fake monotonic clock."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.boot import systemd
from agent.supervise.periodic import HeartbeatThread
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_session import RunSession
from tests.agent.builders import FAST, INSTANCE, LANE, NOW, RUN_ID, FakeTime, World, a_run, an_identity, rewrite

LIMITS = Limits()


class Sender:
    """Counts heartbeats, or fails to send them."""

    def __init__(self) -> None:
        self.sent = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        if self.error:
            raise self.error
        self.sent += 1


class Lease:
    """A claimed run and its lease renewer."""

    def __init__(self) -> None:
        self.world = World()
        self.world.store.create_lock(a_run())
        self.session = RunSession(self.world.store, self.world.clock, LANE, an_identity())
        self.session.claim()
        self.time = FakeTime()
        self.sender = Sender()
        self.fences = 0
        self.control = Control(on_fence=self._count)
        self.renewer = LeaseRenewer(
            self.sender, self.session, self.control, LIMITS, self.time, ping=systemd.ping_watchdog
        )

    def _count(self) -> None:
        self.fences += 1


@pytest.fixture
def lease() -> Lease:
    return Lease()


def test_a_heartbeat_is_sent_every_fifteen_seconds(lease: Lease) -> None:
    assert lease.renewer.tick() == 15
    assert lease.sender.sent == 1


@pytest.mark.parametrize("error", [ServiceUnavailable("no answer"), RuntimeError("a bug")])
def test_a_failed_heartbeat_is_retried_after_five_seconds(lease: Lease, error: Exception) -> None:
    lease.sender.error = error
    assert lease.renewer.tick() == 5
    assert lease.control.fenced is None


def test_ten_minutes_without_a_heartbeat_fence(lease: Lease) -> None:
    lease.sender.error = ServiceUnavailable("no answer")
    lease.time.advance(599)
    lease.renewer.tick()
    assert lease.control.fenced is None
    lease.time.advance(1)
    lease.renewer.tick()
    assert "no heartbeat reached S3 for 600 s" in str(lease.control.fenced)
    lease.renewer.tick()
    assert lease.fences == 1


def test_a_successful_heartbeat_restarts_the_ten_minutes(lease: Lease) -> None:
    lease.time.advance(599)
    lease.renewer.tick()
    lease.sender.error = ServiceUnavailable("no answer")
    lease.time.advance(599)
    lease.renewer.tick()
    assert lease.control.fenced is None


def test_a_stop_in_the_lock_is_passed_on(lease: Lease) -> None:
    stop = Stop(Cause.REQUESTED, "a person", NOW)
    rewrite(lease.world, lambda run: replace(run, stop=stop))
    lease.renewer.tick()
    assert lease.control.stop == stop


def test_a_verdict_of_the_watchdog_fences(lease: Lease) -> None:
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
    rewrite(lease.world, lambda run: run.end(verdict, NOW))
    lease.renewer.tick()
    assert lease.control.fenced == "ended by the watchdog: no progress"


def test_a_released_lock_fences(lease: Lease) -> None:
    lease.world.memory.objects.remove(LANE.state_key)
    lease.renewer.tick()
    assert lease.control.fenced is not None


def test_an_unreadable_lock_does_not_fence(lease: Lease) -> None:
    lease.world.memory.objects.write(LANE.state_key, b"junk")
    lease.renewer.tick()
    assert lease.control.fenced is None


def test_a_heartbeat_reports_progress_apart_from_being_alive() -> None:
    world, clock = World(), FakeTime()
    world.store.create_lock(a_run())
    session = RunSession(world.store, world.clock, LANE, an_identity())
    session.claim()
    progress = Progress(clock)
    progress.stepped(7, 20, 1.25)
    progress.synced(100)
    clock.advance(42)
    HeartbeatWriter(world.store, world.clock, session, an_identity(), progress, lambda: 97.0)()

    found = world.store.read_heartbeat("dev", RUN_ID)

    assert isinstance(found, HeartbeatReceived)
    heartbeat = found.heartbeat
    assert (heartbeat.run_id, heartbeat.attempt, heartbeat.instance_id, heartbeat.boot_id) == (
        RUN_ID,
        1,
        INSTANCE,
        "boot-1",
    )
    assert (heartbeat.status, heartbeat.step, heartbeat.total_steps, heartbeat.bytes_synced) == (
        Status.INITIALIZATION,
        7,
        20,
        100,
    )
    assert (heartbeat.counter, heartbeat.stalled_for, heartbeat.loss) == (2, timedelta(seconds=42), 1.25)


def test_a_heartbeat_of_a_later_attempt_names_it_and_the_checkpoint_that_it_resumed_from() -> None:
    """From the last heartbeat of a lost attempt the watchdog learns whether another is worth while."""
    world, clock = World(), FakeTime()
    world.store.create_lock(a_run(attempt=2, created_at=NOW - timedelta(hours=9)))
    session = RunSession(world.store, world.clock, LANE, an_identity(attempt=2))
    session.claim()
    progress = Progress(clock)
    progress.checkpointed(timedelta(minutes=20))
    clock.advance(60)
    HeartbeatWriter(world.store, world.clock, session, an_identity(attempt=2), progress, lambda: None)()

    found = world.store.read_heartbeat("dev", RUN_ID)

    assert isinstance(found, HeartbeatReceived)
    assert found.heartbeat.attempt == 2
    assert found.heartbeat.checkpoint_age == timedelta(minutes=21)


def test_the_thread_sends_heartbeats_until_the_context_ends() -> None:
    lease = Lease()
    renewer = LeaseRenewer(lease.sender, lease.session, lease.control, FAST)
    with HeartbeatThread(renewer.tick, 1) as thread:
        deadline = time.monotonic() + 300
        while lease.sender.sent < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert thread.alive
    assert not thread.alive
    assert lease.sender.sent >= 3


def test_the_first_checkpoint_is_told_at_once() -> None:
    """A run that is lost before a heartbeat has told of its checkpoint ends."""
    told, progress = threading.Semaphore(0), Progress()
    ages: list[timedelta | None] = []

    def tick() -> float:
        ages.append(progress.snapshot().checkpoint_age)
        told.release()
        return 3600.0

    with HeartbeatThread(tick, 1, progress.news):
        assert told.acquire(timeout=60)
        progress.checkpointed()
        assert told.acquire(timeout=60)
        progress.checkpointed()
    assert ages[0] is None
    assert ages[1] is not None
    assert len(ages) == 2


def test_systemd_is_pinged_even_if_heartbeats_fail(
    lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    lease.sender.error = ServiceUnavailable("no S3")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        lease.renewer.tick()
        assert systemd.recv(100) == b"WATCHDOG=1"
