"""Store and reconcile under whatever agents, people and time do in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronos_ec2.domain.errors import LaneBusy, LostRace, ServiceUnavailable, UserError
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import ACTIVE, Cause, Outcome, Status
from chronos_ec2.services.launch import Launched
from chronos_ec2.testing import Crash, Environment, MemoryAws
from chronos_ec2.testing.builders import LIMITS, seconds

LANE = Lane("dev")
_MINUTES_OF_A_SLOW_STEP = 9


class Meanwhile:
    """Lets something happen at some calls of whoever acts: the call fails, its caller dies, another watchdog acts."""

    def __init__(self) -> None:
        self.left = 0
        self.points = 0
        self.times = 0
        self.action: Callable[[], None] = lambda: None

    def arm(self, points: int, times: int, action: Callable[[], None]) -> None:
        self.left, self.points, self.times, self.action = points, points, times, action

    def before(self, _operation: str, _target: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.times -= 1
            try:
                self.action()
            finally:
                self.left = self.points if self.times > 0 else 0

    def after(self, operation: str, target: str) -> None:
        self.before(operation, target)


def no_answer() -> None:
    raise ServiceUnavailable("no answer")


def dies() -> None:
    raise Crash


class LaneMachine(RuleBasedStateMachine):
    """One lane. The agent of the newest launch sends heartbeats while it is healthy."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = Meanwhile()
        self.env = Environment(aws=MemoryAws(self.meanwhile))
        self.stalled: int | None = None
        self.foreign = self.env.fleet.add({"Project": "another"})
        self.launched: Launched | None = None
        self.well = False
        self.counter = 0

    # --- what happens ------------------------------------------------------------------------------------------

    @rule(points=st.integers(1, 60), times=st.integers(1, 40), action=st.sampled_from([no_answer, dies, None]))
    def something_will_happen_at_a_call(self, points: int, times: int, action: Callable[[], None] | None) -> None:
        self.meanwhile.arm(points, times, action or self.another_watchdog_acts)

    def another_watchdog_acts(self) -> None:
        with suppress(LostRace):
            self.env.watchdog.sweep()

    @rule(crashes=st.integers(0, 1))
    def launch(self, crashes: int) -> None:
        armed, self.meanwhile.left = self.meanwhile.left, 0
        held = isinstance(self.env.store.read_lock(LANE), LockHeld)
        self.meanwhile.left = armed
        try:
            launched = self.env.launch(crashes_left=crashes)
        except (ServiceUnavailable, Crash):
            # What was started is the watchdog's, whichever run it is of.
            self.launched = self.launched if held else None
            self.well = self.well and held
            return
        except (LaneBusy, LostRace):
            assert held or armed > 0
            return
        # The other watchdog may have freed the lane meanwhile.
        assert not held or armed > 0
        self.launched, self.well, self.stalled = launched, False, None

    @precondition(lambda self: self.holds() and not self.run().claimed and self.is_running())
    @rule()
    def claim(self) -> None:
        assert self.launched
        with self.calm():
            try:
                self.env.claim(self.launched)
            except LostRace:  # a kill came first and got no further: the instance may not begin, and powers itself off
                assert not self.well
                self.env.power_off(self.launched)
                return
        self.well, self.stalled = True, None

    @precondition(lambda self: not self.works())
    @rule(crashes=st.integers(0, 1))
    def a_run_comes_as_far_as_training(self, crashes: int) -> None:
        """Chance alone seldom gets there."""
        with self.calm():
            for _ in range(40):
                if not isinstance(self.env.store.read_lock(LANE), LockHeld):
                    break
                self.well = False
                self.one_minute()
            self.launch(crashes=crashes)
            self.claim()
            self.env.train()

    @precondition(lambda self: self.works() and self.stalled is None)
    @rule(minutes=st.integers(0, 20))
    def hangs(self, minutes: int) -> None:
        self.stalled = 0
        self.time_passes(minutes=minutes)

    @precondition(lambda self: self.stalled is not None)
    @rule()
    def a_hang_is_over(self) -> None:
        self.stalled = None

    @precondition(lambda self: self.works())
    @rule()
    def advance(self) -> None:
        run = self.run()
        following = {
            Status.INITIALIZATION: Status.DATA_SYNC, Status.DATA_SYNC: Status.TRAINING,
            Status.TRAINING: Status.RESULTS_SYNC,
        }.get(run.status)  # fmt: skip
        if following:
            with self.calm():
                held = self.env.lock()
            with self.calm():
                self.env.store.replace_lock(run.advance(following, str(following), self.env.clock.now()), held)

    @precondition(lambda self: self.works())
    @rule(outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED]))
    def finish(self, outcome: Outcome) -> None:
        assert self.launched
        with self.calm():
            self.env.end(outcome, Cause.COMPLETED if outcome is Outcome.SUCCEEDED else Cause.USER_CODE)
        self.env.power_off(self.launched)
        self.well = False

    @precondition(lambda self: self.well)
    @rule()
    def agent_dies(self) -> None:
        self.well = False

    @precondition(lambda self: self.is_running())
    @rule(state=st.sampled_from([InstanceState.STOPPED, InstanceState.TERMINATED]))
    def somebody_ends_the_instance(self, state: InstanceState) -> None:
        assert self.launched
        self.env.fleet.move(self.launched.instance_id, state)
        self.well = False

    @precondition(lambda self: self.holds())
    @rule(at_once=st.booleans())
    def kill(self, at_once: bool) -> None:
        try:
            self.env.kill(at_once=at_once)
        except LostRace:
            return
        except (ServiceUnavailable, Crash, UserError):
            pass  # whether it was asked for is not known, or which run there is
        self.well = self.well and not at_once

    @rule(minutes=st.integers(1, 12))
    def time_passes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.one_minute()

    @rule()
    def an_event_is_doubled(self) -> None:
        for _ in range(2):
            with suppress(ServiceUnavailable, Crash):
                self.env.watchdog.lane(LANE)
        self.notice()
        self.well = self.well and self.is_running()

    # --- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def nothing_of_others_is_touched(self) -> None:
        assert self.foreign not in self.env.fleet.terminate_calls

    @invariant()
    def a_run_that_lives_holds_its_lock(self) -> None:
        with self.calm():
            if self.well and self.launched:
                assert self.env.lock().run.run_id == self.launched.run_id

    @invariant()
    def at_most_one_instance_works_for_a_run(self) -> None:
        with self.calm():
            living = [instance for instance in self.env.fleet.instances("dev") if instance.alive and instance.run_id]
        assert len({(instance.run_id, instance.attempt) for instance in living}) == len(living)
        assert len([instance for instance in living if self.launched and instance.run_id == self.launched.run_id]) <= 1

    def teardown(self) -> None:
        self.well = False
        self.meanwhile.left = 0
        for _ in range(int((LIMITS.boot + LIMITS.grace) / LIMITS.sweep) + 6):
            self.one_minute()
        assert self.env.left() == []

    # --- what is asked above ----------------------------------------------------------------------------------

    def one_minute(self) -> None:
        healthy = self.works() and self.may_go_on() and (self.stalled or 0) < _MINUTES_OF_A_SLOW_STEP
        ended = len(self.env.fleet.terminate_calls)
        self.env.clock.advance(seconds(60))
        if self.well and self.launched:
            self.heartbeat(self.launched)
        with suppress(ServiceUnavailable, Crash):
            self.env.watchdog.sweep()
        if healthy:
            assert len(self.env.fleet.terminate_calls) == ended
            assert self.works()
        self.notice()
        self.well = self.well and self.is_running()

    def heartbeat(self, launched: Launched) -> None:
        self.counter += self.stalled is None
        self.stalled = None if self.stalled is None else self.stalled + 1
        with self.calm():
            self.env.heartbeat(
                launched,
                counter=self.counter,
                stalled_for=seconds(60 * (self.stalled or 0)),
                checkpoint_age=seconds(30),
                attempt=self.env.lock().run.attempt,
            )

    def notice(self) -> None:
        """Learn of the instance of a run's next attempt."""
        with self.calm():
            state = self.env.store.read_lock(LANE)
        if not self.launched or not isinstance(state, LockHeld) or state.run.run_id != self.launched.run_id:
            return
        if state.run.instance_id not in (None, self.launched.instance_id):
            self.launched = replace(self.launched, instance_id=str(state.run.instance_id))
            self.well = False

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Looks and moves at which nothing is to happen meanwhile."""
        armed, self.meanwhile.left = self.meanwhile.left, 0
        yield
        self.meanwhile.left = armed

    def holds(self) -> bool:
        with self.calm():
            state = self.env.store.read_lock(LANE)
        return bool(self.launched and isinstance(state, LockHeld) and state.run.run_id == self.launched.run_id)

    def is_running(self) -> bool:
        if self.launched is None:
            return False
        with self.calm():
            instance = self.env.fleet.find("dev", self.launched.instance_id)
        return instance is not None and instance.state is InstanceState.RUNNING

    def run(self) -> Run:
        with self.calm():
            return self.env.lock().run

    def works(self) -> bool:
        return self.well and self.holds() and self.run().status in ACTIVE and self.is_running()

    def may_go_on(self) -> bool:
        if not self.holds():
            return False
        run = self.run()
        return run.stop is None and run.verdict is None and self.env.clock.now() + seconds(900) < run.deadline


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
