"""Output: tables and lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.capacity import Waiting
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Outcome, Status
from chronos_ec2.services.run_queries import RunView
from chronos_ec2.services.verify import Finding

console = Console(highlight=False, soft_wrap=True)
_COLOURS = {Status.FAILED: "red", Status.KILLED: "yellow", Status.CLEANUP: "green"}
_OUTCOME_COLOURS = {Outcome.SUCCEEDED: "green", Outcome.FAILED: "red", Outcome.KILLED: "yellow"}


def print_json(document: object) -> None:
    """Print a document as one line of JSON."""
    print(json.dumps(document, default=str))


def print_warning(text: str) -> None:
    """Print a warning on stderr."""
    print(f"chronos-ec2: {text}", file=sys.stderr)


@contextmanager
def notes_shown() -> Iterator[None]:
    """Print the notes of an error that passes: what was left as it is, and how to end it."""
    try:
        yield
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            print_warning(note)
        raise


def print_findings(environment: str, left: tuple[Finding, ...]) -> None:
    """Print what `verify` has found."""
    if not left:
        checked = "instances, volumes, interfaces, spot requests, schedules, uploads, locks"
        console.print(f"[green]environment {environment}: nothing is left[/] ({checked})")
        return
    print_table(
        ("what", "name", "state", "run"),
        [(finding.kind, finding.name, finding.state, finding.run_id or "none") for finding in left],
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; cells may have rich markup."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def coloured_status(run: Run) -> str:
    """The status of a run, as rich markup."""
    return f"[{_COLOURS.get(run.status, 'cyan')}]{run.status}[/]"


def verdict_line(run: Run) -> str:
    """Outcome, cause and message of a run that has ended, as rich markup; empty for an active run."""
    if run.verdict is None:
        return ""
    colour = _OUTCOME_COLOURS[run.verdict.outcome]
    return f"[{colour}]{run.verdict.outcome}[/] ({run.verdict.cause}): {escape(one_line(run.verdict.message))}"


def print_waiting(waiting: Waiting) -> None:
    """Print EC2's last word about each option, and when it is asked again."""
    for refusal in waiting.refusals:
        console.print(f"  {one_line(str(refusal))}", markup=False)
    console.print(f"  next try  {waiting.next_try_at:%H:%M:%SZ}, gives up at {waiting.until:%Y-%m-%d %H:%M:%SZ}")


def dollars(usd: float | None) -> str:
    """An amount for people."""
    return "unknown" if usd is None else f"${usd:.2f}"


def as_document(snapshot: RunView, cost_usd: float | None) -> Mapping[str, Any]:
    """A snapshot as JSON: the record as it is in S3, what the run costs, if it is active, the latest heartbeat."""
    heartbeat = snapshot.heartbeat
    return {
        **json.loads(snapshot.run.to_json()),
        "active": snapshot.active,
        "cost_usd": cost_usd,
        "heartbeat": json.loads(heartbeat.heartbeat.to_json()) | {"received_at": format_time(heartbeat.received_at)}
        if isinstance(heartbeat, HeartbeatReceived)
        else None,
    }
