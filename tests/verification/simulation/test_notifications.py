"""Of every kind of incident people are told, and once: a executor that does not is found out."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Incident, Message
from chronos_ec2.domain.messages import Kind as Told
from chronos_ec2.services.watchdog.execute import Executor
from chronos_ec2.testing import MemoryNotifier
from verification.simulation.runner import run_history
from verification.simulation.scenario import InjectedFault, Kind, Scenario

LIMITS = Limits()
HISTORIES: dict[Told, Scenario] = {
    Told.STARTED: Scenario(1),
    Told.COMPLETED: Scenario(1),
    Told.FAILED: Scenario(1, disturbances=(InjectedFault(Kind.PANIC, 300),)),
    Told.KILLED: Scenario(1, disturbances=(InjectedFault(Kind.KILL, 300),)),
    Told.RESUMED: Scenario(1, crashes_left=1, checkpoint_after=20, disturbances=(InjectedFault(Kind.PANIC, 300),)),
    Told.STUCK: Scenario(1, disturbances=(InjectedFault(Kind.GARBAGE, 300), InjectedFault(Kind.PANIC, 301))),
    Told.ORPHAN: Scenario(1, disturbances=(InjectedFault(Kind.NO_RECORD, 300),)),
    Told.OVER_BUDGET: Scenario(1, training=1e4, max_cost=0.2, disturbances=(InjectedFault(Kind.DEAF, 0),)),
    Told.LEAK: Scenario(1, shutting_down=1e9, by_force=900, disturbances=(InjectedFault(Kind.PANIC, 300),)),
}


@pytest.mark.parametrize("kind", Told)
def test_a_kind_of_message_that_gets_lost_is_found_out(kind: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_history(HISTORIES[kind], LIMITS).failed == []
    tell = Executor._tell
    monkeypatch.setattr(Executor, "_tell", lambda executor, incident: _forgets(tell, executor, incident, kind))
    assert any(f"nobody was told: {kind}" in line for line in run_history(HISTORIES[kind], LIMITS).lost)


def _forgets(tell: object, executor: Executor, incident: Incident, kind: Told) -> bool:
    return incident.kind is kind or tell(executor, incident)  # type: ignore[operator]


@pytest.mark.parametrize("kind", Told)
def test_a_kind_of_message_that_is_sent_twice_is_found_out(kind: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = MemoryNotifier.publish

    def twice(notifier: MemoryNotifier, message: Message) -> None:
        for _ in range(1 + (message.document["kind"] == kind)):
            publish(notifier, message)

    monkeypatch.setattr(MemoryNotifier, "publish", twice)
    assert run_history(HISTORIES[kind], LIMITS).duplicates >= 1


def test_an_end_that_is_told_as_another_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.execute.kind_of_end", lambda _run: Told.COMPLETED)
    assert run_history(HISTORIES[Told.FAILED], LIMITS).lost
