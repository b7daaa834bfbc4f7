"""Each function with each golden event, by `sam local invoke`, in a container, on the embedded AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chronos_ec2.domain.events import Ignored, RelaunchWanted, StateWritten, parse_batch, parse_event, parse_relaunch
from chronos_ec2.domain.schedules.events import DataArrived, MemberEnded, RunSucceeded, TimeHasCome, parse_invocation
from chronos_ec2.local import LocalAws
from chronos_ec2.local.sam_invoke import Invocation, built_functions, functions

_EVENTS = Path("events")
_ENVIRONMENT = "dev"
"""The environment of the golden events; on this AWS it is empty."""
_AT_ONCE = 2
"""Functions at a time, each with one event after the other."""
_DECIDED = "decided"
_LAUNCHER = {
    Ignored: "ignored", RelaunchWanted: "nothing to start", DataArrived: "nothing to start",
    MemberEnded: "group goes on", TimeHasCome: "schedule starts nothing", RunSucceeded: "schedule starts nothing",
}  # fmt: skip
"""What the launcher says to each request in an empty environment."""
Matrix = dict[str, dict[str, str]]


def local_invokes(aws: LocalAws) -> Matrix:
    """The status of each function with each event.

    Raises:
        LocalAwsFailed: there is no Docker, or no image for it; `sam` failed.
    """
    with built_functions(aws) as built, ThreadPoolExecutor(_AT_ONCE) as pool:

        def statuses(function: str) -> dict[str, str]:
            return {
                event.stem: status(built.invoke(function, event, ENVIRONMENT=_ENVIRONMENT))
                for event in sorted(_EVENTS.glob("*.json"))
            }

        return dict(zip(functions(), pool.map(statuses, functions()), strict=True))


def status(done: Invocation) -> str:
    """The outcome of an invocation by its log: `decided`, the last message, `silent`, or its error."""
    if done.error:
        return f"failed: {done.error}"
    if any("actions" in line for line in done.lines):
        return _DECIDED
    return str(done.lines[-1]["message"]) if done.lines else "silent"


def expected(function: str, event: object) -> str:
    """The status that an event must have in an empty environment.

    The event is read by the code's own parser, which tests/domain/test_events.py checks on the golden events.
    """
    match function:
        case "StateWritten":
            acts = any(isinstance(each, StateWritten) for each in parse_batch(event))
        case "InstanceChanged":
            acts = isinstance(parse_event(event), StateWritten)  # no event of EC2 is about an instance of ours
        case "Sweep":
            acts = True  # about the main lane at least, whatever the event
        case "Launcher":
            wanted = parse_invocation(event, _ENVIRONMENT) or parse_relaunch(event, _ENVIRONMENT)
            return _LAUNCHER[type(wanted)]
        case _:
            raise NotImplementedError(f"no expectation for {function}")
    return _DECIDED if acts else "ignored"


def failures(invokes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each invocation whose status is not the expected one."""
    return [
        f"{function} with {event}: {status}, not {wanted}"
        for function, events in invokes.items()
        for event, status in events.items()
        if status != (wanted := expected(function, json.loads((_EVENTS / f"{event}.json").read_bytes())))
    ]
