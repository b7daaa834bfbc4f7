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

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Status
from chronos_ec2.local import LocalAwsFailed, local_aws
from chronos_ec2.local.ec2.instance_container import InstanceContainer, ensure_image
from verification.agent.figures import note
from verification.agent.probe_runs import wait_for
from verification.instance_faults.testbed import Testbed, open_testbed

AT_ONCE = 4
"""Instances at a time; they mostly wait."""
SHUTDOWN = timedelta(seconds=60)
"""The longest shutdown: half a minute for the exit report, and what systemd needs to power off."""
FORCED_EXIT = timedelta(seconds=30)
"""From a self-fence to the forced exit of the agent, see `agent.__main__`."""
WHEN: Mapping[str, Callable[[Run], bool]] = {
    "launched": lambda _run: True,
    "claimed": lambda run: run.claimed,
    "training": lambda run: run.status is Status.TRAINING,
    "ended": lambda run: run.verdict is not None,
}


def _limits(**seconds: int) -> Limits:
    short = {"heartbeat": 1, "heartbeat_retry": 1, "boot": 120, "grace": 20, "self_fence": 40}
    return Limits.from_overrides(short | seconds)


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
    """A fault, how long the instance may live, and the expected record.

    `strike` is done to the instance `when` the run is so far. The bound counts from then, or from the launch. `probe`,
    `bundle` and `limits` are those of the run.
    """

    name: str
    bound: timedelta
    end: End
    when: str = "training"
    strike: Callable[[InstanceContainer], object] = lambda _instance: None
    since_launch: bool = False
    probe: Mapping[str, object] = field(default_factory=lambda: {"steps": 1000})
    bundle: str = "agent"
    limits: Limits = field(default_factory=_limits)


def _signal_agent(signal: str, whom: str) -> Callable[[InstanceContainer], object]:
    command = f"systemctl kill --signal={signal} --kill-whom={whom} chronos-agent.service"
    return lambda instance: instance.run(command)


def _reboot(instance: InstanceContainer) -> None:
    instance.run("systemctl reboot --force")
    instance.stops_within(SHUTDOWN.total_seconds())
    instance.start()


def _panic(instance: InstanceContainer) -> None:
    instance.crash()
    instance.start()


_SHORT = _limits()
_SHORT_RUNTIME = _limits(max_runtime=50, grace=10, self_fence=600)
# Each AWS call hangs for half a minute then; the unit's watchdog must tolerate that.
_CUT_OFF = _limits(self_fence=90)
_SHORT_BOOT = _limits(boot=30)
# Installing 73 wheels takes minutes on busy cores.
_LONG_BOOT = _limits(boot=480)
_AFTER_TRAINER = _SHORT.grace + SHUTDOWN
_SHUT_DOWN = "the instance is shutting down (SIGTERM)"
FAULTS = (
    # An instance without a network cannot report why it ends.
    Fault(
        "the network is cut", _CUT_OFF.self_fence + FORCED_EXIT + SHUTDOWN, End.lost("without an exit report"),
        strike=InstanceContainer.disconnect, limits=_CUT_OFF,
    ),
    Fault(
        "none", _AFTER_TRAINER, End(Status.CLEANUP, Cause.COMPLETED, ("results in S3",)),
        when="ended", probe={"steps": 3}, bundle="agent with packages", limits=_LONG_BOOT,
    ),
    Fault(
        "the trainer crashes", _AFTER_TRAINER, End(Status.FAILED, Cause.USER_CODE, ("ProbeCrash",)),
        when="ended", probe={"steps": 3, "ending": "crash"},
    ),
    Fault(
        "the trainer fills the memory", _AFTER_TRAINER,
        End(Status.FAILED, Cause.USER_CODE, ("the instance ran out of memory",)),
        when="ended", probe={"steps": 3, "ending": "hang"}, bundle="hungry trainer",
    ),
    Fault(
        "the agent fills the memory", SHUTDOWN, End.lost("KILL); OOM kills since boot"),
        when="claimed", bundle="hungry agent",
    ),
    Fault(
        "the agent is killed", SHUTDOWN, End.lost("signal (killed KILL)"), strike=_signal_agent("KILL", "main"),
    ),
    Fault(
        "the agent is frozen", _SHORT.self_fence / 2 + SHUTDOWN, End.lost("watchdog"),
        strike=_signal_agent("STOP", "main"),
    ),
    Fault(
        "the boot hangs", _SHORT_BOOT.boot + SHUTDOWN,
        End.lost("run not claimed within 30 s, last step: unpack the bundle"),
        when="launched", bundle="hanging", limits=_SHORT_BOOT,
    ),
    Fault(
        "the bundle is forged", _SHORT.boot + SHUTDOWN, End.lost("boot failed: could not verify"),
        when="launched", bundle="forged",
    ),
    Fault("the instance reboots", SHUTDOWN, End.lost(_SHUT_DOWN), strike=_reboot),
    Fault("the kernel panics", SHUTDOWN, End.lost("the instance rebooted"), strike=_panic),
    # The shutdown thaws the agent, which may then be quick enough to report itself.
    Fault(
        "frozen until the deadline", _SHORT_RUNTIME.max_runtime + _SHORT_RUNTIME.grace + SHUTDOWN,
        End.lost("the deadline timer fired", _SHUT_DOWN),
        strike=_signal_agent("STOP", "all"), since_launch=True, limits=_SHORT_RUNTIME,
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
    lane = Lane(testbed.env.name, fault.name.replace(" ", "-"))
    launched, instance = testbed.launch(lane, fault.probe, fault.bundle, fault.limits)
    run_id, bound = launched.run_id, fault.bound.total_seconds()
    try:
        instance.start()
        begin = time.monotonic()
        wait_for(
            lambda: WHEN[fault.when](testbed.reported(run_id)), fault.limits.boot.total_seconds(),
            lambda: f"{fault.name}: not {fault.when}, but {testbed.reported(run_id).current_step}",
            alive=lambda: instance.running,
        )  # fmt: skip
        fault.strike(instance)
        begin = begin if fault.since_launch else time.monotonic()
        ended = instance.stops_within(max(1.0, begin + bound - time.monotonic()))
        seconds = round(time.monotonic() - begin, 1)
    finally:
        instance.remove()
    run = testbed.conclude(lane, launched)
    cause, says = (str(run.verdict.cause), run.verdict.message) if run.verdict else ("", "")
    return Row(fault.name, run_id, ended, seconds, bound, str(run.status), cause, says, testbed.logs(run_id))


def main() -> int:
    """Inject all faults, into build/agent.json. Returns 1 if an instance outlives its bound or its record is wrong."""
    try:
        ensure_image()
        with (
            tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder, local_aws(Path(folder)) as aws,
            open_testbed(aws) as testbed, ThreadPoolExecutor(AT_ONCE) as pool,
        ):  # fmt: skip
            rows = list(pool.map(lambda fault: _told(testbed, fault), FAULTS))
    except LocalAwsFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    note("faults", [asdict(row) for row in rows])
    return 0 if all(row.passed(fault.end) for fault, row in zip(FAULTS, rows, strict=True)) else 1


def _told(testbed: Testbed, fault: Fault) -> Row:
    row = inject(testbed, fault)
    mark = "ok" if row.passed(fault.end) else f"FAILED, expected {fault.end}"
    print(f"{row.fault}: {row.seconds:.0f} s of {row.bound:.0f}, {row.status}, {row.cause}: {mark}", flush=True)
    print(f"  {row.says}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
