"""Processes in virtual time: one runs at a time, they interleave where they sleep, and are killed there."""

from __future__ import annotations

from random import Random

import pytest

from chronos_ec2.domain.errors import CapacityUnavailable
from chronos_ec2.domain.records.capacity import SPOT, LaunchOption
from chronos_ec2.testing import Faults, VirtualTime
from chronos_ec2.testing.builders import a_run
from chronos_ec2.testing.clock import VirtualProcess
from chronos_ec2.testing.virtual.ec2 import Delays, Drought, VirtualFleet

SLEEPS = (("a", 3.0), ("b", 2.0))


def test_processes_interleave_where_they_sleep() -> None:
    time, log = VirtualTime(), []

    def work(name: str, seconds: float) -> None:
        for _ in range(2):
            log.append((time.seconds, name))
            process[name].sleep(seconds)
        log.append((time.seconds, f"{name} ends"))

    process = {name: VirtualProcess(time, lambda name=name, wait=wait: work(name, wait)) for name, wait in SLEEPS}
    for one in process.values():
        one.start()
    time.run(lambda: False, 100)
    assert log == [(0, "a"), (0, "b"), (2, "b"), (3, "a"), (4, "b ends"), (6, "a ends")]
    assert all(one.ended for one in process.values())


def test_a_process_is_killed_where_it_sleeps_and_its_cleanup_sleeps_no_more() -> None:
    time, log = VirtualTime(), []

    def work() -> None:
        try:
            process.sleep(10)
            log.append("woke up")
        finally:
            log.append("crashed")
            process.sleep(5)
            log.append("slept again")

    process = VirtualProcess(time, work)
    process.start()
    time.at(4, process.kill)
    time.run(lambda: False, 100)
    assert (log, process.ended) == (["crashed"], True)
    process.kill()  # of one that has ended: nothing


def test_what_a_process_raises_is_raised_by_whoever_resumes_it() -> None:
    time = VirtualTime()

    def work() -> None:
        process.sleep(1)
        raise ValueError("a bug")

    process = VirtualProcess(time, work)
    process.start()
    with pytest.raises(ValueError, match="a bug"):
        time.run(lambda: False, 100)


@pytest.mark.parametrize("place", ["", "g4dn.2xlarge", "subnet-a", SPOT])
def test_a_drought_is_of_a_place_and_passes(place: str) -> None:
    time = VirtualTime()
    fleet = VirtualFleet(time, Faults(), Delays(), Random(1))
    fleet.droughts = (Drought(10, 20, place),)
    asked, other = LaunchOption("g4dn.2xlarge", "subnet-a", SPOT), LaunchOption("g5.2xlarge", "subnet-b")
    time.seconds = 15.0
    with pytest.raises(CapacityUnavailable):
        fleet.launch(a_run(), asked, "")
    if place:
        fleet.launch(a_run(attempt=2), other, "")
    time.seconds = 30.0
    instance_id = fleet.launch(a_run(), asked, "").instance_id
    assert fleet.bill[instance_id].launched == 30.0
    fleet.shut_down(instance_id, 7)
    time.run(lambda: False, 100)
    assert (fleet.bill[instance_id].ended, fleet.bill[instance_id].gone) == (30.0, 37.0)
