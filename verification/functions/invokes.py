"""Each function with each golden event, by `sam local invoke`, in a container, on the embedded AWS."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chronos_ec2.domain.events import (
    Ignored,
    StateWritten,
    parse_batch,
    parse_event,
    parse_relaunch,
)
from chronos_ec2.domain.schedules.events import DataArrived, MemberEnded, parse_invocation
from chronos_ec2.local import local_aws
from chronos_ec2.local.sam_invoke import Invocation, built_functions, ensure_image, functions

_EVENTS = Path("events")
_ENVIRONMENT = "dev"
"""The environment of the golden events; on this AWS it is empty."""

_DECIDED, _SILENT = "decided", "silent"

Matrix = dict[str, dict[str, str]]


def local_invokes() -> Matrix:
    """The status of each function with each event.

    Raises:
        LocalAwsFailed: there is no Docker, or no image for it; the embedded AWS or `sam` failed.
    """
    ensure_image()
    found: Matrix = {}
    with tempfile.TemporaryDirectory() as folder, local_aws(Path(folder)) as aws, built_functions(aws) as containers:
        for function in functions():
            found[function] = {
                event.stem: status(containers.invoke(function, event, ENVIRONMENT=_ENVIRONMENT))
                for event in sorted(_EVENTS.glob("*.json"))
            }
    return found


def status(done: Invocation) -> str:
    """The outcome of an invocation by its log: `decided`, the last message, `silent`, or its error."""
    if done.error:
        return f"failed: {done.error}"
    if any("actions" in line for line in done.lines):
        return _DECIDED
    return str(done.lines[-1]["message"]) if done.lines else _SILENT


def expected(function: str, event: object) -> str:
    """The status that an event must have in an empty environment.

    The event is read by the code's own parser, which tests/domain/test_events.py checks on the golden events.
    """
    if function == "StateWritten":
        return _DECIDED if any(isinstance(each, StateWritten) for each in parse_batch(event)) else "ignored"
    match function, parse_event(event):
        case "InstanceChanged", StateWritten():
            return _DECIDED
        case "InstanceChanged", _:
            return "ignored"  # no event of EC2 is about an instance of ours
        case "Launcher", _ if (invocation := parse_invocation(event, _ENVIRONMENT)) is not None:
            if isinstance(invocation, Ignored):
                return "ignored"
            if isinstance(invocation, MemberEnded):
                return "group goes on"
            return "nothing to start" if isinstance(invocation, DataArrived) else "schedule starts nothing"
        case "Launcher", _:
            return "ignored" if isinstance(parse_relaunch(event, _ENVIRONMENT), Ignored) else "nothing to start"
        case "Sweep", _:
            return _DECIDED  # about the main lane at least, whatever the event
    raise NotImplementedError(f"no expectation for {function}")


def failures(invokes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each invocation whose status is not the expected one."""
    return [
        f"{function} with {event}: {status}, not {wanted}"
        for function, events in invokes.items()
        for event, status in events.items()
        if status != (wanted := expected(function, json.loads((_EVENTS / f"{event}.json").read_bytes())))
    ]
