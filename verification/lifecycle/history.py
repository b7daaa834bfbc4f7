"""One history: two schedules are invoked as the plan says, and what they start lives and ends as any other run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import shared_key, success_key
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.model_registry import Registry
from chronos_ec2.testing.builders import a_schedule
from chronos_ec2.testing.environment import DATA
from verification.lifecycle.oracle import LifecycleOracle, Trigger
from verification.lifecycle.plan import BY_DATA, BY_TIME, CAP, Plan, Upload
from verification.lifecycle.runs import Call, LauncherHistory
from verification.simulation.system import System

_NAMES = ("nightly", "fresh")
"""The schedules, by lane."""


class LifecycleHistory(LauncherHistory):
    """A system with two schedules: one has times, the other one a data set."""

    _plan: Plan
    _oracle: LifecycleOracle
    _calls_to_crash = 80
    _version = 0
    """Of the data."""

    def _judge(self, system: System) -> LifecycleOracle:
        return LifecycleOracle(system, self._plan)

    def _succeeds(self, run_id: str) -> Comparison | None:
        return self._oracle.comparison(run_id)

    # --- what happens ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        super()._begin()
        plan, system = self._plan, self._system
        self._time.seconds = plan.begins
        system.environment.on_follow = self._follow
        self._upload(Upload(0.0, changed=True))
        for lane, name in zip(system.lanes, _NAMES, strict=True):
            self._muted(partial(self._function().orders.create, self._ordered(name, lane)))
        system.lanes += [Lane("dev", f"{name}-then") for name in _NAMES]
        launch = system.environment.begin_launch
        happens: list[tuple[float, Callable[[], None]]] = [
            *((at, self._time_comes) for at in plan.times),
            *((at, self._is_asked) for at in plan.asked),
            *((upload.at, partial(self._upload, upload)) for upload in plan.uploads),
            *((at, partial(launch, system.lanes[lane], None)) for lane, at in plan.by_hand),
            *((at, self._roll_back) for at in plan.rollbacks),
        ]
        for at, call in happens:
            self._at(plan.begins + at, call)

    def _ordered(self, name: str, lane: Lane) -> Schedule:
        data_set = "sales" if lane == self._system.lanes[BY_DATA] else None
        made = a_schedule(
            name, data_set=data_set, lane=lane, then=Job.FORECAST, max_cost_usd=CAP,
            max_cost_per_month_usd=self._plan.month,
        )  # fmt: skip
        promotion = Promotion(DEFAULT_MODEL, Promote.BETTER, 0)
        return replace(made, run=replace(made.run, request=replace(made.run.request, promotion=promotion)))

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
        self._deliver_trigger(Trigger(_NAMES[BY_DATA], at.isoformat()), lambda found: found.data_arrived("sales", at))

    def _time_comes(self) -> None:
        name, at = _NAMES[BY_TIME], self._time.now().replace(microsecond=0)
        self._deliver_trigger(Trigger(name, at.isoformat()), lambda found: found.invoke(name, at))

    def _is_asked(self) -> None:
        name, at = _NAMES[BY_TIME], self._time.now()
        trigger = Trigger(name, at.replace(microsecond=0).isoformat(), asked=True)
        self._invoke_launcher(trigger, lambda found: found.invoke(name, at, asked=True), retries=())

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

    def _deliver_trigger(self, trigger: Trigger, call: Call) -> None:
        """A trigger comes at least once: late now and then, and now and then twice."""
        random, plan = self._random, self._plan
        delay = random.uniform(0.5, 60.0) if random.random() >= plan.late else random.uniform(60.0, 5400.0)
        delays = [delay, delay + random.uniform(0.0, 1200.0)] if random.random() < plan.doubled else [delay]
        for each in delays:
            self._after(each, partial(self._invoke_launcher, trigger, call))
