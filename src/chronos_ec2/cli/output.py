"""How results are shown: tables and lines for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Outcome, Status
from chronos_ec2.services.run_queries import RunView

console = Console(highlight=False, soft_wrap=True)
_COLOURS = {Status.FAILED: "red", Status.KILLED: "yellow", Status.CLEANUP: "green"}
_OUTCOME_COLOURS = {Outcome.SUCCEEDED: "green", Outcome.FAILED: "red", Outcome.KILLED: "yellow"}


def print_json(document: object) -> None:
    """One JSON document on a line of its own."""
    print(json.dumps(document, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; cells may hold markup."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def coloured_status(run: Run) -> str:
    """The status with its colour."""
    return f"[{_COLOURS.get(run.status, 'cyan')}]{run.status}[/]"


def verdict_line(run: Run) -> str:
    """Outcome, cause and message of a run that ended; empty for others."""
    if run.verdict is None:
        return ""
    colour = _OUTCOME_COLOURS[run.verdict.outcome]
    return f"[{colour}]{run.verdict.outcome}[/] ({run.verdict.cause}): {escape(one_line(run.verdict.message))}"


def as_document(snapshot: RunView) -> Mapping[str, Any]:
    """A snapshot for programs: the record as it lies in S3, whether it is active, and the beat."""
    beat = snapshot.heartbeat
    return {
        **json.loads(snapshot.run.to_json()),
        "active": snapshot.active,
        "heartbeat": json.loads(beat.heartbeat.to_json()) | {"received_at": format_time(beat.received_at)}
        if isinstance(beat, HeartbeatReceived)
        else None,
    }
