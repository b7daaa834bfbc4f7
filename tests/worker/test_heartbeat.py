"""The pulse on a monotonic clock that only moves when told to."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.boot import systemd
from agent.supervise.heartbeat_thread import HeartbeatThread
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.worker.claim import Record
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress
from tests.agent.builders import FAST, INSTANCE, LANE, NOW, RUN_ID, FakeTime, World, a_run, an_identity, rewrite

LIMITS = Limits()


class Sender:
    """Sends beats, or fails to."""

    def __init__(self) -> None:
        self.sent = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        if self.error:
            raise self.error
        self.sent += 1


class Box:
    """A claimed run and its pulse."""

    def __init__(self) -> None:
        self.world = World()
        self.world.store.create_lock(a_run())
        self.record = Record(self.world.store, self.world.clock, LANE, an_identity())
        self.record.claim()
        self.time = FakeTime()
        self.sender = Sender()
        self.fences = 0
        self.control = Control(on_fence=self._count)
        self.renewer = LeaseRenewer(self.sender, self.record, self.control, LIMITS, self.time, alive=systemd.alive)

    def _count(self) -> None:
        self.fences += 1


@pytest.fixture
def box() -> Box:
    return Box()


def test_it_beats_every_fifteen_seconds(box: Box) -> None:
    assert box.renewer.tick() == 15
    assert box.sender.sent == 1


@pytest.mark.parametrize("error", [ServiceUnavailable("no answer"), RuntimeError("a bug")])
def test_a_failed_beat_is_tried_again_after_five_seconds(box: Box, error: Exception) -> None:
    box.sender.error = error
    assert box.renewer.tick() == 5
    assert box.control.fenced is None


def test_ten_minutes_without_a_beat_fence(box: Box) -> None:
    box.sender.error = ServiceUnavailable("no answer")
    box.time.advance(599)
    box.renewer.tick()
    assert box.control.fenced is None
    box.time.advance(1)
    box.renewer.tick()
    assert "no heartbeat reached S3 for 600 s" in str(box.control.fenced)
    box.renewer.tick()
    assert box.fences == 1


def test_a_beat_that_succeeds_starts_the_ten_minutes_anew(box: Box) -> None:
    box.time.advance(599)
    box.renewer.tick()
    box.sender.error = ServiceUnavailable("no answer")
    box.time.advance(599)
    box.renewer.tick()
    assert box.control.fenced is None


def test_it_hears_that_the_run_shall_stop(box: Box) -> None:
    stop = Stop(Cause.REQUESTED, "a person", NOW)
    rewrite(box.world, lambda run: replace(run, stop=stop))
    box.renewer.tick()
    assert box.control.stop == stop


def test_it_hears_that_the_run_was_condemned(box: Box) -> None:
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
    rewrite(box.world, lambda run: run.end(verdict, NOW))
    box.renewer.tick()
    assert box.control.fenced == "condemned by the watchdog: no progress"


def test_it_hears_that_the_lock_is_gone(box: Box) -> None:
    box.world.memory.objects.remove(LANE.state_key)
    box.renewer.tick()
    assert box.control.fenced is not None


def test_an_unreadable_lock_is_no_order(box: Box) -> None:
    box.world.memory.objects.write(LANE.state_key, b"junk")
    box.renewer.tick()
    assert box.control.fenced is None


def test_a_beat_tells_of_life_and_progress_apart() -> None:
    world, clock = World(), FakeTime()
    world.store.create_lock(a_run())
    record = Record(world.store, world.clock, LANE, an_identity())
    record.claim()
    progress = Progress(clock)
    progress.stepped(7, 20, 1.25)
    progress.synced(100)
    clock.advance(42)
    HeartbeatWriter(world.store, world.clock, record, an_identity(), progress, lambda: 97.0)()

    found = world.store.read_heartbeat("dev", RUN_ID)

    assert isinstance(found, HeartbeatReceived)
    beat = found.heartbeat
    assert (beat.run_id, beat.attempt, beat.instance_id, beat.boot_id) == (RUN_ID, 1, INSTANCE, "boot-1")
    assert (beat.status, beat.step, beat.total_steps, beat.bytes_synced) == (Status.INITIALIZATION, 7, 20, 100)
    assert (beat.counter, beat.stalled_for, beat.loss) == (2, timedelta(seconds=42), 1.25)


def test_the_thread_beats_until_it_is_left() -> None:
    box = Box()
    renewer = LeaseRenewer(box.sender, box.record, box.control, FAST)
    with HeartbeatThread(renewer.tick, 1) as thread:
        deadline = time.monotonic() + 10
        while box.sender.sent < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert thread.alive
    assert not thread.alive
    assert box.sender.sent >= 3


def test_systemd_hears_of_an_agent_that_lives_even_while_no_beat_gets_through(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    box.sender.error = ServiceUnavailable("no S3")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        box.renewer.tick()
        assert systemd.recv(100) == b"WATCHDOG=1"
