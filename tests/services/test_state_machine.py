"""Store and reconcile under whatever agents, people and time do in whatever order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronos_ec2.domain.errors import LaneBusy, LostRace
from chronos_ec2.domain.facts import Held
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.run import ACTIVE, Cause, Outcome, Status
from chronos_ec2.services.launch import Launched
from tests.builders import seconds
from tests.services.scenario import LIMITS, Scenario

LANE = Lane("dev")


class LaneMachine(RuleBasedStateMachine):
    """One lane. The agent of the newest launch beats as long as it is said to be well."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scenario()
        self.foreign = self.scene.world.fleet.add({"Project": "another"})
        self.launched: Launched | None = None
        self.well = False
        self.counter = 0

    # --- what happens ------------------------------------------------------------------------------------------

    @rule()
    def launch(self) -> None:
        held = isinstance(self.scene.store.read_lock(LANE), Held)
        try:
            self.launched = self.scene.launch()
        except LaneBusy:
            assert held
            return
        assert not held
        self.well = False

    @precondition(lambda self: self.holds() and not self.scene.lock().run.claimed and self.is_running())
    @rule()
    def claim(self) -> None:
        assert self.launched
        self.scene.claim(self.launched)
        self.well = True

    @precondition(lambda self: self.works())
    @rule()
    def advance(self) -> None:
        run = self.scene.lock().run
        following = {
            Status.INITIALIZATION: Status.DATA_SYNC, Status.DATA_SYNC: Status.TRAINING,
            Status.TRAINING: Status.RESULTS_SYNC,
        }.get(run.status)  # fmt: skip
        if following:
            held = self.scene.lock()
            self.scene.store.replace_lock(run.advance(following, str(following), self.scene.world.clock.now()), held)

    @precondition(lambda self: self.works())
    @rule(outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED]))
    def finish(self, outcome: Outcome) -> None:
        assert self.launched
        self.scene.end(outcome, Cause.COMPLETED if outcome is Outcome.SUCCEEDED else Cause.USER_CODE)
        self.scene.power_off(self.launched)
        self.well = False

    @rule()
    def agent_dies(self) -> None:
        self.well = False

    @precondition(lambda self: self.is_running())
    @rule(state=st.sampled_from([InstanceState.STOPPED, InstanceState.TERMINATED]))
    def somebody_ends_the_instance(self, state: InstanceState) -> None:
        assert self.launched
        self.scene.world.fleet.move(self.launched.instance_id, state)
        self.well = False

    @precondition(lambda self: self.holds())
    @rule(at_once=st.booleans())
    def kill(self, at_once: bool) -> None:
        try:
            self.scene.kill(at_once=at_once)
        except LostRace:
            return
        self.well = self.well and not at_once

    @rule(minutes=st.integers(1, 12))
    def time_passes(self, minutes: int) -> None:
        before = len(self.scene.world.fleet.terminate_calls)
        for _ in range(minutes):
            self.one_minute()
        if self.was_well_throughout:
            assert len(self.scene.world.fleet.terminate_calls) == before

    @rule()
    def an_event_is_doubled(self) -> None:
        self.scene.reconciler.lane(LANE)
        self.scene.reconciler.lane(LANE)

    # --- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def nothing_of_others_is_touched(self) -> None:
        assert self.foreign not in self.scene.world.fleet.terminate_calls

    @invariant()
    def a_run_that_lives_holds_its_lock(self) -> None:
        if self.well and self.launched:
            assert self.scene.lock().run.run_id == self.launched.run_id

    def teardown(self) -> None:
        self.well = False
        for _ in range(int((LIMITS.boot + LIMITS.grace) / LIMITS.sweep) + 6):
            self.one_minute()
        assert self.scene.left() == []

    # --- what is asked above ----------------------------------------------------------------------------------

    def one_minute(self) -> None:
        self.was_well_throughout = self.well and self.may_go_on()
        self.scene.world.clock.advance(seconds(60))
        if self.well and self.launched:
            self.counter += 1
            self.scene.beat(self.launched, counter=self.counter)
        self.scene.reconciler.sweep()
        self.well = self.well and self.is_running()
        self.was_well_throughout = self.was_well_throughout and self.well

    def holds(self) -> bool:
        state = self.scene.store.read_lock(LANE)
        return bool(self.launched and isinstance(state, Held) and state.run.run_id == self.launched.run_id)

    def is_running(self) -> bool:
        if self.launched is None:
            return False
        box = self.scene.world.fleet.find("dev", self.launched.instance_id)
        return box is not None and box.state is InstanceState.RUNNING

    def works(self) -> bool:
        return self.well and self.holds() and self.scene.lock().run.status in ACTIVE and self.is_running()

    def may_go_on(self) -> bool:
        if not self.holds():
            return False
        run = self.scene.lock().run
        return run.stop is None and run.verdict is None and self.scene.world.clock.now() + seconds(900) < run.deadline


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
