"""Run the drill: launch a probe for each fault in a lane of its own, harm it, and watch until its instance is gone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import ChronosError, InvalidInput
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.instance import Instance, NewInstance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Status
from chronos_ec2.ports import Clock, Deadlines, Fleet, SweepSchedule
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.drill.case import Case, Row
from chronos_ec2.services.drill.faults import MISSING_BUNDLE, Fault, Harm, hanging_bundle
from chronos_ec2.services.kill import kill
from chronos_ec2.services.launch import LaunchSpec, launch
from chronos_ec2.services.launch.lane import StartsInstances
from chronos_ec2.services.publish.agent import publish_bundle
from chronos_ec2.services.run_queries import RunView, find_run
from chronos_ec2.services.verify import Finding, verify
from chronos_ec2.services.watchdog.reconcile import Reconciler

LANES = "drill-"
_SLACK = timedelta(minutes=10)
"""After the guarantee, until the drill gives an instance up as one that outlives it."""
_UNKNOWN_PRICE = 1.0
"""USD per hour where the type's is not known, so that a cap can be spent all the same."""


class LauncherLost(BaseException):
    """The launcher is gone. Not an Exception: nothing of the launch may tidy up after it."""


@dataclass(frozen=True, slots=True)
class _LosesLauncher:
    """Starts an instance, after which its launcher is gone."""

    fleet: StartsInstances

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance, see Fleet."""
        self.fleet.launch(run, option, user_data)
        raise LauncherLost


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill in one environment. `prepare` makes the spec of a published probe run for a fault, in a lane."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    reconciler: Reconciler
    clock: Clock
    limits: Limits
    sweep: SweepSchedule
    prepare: Callable[[Fault, Lane], LaunchSpec]
    at_once: int = 6

    @property
    def max_runtime(self) -> timedelta:
        """The deadline of a probe: by then every fault has been seen, so nothing costs for longer."""
        return min(self.limits.max_runtime, self.limits.boot + self.limits.hung_bound + _SLACK)

    def run(self, faults: Sequence[Fault], pause: Callable[[], None]) -> Iterator[tuple[Row, ...]]:
        """The table, each time after a pause, until every instance is gone. The last one is the result.

        With the sweep switched off there is one fault at a time. However this ends, the sweep is on again.
        """
        alone = [fault for fault in faults if fault.harm is Harm.SWEEP_OFF]
        ended = yield from self._run([fault for fault in faults if fault not in alone], (), pause)
        for fault in alone:
            try:
                ended = yield from self._run([fault], ended, pause)
            finally:
                self.sweep.switch(on=True)

    def _run(
        self, faults: Sequence[Fault], ended: Sequence[Case], pause: Callable[[], None]
    ) -> Generator[tuple[Row, ...], None, list[Case]]:
        waiting, cases = list(faults), [*ended]
        while waiting or any(not case.over for case in cases):
            while waiting and sum(not case.over for case in cases) < self.at_once:
                cases.append(self._begin(waiting.pop(0)))
            cases = self._look(cases)
            yield self._rows(cases)
            if waiting or any(not case.over for case in cases):
                pause()
        return cases

    def left(self) -> tuple[Finding, ...]:
        """What the lanes and runs of drills have left in the environment."""
        found = verify(self.environment, self.store, self.fleet, self.deadlines)
        instances = {each.instance_id for each in self.fleet.instances(self.environment) if _of_drill(each.lane)}
        ours = [each for each in found if f"/lanes/{LANES}" in each.name or each.name.split(" ")[0] in instances]
        return tuple(ours)

    def _begin(self, fault: Fault) -> Case:
        lane = Lane(self.environment, f"{LANES}{fault.name}")
        guaranteed = fault.guaranteed(self.limits)
        give_up = self.clock.now() + self.max_runtime + guaranteed + _SLACK
        try:
            if fault.harm is Harm.SWEEP_OFF:
                self._switch_off()
            spec = self._harmed(fault, self.prepare(fault, lane))
            run_id = self._launch(fault, spec)
        except ChronosError as error:
            return Case(fault, "", lane.name, guaranteed, give_up, None, problem=f"not launched: {error}")
        return Case(fault, run_id, lane.name, guaranteed, give_up, spec.highest_price, spec.max_cost_usd)

    def _switch_off(self) -> None:
        """Switch the sweep off. Raises InvalidInput if that would leave somebody's run without it."""
        for lane in self.store.lanes(self.environment):
            lock = self.store.read_lock(lane)
            if not isinstance(lock, Absent):
                problem = f"needs an environment without other runs, and lane {lane.name} is busy"
                raise InvalidInput("sweep-off", problem, "wait until they have ended, or drill in another environment")
        self.sweep.switch(on=False)

    def _harmed(self, fault: Fault, spec: LaunchSpec) -> LaunchSpec:
        spec = replace(spec, limits=replace(spec.limits, max_runtime=self.max_runtime))
        match fault.harm:
            case Harm.BUNDLE_MISSING:
                return replace(spec, bundle_sha256=MISSING_BUNDLE)
            case Harm.BUNDLE_HANGS | Harm.NO_RECORD:
                return replace(spec, bundle_sha256=publish_bundle(self.store, hanging_bundle()))
            case Harm.SHORT_DEADLINE | Harm.SWEEP_OFF:
                return replace(spec, limits=replace(spec.limits, max_runtime=self.limits.boot))
            case Harm.SMALL_CAP:
                price = spec.highest_price or _UNKNOWN_PRICE
                cap = price * self.limits.boot.total_seconds() / 3600
                return replace(spec, price_per_hour_usd=price, max_cost_usd=cap)
            case _:
                return spec

    def _launch(self, fault: Fault, spec: LaunchSpec) -> str:
        if fault.harm is not Harm.LAUNCHER_LOST:
            run_id = launch(spec, self.store, self.fleet, self.deadlines, self.clock).run_id
            if fault.harm is Harm.NO_RECORD:
                held = self.store.read_lock(spec.lane)
                if isinstance(held, LockHeld):
                    self.store.remove_lock(spec.lane, held.etag)
            return run_id
        try:
            return launch(spec, self.store, _LosesLauncher(self.fleet), self.deadlines, self.clock).run_id
        except LauncherLost:
            held = self.store.read_lock(spec.lane)
            return held.run.run_id if isinstance(held, LockHeld) else ""

    def _look(self, cases: list[Case]) -> list[Case]:
        try:
            listed, now = self.fleet.instances(self.environment), self.clock.now()
        except ChronosError:  # the next look sees it
            return cases
        return [case if case.over else self._seen(case, listed, now) for case in cases]

    def _seen(self, case: Case, listed: tuple[Instance, ...], now: datetime) -> Case:
        view = self._view(case)
        case = case.seen(listed, view, now)
        if case.fault.harm is Harm.SWEEP_OFF and case.ended_at:
            self.sweep.switch(on=True)  # the rest of the run is the watchdog's
        in_training = view is not None and view.run.status is Status.TRAINING
        if case.fault.harm is Harm.KILL and in_training and not case.killed:
            kill(case.run_id, self.store, self.reconciler, self.clock, "the drill ends its own run")
            return replace(case, killed=True)
        return case

    def _view(self, case: Case) -> RunView | None:
        if not case.fault.causes:
            return None
        try:
            return find_run(self.store, self.environment, case.run_id)
        except ChronosError:
            return None

    def _rows(self, cases: Sequence[Case]) -> tuple[Row, ...]:
        now = self.clock.now()
        return tuple(case.row(now) for case in cases)


def _of_drill(lane: Lane | None) -> bool:
    return lane is not None and lane.name.startswith(LANES)
