"""Hostile instances harm nobody but themselves, and each oracle is shown to fail when what it guards is broken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.facts import LaneFacts, LockHeld, Unreadable
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.watchdog.reconcile import Reconciler, Report
from chronos_ec2.testing import MemoryNotifier
from tests.verification.simulation.test_oracles import each_run
from verification.campaign import main, run_histories
from verification.hostile.history import HostileHistory
from verification.hostile.oracle import HostileFindings
from verification.hostile.plan import Plan, draw
from verification.hostile.rights import Right, right_to_write
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.parts import Parts
from verification.simulation.scenario import Layer

RUN = "dev/20260131T110000Z-1a2b3c"


@pytest.mark.parametrize("first", [0, pytest.param(1000, marks=pytest.mark.thorough)])
def test_a_hostile_instance_harms_nobody_and_ends_in_time(first: int) -> None:
    found = run_histories("hostile", 2000 if first else 60, first)
    assert found["failed"] == []
    assert found["runs_of_others_attacked"] > 0
    assert 2 <= found["messages_per_hour_max"] <= 12


@pytest.mark.parametrize(
    ("key", "right"),
    [
        (f"{RUN}/claims/2.json", Right.CREATE),
        (f"{RUN}/outcomes/1.json", Right.CREATE),
        (f"{RUN}/status.json", Right.REPLACE),
        (f"{RUN}/heartbeat.json", Right.REPLACE),
        (f"{RUN}/checkpoints/1/manifest.json", Right.REPLACE),
        (f"{RUN}/request.json", None),
        (f"{RUN}/state.json", None),
        (f"{RUN}/cleanup_status.json", None),
        ("dev/system-state.json", None),
        ("dev/lanes/second/system-state.json", None),
        ("dev/notified/20260131T110000Z-1a2b3c/failed", None),
        ("prod/20260131T110000Z-1a2b3c/status.json", None),
    ],
)
def test_what_an_instance_may_write(key: str, right: Right | None) -> None:
    assert right_to_write(key, "dev") is right


# --- what must be found ----------------------------------------------------------------------------------------------


def free_attempts(before: Run, after: Run) -> Run:
    """An instance that says that it crashed, or was reclaimed, is replaced for nothing."""
    if after.attempt == before.attempt:
        return after
    return replace(after, crashes_left=before.crashes_left, preemptions_left=before.preemptions_left)


class Generous(Launcher):
    """Nor does the launcher compare a lock with the order."""

    def _as_ordered(self, run: Run, request: Request, now: datetime) -> Run:
        del request, now
        return run


def trusting_the_living(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Whoever sends heartbeats may go on after the deadline."""
    decision = decide(facts, now, limits)
    actions = [one for one in decision.actions if not (isinstance(one, Terminate) and one.cause is Cause.OVER_DEADLINE)]
    return replace(decision, actions=tuple(actions))


def without_cap(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Nobody looks at the price cap."""
    if isinstance(facts.lock, LockHeld):
        facts = replace(facts, lock=replace(facts.lock, run=replace(facts.lock.run, max_cost_usd=None)))
    return decide(facts, now, limits)


class StoppedByGarbage(Reconciler):
    """A heartbeat that cannot be read ends the sweep of all lanes."""

    def sweep(self) -> list[Report]:
        read = self.facts(Lane(self.environment)).heartbeat
        if isinstance(read, Unreadable):
            return [Report(Lane(self.environment), Decision("stopped"), error=read.problem)]
        return super().sweep()


class Choosy(MemoryNotifier):
    """What an instance says about a failure cannot be sent."""

    def publish(self, message: Message) -> None:
        if message.document["outcome"] != "failed":
            super().publish(message)


class Forgetful(SimulatedObjects):
    """No marker of a message is kept."""

    def _put(self, key: str, body: bytes) -> str:
        etag = super()._put(key, body)
        if "/notified/" in key:
            del self._objects[key]
        return etag


@dataclass(frozen=True)
class Defect:
    """A part that is broken, the finding that must name it, and how plans are changed so that it shows."""

    finding: str
    parts: Parts
    changes: dict[str, Any] = field(default_factory=dict)


UNCAPPED = {"max_cost": None, "layers_off": frozenset({Layer.DEADLINE}), "faults": (), "call_errors": 0.0}
DEFECTS: dict[str, Defect] = {
    "a lost attempt is not charged": Defect(
        "instances_bought",
        Parts(decide=each_run(free_attempts), launcher=Generous),
        UNCAPPED | {"crashes_left": 1, "preemptions_left": 1, "max_runtime": 9000.0},
    ),
    "heartbeats lift the deadline": Defect("past_deadline", Parts(decide=trusting_the_living), UNCAPPED),
    "nobody looks at the price cap": Defect("over_cap", Parts(decide=without_cap), UNCAPPED | {"max_cost": 0.15}),
    "a heartbeat that cannot be read stops the sweep": Defect("others_harmed", Parts(watchdog=StoppedByGarbage)),
    "what a hostile instance says cannot be sent": Defect("silenced", Parts(notifier=Choosy)),
    "no marker of a message is kept": Defect("flooded", Parts(objects=Forgetful)),
}


def plans(defect: Defect, count: int) -> list[Plan]:
    beats = defect.finding != "others_harmed"
    drawn = (replace(draw(seed), turns=5.0, again=1.0, acts=200, rhythm=10.0, beats=beats) for seed in range(count))
    return [replace(plan, scenario=replace(plan.scenario, **defect.changes)) for plan in drawn]


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_an_oracle_finds_what_it_guards_broken(name: str) -> None:
    defect = DEFECTS[name]
    found = (HostileHistory(plan, parts=defect.parts).judged() for plan in plans(defect, 300))
    assert any(getattr(one, defect.finding) for one in found)


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_without_the_defect_it_finds_nothing(name: str) -> None:
    assert [text for plan in plans(DEFECTS[name], 25) for text in HostileHistory(plan).judged().failed] == []


def test_every_oracle_is_shown_to_fail() -> None:
    assert {defect.finding for defect in DEFECTS.values()} == set(HostileFindings.violations())


def test_a_single_history_is_told_as_it_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["campaign", "hostile", "--histories", "1", "--seed", "2"])
    assert main() == 0
    told = capsys.readouterr().out
    assert told.startswith("Plan(scenario=Scenario(seed=2,")
    assert "turns hostile" in told
