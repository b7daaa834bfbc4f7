"""How far the clock of an instance is from S3's."""

from __future__ import annotations

from datetime import timedelta

from agent.boot.s3_clock import S3Clock
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.status import Status
from chronos_ec2.testing import MemoryClock
from chronos_ec2.worker.run_session import RunSession
from tests.agent.builders import INSTANCE, LANE, NOW, RUN_ID, World, a_run, an_identity

AHEAD = timedelta(minutes=7)


def a_clock(world: World, attempt: int = 1) -> S3Clock:
    """The clock of an instance that is seven minutes ahead, which has claimed an attempt."""
    world.wall_clock = MemoryClock(world.memory.clock.now() + AHEAD)
    world.store.create_lock(a_run(attempt=attempt))
    session = RunSession(world.store, world.clock, LANE, an_identity(attempt=attempt))
    session.claim()
    return S3Clock(world.store, world.clock, session)


def send(world: World, attempt: int, ahead: timedelta) -> None:
    sent_at = format_time(world.memory.clock.now() + ahead)
    beat = Heartbeat(RUN_ID, attempt, INSTANCE, "boot-1", Status.TRAINING, 1, timedelta(0), sent_at=sent_at)
    world.store.write_heartbeat("dev", beat)


def test_before_the_first_heartbeat_it_is_unknown() -> None:
    clock = a_clock(World())
    assert clock.offset() is None
    assert clock.now() == NOW + AHEAD


def test_a_heartbeat_says_how_far_it_is_ahead() -> None:
    world = World()
    clock = a_clock(world)
    send(world, 1, AHEAD)
    assert clock.offset() == AHEAD
    assert clock.now() == NOW


def test_the_heartbeat_of_an_earlier_attempt_is_of_another_instance() -> None:
    world = World()
    clock = a_clock(world, attempt=2)
    send(world, 1, timedelta(hours=-3))
    assert clock.offset() is None
    send(world, 2, AHEAD)
    assert clock.offset() == AHEAD
