"""What reconcile knows when nothing was read."""

from __future__ import annotations

from chronos_ec2.domain.facts import Absent, LaneFacts, Reports
from chronos_ec2.testing.builders import LANE, NOW


def test_facts_have_neither_a_heartbeat_nor_suspects_by_default() -> None:
    facts = LaneFacts(LANE, (), NOW, Absent())
    assert facts.heartbeat == Absent()
    assert facts.reports == Reports(claim=Absent(), status=Absent(), outcome=Absent())
    assert facts.suspects == {}
    assert facts.exit_report == ""
