"""Of every kind of incident people are notified, and once: a watchdog that does not is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.testing import MemoryNotifier
from chronos_ec2.testing.builders import LIMITS
from chronos_ec2.testing.virtual.ec2 import Drought
from verification.simulation.guarantees import Verdicts
from verification.simulation.parts import Parts
from verification.simulation.runner import run_history
from verification.simulation.scenario import FaultKind, InjectedFault, Scenario

HISTORIES: dict[Kind, Scenario] = {
    Kind.STARTED: Scenario(1),
    Kind.COMPLETED: Scenario(1),
    Kind.FAILED: Scenario(1, faults=(InjectedFault(FaultKind.PANIC, 300),)),
    Kind.KILLED: Scenario(1, faults=(InjectedFault(FaultKind.KILL, 300),)),
    Kind.RESUMED: Scenario(1, crashes_left=1, checkpoint_after=20, faults=(InjectedFault(FaultKind.PANIC, 300),)),
    Kind.STUCK: Scenario(1, faults=(InjectedFault(FaultKind.GARBAGE, 300), InjectedFault(FaultKind.PANIC, 301))),
    Kind.ORPHAN: Scenario(1, faults=(InjectedFault(FaultKind.NO_RECORD, 300),)),
    Kind.OVER_BUDGET: Scenario(1, training=1e4, max_cost=0.2, faults=(InjectedFault(FaultKind.DEAF, 0),)),
    Kind.WAITING: Scenario(1, droughts=(Drought(0, 600),), wait_for_capacity=3600),
    Kind.LEAK: Scenario(1, shutting_down=1e9, by_force=900, faults=(InjectedFault(FaultKind.PANIC, 300),)),
}


def test_there_is_a_history_of_each_kind_but_those_that_it_does_not_simulate() -> None:
    """Those need dozens of lanes, many hours, champions, schedules or groups, which have models and crash points."""
    assert set(HISTORIES) == set(Kind) - {Kind.LIMIT, Kind.HELD, Kind.PROMOTED, Kind.KEPT, Kind.SKIPPED, Kind.ENDED}


def found_with(kind: Kind, copies: int, as_kind: Kind | None = None) -> Verdicts:
    """What the oracles find when messages of this kind are published so often, or as another kind."""

    class Defective(MemoryNotifier):
        def publish(self, message: Message) -> None:
            if message.document["kind"] != kind:
                super().publish(message)
                return
            if as_kind:
                message = replace(message, document=message.document | {"kind": str(as_kind)})
            for _ in range(copies):
                super().publish(message)

    return run_history(HISTORIES[kind], LIMITS, parts=Parts(notifier=Defective))


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_kind_of_message_that_gets_lost_is_found_out(kind: Kind) -> None:
    assert run_history(HISTORIES[kind], LIMITS).failed == []
    assert any(f"missed notification: {kind}" in line for line in found_with(kind, copies=0).lost)


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_kind_of_message_that_is_sent_twice_is_found_out(kind: Kind) -> None:
    assert found_with(kind, copies=2).duplicates >= 1


def test_an_outcome_that_is_published_as_another_is_found_out() -> None:
    assert found_with(Kind.FAILED, copies=1, as_kind=Kind.COMPLETED).lost
