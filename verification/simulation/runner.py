"""One history: a system, disturbed as its scenario says, watched by sweeps and events, and checked by the oracles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Status
from chronos_ec2.testing import Crash
from chronos_ec2.testing.environment import BUCKET
from chronos_ec2.testing.virtual.faulty_agent import FaultyAgent
from chronos_ec2.worker.run_session import Identity
from verification.simulation.fault_injection import FaultInjector, forged_event, instance_event, object_event
from verification.simulation.faulty_aws import Caller
from verification.simulation.guarantees import LATE, NO_BOOT, PRICED, Verdicts
from verification.simulation.oracles.oracle import Oracle
from verification.simulation.parts import REAL_PARTS, Parts
from verification.simulation.scenario import FaultKind, Layer, Scenario
from verification.simulation.system import SUBNETS, System

_HORIZON_SECONDS = 60_000.0
_FUNCTION_TIMEOUT = 60.0
_LATE_SHARE, _LATE_SECONDS, _LATEST_SECONDS = 0.05, 900.0, 86_400.0


def run_history(
    scenario: Scenario, limits: Limits, log: Callable[[str], None] | None = None, parts: Parts = REAL_PARTS
) -> Verdicts:
    """Let a scenario happen, and return what the oracles found. `log` is called with each thing that happens."""
    return History(System(scenario, limits, log, parts)).run()


class History:
    """A system under its scenario. `oracle` may know of more than faults."""

    def __init__(self, system: System, oracle: Oracle | None = None) -> None:
        self._system = system
        self._scenario = system.scenario
        self._time = system.time
        self._oracle = oracle or Oracle(system)
        self._injector = FaultInjector(system, self._oracle, self._cleanup, self._deliver)
        self._in_transit: list[Callable[[], None]] = []
        """The events that have not arrived."""

    def run(self) -> Verdicts:
        """Let it happen, and return what the oracles found."""
        system, scenario = self._system, self._scenario
        system.fleet.no_capacity.update(SUBNETS[: scenario.full_subnets])
        system.fleet.droughts = scenario.droughts
        system.objects.before_lock = self._lock_is_written
        system.objects.on_lock = self._lock_was_written
        system.objects.on_report = self._report_was_written
        system.objects.on_beat_read = self._heartbeat_is_read
        system.objects.on_release = self._oracle.lock_was_written
        system.objects.on_marker = self._oracle.notifications.marker_changes
        system.noise.on_publish = self._oracle.notifications.was_published
        system.fleet.on_refusal = system.ledger.refused
        system.fleet.on_change = self._instance_changed
        system.fleet.on_terminate = self._oracle.terminate_was_called
        system.fleet.on_schedule = self._oracle.schedule_fired
        self._begin()
        for fault in scenario.faults:
            self._time.at(fault.after, partial(self._injector.do, fault))
        if Layer.SWEEP not in scenario.layers_off:
            self._time.at(system.random.uniform(0, 60), self._sweep)
        for _ in range(scenario.forged_events):
            self._time.at(system.random.uniform(0, 900), self._forge)
        self._time.run(self._is_over(), _HORIZON_SECONDS)
        system.noise.kill_all()
        self._oracle.at_the_end()
        if self._in_transit and not self._oracle.verdicts.failed:
            self._deliver_the_rest()
        return self._oracle.verdicts

    def _begin(self) -> None:
        """Somebody launches in each lane."""
        dies = self._scenario.calls_to_crash(FaultKind.LAUNCHER_DIES)
        for index, lane in enumerate(self._system.lanes):
            self._time.at(1.0 + index, partial(self._system.environment.begin_launch, lane, dies.get(index)))

    def _is_over(self) -> Callable[[], bool]:
        """Whether everything has happened, and nothing is left to do."""
        last = max((at.after for at in self._scenario.faults), default=0.0)
        return partial(self._oracle.ending.is_over, last)

    def _sweep(self) -> None:
        system = self._system
        self._time.after(system.limits.sweep.total_seconds(), self._sweep)
        begun = self._time.seconds
        if self._scenario.lost_ticks > 0 and system.random.random() < self._scenario.lost_ticks:
            system.noise.disturbs(begun)
            return
        caller = Caller(in_function=True, tick=begun)
        self._oracle.notifications.tick_begins()

        def ended(failed: bool) -> None:
            if failed or caller.failed or system.noise.out:
                chance = caller.failed_by_chance or (failed and not caller.failed)
                blind = caller.blind or bool(system.noise.out & {"s3", "ec2"})
                system.noise.disturbs(begun, by_chance=chance, blind=blind)
            else:
                self._oracle.notifications.tick_ended()

        self._invoke(caller, self._one_sweep, ended)

    def _one_sweep(self) -> None:
        for report in self._system.sweep():
            actions = ", ".join(type(action).__name__ for action in report.decision.actions)
            self._system.tell(f"sweep: {report.decision.reason} [{actions}] {report.error}")

    def _cleanup(self) -> None:
        """A pass of the watchdog by hand."""
        self._invoke(Caller(), self._system.environment.watchdog.sweep)

    def _invoke(
        self, caller: Caller, call: Callable[[], object], ended: Callable[[bool], None] = lambda _failed: None
    ) -> None:
        """An invocation, which may crash or fail; `ended` gets whether it did. The next try is the next tick."""

        def invocation() -> None:
            failed = True
            try:
                call()
                failed = False
            except Crash:
                self._system.tell("a function crashed")
            except ChronosError as error:
                self._system.tell(f"a function failed: {error}")
            finally:
                ended(failed)

        self._system.noise.run_as(caller, invocation, timeout=_FUNCTION_TIMEOUT)

    def _lock_is_written(self, _key: str) -> None:
        """A heartbeat that is already due does not see what somebody else writes only now."""
        for agent in self._agents_that_wait():
            agent.catch_up()

    def _lock_was_written(self, key: str) -> None:
        self._oracle.lock_was_written(key)
        for agent in self._agents_that_wait():
            agent.news()
        self._deliver(object_event(BUCKET, key))

    def _agents_that_wait(self) -> list[FaultyAgent]:
        return [agent for agent in self._system.agents.values() if not agent.acts]

    def _report_was_written(self, key: str) -> None:
        self._oracle.report_was_written(key)
        self._deliver_report(key)

    def _deliver_report(self, key: str) -> None:
        self._deliver(object_event(BUCKET, key))

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        self._system.tell(f"{instance_id} is {state}")
        if state is InstanceState.PENDING:
            self._system.ledger.instance_launched(instance_id)
        if state is InstanceState.RUNNING and instance_id in self._system.fleet.ours:
            self._time.after(self._scenario.boot, partial(self._boot, instance_id))
        if state is InstanceState.SHUTTING_DOWN:
            if agent := self._system.agents.get(instance_id):
                agent.catch_up()
                if agent.status is Status.TRAINING:  # the parts of its upload stay
                    key = run_key(agent.identity.environment, agent.identity.run_id, "checkpoints/1/model")
                    self._system.objects.begin(key)
                agent.die()
            self._oracle.went(instance_id)
        self._deliver(instance_event(instance_id, str(state)))

    def _deliver(self, event: dict[str, object]) -> None:
        """EventBridge: an event may be lost, duplicated, late and out of order."""
        scenario, random = self._scenario, self._system.random
        if Layer.EVENTS in scenario.layers_off or scenario.lost_events == 1.0 or random.random() < scenario.lost_events:
            return
        for _ in range(1 + (scenario.doubled_events > 0 and random.random() < scenario.doubled_events)):
            delay = random.uniform(0.5, 5)
            if random.random() < _LATE_SHARE:
                # Half of the late ones arrive while the run lives, the others up to a day later.
                delay = random.uniform(5, random.choice((_LATE_SECONDS, _LATEST_SECONDS)))
            self._send(event, delay)

    def _send(self, event: object, delay: float) -> None:
        def arrives() -> None:
            self._in_transit.remove(arrives)
            self._handle(event)

        self._in_transit.append(arrives)
        self._time.after(delay, arrives)

    def _forge(self) -> None:
        system = self._system
        instances = [instance.instance_id for instance in system.fleet.everything()]
        event = forged_event(system.random, system.lanes, instances)
        system.tell(f"! forged: {event}")
        self._handle(event)

    def _handle(self, event: object) -> None:
        self._invoke(Caller(in_function=True), partial(self._system.environment.handle, event))

    def _deliver_the_rest(self) -> None:
        """What arrives after the end finds nothing to do."""
        system = self._system
        before = system.traces
        system.noise.muted = True
        # By then EC2's list is up to date.
        self._time.seconds += self._scenario.list_lag
        for arrives in tuple(self._in_transit):
            arrives()
        self._oracle.after_the_end(before)

    def _boot(self, instance_id: str) -> None:
        system = self._system
        found = system.fleet.truth(instance_id)
        if found.state is not InstanceState.RUNNING or found.lane is None or found.run_id is None:
            return
        arranged = {at.kind for at in self._scenario.faults if system.lanes[at.lane] == found.lane}
        if FaultKind.NO_BOOT in arranged:
            launched = system.fleet.bill[instance_id].launched
            self._oracle.fails(instance_id, NO_BOOT, since=launched)
            if Layer.INSTANCE not in self._scenario.layers_off:  # its own boot timer ends it
                self._time.at(launched + system.limits.boot.total_seconds(), partial(self._power_off, instance_id))
            return
        identity = Identity(found.lane.environment, found.run_id, instance_id, "boot", found.attempt)
        agent = FaultyAgent(
            self._time, system.noise, system.store, found.lane, identity, system.limits, system.parts.agent_session,
            power_off=partial(self._agent_ended, instance_id),
            on_claim=self._oracle.claimed,
            on_fenced=partial(self._oracle.fenced, instance_id),
            deaf=FaultKind.DEAF in arranged,
            checkpoint_after=self._scenario.checkpoint_after,
            training=self._scenario.training,
        )  # fmt: skip
        system.agents[instance_id] = agent
        if deadlines := system.ledger.deadlines(found.run_id):
            self._time.at(deadlines[1], partial(self._past_its_deadline, instance_id))
        if (spent := system.ledger.spent_at(instance_id)) is not None:
            self._time.at(spent, partial(self._past_its_price, instance_id))
        self._start(instance_id, agent)

    def _start(self, _instance_id: str, agent: FaultyAgent) -> None:
        agent.start()

    def _past_its_deadline(self, instance_id: str) -> None:
        """From now on it should end; its own timer ends it, if that layer is on and the instance alive."""
        if self._system.fleet.state(instance_id) is not InstanceState.RUNNING:
            return
        self._oracle.fails(instance_id, LATE)
        if Layer.INSTANCE not in self._scenario.layers_off and self._system.agents[instance_id].timers_run:
            self._power_off(instance_id)

    def _past_its_price(self, instance_id: str) -> None:
        if self._system.fleet.state(instance_id) is InstanceState.RUNNING and self._system.own_record(instance_id):
            self._oracle.fails(instance_id, PRICED)

    def _agent_ended(self, instance_id: str) -> None:
        self._system.tell(f"the agent on {instance_id} ended")
        if Layer.INSTANCE in self._scenario.layers_off:
            self._oracle.agent_died(instance_id)
        else:
            self._time.after(2.0, partial(self._power_off, instance_id))

    def _power_off(self, instance_id: str) -> None:
        if self._system.fleet.state(instance_id) in (InstanceState.PENDING, InstanceState.RUNNING):
            self._system.fleet.shut_down(instance_id, self._system.random.uniform(5, 30))

    def _heartbeat_is_read(self, key: str) -> None:
        for agent in self._system.agents.values():
            if agent.identity.run_id in key:
                agent.catch_up()
