"""What histories of schedules and of groups have in common: who starts their runs, and what these are judged by.

The launcher function starts them: it comes late and twice, dies, and its clock is wrong. The oracle reads documents as
JSON, and calls nothing that it judges.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.status import Outcome, Verdict
from chronos_ec2.ports import Clock
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.testing import Crash
from chronos_ec2.testing.builders import BOUNDS
from chronos_ec2.testing.environment import BUCKET, REGION
from chronos_ec2.testing.virtual.ec2 import Billed
from chronos_ec2.worker.run_session import RunSession
from verification.findings import Findings
from verification.lifecycle.plan import GroupPlan, Plan
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.faulty_aws import Caller
from verification.simulation.guarantees import SWEEP
from verification.simulation.ledger import USD_PER_HOUR, Record
from verification.simulation.oracles.oracle import Oracle
from verification.simulation.parts import Parts
from verification.simulation.runner import History
from verification.simulation.system import LAMBDA_RETRIES, LAUNCHER_TIMEOUT, SUBNETS, System

Call = Callable[[Schedules], object]
"""What an invocation of the launcher function, or a command of an operator, does."""
_REPORTED = SWEEP + 30.0
"""By how many seconds the books of an instance may differ from EC2's: a sweep, and its calls."""
_FILES = (("config.json", "a" * 64), ("model.safetensors", "b" * 64))


class WatchedObjects(SimulatedObjects):
    """A bucket that tells of each object that is written."""

    on_put: Callable[[str, bytes], None] = staticmethod(lambda _key, _body: None)

    def _put(self, key: str, body: bytes) -> str:
        etag = super()._put(key, body)
        self.on_put(key, body)
        return etag


PARTS = Parts(objects=WatchedObjects)


class _SkewedClock:
    """The clock of a function, which is wrong by so many seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._by = clock, timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._clock.now() + self._by


def _session(succeeds: Callable[[str], Comparison | None]) -> type[RunSession]:
    """The session of an agent whose run is told to `succeeds` before it reports that it has succeeded."""

    class Session(RunSession):
        def finish(self, verdict: Verdict, *args: Any, **reports: Any) -> None:
            if verdict.outcome is Outcome.SUCCEEDED and (comparison := succeeds(self.run.run_id)):
                reports |= {"models": _FILES, "comparison": comparison}
            super().finish(verdict, *args, **reports)

    return Session


class RunsOracle(Oracle):
    """Knows which runs have begun, how each has ended, and what each has cost."""

    found: Findings

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.working_for: dict[Caller, Any] = {}
        """What each invocation or command is for."""
        self._final: dict[str, Record] = {}
        """By run, its final record."""
        self._begun: dict[str, int] = {}
        """By run, how many of its attempts have an instance."""

    def was_written(self, key: str, body: bytes) -> None:
        """An object of the bucket was written."""
        if key.endswith("/state.json"):
            self._final[key.split("/")[1]] = json.loads(body)

    def begins(self, instance_id: str) -> None:
        """EC2 starts an instance."""
        one = self._system.fleet.bill[instance_id]
        self._begun[one.run_id] = max(one.attempt, self._begun.get(one.run_id, 0))

    def _succeeded(self, run_id: str) -> bool:
        record = self._final.get(run_id)
        return record is not None and (record["verdict"] or {}).get("outcome") == "succeeded"

    def _usd(self, run_ids: Iterable[str]) -> float:
        """What runs have cost until now, by EC2's bill."""
        now = self._system.time.seconds
        return sum(price * ((one.ended or now) - one.launched) for one, price in self._billed(run_ids))

    def _inexact(self, run_ids: Iterable[str]) -> float:
        """By how many USD the books of runs may differ from EC2's bill."""
        return sum(price * _REPORTED for _, price in self._billed(run_ids))

    def _billed(self, run_ids: Iterable[str]) -> list[tuple[Billed, float]]:
        """Their instances, and what a second of each costs."""
        these, bills = set(run_ids), self._system.fleet.bill.values()
        return [(one, USD_PER_HOUR[one.instance_type] / 3600) for one in bills if one.run_id in these]


class LauncherHistory(History, ABC):
    """A system in which nobody but the launcher function, and now and then a person, starts runs."""

    _plan: Plan | GroupPlan
    _oracle: RunsOracle
    _calls_to_crash: int
    """After how many calls an invocation dies at the latest, if it dies."""

    def __init__(
        self,
        plan: Plan | GroupPlan,
        log: Callable[[str], None] | None = None,
        parts: Parts = PARTS,
        schedules: type[Schedules] = Schedules,
        groups: type[Groups] = Groups,
    ) -> None:
        self._plan, self._schedules, self._groups = plan, schedules, groups
        system = System(plan.scenario, Limits(), log, replace(parts, agent_session=_session(self._succeeds)))
        super().__init__(system, self._judge(system))
        self._random = Random(plan.scenario.seed ^ 0xDA7A)
        self._latest = max((at.after for at in plan.scenario.faults), default=0.0)
        """When the last of what is to come comes: who comes when all is over must find nothing to do."""

    @abstractmethod
    def _judge(self, system: System) -> RunsOracle:
        """The oracle of a system."""

    @abstractmethod
    def _succeeds(self, run_id: str) -> Comparison | None:
        """A run is about to report that it has succeeded: what its instance has measured, if it compares models."""

    def judged(self) -> Findings:
        """Let it happen, and return what the oracle found."""
        self.run()
        return self._oracle.found

    def _begin(self) -> None:
        objects = self._system.objects
        assert isinstance(objects, WatchedObjects)
        objects.on_put = self._oracle.was_written

    def _is_over(self) -> Callable[[], bool]:
        return lambda: self._oracle.ending.is_over(self._latest)

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        super()._instance_changed(instance_id, state)
        if state is InstanceState.PENDING:
            self._oracle.begins(instance_id)

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        self._latest = max(self._latest, seconds)
        self._time.at(seconds, call)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._at(self._time.seconds + seconds, call)

    def _muted(self, call: Callable[[], object]) -> None:
        noise = self._system.noise
        noise.muted, before = True, noise.muted
        try:
            call()
        finally:
            noise.muted = before

    # --- who starts runs ---------------------------------------------------------------------------------------

    def _invoke_launcher(self, what: object, call: Call, retries: tuple[float, ...] = LAMBDA_RETRIES) -> None:
        """Lambda runs the function, and again some time after it has failed, crashed or taken too long."""

        def failed() -> None:
            if retries:
                self._after(retries[0], lambda: self._invoke_launcher(what, call, retries[1:]))

        self._try(Caller(in_function=True, in_launch=True, calls_to_crash=self._dies()), what, call, failed)

    def _dies(self) -> int | None:
        """After how many calls an invocation dies, if it does."""
        return self._random.randrange(1, self._calls_to_crash) if self._random.random() < self._plan.dies else None

    def _try(self, caller: Caller, what: object, call: Call, failed: Callable[[], None]) -> None:
        """Somebody makes calls, with a clock that may be wrong, and does something if they fail."""

        def invocation() -> None:
            done = False
            try:
                self._system.tell(f"{what}: {call(self._function())}")
                done = True
            except ChronosError as error:
                self._system.tell(f"{what}: failed: {error}")
            except Crash:
                self._system.tell(f"{what}: crashed")
                raise
            finally:
                if not done:
                    failed()

        self._oracle.working_for[caller] = what
        self._system.noise.run_as(caller, invocation, timeout=LAUNCHER_TIMEOUT if caller.in_function else None)

    def _function(self) -> Schedules:
        env, skew = self._system.environment, self._plan.skew
        clock = _SkewedClock(env.clock, self._random.uniform(-skew, skew))
        launcher = Launcher(BUCKET, SUBNETS, env.store, env.fleet, env.deadlines, clock, BOUNDS)
        place = StackLocation("aws", REGION, BUCKET)
        return self._schedules(env.name, env.store, launcher, env.notifier, clock, place, "a-stack")
