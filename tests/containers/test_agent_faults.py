"""After a fault an instance ends in time and its run says why. `make agent-faults` injects all faults."""

from __future__ import annotations

import pytest

from verification.instance_faults import testbed
from verification.instance_faults.faults import FAULTS, Row, inject

pytestmark = [pytest.mark.embedded_aws, pytest.mark.containers, pytest.mark.thorough]


def after(instances: testbed.Testbed, name: str) -> Row:
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    row = inject(instances, fault)
    assert row.passed(fault.end), row
    return row


def test_a_trainer_that_crashes(instances: testbed.Testbed) -> None:
    row = after(instances, "the trainer crashes")
    assert set(row.logs) == {"agent", "boot", "trainer"}
    assert "Main process exited, code=exited, status=1" in instances.boot_log(row.run_id)


def test_an_agent_that_is_killed(instances: testbed.Testbed) -> None:
    row = after(instances, "the agent is killed")
    assert set(row.logs) == {"agent", "boot", "trainer"}
    assert "Main process exited, code=killed, status=9/KILL" in instances.boot_log(row.run_id)


def test_a_trainer_that_fills_the_memory_does_not_take_the_agent_with_it(instances: testbed.Testbed) -> None:
    after(instances, "the trainer fills the memory")


def test_an_agent_that_fills_the_memory(instances: testbed.Testbed) -> None:
    after(instances, "the agent fills the memory")


def test_a_bundle_with_the_wrong_hash(instances: testbed.Testbed) -> None:
    row = after(instances, "the bundle is forged")
    assert "boot failed: could not verify" in instances.boot_log(row.run_id)


def test_a_second_boot(instances: testbed.Testbed) -> None:
    row = after(instances, "the kernel panics")
    assert "during training" in row.says
