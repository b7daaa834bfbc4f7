"""Each function with each golden event, by `sam local invoke`, in a container, on the embedded AWS."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from chronos_ec2.local import LocalAwsFailed, local_aws
from chronos_ec2.local.invoke import Invocation, bench, ensure_image, functions

_EVENTS = Path("events")
_ENVIRONMENT = "dev"
"""The one that the golden events are of."""

_LET_BE = ("ignored", "not ours")
"""What functions log of an event that they do nothing about."""

Matrix = dict[str, dict[str, str]]


def local_invokes() -> Matrix:
    """For each function and event: `handled`, `ignored`, `not ours` or `failed: …`. Empty, with a word, without Docker.

    Raises:
        LocalAwsFailed: the embedded AWS or `sam` failed.
    """
    try:
        ensure_image()
    except LocalAwsFailed as reason:
        print(f"no function was invoked: {reason}")
        return {}
    found: Matrix = {}
    with tempfile.TemporaryDirectory() as folder, local_aws(Path(folder)) as aws, bench(aws) as containers:
        for function in functions():
            found[function] = {
                event.stem: status(containers.invoke(function, event, ENVIRONMENT=_ENVIRONMENT))
                for event in sorted(_EVENTS.glob("*.json"))
            }
    return found


def status(done: Invocation) -> str:
    """What became of an invocation, by its own account."""
    if done.error:
        return f"failed: {done.error}"
    return next((line["message"] for line in done.lines if line["message"] in _LET_BE), "handled")


def failures(invokes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each invocation that failed."""
    return [
        f"{function} with {event} {status}"
        for function, events in invokes.items()
        for event, status in events.items()
        if status.startswith("failed")
    ]
