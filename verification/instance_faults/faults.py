"""`python -m verification.instance_faults.faults`: whatever happens on an instance, it ends, in time, and people learn why.

Each fault meets an instance of its own, played in a container: launched by the real `launch`, booted by the real
cloud-init from the real user data, with the real agent and the trainer `probe`. Nothing outside watches it, so that
what ends it is the box alone. When it is gone the real watchdog, told so by EC2, says what became of the run.
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
from chronos_ec2.local import LocalAws, LocalAwsFailed, local_aws
from chronos_ec2.local.ec2.instance_container import InstanceContainer, ensure_image
from chronos_ec2.services.run_queries import find_run
from verification.agent.figures import note
from verification.instance_faults.testbed import ENVIRONMENT, FaultBench, fault_bench

AT_ONCE = 4
"""Instances at a time; mostly they wait."""
LEAVE = timedelta(seconds=60)
"""What leaving takes at most: half a minute for the last words of the box, and what systemd needs to power off."""
LAST_RESORT = timedelta(seconds=30)
"""From a fence to the hard end of the agent, see `agent.__main__`."""
SHORT = Limits.from_overrides({"heartbeat": 1, "heartbeat_retry": 1, "boot": 120, "grace": 20, "self_fence": 40})


@dataclass(frozen=True, slots=True)
class Case:
    """An instance that meets a fault."""

    bench: FaultBench
    lane: Lane
    run_id: str
    instance: InstanceContainer
    limits: Limits
    switched_on: float

    @property
    def run(self) -> Run:
        """The run as it stands in the bucket."""
        return find_run(self.bench.store, ENVIRONMENT, self.run_id).run

    def wait(self, until: Callable[[Run], bool]) -> float:
        """When the run was seen to be so. Raises LocalAwsFailed when it does not come to that."""
        end = time.monotonic() + self.limits.boot.total_seconds()
        while not until(self.run):
            if time.monotonic() > end or not self.instance.running:
                raise LocalAwsFailed(f"{self.lane.name}: the run stays in {self.run.status}, {self.run.current_step}")
            time.sleep(0.2)
        return time.monotonic()


def _launched(case: Case) -> float:
    return case.switched_on


def _verdict(case: Case) -> float:
    return case.wait(lambda run: run.verdict is not None)


def _agent_gets(signal: str, whom: str) -> Callable[[Case], float]:
    def strike(case: Case) -> float:
        case.wait(_trains)
        case.instance.run(f"systemctl kill --signal={signal} --kill-whom={whom} chronos-agent.service")
        return time.monotonic()

    return strike


def _frozen_since_launch(case: Case) -> float:
    _agent_gets("STOP", "all")(case)
    return case.switched_on


def _reboot(case: Case) -> float:
    case.wait(_trains)
    case.instance.run("systemctl reboot --force")
    case.instance.stops_within(LEAVE.total_seconds())
    case.instance.start()
    return time.monotonic()


def _panic(case: Case) -> float:
    case.wait(_trains)
    case.instance.crash()
    case.instance.start()
    return time.monotonic()


def _unplugged(case: Case) -> float:
    case.wait(_trains)
    case.instance.disconnect()
    return time.monotonic()


def _trains(run: Run) -> bool:
    return run.status is Status.TRAINING


def _memory_filled(case: Case) -> float:
    return case.wait(lambda run: run.claimed)


@dataclass(frozen=True, slots=True)
class End:
    """What the record of a run says in the end. Its verdict's message contains one of `says`."""

    status: Status
    cause: Cause
    says: tuple[str, ...]

    @classmethod
    def lost(cls, *says: str) -> End:
        """That of a run whose instance went away before its agent could say why."""
        return cls(Status.FAILED, Cause.INFRA, says)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong: how the run is made, what is done to it, how long the box may then take, what is said.

    `strike` returns the moment from which `promised` counts.
    """

    name: str
    strike: Callable[[Case], float]
    promised: timedelta
    end: End
    probe: Mapping[str, object] = field(default_factory=lambda: {"steps": 1000})
    bundle: str = "agent"
    limits: Limits = SHORT


_SHORT_LIFE = Limits.from_overrides(SHORT.to_seconds() | {"max_runtime": 50, "grace": 10, "self_fence": 600})
# Each of its calls hangs for half a minute then, which the unit's watchdog has to bear.
_CUT_OFF = Limits.from_overrides(SHORT.to_seconds() | {"self_fence": 90})
_SHORT_BOOT = Limits.from_overrides(SHORT.to_seconds() | {"boot": 30})
# Installing 73 wheels takes minutes where others need the cores too.
_LONG_BOOT = Limits.from_overrides(SHORT.to_seconds() | {"boot": 480})
_OF_TRAINER = SHORT.grace + LEAVE
_SHUT_DOWN = "the instance is shutting down (SIGTERM)"
FAULTS = (
    # Of a box without a network nobody can hear more than that it is gone.
    Fault(
        "the network is cut", _unplugged, _CUT_OFF.self_fence + LAST_RESORT + LEAVE, End.lost("without an exit report"),
        limits=_CUT_OFF,
    ),
    Fault(
        "none", _verdict, _OF_TRAINER, End(Status.CLEANUP, Cause.COMPLETED, ("results in S3",)),
        {"steps": 3}, "agent with packages", _LONG_BOOT,
    ),
    Fault(
        "the trainer crashes", _verdict, _OF_TRAINER, End(Status.FAILED, Cause.USER_CODE, ("ProbeCrash",)),
        {"steps": 3, "ending": "crash"},
    ),
    Fault(
        "the trainer fills the memory", _verdict, _OF_TRAINER,
        End(Status.FAILED, Cause.USER_CODE, ("the instance ran out of memory",)),
        {"steps": 3, "ending": "hang"}, "hungry trainer",
    ),
    Fault(
        "the agent fills the memory", _memory_filled, LEAVE, End.lost("KILL); OOM kills since boot"),
        bundle="hungry agent",
    ),
    Fault("the agent is killed", _agent_gets("KILL", "main"), LEAVE, End.lost("signal (killed KILL)")),
    Fault("the agent is frozen", _agent_gets("STOP", "main"), SHORT.self_fence / 2 + LEAVE, End.lost("watchdog")),
    Fault(
        "the boot hangs", _launched, _SHORT_BOOT.boot + LEAVE,
        End.lost("run not claimed within 30 s, last step: unpack the bundle"), bundle="hanging", limits=_SHORT_BOOT,
    ),
    Fault(
        "the bundle is another", _launched, SHORT.boot + LEAVE, End.lost("boot failed: could not verify"),
        bundle="forged",
    ),
    Fault("the box reboots", _reboot, LEAVE, End.lost(_SHUT_DOWN)),
    Fault("the kernel panics", _panic, LEAVE, End.lost("the instance rebooted")),
    # The shutdown thaws what is frozen, which may then be quick enough to speak for itself.
    Fault(
        "frozen until the deadline", _frozen_since_launch,
        _SHORT_LIFE.max_runtime + _SHORT_LIFE.grace + LEAVE, End.lost("the deadline timer fired", _SHUT_DOWN),
        limits=_SHORT_LIFE,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a fault. `logs` are those that the run has in the bucket, `says` is the verdict's message."""

    fault: str
    run_id: str
    ended: bool
    seconds: float
    promised: float
    status: str
    cause: str
    says: str
    logs: tuple[str, ...]

    def kept(self, end: End) -> bool:
        """Whether the box ended in time, and people learn what they should."""
        in_time = self.ended and self.seconds <= self.promised
        return (
            in_time
            and (self.status, self.cause) == (end.status, end.cause)
            and any(words in self.says for words in end.says)
        )


def suffer(bench: FaultBench, fault: Fault) -> Row:
    """Launch an instance, do that to it, and see how it ends. Raises LocalAwsFailed when it comes to no such thing."""
    lane = Lane(ENVIRONMENT, fault.name.replace(" ", "-"))
    launched = bench.launch(lane, fault.probe, fault.bundle, fault.limits)
    instance = bench.instance(launched)
    try:
        instance.start()
        case = Case(bench, lane, launched.run_id, instance, fault.limits, time.monotonic())
        struck = fault.strike(case)
        ended = instance.stops_within(max(1.0, struck + fault.promised.total_seconds() - time.monotonic()))
        seconds = round(time.monotonic() - struck, 1)
    finally:
        instance.remove()
    run = bench.conclude(lane, launched)
    cause, says = (str(run.verdict.cause), run.verdict.message) if run.verdict else ("", "")
    logs = bench.logs(launched.run_id)
    return Row(
        fault.name, launched.run_id, ended, seconds, fault.promised.total_seconds(), str(run.status), cause, says, logs
    )


def main() -> int:
    """All faults, into build/agent.json; non-zero if one of them was survived, or nobody learns why."""
    try:
        ensure_image()
        with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder, local_aws(Path(folder)) as aws:
            rows = _all(aws)
    except LocalAwsFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    note("faults", [asdict(row) for row in rows])
    return 0 if all(row.kept(fault.end) for fault, row in zip(FAULTS, rows, strict=True)) else 1


def _all(aws: LocalAws) -> list[Row]:
    def one(fault: Fault) -> Row:
        row = suffer(bench, fault)
        mark = "ok" if row.kept(fault.end) else f"NOT AS PROMISED, {fault.end}"
        print(f"{row.fault}: {row.seconds:.0f} s of {row.promised:.0f}, {row.status}, {row.cause}: {mark}", flush=True)
        print(f"  {row.says}", flush=True)
        return row

    with fault_bench(aws) as bench, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, FAULTS))


if __name__ == "__main__":
    sys.exit(main())
