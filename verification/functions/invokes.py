"""Each function with each golden event, by `sam local invoke`, in a container, on the embedded AWS."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chronos_ec2.domain.events import (
    Ignored,
    StateWritten,
    parse_event,
    parse_relaunch,
)
from chronos_ec2.local import local_aws
from chronos_ec2.local.sam_invoke import Invocation, built_functions, ensure_image, functions

_EVENTS = Path("events")
_ENVIRONMENT = "dev"
"""The one that the golden events are of; on this AWS nothing is in it."""

_DECIDED, _SILENT = "decided", "silent"

Matrix = dict[str, dict[str, str]]


def local_invokes() -> Matrix:
    """For each function and event what became of it, see `status`.

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
    """What became of an invocation, by its own log: `decided` about a lane, or in its words, or `silent`."""
    if done.error:
        return f"failed: {done.error}"
    if any("actions" in line for line in done.lines):
        return _DECIDED
    return str(done.lines[-1]["message"]) if done.lines else _SILENT


def expected(function: str, event: object) -> str:
    """What has to become of an event, where no run and no instance is: what it means is told by the same parsers.

    That these are right about each golden event is for tests/domain/test_events.py to say.
    """
    match function, parse_event(event):
        case "StateWritten" | "InstanceChanged", StateWritten():
            return _DECIDED
        case "StateWritten" | "InstanceChanged", _:
            return "ignored"  # no event of EC2 is about an instance of ours
        case "Launcher", _:
            return "ignored" if isinstance(parse_relaunch(event, _ENVIRONMENT), Ignored) else "nothing to start"
        case "Sweep", _:
            return _DECIDED  # about the main lane at least, whatever the event says
    raise NotImplementedError(f"what is expected of {function}?")


def failures(invokes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each invocation of which something else became than has to."""
    return [
        f"{function} with {event}: {status}, not {wanted}"
        for function, events in invokes.items()
        for event, status in events.items()
        if status != (wanted := expected(function, json.loads((_EVENTS / f"{event}.json").read_bytes())))
    ]
