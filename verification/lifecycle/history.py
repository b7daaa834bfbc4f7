"""One history: two schedules are invoked as the plan says, and what they start lives and ends as any other run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import CleanupReport, Comparison
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import shared_key, success_key
from chronos_ec2.domain.records.status import Job, Outcome, Verdict
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.model_registry import Registry
from chronos_ec2.ports import Clock
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.testing import Crash
from chronos_ec2.testing.builders import BOUNDS, a_schedule
from chronos_ec2.testing.environment import BUCKET, DATA, REGION
from chronos_ec2.worker.run_session import RunSession
from verification.lifecycle.oracle import Findings, LifecycleOracle, Measured, Trigger
from verification.lifecycle.plan import BY_DATA, BY_TIME, CAP, Plan, Upload
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.faulty_aws import Caller
from verification.simulation.parts import Parts
from verification.simulation.runner import History
from verification.simulation.system import LAMBDA_RETRIES, LAUNCHER_TIMEOUT, SUBNETS, System

_NAMES = ("nightly", "fresh")
"""The schedules, by lane."""
_FILES = (("config.json", "a" * 64), ("model.safetensors", "b" * 64))


class WatchedObjects(SimulatedObjects):
    """A bucket that tells of each object that is written."""

    on_put: Callable[[str, bytes], None] = staticmethod(lambda _key, _body: None)

    def _put(self, key: str, body: bytes) -> str:
        etag = super()._put(key, body)
        self.on_put(key, body)
        return etag


PARTS = Parts(objects=WatchedObjects)


class SkewedClock:
    """The clock of a function, which is wrong by so many seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._by = clock, timedelta(seconds=seconds)

    def now(self) -> datetime:
        """Its time."""
        return self._clock.now() + self._by


def run_lifecycle(
    plan: Plan,
    limits: Limits,
    log: Callable[[str], None] | None = None,
    parts: Parts = PARTS,
    schedules: type[Schedules] = Schedules,
) -> Findings:
    """Let a plan happen, and return what the oracle found."""

    def measure(run_id: str) -> Measured | None:
        return oracle.comparison(run_id)

    system = System(plan.scenario, limits, log, replace(parts, agent_session=_measuring(measure)))
    oracle = LifecycleOracle(system, plan)
    return LifecycleHistory(plan, system, oracle, schedules).judged()


def _measuring(measure: Callable[[str], Measured | None]) -> type[RunSession]:
    """An agent's session that reports at its end how good the model of its run is."""

    class Measuring(RunSession):
        def finish(
            self,
            verdict: Verdict,
            cleanup: CleanupReport | None = None,
            models: tuple[tuple[str, str], ...] = (),
            comparison: Comparison | None = None,
        ) -> None:
            found = measure(self.run.run_id) if verdict.outcome is Outcome.SUCCEEDED else None
            if found is not None:
                models, comparison = _FILES, Comparison("trained", *found)
            super().finish(verdict, cleanup, models, comparison)

    return Measuring


class LifecycleHistory(History):
    """A system in which nobody but schedules, and now and then a person, starts runs."""

    def __init__(self, plan: Plan, system: System, oracle: LifecycleOracle, schedules: type[Schedules]) -> None:
        super().__init__(system, oracle)
        self._plan, self._lifecycle, self._schedules = plan, oracle, schedules
        self._random = Random(plan.scenario.seed ^ 0xDA7A)
        self._version = 0
        self._latest = 0.0

    def judged(self) -> Findings:
        """Let it happen, and return what the oracle found."""
        self._time.seconds = self._plan.begins
        self.run()
        return self._lifecycle.found

    # --- what happens ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        plan, system, objects = self._plan, self._system, self._system.objects
        assert isinstance(objects, WatchedObjects)
        objects.on_put = self._lifecycle.was_written
        system.environment.on_follow = self._follow
        self._upload(Upload(0.0, changed=True))
        for lane, name in zip(system.lanes, _NAMES, strict=True):
            self._muted(partial(self._function().orders.create, self._ordered(name, lane)))
        system.lanes += [Lane("dev", f"{name}-then") for name in _NAMES]
        for at in plan.times:
            self._at(at, self._time_comes)
        for at in plan.asked:
            self._at(at, self._is_asked)
        for upload in plan.uploads:
            self._at(upload.at, partial(self._upload, upload))
        for lane_index, at in plan.by_hand:
            self._at(at, partial(system.environment.begin_launch, system.lanes[lane_index], None))
        for at in plan.rollbacks:
            self._at(at, self._roll_back)

    def _is_over(self) -> Callable[[], bool]:
        ending, faults = self._oracle.ending, self._scenario.faults
        self._latest = max([self._latest, *(at.after for at in faults)])
        return lambda: ending.is_over(self._latest)

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        at = self._plan.begins + seconds
        self._latest = max(self._latest, at)
        self._time.at(at, call)

    def _ordered(self, name: str, lane: Lane) -> Schedule:
        data_set = "sales" if lane == self._system.lanes[BY_DATA] else None
        made = a_schedule(
            name, data_set=data_set, lane=lane, then=Job.FORECAST, max_cost_usd=CAP,
            max_cost_per_month_usd=self._plan.month,
        )  # fmt: skip
        promotion = Promotion(DEFAULT_MODEL, Promote.BETTER, 0)
        return replace(made, run=replace(made.run, request=replace(made.run.request, promotion=promotion)))

    def _muted(self, call: Callable[[], object]) -> None:
        noise = self._system.noise
        noise.muted, before = True, noise.muted
        try:
            call()
        finally:
            noise.muted = before

    def _upload(self, upload: Upload) -> None:
        """The mark is taken away first, and put back when the data are whole."""
        objects, key = self._system.objects, success_key("dev", DATA)
        self._version += upload.changed
        self._system.tell(f"! data of version {self._version} are uploaded")
        self._muted(partial(objects.remove, key))
        for number in range(2):
            part = shared_key("dev", f"{DATA}part-{number}.parquet")
            write = partial(objects.write, part, f"PAR1 {self._version} {number}".encode())
            self._time.after(2.0 + 10.0 * number, partial(self._muted, write))
        self._time.after(14.0, partial(self._whole, key))

    def _whole(self, key: str) -> None:
        self._muted(partial(self._system.objects.write, key, b""))
        at = self._time.now().replace(microsecond=0)
        trigger = Trigger(_NAMES[BY_DATA], at.isoformat())
        self._deliver_trigger(trigger, lambda found: found.data_arrived("sales", at))

    def _time_comes(self) -> None:
        at = self._time.now().replace(microsecond=0)
        trigger = Trigger(_NAMES[BY_TIME], at.isoformat())
        self._deliver_trigger(trigger, lambda found: found.invoke(_NAMES[BY_TIME], at))

    def _is_asked(self) -> None:
        at = self._time.now()
        trigger = Trigger(_NAMES[BY_TIME], at.replace(microsecond=0).isoformat(), asked=True)
        self._invoke_launcher(trigger, lambda found: found.invoke(_NAMES[BY_TIME], at, asked=True), ())

    def _follow(self, run: Run, schedule: str) -> None:
        ended = run.ended_at or self._time.now()
        trigger = Trigger(schedule, ended.isoformat(), asked=True, after=run.run_id)
        for _ in range(1 + (self._random.random() < self._plan.doubled)):
            call = partial(self._invoke_launcher, trigger, lambda found: found.after(schedule, run.run_id))
            self._time.after(self._random.uniform(0.1, 3.0), call)

    def _roll_back(self) -> None:
        try:
            Registry("dev", self._system.store.objects).roll_back(DEFAULT_MODEL, self._time.now())
            self._system.tell("! the champion is rolled back")
        except ChronosError as error:
            self._system.tell(f"! no rollback: {error}")

    # --- the launcher function ---------------------------------------------------------------------------------

    def _deliver_trigger(self, trigger: Trigger, call: Callable[[Schedules], object]) -> None:
        """A trigger comes at least once: late now and then, and now and then twice."""
        random, plan = self._random, self._plan
        delay = random.uniform(0.5, 60.0) if random.random() >= plan.late else random.uniform(60.0, 5400.0)
        delays = [delay, delay + random.uniform(0.0, 1200.0)] if random.random() < plan.doubled else [delay]
        for each in delays:
            self._at(self._time.seconds - plan.begins + each, partial(self._invoke_launcher, trigger, call))

    def _invoke_launcher(
        self, trigger: Trigger, call: Callable[[Schedules], object], retries: tuple[float, ...] = LAMBDA_RETRIES
    ) -> None:
        """Lambda runs the function, and again some time after it has failed, crashed or taken too long."""
        dies = self._random.randrange(1, 80) if self._random.random() < self._plan.dies else None
        caller = Caller(in_function=True, in_launch=True, calls_to_crash=dies)
        self._lifecycle.working_for[caller] = trigger

        def invocation() -> None:
            done = False
            try:
                self._system.tell(f"{trigger}: {call(self._function())}")
                done = True
            except ChronosError as error:
                self._system.tell(f"{trigger}: failed: {error}")
            except Crash:
                self._system.tell(f"{trigger}: crashed")
                raise
            finally:
                if not done and retries:
                    again = partial(self._invoke_launcher, trigger, call, retries[1:])
                    self._at(self._time.seconds - self._plan.begins + retries[0], again)

        self._system.noise.run_as(caller, invocation, timeout=LAUNCHER_TIMEOUT)

    def _function(self) -> Schedules:
        """The launcher function of one invocation, whose clock may be wrong."""
        env, skew = self._system.environment, self._plan.skew
        clock = SkewedClock(env.clock, self._random.uniform(-skew, skew))
        launcher = Launcher(BUCKET, SUBNETS, env.store, env.fleet, env.deadlines, clock, BOUNDS)
        place = StackLocation("aws", REGION, BUCKET)
        return self._schedules(env.name, env.store, launcher, env.notifier, clock, place, "a-stack")

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        super()._instance_changed(instance_id, state)
        if state is InstanceState.PENDING:
            self._lifecycle.begins(instance_id)
