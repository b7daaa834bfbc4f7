"""Simulates EC2 for the embedded AWS, whose instances are only records.

Each running record gets a process. When the process ends, the record is terminated; when the record is terminated, the
process is killed. Each state change invokes the deployed function with the event that EventBridge would send. `up`
starts the simulator as `python -m chronos_ec2.local.ec2.simulator --state DIR`.
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
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.stack_status import stack_name
from chronos_ec2.local.processes import is_marked, kill_marked
from chronos_ec2.local.state_dir import ENVIRONMENT, INSTANCE_MARK, MARK, REGION, Record, StateDir
from chronos_ec2.ports import Fleet

logger = logging.getLogger("ec2")

_PERIOD = 0.5
_STARTING = (InstanceState.PENDING, InstanceState.RUNNING)
_STOP_SEQUENCE = {
    InstanceState.SHUTTING_DOWN: (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED),
    InstanceState.TERMINATED: (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED),
    InstanceState.STOPPING: (InstanceState.STOPPING, InstanceState.STOPPED),
    InstanceState.STOPPED: (InstanceState.STOPPING, InstanceState.STOPPED),
}


@dataclass(slots=True)
class Ec2Simulator:
    """The instances of the embedded AWS: records in EC2, processes here. `announce` sends a state-change event."""

    fleet: Fleet
    announce: Callable[[dict[str, Any]], None]
    bucket: str
    instances_dir: Path
    processes: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    """The process of each live instance; None for an instance without a run."""
    ended: set[str] = field(default_factory=set)

    def reconcile(self) -> None:
        """Compare records and processes once, and make them agree. Raises what Fleet raises."""
        records = {record.instance_id: record for record in self.fleet.instances(ENVIRONMENT)}
        for instance_id, record in records.items():
            if instance_id in self.ended:
                continue
            if instance_id in self.processes:
                self._follow(record)
            elif record.state in _STARTING:
                self._power_on(record)
        # ministack drops a terminated record after a minute; a long pause of this process may have missed it.
        for instance_id in self.processes.keys() - records.keys():
            self._power_off(instance_id, InstanceState.TERMINATED)

    def shut_down(self) -> None:
        """Kill every process; the records stay as they are."""
        for instance_id in list(self.processes):
            self._kill(instance_id)

    def _follow(self, record: Instance) -> None:
        if record.state in _STOP_SEQUENCE:
            self._power_off(record.instance_id, record.state)
            return
        process = self.processes[record.instance_id]
        if process is not None and process.poll() is not None:
            logger.info("%s powered off: terminate", record.instance_id)
            self.fleet.terminate(record.instance_id)
            self._power_off(record.instance_id, InstanceState.TERMINATED)

    def _power_on(self, record: Instance) -> None:
        instance_id = record.instance_id
        for state in _STARTING:
            self._announce(instance_id, state)
        if record.lane is None or record.run_id is None:
            logger.info("%s is up; it has no run", instance_id)
            self.processes[instance_id] = None
            return
        disk = self.instances_dir / instance_id
        disk.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "chronos_ec2.local.ec2.instance_process", "--bucket", self.bucket]
        command += ["--environment", record.lane.environment, "--run-id", record.run_id]
        command += ["--attempt", str(record.attempt), "--instance-id", instance_id]
        command += ["--disk", str(disk), "--parent", str(os.getpid())]
        with (disk / "boot.log").open("ab") as log:
            self.processes[instance_id] = subprocess.Popen(
                command,
                env=os.environ | {INSTANCE_MARK: instance_id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        logger.info("%s is up for run %s, log %s", instance_id, record.run_id, disk / "boot.log")

    def _power_off(self, instance_id: str, state: InstanceState) -> None:
        self._kill(instance_id)
        for entered in _STOP_SEQUENCE[state]:
            self._announce(instance_id, entered)
        self.ended.add(instance_id)
        logger.info("%s is %s", instance_id, _STOP_SEQUENCE[state][-1])

    def _kill(self, instance_id: str) -> None:
        process = self.processes.pop(instance_id)
        kill_marked(INSTANCE_MARK, instance_id)
        if process is not None:
            process.wait()

    def _announce(self, instance_id: str, state: InstanceState) -> None:
        try:
            self.announce(state_change_event(instance_id, state, datetime.now(UTC)))
        except Exception:
            # Best effort, as with EventBridge: no guarantee depends on an event.
            logger.exception("%s %s: event lost", instance_id, state)


def state_change_event(instance_id: str, state: InstanceState, now: datetime) -> dict[str, Any]:
    """The event that EventBridge sends when an instance changes state."""
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
    """Simulate EC2 until SIGTERM, or until the emulator or the owner has ended."""
    parser = argparse.ArgumentParser(prog="python -m chronos_ec2.local.ec2.simulator")
    parser.add_argument("--state", type=Path, required=True, help="state folder of the embedded AWS")
    state = StateDir(parser.parse_args(arguments).state)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    record = state.read()
    if record is None:
        parser.error(f"nothing is running in {state.root}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    outputs = _outputs()
    simulator = Ec2Simulator(
        fleet=Ec2Fleet(client("ec2"), outputs["Project"], outputs["CostCenter"]),
        announce=_invoker(client("lambda"), outputs["InstanceChangedFunction"]),
        bucket=outputs["Bucket"],
        instances_dir=state.instances,
    )
    try:
        _run(simulator, record)
    finally:
        simulator.shut_down()
    if record.owner is not None and not _alive(record.owner):
        logger.info("the owner has ended: kill everything")
        kill_marked(MARK, record.token)
    return 0


def _run(simulator: Ec2Simulator, record: Record) -> None:
    while is_marked(record.emulator, MARK, record.token) and (record.owner is None or _alive(record.owner)):
        try:
            simulator.reconcile()
        except Exception:
            # One failed call must not end this process, and with it every instance.
            logger.exception("could not reconcile the instances; trying again")
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
