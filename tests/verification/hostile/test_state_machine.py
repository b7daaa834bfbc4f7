"""A hostile instance as a state machine: Hypothesis chooses what it writes and when, and shortens what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chronos_ec2.domain.errors import LostRace, UserError
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.message_kinds import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, OutcomeReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, run_prefix
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.services.launch import Launched, Launcher
from chronos_ec2.testing import Environment, MemoryAws, MemoryNotifier, MemoryObjects
from chronos_ec2.testing.builders import BOUNDS, LIMITS, SUBNETS
from tests.services.test_state_machine import Meanwhile
from tests.verification.hostile.test_histories import (
    Choosy,
    Generous,
    StoppedByGarbage,
    free_attempts,
    trusting_the_living,
    without_cap,
)
from tests.verification.simulation.test_oracles import each_run
from verification.hostile.rights import Right, right_to_write
from verification.hostile.writing import Target, Writer

OTHER = Lane("dev", "other")
TICK = LIMITS.sweep
PRICE, CAP = 0.752, 0.4
RUNTIME = timedelta(minutes=45)
"""More than the cap pays for."""
CRASHES, PREEMPTIONS = 1, 1
ENDS = {Kind.COMPLETED, Kind.FAILED, Kind.KILLED, Kind.STUCK, Kind.OVER_BUDGET}


@dataclass
class Parts:
    """What the environment is made of; each may be defective."""

    environment: dict[str, Any] = field(default_factory=dict)
    notifier: Callable[[Meanwhile], MemoryNotifier] = MemoryNotifier
    objects: type[MemoryObjects] = MemoryObjects
    launcher: type[Launcher] = Launcher
    capped: bool = True


class Defective(Environment):
    """An environment whose launcher may be defective."""

    launcher: type[Launcher] = Launcher

    def relaunch(self, run: Run) -> None:
        self.launcher("a-bucket", SUBNETS, self.store, self.fleet, self.deadlines, self.clock, BOUNDS).relaunch(run)


@dataclass
class Life:
    """An instance as EC2 bills it."""

    instance: Instance
    ended: datetime | None = None


class HostileMachine(RuleBasedStateMachine):
    """Two lanes: the run of one has instances that turn hostile, that of the other an agent of ours."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.meanwhile = Meanwhile()
        aws = MemoryAws(self.meanwhile, notifier=parts.notifier(self.meanwhile))
        aws.objects = parts.objects(aws.clock, self.meanwhile)
        self.env = Defective(aws=aws, price_per_hour_usd=PRICE, **parts.environment)
        self.env.launcher = parts.launcher
        self.cap = CAP if parts.capped else None
        self.lives: dict[str, Life] = {}
        self.runs: dict[str, Launched] = {}
        """Those that had a hostile instance."""
        self.good: dict[str, datetime | None] = {}
        """The runs of the other lane, and when each agent was done."""
        self.hostile: set[str] = set()
        self.beats, self.again = False, False
        """Whether hostile instances beat until the end, and whether each instance turns at once."""
        self.told: list[datetime] = []

    @initialize(from_the_beginning=st.booleans(), beats=st.booleans())
    def begin(self, from_the_beginning: bool, beats: bool) -> None:
        self.launch_the_other()
        self.launch()
        self.one_minute()
        self.beats, self.again = beats, from_the_beginning
        self.look()

    # --- what everybody else does ------------------------------------------------------------------------------

    @precondition(lambda self: isinstance(self.env.store.read_lock(self.env.lane), Absent))
    @rule()
    def launch(self) -> None:
        launched = self.env.launch(
            max_cost_usd=self.cap,
            crashes_left=CRASHES,
            preemptions_left=PREEMPTIONS,
            limits=replace(LIMITS, max_runtime=RUNTIME),
        )
        self.runs[launched.run_id] = launched
        self.look()

    @precondition(lambda self: self.env.run is not None)
    @rule(at_once=st.booleans())
    def somebody_kills_it(self, at_once: bool) -> None:
        with suppress(LostRace, UserError):  # it ends meanwhile
            self.env.kill(str(self.env.run and self.env.run.run_id), at_once=at_once)

    @rule(minutes=st.sampled_from([1, 2, 5, 15]))
    def time_passes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.one_minute()

    # --- what a hostile instance does --------------------------------------------------------------------------

    @precondition(lambda self: self.living())
    @rule()
    def one_turns(self) -> None:
        self.hostile.add(self.living()[-1].instance_id)

    @precondition(lambda self: self.turned())
    @rule(random=st.randoms(use_true_random=False), times=st.integers(1, 4))
    def it_writes(self, random: Random, times: int) -> None:
        for _ in range(times):
            self.write(random)

    @precondition(lambda self: self.turned())
    @rule(random=st.randoms(use_true_random=False), points=st.integers(1, 40), times=st.integers(1, 5))
    def it_will_write_between_two_calls(self, random: Random, points: int, times: int) -> None:
        self.meanwhile.arm(points, times, lambda: self.write(random))

    @precondition(lambda self: self.turned())
    @rule(name=st.sampled_from(["heartbeat", "status", "outcomes/1", "claims/1"]), body=st.binary(max_size=9))
    def it_writes_garbage(self, name: str, body: bytes) -> None:
        with self.calm():
            self.put(f"{run_prefix('dev', str(self.turned()[-1].run_id))}{name}.json", body)

    @precondition(lambda self: self.turned())
    @rule(cause=st.sampled_from([Cause.PREEMPTED, Cause.INFRA]))
    def it_says_that_it_was_lost(self, cause: Cause) -> None:
        own = self.turned()[-1]
        run_id = str(own.run_id)
        said = Verdict(Outcome.FAILED, cause, "it says", DecidedBy.AGENT)
        with self.calm():
            self.put(
                claim_key("dev", run_id, own.attempt), Claim(run_id, own.attempt, own.instance_id, "b", "c1").to_json()
            )
            self.beat(own)
            self.put(outcome_key("dev", run_id, own.attempt), OutcomeReport(run_id, own.attempt, "c1", said).to_json())
        self.it_powers_off()

    @precondition(lambda self: self.turned())
    @rule(name=st.text("abc/\x01 +%\ud7ff", max_size=8))
    def it_begins_an_upload(self, name: str) -> None:
        self.env.objects.begin(f"{run_prefix('dev', str(self.turned()[-1].run_id))}models/{name}")

    @precondition(lambda self: self.turned())
    @rule()
    def it_powers_off(self) -> None:
        self.env.fleet.move(self.turned()[-1].instance_id, InstanceState.TERMINATED)
        self.look()

    def write(self, random: Random) -> None:
        with self.calm():
            for own in self.turned()[-1:]:
                self.write_as(own, random)

    def write_as(self, own: Instance, random: Random) -> None:
        ids = [*sorted(self.hostile) * 4, *sorted(self.lives), "i-0123456789abcdef0"]
        writer = Writer(random, lambda: ids, self.documents)
        # Of its own run, of one that has ended, and of one that nobody knows.
        run_id = random.choice([str(own.run_id)] * 4 + [*self.runs, "20260131T110000Z-ffffff"])
        writing = writer.writing(Target(run_id, random.choice((own.attempt, own.attempt, 1, 2, 3))))
        self.put(run_prefix("dev", run_id) + writing.name, writing.body, withheld=random.random() < 0.1)

    def put(self, key: str, body: bytes, *, withheld: bool = False) -> None:
        """What its role allows."""
        right, objects = right_to_write(key, "dev"), self.env.objects
        assert right
        if right is Right.REPLACE or not self.has(key):
            (objects.withhold if withheld else objects.write)(key, body)

    def beat(self, own: Instance) -> None:
        target = Target(str(own.run_id), own.attempt)
        beat = Writer(Random(0), list, list).beat(target, own.instance_id)
        self.put(run_prefix("dev", target.run_id) + beat.name, beat.body)

    def documents(self) -> list[bytes]:
        keys = (self.env.lane.state_key, OTHER.state_key)
        return [self.env.objects.body(key) for key in keys if self.has(key)]

    def has(self, key: str) -> bool:
        with suppress(KeyError):
            self.env.objects.body(key)
            return True
        return False

    # --- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def none_is_bought(self) -> None:
        for run_id, launched in self.runs.items():
            own = self.of(run_id)
            assert len(own) <= 1 + CRASHES + PREEMPTIONS, "bought: more instances than ordered"
            assert len([life for life in own if life.ended is None]) <= 1, "bought: two at a time"
            assert all(life.instance.launched_at < self.deadline(launched) for life in own), "bought: past its deadline"
            assert {life.instance.instance_type for life in own} <= {"g4dn.2xlarge"}, "bought: another type"

    @invariant()
    def each_ends_at_its_deadline(self) -> None:
        for life in self.lives.values():
            if life.ended is None and life.instance.run_id in self.runs:
                deadline = self.deadline(self.runs[life.instance.run_id])
                assert self.env.clock.now() <= deadline + TICK, "late: past its deadline"

    @invariant()
    def no_run_costs_more_than_its_cap(self) -> None:
        for run_id in self.runs if self.cap else ():
            hours = sum(
                ((life.ended or self.env.clock.now()) - life.instance.launched_at) / timedelta(hours=1)
                for life in self.of(run_id)
            )
            assert hours * PRICE <= CAP + PRICE * (TICK / timedelta(hours=1)) + 1e-9, "dear: over its cap"

    @invariant()
    def nobody_else_is_harmed(self) -> None:
        for life in self.lives.values():
            if life.instance.run_id in self.good:
                assert life.instance.instance_id not in self.env.fleet.terminate_calls, "harmed: ended"
        for run_id, done in self.good.items():
            if done is None:
                assert len(self.of(run_id)) == 1, "harmed: replaced"
            elif self.env.clock.now() - done > 3 * TICK:
                assert self.ends_told(run_id) == [Kind.COMPLETED], "harmed: its end is not told"

    @invariant()
    def messages_are_bounded(self) -> None:
        now = self.env.clock.now()
        recent = [moment for moment in self.told if now - moment < timedelta(hours=1)]
        runs = len(self.runs) + len(self.good)
        assert len(recent) <= 2 * runs + 4 * len(self.lives), "flooded: with messages"

    def teardown(self) -> None:
        """Whatever it has written, it ends, and everybody hears of it once."""
        self.meanwhile.left = 0
        for _ in range(int(RUNTIME / TICK) + 20):
            if self.env.settled:
                break
            self.one_minute(goes_on=False)
            self.none_is_bought()
            self.each_ends_at_its_deadline()
            self.no_run_costs_more_than_its_cap()
            self.nobody_else_is_harmed()
            self.messages_are_bounded()
        for run_id in (*self.runs, *self.good):
            ends = self.ends_told(run_id)
            assert ends, "silenced: nobody hears of its end"
            assert len(ends) == 1, "flooded: its end is told twice"
        assert self.env.settled, "harmed: something is left"

    # --- what is asked above -----------------------------------------------------------------------------------

    def one_minute(self, *, goes_on: bool = True) -> None:
        self.env.clock.advance(TICK)
        for instance in self.env.alive:
            if instance.instance_id not in self.hostile:
                self.env.agent_of(instance).live()
            elif self.beats:
                with self.calm():
                    self.beat(instance)
        self.look()
        self.env.watchdog.sweep()
        self.look()
        if goes_on and isinstance(self.env.store.read_lock(OTHER), Absent):
            self.launch_the_other()

    def launch_the_other(self) -> None:
        self.good[self.env.launch(OTHER).run_id] = None
        self.look()

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Calls between which nothing is written."""
        armed, self.meanwhile.left = self.meanwhile.left, 0
        yield
        self.meanwhile.left = armed

    def look(self) -> None:
        """Keep what EC2 and SNS show now."""
        now = self.env.clock.now()
        with self.calm():
            listed = self.env.fleet.instances("dev")
        for instance in listed:
            life = self.lives.setdefault(instance.instance_id, Life(instance))
            if self.again and instance.run_id in self.runs:
                self.hostile.add(instance.instance_id)
            if not instance.alive and life.ended is None:
                life.ended = now
                if instance.run_id in self.good:
                    self.good[instance.run_id] = now
        self.told += [now] * (len(self.env.notifier.messages) - len(self.told))

    def deadline(self, launched: Launched) -> datetime:
        return min(life.instance.launched_at for life in self.of(launched.run_id)) + RUNTIME

    def of(self, run_id: str) -> list[Life]:
        return [life for life in self.lives.values() if life.instance.run_id == run_id]

    def living(self) -> list[Instance]:
        return [one for one in self.env.alive if one.run_id in self.runs and one.instance_id not in self.hostile]

    def turned(self) -> list[Instance]:
        return [instance for instance in self.env.alive if instance.instance_id in self.hostile]

    def ends_told(self, run_id: str) -> list[str]:
        messages = [message for message in self.env.notifier.messages if message.document["run_id"] == run_id]
        return [kind for message in messages if (kind := message.attributes["kind"]) in ENDS]


SMALL = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def machine(parts: Parts) -> type[HostileMachine]:
    return type("Machine", (HostileMachine,), {"__init__": lambda self: HostileMachine.__init__(self, parts)})


@pytest.mark.parametrize("examples", [30, pytest.param(500, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("capped", [True, False])
def test_a_hostile_instance_harms_nobody_whatever_it_does(examples: int, capped: bool) -> None:
    run_state_machine_as_test(machine(Parts(capped=capped)), settings=settings(SMALL, max_examples=examples))


class Forgetful(MemoryObjects):
    """No marker of a message is kept."""

    def _put(self, key: str, body: bytes) -> str:
        etag = super()._put(key, body)
        if "/notified/" in key:
            del self._objects[key]
        return etag


DEFECTS = {
    "bought": Parts({"decide": each_run(free_attempts)}, launcher=Generous, capped=False),
    "late": Parts({"decide": trusting_the_living}, capped=False),
    "dear": Parts({"decide": without_cap}),
    "harmed": Parts({"watchdog_type": StoppedByGarbage}),
    "silenced": Parts(notifier=Choosy),
    "flooded": Parts(objects=Forgetful),
}
"""Defective parts by the word of the invariant that must not hold."""


@pytest.mark.thorough
@pytest.mark.parametrize("invariant", DEFECTS)
def test_each_invariant_is_seen_to_fail(invariant: str) -> None:
    chosen = settings(SMALL, max_examples=2000, phases=(Phase.generate,), report_multiple_bugs=False)
    with pytest.raises(AssertionError, match=f"^{invariant}: "):
        run_state_machine_as_test(machine(DEFECTS[invariant]), settings=chosen)
