"""Plays EC2 for the embedded AWS, whose instances are records only.

A running record gets a process (`box`), the end of that process terminates the record, the termination of the record
ends the process, and each change is told to the deployed function as EventBridge would tell it. `up` starts it as
`python -m chronos_ec2.local.ec2.simulator --state DIR`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.errors import translated
from chronos_ec2.aws.stack_outputs import stack_name
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.local.processes import is_marked, kill_marked
from chronos_ec2.local.state_dir import ENVIRONMENT, INSTANCE_MARK, MARK, REGION, Layout, Record
from chronos_ec2.ports import Fleet

logger = logging.getLogger("ec2")

_PERIOD = 0.5
_STARTING = (InstanceState.PENDING, InstanceState.RUNNING)
_LAST_STATES = {
    InstanceState.SHUTTING_DOWN: (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED),
    InstanceState.TERMINATED: (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED),
    InstanceState.STOPPING: (InstanceState.STOPPING, InstanceState.STOPPED),
    InstanceState.STOPPED: (InstanceState.STOPPING, InstanceState.STOPPED),
}


@dataclass(slots=True)
class Ec2StandIn:
    """The instances of the embedded AWS: records in EC2, processes here.

    `announce` hands an event to the function that hears of instances.
    """

    fleet: Fleet
    announce: Callable[[dict[str, Any]], None]
    bucket: str
    instances_dir: Path
    boxes: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    """What runs on each live instance; None for one that has no run to boot for."""
    ended: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Compare records and processes once and make them agree. Raises what Fleet raises."""
        records = {record.instance_id: record for record in self.fleet.instances(ENVIRONMENT)}
        for instance_id, record in records.items():
            if instance_id in self.ended:
                continue
            if instance_id in self.boxes:
                self._follow(record)
            elif record.state in _STARTING:
                self._power_on(record)
        # ministack forgets a terminated record after a minute, so a long pause of ours may have missed it.
        for instance_id in self.boxes.keys() - records.keys():
            self._power_off(instance_id, InstanceState.TERMINATED)

    def shut_down(self) -> None:
        """End every process; the records stay as they are."""
        for instance_id in list(self.boxes):
            self._end_box(instance_id)

    def _follow(self, record: Instance) -> None:
        if record.state in _LAST_STATES:
            self._power_off(record.instance_id, record.state)
            return
        box = self.boxes[record.instance_id]
        if box is not None and box.poll() is not None:
            logger.info("%s powered off: terminate", record.instance_id)
            self.fleet.terminate(record.instance_id)
            self._power_off(record.instance_id, InstanceState.TERMINATED)

    def _power_on(self, record: Instance) -> None:
        instance_id = record.instance_id
        for state in _STARTING:
            self._tell(instance_id, state)
        if record.lane is None or record.run_id is None:
            logger.info("%s is up; it has no run to boot for", instance_id)
            self.boxes[instance_id] = None
            return
        disk = self.instances_dir / instance_id
        disk.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "chronos_ec2.local.ec2.instance_process", "--bucket", self.bucket]
        command += ["--environment", record.lane.environment, "--run-id", record.run_id]
        command += ["--attempt", str(record.attempt), "--instance-id", instance_id]
        command += ["--disk", str(disk), "--parent", str(os.getpid())]
        with (disk / "boot.log").open("ab") as log:
            self.boxes[instance_id] = subprocess.Popen(
                command,
                env=os.environ | {INSTANCE_MARK: instance_id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        logger.info("%s is up for run %s, log %s", instance_id, record.run_id, disk / "boot.log")

    def _power_off(self, instance_id: str, state: InstanceState) -> None:
        self._end_box(instance_id)
        for passed in _LAST_STATES[state]:
            self._tell(instance_id, passed)
        self.ended.add(instance_id)
        logger.info("%s is %s", instance_id, _LAST_STATES[state][-1])

    def _end_box(self, instance_id: str) -> None:
        box = self.boxes.pop(instance_id)
        kill_marked(INSTANCE_MARK, instance_id)
        if box is not None:
            box.wait()

    def _tell(self, instance_id: str, state: InstanceState) -> None:
        try:
            self.announce(state_change_event(instance_id, state, datetime.now(UTC)))
        except Exception:
            # Best effort, as with EventBridge: every promise holds without events.
            logger.exception("%s %s: event lost", instance_id, state)


def state_change_event(instance_id: str, state: InstanceState, now: datetime) -> dict[str, Any]:
    """The event that EventBridge hands to a rule's target when EC2 moves an instance to another state."""
    account = "000000000000"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": account,
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:ec2:{REGION}:{account}:instance/{instance_id}"],
        "detail": {"instance-id": instance_id, "state": str(state)},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Play EC2 until told to end, until the emulator is gone, or until the process that owns both is."""
    parser = argparse.ArgumentParser(prog="python -m chronos_ec2.local.ec2.simulator")
    parser.add_argument("--state", type=Path, required=True, help="state folder of the embedded AWS")
    layout = Layout(parser.parse_args(arguments).state)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    record = layout.read()
    if record is None:
        parser.error(f"nothing runs in {layout.root}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    outputs = _outputs()
    stand_in = Ec2StandIn(
        fleet=Ec2Fleet(client("ec2"), outputs["Project"], outputs["CostCenter"]),
        announce=_invoker(client("lambda"), outputs["InstanceChangedFunction"]),
        bucket=outputs["Bucket"],
        instances_dir=layout.instances,
    )
    try:
        _play(stand_in, record)
    finally:
        stand_in.shut_down()
    if record.owner is not None and not _alive(record.owner):
        logger.info("the owner is gone: end everything")
        kill_marked(MARK, record.token)
    return 0


def _play(stand_in: Ec2StandIn, record: Record) -> None:
    while is_marked(record.emulator, MARK, record.token) and (record.owner is None or _alive(record.owner)):
        try:
            stand_in.look()
        except Exception:
            # An AWS does not go away because of one call: every instance would end with this process.
            logger.exception("could not look after the instances, trying again")
        time.sleep(_PERIOD)


def _invoker(client_: Any, function: str) -> Callable[[dict[str, Any]], None]:
    def invoke(event: dict[str, Any]) -> None:
        with translated(f"invoke {function}"):
            client_.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())

    return invoke


def _outputs() -> dict[str, str]:
    stack = client("cloudformation").describe_stacks(StackName=stack_name(ENVIRONMENT))["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    sys.exit(main())
