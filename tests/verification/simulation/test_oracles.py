"""Each oracle is shown to fail when what it guards is broken, and its literals are what the product promises."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Decision, FinishRun, Terminate, WriteLock
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.facts import LaneFacts, LockHeld, LockRead
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.capacity import SPOT
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Status
from chronos_ec2.ports import StoredObject
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launched, Launcher
from chronos_ec2.services.watchdog.reconcile import Decide, Reconciler, Report
from chronos_ec2.testing import MemoryNotifier
from chronos_ec2.testing.builders import LIMITS
from chronos_ec2.testing.virtual.ec2 import Drought
from chronos_ec2.worker.run_session import RunSession
from tests.verification.simulation.test_histories import TakingWhatIsTaken
from verification.simulation import guarantees
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.guarantees import GUARANTEES, VIOLATIONS
from verification.simulation.parts import Parts
from verification.simulation.runner import run_history
from verification.simulation.scenario import FaultKind, InjectedFault, Layer, Scenario, crowded

ROOT = Path(__file__).resolve().parents[3]


def plans(*faults: InjectedFault, **changes: object) -> list[Scenario]:
    """Up to three hundred histories of one kind."""
    return [replace(Scenario(seed, lost_events=1.0, faults=faults), **changes) for seed in range(300)]


SPOT_TWICE = (InjectedFault(FaultKind.SPOT, 400), InjectedFault(FaultKind.SPOT, 1100))
PANIC, KILL = InjectedFault(FaultKind.PANIC, 400), InjectedFault(FaultKind.KILL, 420)
RESUMED = {"preemptions_left": 5, "crashes_left": 2, "checkpoint_after": 30.0}
SHORT = RESUMED | {
    "option_seconds": 60.0,
    "doubled_requests": 1.0,
    "types": 2,
    "market": SPOT,
    "droughts": (Drought(350, 600),),
}
LIMITED = {"max_runtime": 1500.0, "training": 4000.0, "layers_off": frozenset({Layer.INSTANCE, Layer.DEADLINE})}


def each_run(change: Callable[[Run, Run], Run]) -> Decide:
    """A watchdog that writes other runs than it decided; `change` gets the run as it was and as it is to be."""

    def defective(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        decision = decide(facts, now, limits)
        if not isinstance(facts.lock, LockHeld):
            return decision
        before = facts.lock.run
        actions = tuple(
            replace(action, run=change(before, action.run)) if isinstance(action, WriteLock | FinishRun) else action
            for action in decision.actions
        )
        return replace(decision, actions=actions)

    return defective


def next_attempt(**fields: Callable[[Run, Run], object]) -> Decide:
    """A watchdog that gets these fields of the next attempt wrong."""

    def change(before: Run, after: Run) -> Run:
        values = {name: value(before, after) for name, value in fields.items()}
        return replace(after, **values) if after.attempt > before.attempt else after

    return each_run(change)


def blind_to_attempts(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Every instance of a run belongs to its current attempt."""
    if not isinstance(facts.lock, LockHeld):
        return decide(facts, now, limits)
    run = facts.lock.run
    own = [replace(one, attempt=run.attempt) if one.run_id == run.run_id else one for one in facts.instances]
    return decide(replace(facts, instances=tuple(own)), now, limits)


def deaf_to_kills(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """A kill of a run without an instance is not seen."""
    if isinstance(facts.lock, LockHeld) and not facts.instances:
        facts = replace(facts, lock=replace(facts.lock, run=replace(facts.lock.run, stop=None)))
    return decide(facts, now, limits)


class WithDoubledDeadline(RunStore):
    def create_lock(self, run: Run) -> LockHeld:
        return super().create_lock(replace(run, deadline=run.deadline + (run.deadline - run.created_at)))


class Completing(MemoryNotifier):
    """Every end is announced as a success."""

    def publish(self, message: Message) -> None:
        if message.document["outcome"] is not None:
            message = replace(message, document=message.document | {"kind": "completed"})
        super().publish(message)


class WithoutAttempts(SimulatedObjects):
    """The marker of a message does not name the attempt."""

    def read(self, key: str, limit: int = 64 * 1024) -> StoredObject | None:
        return super().read(_without_attempt(key), limit)

    def _put(self, key: str, body: bytes) -> str:
        return super()._put(_without_attempt(key), body)


def _without_attempt(key: str) -> str:
    return re.sub(r"(/notified/.*)-\d+$", r"\1", key)


class OverwritingMarkers(SimulatedObjects):
    """Whoever takes a stale marker takes it, also from somebody else who just did."""

    def replace(self, key: str, body: bytes, etag: str) -> str:
        found = self._objects.get(key) if "/notified/" in key else None
        return super().replace(key, body, found.etag if found and b"pending" in found.body else etag)


class _Once(RunStore):
    """Reads a lock once, as if no other launcher was at work, and writes it whatever is there."""

    def read_lock(self, lane: Lane) -> LockRead:
        if not hasattr(self, "_first"):
            self._first = super().read_lock(lane)
            if isinstance(self._first, LockHeld):
                run = replace(self._first.run, launching=None, waiting=None)
                self._first = replace(self._first, run=run)
        return self._first

    def replace_lock(self, run: Run, expected: LockHeld) -> LockHeld:
        found = super().read_lock(run.lane)
        self._first = super().replace_lock(run, found if isinstance(found, LockHeld) else expected)
        return self._first


class NeverLookingAgain(Launcher):
    def start(self, lane: Lane, run_id: str) -> Launched | None:
        if isinstance(self.store, _Once):
            return super().start(lane, run_id)
        return replace(self, store=_Once(self.store.objects)).start(lane, run_id)


class EndingAStranger(Reconciler):
    def sweep(self) -> list[Report]:
        self.fleet.terminate("i-00000000000000001")
        return super().sweep()


class Careless(RunSession):
    """An agent that works in whatever lane it is told to, whoever has claimed it."""

    def claim(self) -> Run:
        with suppress(Fenced):
            return super().claim()
        self._phases = ((Status.INITIALIZATION, self._clock.now()),)
        self._run = self._claimable()
        return self._run

    def _check(self, run: Run) -> None:
        del run


def ending_all(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Whatever runs is terminated, without a reason."""
    running = [one for one in facts.instances if one.state is InstanceState.RUNNING]
    ends = tuple(Terminate(one.instance_id, Cause.REQUESTED) for one in running)
    return decide(facts, now, limits) + Decision("for no reason", ends)


def never(_facts: LaneFacts, _now: datetime, _limits: Limits) -> Decision:
    return Decision("nothing")


@dataclass(frozen=True)
class Defect:
    """A part that is broken, the oracle that must see it, and histories in which it shows."""

    oracle: str
    parts: Parts
    plans: Sequence[Scenario]


DEFECTS: dict[str, Defect] = {
    "a running instance is terminated without a reason": Defect("wrong", Parts(decide=ending_all), plans()),
    "somebody else's instance is terminated": Defect("alien", Parts(watchdog=EndingAStranger), plans()),
    "nothing is decided": Defect("leaks", Parts(decide=never), plans(PANIC)),
    "no lock is released": Defect("stuck", Parts(decide=never), plans()),
    "a deadline is twice as far as ordered": Defect(
        "leaks", Parts(store=WithDoubledDeadline), plans(InjectedFault(FaultKind.DEAF, 0), **LIMITED)
    ),
    "every end is announced as completed": Defect("lost", Parts(notifier=Completing), plans(PANIC)),
    "the marker of a message has no attempt": Defect(
        "lost", Parts(objects=WithoutAttempts), plans(*SPOT_TWICE, **RESUMED)
    ),
    "two launchers take one lane": Defect(
        "two_agents",
        Parts(store=TakingWhatIsTaken, agent_session=Careless),
        plans(InjectedFault(FaultKind.SECOND_LAUNCH, 1.5), pauses=0.3),
    ),
    "a lost attempt has cost nothing": Defect(
        "over_cap",
        Parts(decide=next_attempt(spent_usd=lambda _before, _after: 0.0)),
        plans(InjectedFault(FaultKind.DEAF, 0), SPOT_TWICE[0], training=4000.0, max_cost=0.4, **RESUMED),
    ),
    "what a lost attempt has cost is not in the plan": Defect(
        "above_plan",
        Parts(decide=next_attempt(spent_usd=lambda _before, _after: 0.0)),
        plans(InjectedFault(FaultKind.DEAF, 0), SPOT_TWICE[0], training=4000.0, max_cost=0.4, **RESUMED),
    ),
    "spent_usd is 0 at the next attempt": Defect(
        "wrong_money", Parts(decide=next_attempt(spent_usd=lambda _before, _after: 0.0)), plans(*SPOT_TWICE, **RESUMED)
    ),
    "the time between two attempts costs": Defect(
        "wrong_money",
        Parts(decide=next_attempt(spent_usd=lambda _before, after: after.spent_usd + 0.05)),
        plans(*SPOT_TWICE, **RESUMED),
    ),
    "a crash is not charged": Defect(
        "wrong_budgets",
        Parts(decide=next_attempt(crashes_left=lambda before, _after: before.crashes_left)),
        plans(InjectedFault(FaultKind.CRASH, 400), **RESUMED),
    ),
    "a crash is charged twice": Defect(
        "wrong_budgets",
        Parts(decide=next_attempt(crashes_left=lambda before, _after: before.crashes_left - 2)),
        plans(InjectedFault(FaultKind.CRASH, 400), **RESUMED),
    ),
    "a preemption is charged as a crash": Defect(
        "wrong_budgets",
        Parts(
            decide=next_attempt(
                crashes_left=lambda before, _after: before.crashes_left - 1,
                preemptions_left=lambda before, _after: before.preemptions_left,
            )
        ),
        plans(*SPOT_TWICE, **RESUMED),
    ),
    "an instance of an earlier attempt belongs to the run": Defect(
        "wrong_budgets", Parts(decide=blind_to_attempts), plans(*SPOT_TWICE, **RESUMED)
    ),
    "a kill does not free the lane": Defect(
        "kept_by_a_kill",
        Parts(decide=deaf_to_kills),
        plans(InjectedFault(FaultKind.LAUNCHER_DIES, 0, 8), InjectedFault(FaultKind.KILL, 100)),
    ),
    "a launcher does not look again": Defect(
        "two_instances", Parts(launcher=NeverLookingAgain), plans(InjectedFault(FaultKind.SPOT, 300), **SHORT)
    ),
    "whoever takes a marker does not see that it was taken": Defect(
        "doubled_markers", Parts(objects=OverwritingMarkers), [crowded(seed) for seed in range(300)]
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_an_oracle_finds_what_it_guards_broken(name: str) -> None:
    defect = DEFECTS[name]
    found = (run_history(plan, LIMITS, parts=defect.parts) for plan in defect.plans)
    assert any(getattr(verdicts, defect.oracle) for verdicts in found)


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_without_the_defect_it_finds_nothing(name: str) -> None:
    defect = DEFECTS[name]
    assert [text for plan in defect.plans[:25] for text in getattr(run_history(plan, LIMITS), defect.oracle)] == []


def test_every_oracle_is_shown_to_fail() -> None:
    assert {defect.oracle for defect in DEFECTS.values()} == set(VIOLATIONS.values())


# --- what the oracles know by themselves -----------------------------------------------------------------------------


def test_the_bounds_of_the_oracles_are_those_of_the_limits() -> None:
    bounds = {
        guarantees.DEAD: LIMITS.dead_agent_bound,
        guarantees.HUNG: LIMITS.hung_bound,
        guarantees.NO_RECORD: LIMITS.orphan_bound,
        guarantees.NO_BOOT: LIMITS.boot_bound,
        guarantees.STOPPED: LIMITS.deadline_bound,
        guarantees.LATE: LIMITS.deadline_bound,
        guarantees.PRICED: LIMITS.deadline_bound,
    }
    assert {name: GUARANTEES[name].bound for name in bounds} == {
        name: bound.total_seconds() for name, bound in bounds.items()
    }
    assert LIMITS.vanished_bound.total_seconds() == guarantees.VANISHED_SECONDS
    names = ("sweep", "grace", "lease", "progress", "boot", "alarm")
    assert {name: getattr(guarantees, name.upper()) for name in names} == {
        name: LIMITS.to_seconds()[name] for name in names
    }


def test_readme_promises_the_bounds_of_the_oracles() -> None:
    table = re.search(r"\| Failure \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert table is not None
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) min", table[0], re.MULTILINE)
    minutes = {name: math.ceil(guarantee.bound / 60) for name, guarantee in GUARANTEES.items()}
    assert dict(rows) == {
        "agent or instance dead, partitioned or panicked": str(minutes[guarantees.DEAD]),
        "instance without a record": str(minutes[guarantees.NO_RECORD]),
        "training hangs on a live instance": str(minutes[guarantees.HUNG]),
        "boot never finishes": str(minutes[guarantees.NO_BOOT]),
        "past the deadline or the price cap": str(minutes[guarantees.LATE]),
    }


def test_the_oracles_call_nothing_that_they_judge() -> None:
    allowed = {
        "domain.instance import InstanceState",
        "domain.records.lane import Lane",
        "domain.records.status import Status",
    }
    simulation = ROOT / "verification/simulation"
    for path in (*simulation.glob("oracles/*.py"), simulation / "ledger.py", simulation / "guarantees.py"):
        assert set(re.findall(r"from chronos_ec2\.((?!testing).+)", path.read_text())) <= allowed, path
