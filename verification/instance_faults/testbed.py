"""The testbed for instance faults: the embedded AWS, a data set, agent bundles, and instances as containers."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Transfer
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.domain.facts import Absent, Reports
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import bundle_key
from chronos_ec2.domain.rules.as_reported import run_as_reported
from chronos_ec2.local import LocalAws
from chronos_ec2.local.docker_relay import relay
from chronos_ec2.local.ec2.instance_container import InstanceContainer
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.logs import LogReader, log_names
from chronos_ec2.services.publish.agent import build_bundle, publish_agent, publish_bundle
from chronos_ec2.services.run_queries import find_run
from verification.agent.probe_runs import ProbeEnvironment, wait_for
from verification.checkout import copy_checkout

_CONCLUDED_WITHIN = 30.0
_WITH_PACKAGES = "agent with packages"
_EXHAUST_MEMORY = "    blocks = []\n    while True:\n        blocks.append(bytearray(2**22))\n"
_CLAIMED = "    workdir.claimed.touch()\n"
_CHANGES = {
    "hanging": ("agent/python-env", "PYTHON_VERSION=", "sleep infinity\nPYTHON_VERSION="),
    "hungry trainer": ("agent/trainer/probe.py", "    threading.Event().wait()\n", _EXHAUST_MEMORY),
    "hungry agent": ("agent/lifecycle.py", _CLAIMED, _CLAIMED + _EXHAUST_MEMORY),
}
"""Bundles with a passage of one file replaced: the file, the passage, what replaces it."""


@dataclass(frozen=True, slots=True)
class Testbed:
    """Launches runs on instances in containers, and reads what they leave.

    No deployed watchdog looks after its environment: an instance must end itself.
    """

    env: ProbeEnvironment
    transfer: S3Transfer
    endpoint: str
    access_key: str
    _launching: threading.Lock = field(default_factory=threading.Lock)

    def launch(
        self, lane: Lane, probe: Mapping[str, object], bundle: str, limits: Limits
    ) -> tuple[Launched, InstanceContainer]:
        """Launch a run of the trainer `probe`. Its instance is not started yet, and lacks what its bundle brings."""
        # The memory fleet and the download of the packages take one caller at a time.
        with self._launching:
            launched = self.env.launch_probe(lane, probe, self._publish(bundle), limits)
        user_data = self.env.fleet.user_data[launched.instance_id]
        return launched, InstanceContainer.create(
            launched.instance_id, user_data, self.endpoint, self.access_key,
            packages_in_image=bundle != _WITH_PACKAGES,
        )  # fmt: skip

    def reported(self, run_id: str) -> Run:
        """The run as recorded in the bucket, with what its agent has reported: no watchdog looks while it lives."""
        store, run = self.env.store, find_run(self.env.store, self.env.name, run_id).run
        reports = Reports(store.read_claim(run), store.read_status(run), store.read_outcome(run))
        return run_as_reported(run, reports, (), self.env.clock.now())

    def conclude(self, lane: Lane, launched: Launched) -> Run:
        """Terminate the instance in EC2 and let the watchdog conclude the run.

        Raises:
            LocalAwsFailed: the watchdog keeps the lock.
        """
        self.env.fleet.move(launched.instance_id, InstanceState.TERMINATED)

        def concluded() -> bool:
            self.env.watchdog.lane(lane)
            return isinstance(self.env.store.read_lock(lane), Absent)

        wait_for(concluded, _CONCLUDED_WITHIN, lambda: f"the watchdog does not conclude the run of lane {lane.name}")
        return find_run(self.env.store, self.env.name, launched.run_id).run

    def logs(self, run_id: str) -> tuple[str, ...]:
        """The names of a run's logs in the bucket."""
        return log_names(self.env.objects, self.env.name, run_id)

    def boot_log(self, run_id: str) -> str:
        """The log of the boot script and of systemd; empty if it did not reach the bucket."""
        reader = LogReader(self.env.objects, self.env.name, run_id, "boot")
        return "\n".join([*reader.more(), *reader.rest()])

    def _publish(self, bundle: str) -> str:
        """Upload a bundle of this kind; its SHA-256."""
        if bundle == _WITH_PACKAGES:
            return publish_agent(False, self.env.store, self.transfer, lambda _line: None)[0]
        if bundle == "forged":
            self.env.objects.write(bundle_key("0" * 64), build_bundle(packages_in_image=True), "application/gzip")
            return "0" * 64
        return publish_bundle(self.env.store, _bundle(bundle))


@contextmanager
def open_testbed(aws: LocalAws) -> Iterator[Testbed]:
    """A testbed on an embedded AWS. Raises LocalAwsFailed if containers cannot reach it."""
    with aws.exported(), relay(aws.endpoint) as endpoint:
        bucket = read_stack(client("cloudformation"), aws.environment).bucket
        yield Testbed(ProbeEnvironment(bucket), S3Transfer(client("s3"), bucket), endpoint, aws.access_key)


def _bundle(kind: str) -> bytes:
    if kind not in _CHANGES:
        return build_bundle(packages_in_image=True)
    name, old, new = _CHANGES[kind]
    with tempfile.TemporaryDirectory() as folder:
        changed = copy_checkout(Path(folder)) / name
        text = changed.read_text()
        assert text.count(old) == 1, f"{name} has changed"
        changed.write_text(text.replace(old, new))
        # The boot script runs python-env, which is left out otherwise.
        return build_bundle(packages_in_image=kind != "hanging", checkout=Path(folder))
