"""The testbed for instance faults: the embedded AWS, a data set, agent bundles, and instances as containers."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.bundled.prices import BundledPrices
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import bundle_key, shared_key
from chronos_ec2.local import LocalAws, LocalAwsFailed
from chronos_ec2.local.docker_relay import relay
from chronos_ec2.local.ec2.instance_container import InstanceContainer
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.launch import Launched, Launcher, LaunchSpec, launch
from chronos_ec2.services.logs import LogReader, log_names
from chronos_ec2.services.publish.agent import CHECKOUT, build_bundle, publish_agent, publish_bundle
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing import MemoryDeadlines, MemoryFleet, MemoryNotifier

ENVIRONMENT = "faults"
"""No deployed watchdog looks after this one: an instance must end itself."""
_DATA = "training-data/faults/"
_CONCLUDED_WITHIN = 30.0
_HANG = "    threading.Event().wait()\n"
_EXHAUST_MEMORY = "    blocks = []\n    while True:\n        blocks.append(bytearray(2**22))\n"
_CLAIMED = "    workdir.claimed.touch()\n"


@dataclass(frozen=True, slots=True)
class Testbed:
    """Launches runs on instances in containers, and reads what they leave."""

    bucket: str
    endpoint: str
    access_key: str
    store: RunStore
    transfer: S3Transfer
    fleet: MemoryFleet
    watchdog: Reconciler
    launching: threading.Lock

    def launch(self, lane: Lane, probe: Mapping[str, object], bundle: str, limits: Limits) -> Launched:
        """Launch a run of the trainer `probe`."""
        config = {
            "trainer": "probe", "data": {"path": _DATA}, "prediction_length": 2, "context_length": 4,
            "probe": {"step_seconds": 0.2, **probe},
        }  # fmt: skip
        # The memory fleet and the download of the packages take one caller at a time.
        with self.launching:
            order = LaunchSpec(
                lane, config, _DATA, ("g4dn.2xlarge",), ("subnet-0",), self.bucket, self._publish(bundle), limits,
                allow_cpu=True,
            )  # fmt: skip
            launched = launch(order, self.store, self.fleet, self.watchdog.deadlines, self.watchdog.clock)
        assert isinstance(launched, Launched), launched
        return launched

    def instance(self, launched: Launched, bundle: str) -> InstanceContainer:
        """The instance's container, not started yet; without the packages that its bundle brings."""
        user_data = self.fleet.user_data[launched.instance_id]
        return InstanceContainer.create(
            launched.instance_id, user_data, self.endpoint, self.access_key,
            packages_in_image=bundle != "agent with packages",
        )  # fmt: skip

    def conclude(self, lane: Lane, launched: Launched) -> Run:
        """Terminate the instance in EC2 and let the watchdog conclude the run.

        Raises:
            LocalAwsFailed: the watchdog keeps the lock.
        """
        self.fleet.move(launched.instance_id, InstanceState.TERMINATED)
        end = time.monotonic() + _CONCLUDED_WITHIN
        while not isinstance(self.store.read_lock(lane), Absent):
            if time.monotonic() > end:
                text = f"the watchdog does not conclude the run of lane {lane.name}"
                raise LocalAwsFailed(text, "see what EC2 lists")
            self.watchdog.lane(lane)
        return find_run(self.store, ENVIRONMENT, launched.run_id).run

    def logs(self, run_id: str) -> tuple[str, ...]:
        """The names of a run's logs in the bucket."""
        return log_names(self.store.objects, ENVIRONMENT, run_id)

    def boot_log(self, run_id: str) -> str:
        """The log of the boot script and of systemd; empty if it did not reach the bucket."""
        reader = LogReader(self.store.objects, ENVIRONMENT, run_id, "boot")
        return "\n".join([*reader.more(), *reader.rest()])

    def _publish(self, bundle: str) -> str:
        """Upload a bundle of this kind; its SHA-256."""
        if bundle == "agent with packages":
            return publish_agent(False, self.store, self.transfer, lambda _line: None)[0]
        ours = build_bundle(packages_in_image=True)
        if bundle == "hanging":
            ours = _with(ours, "agent/python-env", "sleep infinity\n")
        if bundle == "hungry trainer":
            ours = _changed(ours, "agent/trainer/probe.py", _HANG, _EXHAUST_MEMORY)
        if bundle == "hungry agent":
            ours = _changed(ours, "agent/lifecycle.py", _CLAIMED, _CLAIMED + _EXHAUST_MEMORY)
        if bundle == "forged":
            self.store.objects.write(bundle_key("0" * 64), ours, "application/gzip")
            return "0" * 64
        return publish_bundle(self.store, ours)


@contextmanager
def open_testbed(aws: LocalAws) -> Iterator[Testbed]:
    """A testbed on an embedded AWS. Raises LocalAwsFailed if containers cannot reach it."""
    with aws.exported(), relay(aws.endpoint) as endpoint:
        stack = read_stack(client("cloudformation"), aws.environment)
        store = RunStore(S3Objects(client("s3"), stack.bucket))
        store.objects.write(
            shared_key(ENVIRONMENT, f"{_DATA}part.parquet"), a_small_data_set(), "application/octet-stream"
        )
        clock = SystemClock()
        fleet, deadlines = MemoryFleet(clock), MemoryDeadlines(clock)
        place = StackLocation("aws", aws.region, stack.bucket)
        launcher = Launcher(stack.bucket, (), store, fleet, deadlines, clock, stack.bounds)
        # No run here may have another attempt, or is of a schedule, so nothing is started.
        watchdog = Reconciler(
            ENVIRONMENT, store, fleet, deadlines, MemoryNotifier(),
            Groups(Schedules(ENVIRONMENT, store, launcher, MemoryNotifier(), clock, place, stack.stack_id)), clock,
            Limits(),
            place, BundledPrices(),
        )  # fmt: skip
        transfer = S3Transfer(client("s3"), stack.bucket)
        yield Testbed(stack.bucket, endpoint, aws.access_key, store, transfer, fleet, watchdog, threading.Lock())


def a_small_data_set() -> bytes:
    """A Parquet file for the trainer `probe`, which does not read it."""
    table = pa.table({"item_id": ["a"] * 9, "timestamp": pa.array(range(9), pa.timestamp("s")), "target": [1.0] * 9})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _changed(bundle: bytes, name: str, old: str, new: str) -> bytes:
    """A bundle with a passage of one file replaced. The file must have it exactly once."""
    before, passage, after = (CHECKOUT / name).read_text().partition(old)
    assert passage, f"{name} has changed"
    assert old not in after, f"{name} has changed"
    return _with(bundle, name, before + new + after)


def _with(bundle: bytes, name: str, text: str) -> bytes:
    """A bundle with a file added or replaced."""
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(bundle)) as old, tarfile.open(fileobj=changed, mode="w:gz") as new:
        for entry in old:
            if entry.name != name:
                new.addfile(entry, old.extractfile(entry))
        entry = tarfile.TarInfo(name)
        entry.size = len(text.encode())
        new.addfile(entry, io.BytesIO(text.encode()))
    return changed.getvalue()
