"""Crash-point enumeration: every service, every AWS call in it, every way in which that call can go wrong.

Each case brings a lane into a situation and names one call of one service. The call is made once without faults, to
learn which AWS calls it makes. Then it is made again for each of them, from the same situation, with one fault: the
process dies before or after the effect, the answer is lost, the call is refused. What follows are clean ticks by fresh
objects, because a crashed function has no memory: a sweep each minute, boxes that do what boxes do. They must converge:
nothing left, no lock held, no healthy run ended, nobody else's instance touched, every message out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.services.verify import verify
from chronos_ec2.testing import Crash
from verification.crash_points.cases import Case, cases
from verification.crash_points.harness import ENVIRONMENT, AgentBehaviour, FaultMode, OneFault, Stage
from verification.simulation.campaign import without_log

_TICKS = 60
"""Far more than the slowest ending takes."""
_QUIET_TICKS = 4
"""How long it must stay quiet: longer than a message may be pending."""


@dataclass(frozen=True, slots=True)
class CrashPointResult:
    """What the enumeration found. `duplicates` are the messages that were sent twice, all of them within the window."""

    enumerated: int
    converged: int
    failures: list[str]
    by_case: dict[str, int]
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class _History:
    """A case that was played to its end."""

    stage: Stage
    promised: tuple[Kind, ...]
    problems: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """How many different messages of each kind went out."""
        return Counter(kind for kind, _ in set(map(_identity, self.stage.world.notifier.messages)))

    @property
    def duplicates(self) -> int:
        """How many messages went out a second time."""
        messages = self.stage.world.notifier.messages
        return len(messages) - len(set(map(_identity, messages)))

    @property
    def in_window(self) -> bool:
        """Whether the fault fell between SNS's taking of a message and the note that it did."""
        faults = self.stage.faults
        if faults.at is None or not faults.struck:
            return False
        if faults.ruin in (FaultMode.CRASH_AFTER, FaultMode.LOST_ANSWER):
            return faults.calls[faults.at] == "sns:Publish"
        return faults.at > 0 and faults.calls[faults.at - 1] == "sns:Publish"


def _identity(message: Message) -> tuple[str, str]:
    """What makes two messages the same: the kind, and what it is said of; of a run, which attempt."""
    attempt = next((line for line in message.body.splitlines() if line.startswith("status")), "").rpartition(",")[2]
    return message.attributes["kind"], message.subject + attempt


def enumerate_crash_points() -> CrashPointResult:
    """Play every case with every fault at every call."""
    with without_log():
        return _enumerate()


def _enumerate() -> CrashPointResult:
    failures: list[str] = []
    by_case: dict[str, int] = {}
    converged = duplicates = 0
    for case in cases():
        by_case[case.name] = 0
        clean = _play(case, OneFault())
        failures += [f"{case.name}: without a fault: {problem}" for problem in _problems(case, clean, clean)]
        for ruin in FaultMode:
            for at, call in enumerate(clean.stage.faults.calls):
                played = _play(case, OneFault(at, ruin))
                if not played.stage.faults.struck:
                    continue  # a list has no moment after it that is not the moment before the next call
                by_case[case.name] += 1
                problems = _problems(case, played, clean)
                failures += [f"{case.name}: {ruin} {at} {call}: {problem}" for problem in problems]
                converged += not problems
                duplicates += played.duplicates
    return CrashPointResult(sum(by_case.values()), converged, failures, by_case, duplicates)


def _play(case: Case, faults: OneFault) -> _History:
    stage = Stage(faults)
    case.prepare(stage)
    problems: list[str] = []
    faults.armed = True
    try:
        case.call(stage)
    except Crash:
        stage.crashed = True
    except ChronosError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever else escapes is the finding
        problems.append(f"{type(error).__name__}: {error}")
    faults.armed = False
    if case.repeated:
        case.call(stage)
    promised = case.promise(stage)
    for _ in range(_TICKS):
        if stage.quiet:
            break
        stage.tick()
    else:
        left = [
            f"{finding.name} {finding.state}"
            for finding in verify(ENVIRONMENT, stage.store, stage.world.fleet, stage.world.deadlines)
        ]
        problems.append(f"not quiet after {_TICKS} ticks: {', '.join(left)}")
    for _ in range(_QUIET_TICKS):
        stage.tick()
    return _History(stage, promised, tuple(problems))


def _problems(case: Case, played: _History, clean: _History) -> list[str]:
    """What is wrong at the end of a history."""
    stage, kinds = played.stage, played.kinds
    problems = list(played.problems)
    if not stage.quiet:
        problems.append("did not stay quiet")
    started = kinds.pop(Kind.STARTED, 0)
    if kinds != Counter(played.promised):
        problems.append(f"promised {', '.join(played.promised) or 'no message'}, told {', '.join(kinds) or 'none'}")
    if case.announces and started != clean.kinds[Kind.STARTED]:
        problems.append(f"started was told {started} times, not {clean.kinds[Kind.STARTED]}")
    if played.duplicates > played.in_window:
        problems.append(f"{played.duplicates} messages were sent twice, outside the window")
    problems += _wrong_terminations(stage, played.promised)
    return problems


def _wrong_terminations(stage: Stage, promised: tuple[Kind, ...]) -> Iterator[str]:
    fleet = stage.world.fleet
    if stage.stranger in fleet.terminate_calls or stage.strangers_volume not in fleet.left:
        yield "what belongs to somebody else was touched"
    for instance_id, agent in stage.agents.items():
        healthy = agent.temper is AgentBehaviour.HEALTHY and set(promised) <= {Kind.COMPLETED, Kind.RESUMED}
        if healthy and agent.claimed and instance_id in fleet.terminate_calls:
            yield f"healthy {instance_id} was ended"


def main() -> int:
    """Print what was enumerated; 1 when something did not converge."""
    result = enumerate_crash_points()
    width = max(map(len, result.by_case))
    lines = [f"{name:{width}}  {points:5}" for name, points in result.by_case.items()]
    lines += [f"{'all':{width}}  {result.enumerated:5}", ""]
    lines += [
        f"{result.converged} of {result.enumerated} converged; {result.duplicates} messages doubled, all in the window"
    ]
    lines += [f"FAILED  {failure}" for failure in result.failures]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
