"""Faults in instance containers: the instance ends in time, and the run says why. `make agent-faults` has them all."""

from __future__ import annotations

import pytest

from verification.instance_faults.faults import FAULTS, Row, suffer
from verification.instance_faults.testbed import FaultBench

pytestmark = [pytest.mark.embedded_aws, pytest.mark.containers, pytest.mark.thorough]


def meets(instances: FaultBench, name: str) -> Row:
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    row = suffer(instances, fault)
    assert row.kept(fault.end), row
    return row


def test_a_trainer_that_crashes(instances: FaultBench) -> None:
    row = meets(instances, "the trainer crashes")
    assert set(row.logs) == {"agent", "boot", "trainer"}
    assert "Main process exited, code=exited, status=1" in instances.boot_log(row.run_id)


def test_an_agent_that_is_killed(instances: FaultBench) -> None:
    row = meets(instances, "the agent is killed")
    assert set(row.logs) == {"agent", "boot", "trainer"}
    assert "Main process exited, code=killed, status=9/KILL" in instances.boot_log(row.run_id)


def test_a_trainer_that_fills_the_memory(instances: FaultBench) -> None:
    meets(instances, "the trainer fills the memory")


def test_an_agent_that_fills_the_memory(instances: FaultBench) -> None:
    meets(instances, "the agent fills the memory")


def test_a_bundle_with_another_hash_than_the_request_names(instances: FaultBench) -> None:
    row = meets(instances, "the bundle is another")
    assert "boot failed: could not verify" in instances.boot_log(row.run_id)


def test_a_kernel_panic(instances: FaultBench) -> None:
    row = meets(instances, "the kernel panics")
    assert "during training" in row.says
