"""`python -m verification.crash_points.enumerate`: every AWS call of every service goes wrong, in every way it can.

Each case brings a lane into a situation and names one call of one service. The call is made once without faults, to
learn which AWS calls it makes. Then it is made again for each of them, from the same situation, with one fault: the
process dies before or after the effect, the answer is lost, the call is refused. Then follow clean ticks: a sweep each
minute, by objects without a memory, as a function that crashed has none. They must converge: nothing left, no lock
held, no healthy run terminated, nobody else's instance touched, every message published.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, product

from chronos_ec2.domain.errors import ChronosError, ServiceUnavailable
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.ports import Resource
from chronos_ec2.testing import AgentBehaviour, Crash, Environment, Faults
from chronos_ec2.testing.faults import AWS_CALLS
from verification.crash_points.calls import CALLS, READS, SUBNETS
from verification.crash_points.case import Case, Kinds
from verification.crash_points.groups import GROUPS
from verification.crash_points.registry import REGISTRY
from verification.crash_points.schedules import SCHEDULES
from verification.crash_points.situations import SITUATIONS
from verification.simulation.campaign import without_log

CASES = (*SITUATIONS, *CALLS, *SCHEDULES, *GROUPS, *REGISTRY, *READS)
_TICKS = 60
"""Far more than the slowest termination takes."""
_QUIET_TICKS = 4
"""How long it must stay settled: longer than a message may be pending."""
_FOREIGN_VOLUME = Resource("volume", "vol-of-somebody-else", "available")


class FaultMode(StrEnum):
    """How one AWS call goes wrong."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    LOST_ANSWER = "answer lost"
    REFUSED = "refused"

    @property
    def is_late(self) -> bool:
        """Whether the call has had its effect."""
        return self in (FaultMode.CRASH_AFTER, FaultMode.LOST_ANSWER)

    def strike(self, faults: Faults, at: int) -> None:
        """Let the call with this number go wrong, once."""
        error = Crash if self in (FaultMode.CRASH_BEFORE, FaultMode.CRASH_AFTER) else ServiceUnavailable
        inject = faults.lose_answer if self.is_late else faults.fail
        inject("*", error, skip=at, times=1)


@dataclass(frozen=True, slots=True)
class CrashPointResult:
    """What the enumeration found. `duplicates` are messages published twice, all within the window."""

    enumerated: int
    converged: int
    failures: list[str]
    by_case: dict[str, int]
    duplicates: int = 0
    failed_by_case: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _History:
    """A case that was played to its end, and the AWS calls that its call made."""

    env: Environment
    foreign: str
    calls: tuple[str, ...]
    fault: tuple[FaultMode, int] | None
    promised: Kinds
    problems: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """How many different messages of each kind were published."""
        return Counter(kind for kind, _ in set(map(_identity, self.env.notifier.messages)))

    @property
    def duplicates(self) -> int:
        """How many messages were published a second time."""
        return len(self.env.notifier.messages) - self.kinds.total()

    @property
    def in_window(self) -> bool:
        """Whether the fault fell between SNS's acceptance of a message and the marker that records it."""
        if self.fault is None:
            return False
        mode, at = self.fault
        done = self.calls[: at + mode.is_late]
        return done[-1:] == ("sns:Publish",)


def _identity(message: Message) -> tuple[str, str]:
    """What makes two messages the same: the kind, and what they are about; of a run, which attempt."""
    attempt = next((line for line in message.body.splitlines() if line.startswith("status")), "").rpartition(",")[2]
    return message.attributes["kind"], message.subject + attempt


@without_log()
def enumerate_crash_points(every: int = 1) -> CrashPointResult:
    """Play every case with every fault at every call; of the faults at a call, only one in `every`, in turn."""
    failures: list[str] = []
    by_case, failed, duplicates, turns = dict.fromkeys((case.name for case in CASES), 0), Counter[str](), 0, count(1)
    for case in CASES:
        clean = _play(case)
        failures += [f"{case.name}: without a fault: {problem}" for problem in _problems(case, clean, clean)]
        for (at, call), mode in product(enumerate(clean.calls), FaultMode):
            if next(turns) % every:
                continue
            played = _play(case, (mode, at))
            if played.fault is None:
                continue  # a list has no moment after it that is not the moment before the next call
            problems = _problems(case, played, clean)
            failures += [f"{case.name}: {mode} {at} {call}: {problem}" for problem in problems]
            by_case[case.name] += 1
            failed[case.name] += bool(problems)
            duplicates += played.duplicates
    enumerated = sum(by_case.values())
    return CrashPointResult(enumerated, enumerated - failed.total(), failures, by_case, duplicates, dict(+failed))


def _play(case: Case, fault: tuple[FaultMode, int] | None = None) -> _History:
    env = Environment(subnet_ids=SUBNETS, price_per_hour_usd=1.0)
    problems: list[str] = []
    with env.faults.suspended():
        foreign = env.fleet.add(owner_tags("Somebody-Else", env.name) | {"Lane": env.lane.name})
        env.fleet.left[_FOREIGN_VOLUME] = None
        for step in case.prepare:
            step(env)
    if fault:
        fault[0].strike(env.faults, fault[1])
    try:
        with suppress(Crash, ChronosError):
            case.call(env)
    except Exception as error:  # noqa: BLE001 - whatever else escapes is the finding
        problems.append(f"{type(error).__name__}: {error}")
    calls = tuple(AWS_CALLS[operation] for operation, _ in env.faults.calls)
    with env.faults.suspended():
        if case.repeated:
            case.call(env)
        promised = case.promise if isinstance(case.promise, tuple) else case.promise(env)
        for _ in range(_TICKS):
            if env.settled:
                break
            env.tick()
        else:
            left = ", ".join(f"{finding.name} {finding.state}" for finding in env.findings())
            problems.append(f"not settled after {_TICKS} ticks: {left}")
        for _ in range(_QUIET_TICKS):
            env.tick()
        if not env.settled:
            problems.append("did not stay settled")
    return _History(env, foreign, calls, fault if env.faults.struck else None, promised, tuple(problems))


def _problems(case: Case, played: _History, clean: _History) -> list[str]:
    """What is wrong at the end of a history."""
    kinds, problems = played.kinds, list(played.problems)
    started = kinds.pop(Kind.STARTED, 0)
    if kinds != Counter(played.promised):
        promised = ", ".join(played.promised) or "no message"
        problems.append(f"promised {promised}, published {', '.join(kinds) or 'none'}")
    if case.announces and started != clean.kinds[Kind.STARTED]:
        problems.append(f"started was published {started} times, not {clean.kinds[Kind.STARTED]}")
    if played.duplicates > played.in_window:
        problems.append(f"{played.duplicates} messages were published twice, outside the window")
    fleet = played.env.fleet
    if played.foreign in fleet.terminate_calls or _FOREIGN_VOLUME not in fleet.left:
        problems.append("somebody else's instance or volume was touched")
    for instance_id, agent in played.env.agents.items():
        healthy = agent.behaviour is AgentBehaviour.HEALTHY and {Kind.COMPLETED, Kind.RESUMED} >= set(played.promised)
        if healthy and agent.claimed and instance_id in fleet.terminate_calls:
            problems.append(f"healthy {instance_id} was terminated")
    return problems


def print_report(result: CrashPointResult) -> int:
    """Print what was enumerated; 1 when something did not converge."""
    width = max(map(len, result.by_case))
    for name, points in [*result.by_case.items(), ("all", result.enumerated)]:
        print(f"{name:{width}}  {points:5}")
    print(
        f"\n{result.converged} of {result.enumerated} converged; {result.duplicates} messages published twice, "
        "all in the window"
    )
    for failure in result.failures:
        print(f"FAILED  {failure}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(print_report(enumerate_crash_points()))
