"""`python -m verification.instance_faults.faults`: each injected fault must end its instance in time.

Each fault has an instance of its own in a container, launched by the real `launch` and booted by the real cloud-init
from the real user data, with the real agent and the trainer `probe`. No watchdog runs meanwhile: the instance must end
itself. Afterwards the real watchdog gets EC2's event and records the verdict.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from chronos_ec2.domain.facts import Reports
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Status
from chronos_ec2.domain.rules.as_reported import run_as_reported
from chronos_ec2.local import LocalAws, LocalAwsFailed, local_aws
from chronos_ec2.local.ec2.instance_container import InstanceContainer, ensure_image
from chronos_ec2.services.run_queries import find_run
from verification.agent.figures import note
from verification.instance_faults.testbed import ENVIRONMENT, Testbed, open_testbed

AT_ONCE = 4
"""Instances at a time; they mostly wait."""
SHUTDOWN = timedelta(seconds=60)
"""The longest shutdown: half a minute for the exit report, and what systemd needs to power off."""
FORCED_EXIT = timedelta(seconds=30)
"""From a self-fence to the forced exit of the agent, see `agent.__main__`."""
SHORT = Limits.from_overrides({"heartbeat": 1, "heartbeat_retry": 1, "boot": 120, "grace": 20, "self_fence": 40})


@dataclass(frozen=True, slots=True)
class Case:
    """A running instance to inject a fault into."""

    testbed: Testbed
    lane: Lane
    run_id: str
    instance: InstanceContainer
    limits: Limits
    started: float

    @property
    def run(self) -> Run:
        """The run as recorded in the bucket, with what its agent has reported: no watchdog looks while it lives."""
        store, run = self.testbed.store, find_run(self.testbed.store, ENVIRONMENT, self.run_id).run
        reports = Reports(store.read_claim(run), store.read_status(run), store.read_outcome(run))
        return run_as_reported(run, reports, (), self.testbed.watchdog.clock.now())

    def wait(self, until: Callable[[Run], bool]) -> float:
        """The time at which the condition was seen to hold. Raises LocalAwsFailed on a timeout."""
        end = time.monotonic() + self.limits.boot.total_seconds()
        while not until(self.run):
            if time.monotonic() > end or not self.instance.running:
                text = f"{self.lane.name}: the run stays in {self.run.status}, {self.run.current_step}"
                raise LocalAwsFailed(text, "see the logs of its container")
            time.sleep(0.2)
        return time.monotonic()

    def claimed(self) -> float:
        """Wait until the agent has claimed the run."""
        return self.wait(lambda run: run.claimed)

    def ended(self) -> float:
        """Wait until the run has a verdict."""
        return self.wait(lambda run: run.verdict is not None)


Injection = Callable[[Case], float]
"""Injects a fault and returns the time from which the fault's bound counts."""


def _since_launch(case: Case) -> float:
    return case.started


def _while_training(strike: Callable[[InstanceContainer], object]) -> Injection:
    def inject(case: Case) -> float:
        case.wait(lambda run: run.status is Status.TRAINING)
        strike(case.instance)
        return time.monotonic()

    return inject


def _signal_agent(signal: str, whom: str) -> Injection:
    command = f"systemctl kill --signal={signal} --kill-whom={whom} chronos-agent.service"
    return _while_training(lambda instance: instance.run(command))


def _freeze_since_launch(case: Case) -> float:
    _signal_agent("STOP", "all")(case)
    return case.started


def _reboot(instance: InstanceContainer) -> None:
    instance.run("systemctl reboot --force")
    instance.stops_within(SHUTDOWN.total_seconds())
    instance.start()


def _panic(instance: InstanceContainer) -> None:
    instance.crash()
    instance.start()


@dataclass(frozen=True, slots=True)
class End:
    """The expected final record of a run. The verdict's message contains one of `says`."""

    status: Status
    cause: Cause
    says: tuple[str, ...]

    @classmethod
    def lost(cls, *says: str) -> End:
        """Of a run whose instance ended before its agent wrote a verdict."""
        return cls(Status.FAILED, Cause.INFRA, says)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, the run that it is injected into, how long the instance may then live, and the expected record."""

    name: str
    inject: Injection
    bound: timedelta
    end: End
    probe: Mapping[str, object] = field(default_factory=lambda: {"steps": 1000})
    bundle: str = "agent"
    limits: Limits = SHORT


_SHORT_RUNTIME = Limits.from_overrides(SHORT.to_seconds() | {"max_runtime": 50, "grace": 10, "self_fence": 600})
# Each AWS call hangs for half a minute then; the unit's watchdog must tolerate that.
_CUT_OFF = Limits.from_overrides(SHORT.to_seconds() | {"self_fence": 90})
_SHORT_BOOT = Limits.from_overrides(SHORT.to_seconds() | {"boot": 30})
# Installing 73 wheels takes minutes on busy cores.
_LONG_BOOT = Limits.from_overrides(SHORT.to_seconds() | {"boot": 480})
_AFTER_TRAINER = SHORT.grace + SHUTDOWN
_SHUT_DOWN = "the instance is shutting down (SIGTERM)"
FAULTS = (
    # An instance without a network cannot report why it ends.
    Fault(
        "the network is cut", _while_training(InstanceContainer.disconnect),
        _CUT_OFF.self_fence + FORCED_EXIT + SHUTDOWN, End.lost("without an exit report"), limits=_CUT_OFF,
    ),
    Fault(
        "none", Case.ended, _AFTER_TRAINER, End(Status.CLEANUP, Cause.COMPLETED, ("results in S3",)),
        {"steps": 3}, "agent with packages", _LONG_BOOT,
    ),
    Fault(
        "the trainer crashes", Case.ended, _AFTER_TRAINER, End(Status.FAILED, Cause.USER_CODE, ("ProbeCrash",)),
        {"steps": 3, "ending": "crash"},
    ),
    Fault(
        "the trainer fills the memory", Case.ended, _AFTER_TRAINER,
        End(Status.FAILED, Cause.USER_CODE, ("the instance ran out of memory",)),
        {"steps": 3, "ending": "hang"}, "hungry trainer",
    ),
    Fault(
        "the agent fills the memory", Case.claimed, SHUTDOWN, End.lost("KILL); OOM kills since boot"),
        bundle="hungry agent",
    ),
    Fault("the agent is killed", _signal_agent("KILL", "main"), SHUTDOWN, End.lost("signal (killed KILL)")),
    Fault("the agent is frozen", _signal_agent("STOP", "main"), SHORT.self_fence / 2 + SHUTDOWN, End.lost("watchdog")),
    Fault(
        "the boot hangs", _since_launch, _SHORT_BOOT.boot + SHUTDOWN,
        End.lost("run not claimed within 30 s, last step: unpack the bundle"), bundle="hanging", limits=_SHORT_BOOT,
    ),
    Fault(
        "the bundle is forged", _since_launch, SHORT.boot + SHUTDOWN, End.lost("boot failed: could not verify"),
        bundle="forged",
    ),
    Fault("the instance reboots", _while_training(_reboot), SHUTDOWN, End.lost(_SHUT_DOWN)),
    Fault("the kernel panics", _while_training(_panic), SHUTDOWN, End.lost("the instance rebooted")),
    # The shutdown thaws the agent, which may then be quick enough to report itself.
    Fault(
        "frozen until the deadline", _freeze_since_launch,
        _SHORT_RUNTIME.max_runtime + _SHORT_RUNTIME.grace + SHUTDOWN, End.lost("the deadline timer fired", _SHUT_DOWN),
        limits=_SHORT_RUNTIME,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome of a fault. `logs` are the run's logs in the bucket, `says` is the verdict's message."""

    fault: str
    run_id: str
    ended: bool
    seconds: float
    bound: float
    status: str
    cause: str
    says: str
    logs: tuple[str, ...]

    def passed(self, end: End) -> bool:
        """Whether the instance ended in time and the record is as expected."""
        in_time = self.ended and self.seconds <= self.bound
        as_recorded = (self.status, self.cause) == (end.status, end.cause)
        return in_time and as_recorded and any(words in self.says for words in end.says)


def inject(testbed: Testbed, fault: Fault) -> Row:
    """Launch an instance, inject the fault, wait for the end. Raises LocalAwsFailed if it cannot be injected."""
    lane = Lane(ENVIRONMENT, fault.name.replace(" ", "-"))
    launched = testbed.launch(lane, fault.probe, fault.bundle, fault.limits)
    instance = testbed.instance(launched, fault.bundle)
    try:
        instance.start()
        case = Case(testbed, lane, launched.run_id, instance, fault.limits, time.monotonic())
        injected_at = fault.inject(case)
        ended = instance.stops_within(max(1.0, injected_at + fault.bound.total_seconds() - time.monotonic()))
        seconds = round(time.monotonic() - injected_at, 1)
    finally:
        instance.remove()
    run = testbed.conclude(lane, launched)
    cause, says = (str(run.verdict.cause), run.verdict.message) if run.verdict else ("", "")
    logs, bound = testbed.logs(launched.run_id), fault.bound.total_seconds()
    return Row(fault.name, launched.run_id, ended, seconds, bound, str(run.status), cause, says, logs)


def main() -> int:
    """Inject all faults, into build/agent.json. Returns 1 if an instance outlives its bound or its record is wrong."""
    try:
        ensure_image()
        with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder, local_aws(Path(folder)) as aws:
            rows = _all(aws)
    except LocalAwsFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    note("faults", [asdict(row) for row in rows])
    return 0 if all(row.passed(fault.end) for fault, row in zip(FAULTS, rows, strict=True)) else 1


def _all(aws: LocalAws) -> list[Row]:
    def one(fault: Fault) -> Row:
        row = inject(testbed, fault)
        mark = "ok" if row.passed(fault.end) else f"FAILED, expected {fault.end}"
        print(f"{row.fault}: {row.seconds:.0f} s of {row.bound:.0f}, {row.status}, {row.cause}: {mark}", flush=True)
        print(f"  {row.says}", flush=True)
        return row

    with open_testbed(aws) as testbed, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, FAULTS))


if __name__ == "__main__":
    sys.exit(main())
