"""Histories of groups: members are started by the watchdog's conclusions, through a launcher that dies and comes twice.

The system, its noise and its agents are those of verification.simulation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.reports import CleanupReport, Comparison
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import group_key, run_key
from chronos_ec2.domain.records.status import Outcome, Verdict
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.testing import Crash
from chronos_ec2.testing.builders import BOUNDS, a_group
from chronos_ec2.testing.environment import BUCKET, REGION
from chronos_ec2.worker.run_session import RunSession
from verification.lifecycle.group_oracle import GroupFindings, GroupOracle
from verification.lifecycle.group_plan import WAIT, GroupPlan
from verification.lifecycle.history import PARTS, SkewedClock, WatchedObjects
from verification.simulation.faulty_aws import Caller
from verification.simulation.parts import Parts
from verification.simulation.runner import History
from verification.simulation.system import LAMBDA_RETRIES, LAUNCHER_TIMEOUT, SUBNETS, System

NAME = "group"
_LOOKS_AGAIN = 900.0
_AGAIN = 120.0


def run_group(
    plan: GroupPlan,
    limits: Limits,
    log: Callable[[str], None] | None = None,
    parts: Parts = PARTS,
    groups: type[Groups] = Groups,
) -> GroupFindings:
    """Let a plan happen, and return what the oracle found."""

    def made(run_id: str) -> None:
        history.made(run_id)

    system = System(plan.scenario, limits, log, replace(parts, agent_session=_forecasting(made)))
    history = GroupHistory(plan, system, groups)
    return history.judged()


def _forecasting(made: Callable[[str], None]) -> type[RunSession]:
    """An agent's session that has written the manifest of its forecast before it reports that it succeeded."""

    class Forecasting(RunSession):
        def finish(
            self,
            verdict: Verdict,
            cleanup: CleanupReport | None = None,
            models: tuple[tuple[str, str], ...] = (),
            comparison: Comparison | None = None,
        ) -> None:
            if verdict.outcome is Outcome.SUCCEEDED:
                made(self.run.run_id)
            super().finish(verdict, cleanup, models, comparison)

    return Forecasting


class GroupHistory(History):
    """A system in which an operator orders a group, and nobody else starts runs."""

    def __init__(self, plan: GroupPlan, system: System, groups: type[Groups]) -> None:
        self._plan, self._groups = plan, groups
        self._group = _ordered(plan, system)
        self._judge = GroupOracle(system, self._group)
        super().__init__(system, self._judge)
        self._random = Random(plan.scenario.seed ^ 0xDA7A)
        self._latest = 0.0
        self._commands = 0
        """Of the operator that are not done: a closed laptop opens again."""

    def judged(self) -> GroupFindings:
        """Let it happen, and return what the oracle found."""
        self.run()
        return self._judge.found

    def made(self, run_id: str) -> None:
        """The instance of a run has made its forecast."""
        part = {"key": run_key("dev", run_id, "forecasts/part-00000.parquet"), "bytes": 4, "sha256": "0" * 64}
        body = json.dumps({"parts": [part | {"rows": 28, "items": 1}]}).encode()
        self._system.objects.overwrite(run_key("dev", run_id, "forecasts/manifest.json"), body)

    def _begin(self) -> None:
        plan, system, objects = self._plan, self._system, self._system.objects
        assert isinstance(objects, WatchedObjects)
        objects.on_put = self._judge.was_written
        system.environment.on_advance = self._advance
        system.lanes[:] = self._group.lanes
        system.noise.muted = True
        system.environment.groups.orders.create(self._group)
        system.noise.muted = False
        caller = Caller(in_launch=True, calls_to_crash=plan.operator_dies)
        self._at(1.0, partial(self._operator, caller, lambda found: found.go_on(NAME), self._looks))
        if plan.killed_at is not None:
            self._at(plan.killed_at, self._kill)
        if plan.deleted_at is not None:
            self._at(plan.deleted_at, self._delete)

    def _is_over(self) -> Callable[[], bool]:
        ending, faults = self._oracle.ending, self._scenario.faults
        self._latest = max([self._latest, *(at.after for at in faults)])
        return lambda: ending.is_over(self._latest) and not self._commands

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        self._latest = max(self._latest, seconds)
        self._time.at(seconds, call)

    # --- the operator ------------------------------------------------------------------------------------------

    def _operator(self, caller: Caller, call: Callable[[Groups], object], failed: Callable[[], None]) -> None:
        """Somebody types a command. If it fails, they do something about it."""

        def command() -> None:
            done = False
            self._commands += 1
            try:
                self._system.tell(f"! operator: {call(self._function())}")
                done = True
            except ChronosError as error:
                self._system.tell(f"! operator: failed: {error}")
            finally:
                self._commands -= 1
                if not done:
                    failed()

        self._system.noise.run_as(caller, command)

    def _looks(self) -> None:
        """The operator comes back to a command that has failed: a group that nobody goes on with is killed."""
        self._at(self._time.seconds + _LOOKS_AGAIN, self._kill_what_nobody_goes_on_with)

    def _kill_what_nobody_goes_on_with(self) -> None:
        held = any(self._system.objects.holds(lane.state_key) for lane in self._group.lanes)
        if not held and self._judge.result is None:
            self._kill()

    def _delete(self) -> None:
        """Somebody deletes the order: members at work go on to their end, and no other one starts."""
        self._system.tell("! the order is deleted")
        self._system.objects.overwrite(group_key("dev", NAME, "order.json"), None)
        self._judge.deleted = True

    def _kill(self) -> None:
        self._judge.is_killed()

        def kill(found: Groups) -> object:
            return found.kill(NAME, self._system.environment.watchdog, "by hand", at_once=self._plan.at_once)

        dies = self._random.randrange(1, 60) if self._random.random() < self._plan.dies else None
        again = self._time.seconds + _AGAIN
        self._operator(Caller(calls_to_crash=dies), kill, lambda: self._at(again, self._kill))

    # --- the launcher function ---------------------------------------------------------------------------------

    def _advance(self, run: Run, group: str) -> None:
        """The watchdog invokes it asynchronously: a moment later, now and then twice, and now and then much later."""
        random, plan = self._random, self._plan
        delays = [random.uniform(0.1, 3.0)]
        if random.random() < plan.doubled:
            delays.append(random.uniform(0.1, 60.0))
        if random.random() < plan.late:
            delays.append(random.uniform(60.0, 5400.0))
        for each in delays:
            # The history lasts until then: who comes when the group has ended must find nothing to do.
            self._at(self._time.seconds + each, partial(self._invoke_launcher, run.run_id, group, LAMBDA_RETRIES))

    def _invoke_launcher(self, run_id: str, group: str, retries: tuple[float, ...]) -> None:
        """Lambda runs the function, and again some time after it has failed, crashed or taken too long."""
        dies = self._random.randrange(1, 60) if self._random.random() < self._plan.dies else None

        def invocation() -> None:
            done = False
            try:
                self._system.tell(f"{group} after {run_id}: {self._function().after(group, run_id)}")
                done = True
            except ChronosError as error:
                self._system.tell(f"{group} after {run_id}: failed: {error}")
            except Crash:
                self._system.tell(f"{group} after {run_id}: crashed")
                raise
            finally:
                if not done and retries:
                    self._time.after(retries[0], partial(self._invoke_launcher, run_id, group, retries[1:]))

        caller = Caller(in_function=True, in_launch=True, calls_to_crash=dies)
        self._system.noise.run_as(caller, invocation, timeout=LAUNCHER_TIMEOUT)

    def _function(self) -> Groups:
        """Whoever may start runs, with a clock that may be wrong."""
        env, skew = self._system.environment, self._plan.skew
        clock = SkewedClock(env.clock, self._random.uniform(-skew, skew))
        launcher = Launcher(BUCKET, SUBNETS, env.store, env.fleet, env.deadlines, clock, BOUNDS)
        place = StackLocation("aws", REGION, BUCKET)
        return self._groups(Schedules(env.name, env.store, launcher, env.notifier, clock, place, "a-stack"))

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        super()._instance_changed(instance_id, state)
        if state is InstanceState.PENDING:
            self._judge.begins(instance_id)


def _ordered(plan: GroupPlan, system: System) -> Group:
    """The order, by the clock and the limits of the system."""
    made = a_group(NAME, plan.members, parallel=plan.parallel, purpose=plan.purpose, max_cost_usd=plan.cap)
    now = system.time.now().replace(microsecond=0)
    lasts = timedelta(days=9) if plan.seconds is None else timedelta(seconds=plan.seconds)
    budget = replace(
        made.budget, deadline=now + lasts, crashes=plan.scenario.crashes_left,
        preemptions=plan.scenario.preemptions_left,
    )  # fmt: skip
    request = replace(made.request, budget=budget, limits=system.limits, wait_for_capacity=WAIT)
    return replace(made, created_at=now, request=request)
