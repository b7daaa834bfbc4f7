"""One history of a group: an operator begins it, and the launcher function goes on with it when a member has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import group_key, run_key
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.testing.builders import a_group
from verification.lifecycle.group_oracle import GroupOracle
from verification.lifecycle.plan import WAIT, GroupPlan
from verification.lifecycle.runs import Call, LauncherHistory
from verification.simulation.faulty_aws import Caller
from verification.simulation.system import System

NAME = "group"


class GroupHistory(LauncherHistory):
    """A system in which an operator orders a group, and nobody else starts runs."""

    _plan: GroupPlan
    _oracle: GroupOracle
    _calls_to_crash = 60

    def _judge(self, system: System) -> GroupOracle:
        self._group = _ordered(self._plan, system)
        return GroupOracle(system, self._group)

    def _succeeds(self, run_id: str) -> None:
        """Its instance has written the manifest of its forecast."""
        part = {"key": run_key("dev", run_id, "forecasts/part-00000.parquet"), "bytes": 4, "sha256": "0" * 64}
        body = json.dumps({"parts": [part | {"rows": 28, "items": 1}]}).encode()
        self._system.objects.overwrite(run_key("dev", run_id, "forecasts/manifest.json"), body)

    def _begin(self) -> None:
        super()._begin()
        plan, environment = self._plan, self._system.environment
        environment.on_advance = self._advance
        self._system.lanes[:] = self._group.lanes
        self._operators: list[Caller] = []
        self._muted(partial(environment.groups.orders.create, self._group))
        caller = Caller(in_launch=True, calls_to_crash=plan.operator_dies)
        self._at(1.0, partial(self._operator, caller, lambda found: self._groups(found).go_on(NAME), self._look_again))
        if plan.killed_at is not None:
            self._at(plan.killed_at, self._kill)
        if plan.deleted_at is not None:
            self._at(plan.deleted_at, self._delete)

    def _is_over(self) -> Callable[[], bool]:
        """Nor is it while a command of the operator is not done: a closed laptop opens again."""
        is_over = super()._is_over()
        return lambda: is_over() and not any(caller.alive for caller in self._operators)

    # --- the operator ------------------------------------------------------------------------------------------

    def _operator(self, caller: Caller, call: Call, failed: Callable[[], None]) -> None:
        """Somebody types a command. If it fails, they do something about it."""
        self._operators.append(caller)
        self._try(caller, "! operator", call, failed)

    def _look_again(self) -> None:
        """The operator comes back to a command that has failed: a group that nobody goes on with is killed."""

        def looks() -> None:
            held = any(self._system.objects.holds(lane.state_key) for lane in self._group.lanes)
            if not held and self._oracle.result is None:
                self._kill()

        self._after(900.0, looks)

    def _delete(self) -> None:
        """Somebody deletes the order: members at work go on to their end, and no other one starts."""
        self._system.tell("! the order is deleted")
        self._system.objects.overwrite(group_key("dev", NAME, "order.json"), None)
        self._oracle.deleted = True

    def _kill(self) -> None:
        self._oracle.is_killed()
        again = self._time.seconds + 120.0

        def kill(found: Schedules) -> object:
            watchdog = self._system.environment.watchdog
            return self._groups(found).kill(NAME, watchdog, "by hand", at_once=self._plan.at_once)

        self._operator(Caller(calls_to_crash=self._dies()), kill, lambda: self._at(again, self._kill))

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
            self._after(each, partial(self._go_on, group, run.run_id))

    def _go_on(self, group: str, run_id: str) -> None:
        self._invoke_launcher(f"{group} after {run_id}", lambda found: self._groups(found).after(group, run_id))


def _ordered(plan: GroupPlan, system: System) -> Group:
    """The order, by the clock and the limits of the system."""
    made = a_group(NAME, plan.members, parallel=plan.parallel, purpose=plan.purpose, max_cost_usd=plan.cap)
    now = system.time.now().replace(microsecond=0)
    lasts = timedelta(days=9) if plan.seconds is None else timedelta(seconds=plan.seconds)
    crashes, preemptions = plan.scenario.crashes_left, plan.scenario.preemptions_left
    budget = replace(made.budget, deadline=now + lasts, crashes=crashes, preemptions=preemptions)
    request = replace(made.request, budget=budget, limits=system.limits, wait_for_capacity=WAIT)
    return replace(made, created_at=now, request=request)
