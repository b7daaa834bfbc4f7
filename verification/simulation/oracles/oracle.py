"""The invariants of the protocol, checked while a history runs."""

from __future__ import annotations

import json
from collections import Counter

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.testing.virtual.agent import AgentRun
from verification.simulation.guarantees import DEAD, GUARANTEES, HUNG, LATE, NO_BOOT, NO_RECORD, PRICED, UNTAGGED
from verification.simulation.ledger import USD_PER_HOUR, Record
from verification.simulation.oracles.ending import Ending
from verification.simulation.oracles.notifications import NotificationOracle
from verification.simulation.scenario import Layer
from verification.simulation.system import Failure, System, Traces

_AT_WORK = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
_PUBLISHING = 3
"""Sweeps by which publishing may delay a termination, where only the instance shows the incident."""


class Oracle:
    """Compares what is done with the truth of a system."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._with_verdict: set[str] = set()
        self.verdicts = system.verdicts
        self.ending = Ending(system)
        self.notifications = NotificationOracle(system)

    def terminate_was_called(self, instance_id: str) -> None:
        """The watchdog terminates an instance: it must be ours, must not be healthy, and is announced."""
        self.schedule_fired(instance_id)
        if instance_id in self._system.fleet.ours:
            self.notifications.watchdog_ends(instance_id)

    def schedule_fired(self, instance_id: str) -> None:
        """Something terminates an instance from outside: it must be ours, and must not be healthy."""
        system = self._system
        system.tell(f"TerminateInstances {instance_id}")
        if instance_id not in system.fleet.ours:
            self.verdicts.alien.append(f"terminated {instance_id}, which is not ours")
        elif instance_id not in self._with_verdict:
            self._must_not_be_healthy(instance_id)

    def lock_was_written(self, key: str) -> None:
        """A verdict of the watchdog stands, also if the instance is well again when its termination is retried."""
        system, lane = self._system, Lane.from_state_key(key)
        if lane not in system.lanes:
            return
        record = system.record_in(lane) if lane not in system.robbed else None
        if lane not in system.spoiled:
            system.ledger.lock_written(lane.name, record)
        self.notifications.lock_was_written(lane, record)
        if record is None:
            if lane in system.spoiled:
                self.lost_its_record(lane)
            return
        if record["stop"] and system.noise.caller.in_launch:  # a launch that fails ends what it may have started
            system.ask_to_end(record["run_id"])
        self._earlier_attempts_must_be_over(record)
        if record["verdict"] and record["verdict"]["decided_by"] == "watchdog":
            self._watchdog_decides(record["instance_id"])

    def report_was_written(self, key: str) -> None:
        """An instance has reported, or the watchdog has decided: it does so before it writes the lock."""
        system, document = self._system, json.loads(self._system.objects.body(key))
        run_id, attempt = document["run_id"], document["attempt"]
        if document.get("void"):
            return
        if document.get("decided_by") != "watchdog":
            system.ledger.reported(run_id, attempt)
            return
        self._watchdog_decides(json.loads(system.objects.body(f"dev/{run_id}/claims/{attempt}.json"))["instance_id"])

    def _watchdog_decides(self, instance_id: str) -> None:
        if instance_id in self._system.fleet.ours - self._with_verdict:
            self._with_verdict.add(instance_id)
            self._must_not_be_healthy(instance_id)

    def _earlier_attempts_must_be_over(self, record: Record) -> None:
        for one in self._system.fleet.bill.values() if record["attempt"] > 1 else ():
            earlier = one.run_id == record["run_id"] and one.attempt < record["attempt"]
            if earlier and self._system.healthy(one.instance_id):
                self.verdicts.wrong.append(f"attempt {record['attempt']} begins while {one.instance_id} is healthy")

    def _must_not_be_healthy(self, instance_id: str) -> None:
        system = self._system
        if system.fleet.state(instance_id) not in _AT_WORK:
            return
        if system.healthy(instance_id):
            self.verdicts.wrong.append(f"{instance_id} was healthy at {system.time.seconds:.0f} s")
        elif system.scenario.clean and system.was_not_asked(instance_id):
            self.verdicts.wrong.append(f"{instance_id} was terminated at a limit and not asked to save before")

    def fails(self, instance_id: str, failure: str, since: float | None = None, until: float | None = None) -> None:
        """From now on the instance should end; the first failure counts. After `until` seconds it is well again."""
        system = self._system
        if instance_id in system.failing or instance_id in system.out_of_reach or not system.lives(instance_id):
            return
        if instance_id in system.on_hold and failure not in (LATE, PRICED):
            return
        system.failing[instance_id] = Failure(failure, system.time.seconds if since is None else since)
        if until is not None:
            system.time.after(until, lambda: self.forgive(instance_id))

    def agent_died(self, instance_id: str, until: float | None = None) -> None:
        """An agent that dies before its claim looks to the watchdog like one that never booted."""
        launched = self._system.fleet.bill[instance_id].launched
        name, since = (DEAD, None) if self._system.agents[instance_id].claimed else (NO_BOOT, launched)
        self.fails(instance_id, name, since=since, until=until)

    def somebody_wrote(self, lane: Lane) -> None:
        """A verdict's grace counts from when S3 says that it was written; a first look is taken anew."""
        self.notifications.somebody_wrote(lane)
        record = self._system.record_in(lane)
        if record is not None and (record["verdict"] or record["suspect"]):
            failure = self._system.failing.get(record["instance_id"])
            if failure is not None and failure.name in (DEAD, HUNG):
                failure.since = self._system.time.seconds

    def forgive(self, instance_id: str) -> None:
        """The instance is well again, or need not end any more."""
        self._system.failing.pop(instance_id, None)

    def loses_its_tags(self, instance_id: str) -> None:
        """The watchdog does not see it any more: its schedule or the instance itself ends it."""
        system = self._system
        self.forgive(instance_id)
        system.out_of_reach.add(instance_id)
        deadlines = system.ledger.deadlines(system.fleet.bill[instance_id].run_id)
        timed = Layer.DEADLINE not in system.scenario.layers_off
        if deadlines and timed and instance_id in system.deadlines.schedules:
            system.failing[instance_id] = Failure(UNTAGGED, deadlines[1])

    def lost_its_record(self, lane: Lane) -> None:
        """The price cap is unknown from now on, and an instance on hold stays until its deadline."""
        for instance_id, failure in list(self._system.failing.items()):
            of_lane = self._system.lane_of(instance_id) == lane
            if of_lane and (failure.name == PRICED or instance_id in self._system.on_hold):
                self.forgive(instance_id)

    def fenced(self, instance_id: str) -> None:
        """An agent leaves by itself: an unreadable record is no reason."""
        system, lane = self._system, self._system.lane_of(instance_id)
        unreadable = lane is not None and system.objects.holds(lane.state_key) and system.record_in(lane) is None
        if unreadable and system.healthy(instance_id):
            self.verdicts.wrong.append(f"{instance_id} left a record that it could not read")

    def went(self, instance_id: str) -> None:
        """The instance begins to shut down: check that it is in time."""
        self._spent_too_much(instance_id)
        self.notifications.leaves(instance_id)
        system = self._system
        failure = system.failing.pop(instance_id, None)
        if failure is None:
            return
        seconds = system.time.seconds - failure.since
        name, guarantee = failure.name, GUARANTEES[failure.name]
        if name == UNTAGGED and seconds <= 0:
            return
        spoiled = name != UNTAGGED and system.lane_of(instance_id) in system.spoiled
        if spoiled:
            name, guarantee = f"{name}, its record overwritten", guarantee.without_a_record
        if not system.scenario.outages:
            self.verdicts.times.append((name, seconds, guarantee.bound))
        # The price cap has a list of its own.
        if name == PRICED or (Layer.SWEEP in system.scenario.layers_off and name != UNTAGGED):
            return
        # EC2 tells an instance's age: a deadline does not depend on S3.
        disturbed = system.noise.disturbed_by_chance if name == LATE else system.noise.disturbed
        # Before EC2's list shows it a tick is of no use, and in some the watchdog only publishes.
        publishing = _PUBLISHING if (spoiled or name == NO_RECORD) and not system.scenario.clean else 0
        allowed = guarantee.later(system.scenario.list_lag, publishing).allowed(failure.since, disturbed)
        if seconds > allowed:
            late = f"{failure.name}, ended after {seconds:.0f} s, allowed {allowed:.0f} s"
            self.verdicts.leaks.append(f"{instance_id}: {late}")

    def claimed(self) -> None:
        """An agent has claimed: it must be the only one that works in its lane."""
        working: Counter[str] = Counter()
        for instance_id, agent in self._system.agents.items():
            lane = self._system.lane_of(instance_id)
            if lane and agent.claimed and agent.run is not AgentRun.GONE and lane not in self._system.robbed:
                working[lane.name] += instance_id not in self._system.out_of_reach
        self.verdicts.two_agents += [f"{n} agents work in lane {lane}" for lane, n in working.items() if n > 1]

    def _spent_too_much(self, instance_id: str) -> None:
        """A run may exceed its cap by one tick."""
        system = self._system
        spent = None if Layer.SWEEP in system.scenario.layers_off else system.ledger.spent_at(instance_id)
        if spent is None or instance_id in system.out_of_reach or system.own_record(instance_id) is None:
            return
        late = system.time.seconds - spent
        if late > GUARANTEES[PRICED].allowed(spent, system.noise.disturbed) + system.scenario.list_lag:
            self.verdicts.over_cap.append(f"{instance_id} lived for {late:.0f} s after its run had spent its cap")

    def at_the_end(self) -> None:
        """Check that nothing lives, nothing is locked, and everything was published."""
        found, ledger = self.verdicts, self._system.ledger
        found.leaks += self.ending.leaks()
        found.stuck += self.ending.stuck()
        self.notifications.at_the_end()
        found.above_plan = self._above_plan()
        found.waits = list(ledger.waits())
        found.wasted = max((account.wasted for account in ledger.accounts.values() if account.refused), default=0.0)

    def _above_plan(self) -> list[str]:
        """Runs for which EC2 bills more than the plan of their launch said, while EC2 and S3 answer.

        Not those whose instances or records somebody has hidden from the watchdog.
        """
        system, scenario, ledger = self._system, self._system.scenario, self._system.ledger
        if not scenario.clean or Layer.SWEEP in scenario.layers_off:
            return []
        hidden = {lane.name for lane in system.spoiled | system.robbed}
        # An instance that EC2 lists late ends so much later.
        planned, late = system.planned_usd(), max(USD_PER_HOUR.values()) / 3600 * scenario.list_lag
        return [
            f"{account.run_id} cost ${ledger.billed(account):.4f}, its plan said ${planned:.4f} at most"
            for account in ledger.accounts.values()
            if account.lane not in hidden
            and system.out_of_reach.isdisjoint(one.instance_id for one in account.instances)
            and ledger.billed(account) > planned + late
        ]

    def after_the_end(self, before: Traces) -> None:
        """Events arrived after the end: they must have done nothing."""
        if self._system.traces != before:
            self.verdicts.wrong.append("an event after the end did something")
