"""A run at a glance: nothing wider than the terminal, nothing guessed."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from chronos_ec2.cli.monitor_screen import History, screen, sparkline
from chronos_ec2.domain.facts import Absent, HeartbeatRead, HeartbeatReceived
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Job, Stop, Suspect
from chronos_ec2.services.run_queries import RunView
from chronos_ec2.testing.builders import NOW, a_heartbeat, a_run

PRICED = a_run(prices=(("g4dn.2xlarge", 0.77),), max_cost_usd=5.0)


def beat(step: int, seconds_ago: float, attempt: int = 1, **changes: object) -> HeartbeatReceived:
    heartbeat = replace(a_heartbeat(step=step, total_steps=1000, loss=1000.0 - step, **changes), attempt=attempt)
    return HeartbeatReceived(heartbeat, "etag", NOW - timedelta(seconds=seconds_ago))


def shown(run: Run, heartbeat: HeartbeatRead, history: History | None = None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(screen(RunView(run, True, heartbeat), 0.81, NOW, history or History(), Limits(), unicode=False))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.startswith(name)).removeprefix(name).strip()


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    history = History()
    history.log.append("a line of a log that is longer than any terminal " * 8)
    lines = shown(PRICED, beat(390, 15), history, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("job", "unit", "units"),
    [(Job.TRAIN, "step", "steps"), (Job.FORECAST, "series", "series"), (Job.EVALUATE, "window", "windows")],
)
def test_progress_counts_what_the_job_goes_through(job: Job, unit: str, units: str) -> None:
    run, history = replace(PRICED, job=job), History()
    shown(run, beat(100, 60), history)
    assert row(shown(run, beat(220, 0), history), "progress").endswith(f"{unit} 220 of 1000, 2 {units}/s, 6 min left")


def test_the_time_that_is_left_follows_from_the_steps_seen() -> None:
    history = History()
    assert row(shown(PRICED, beat(100, 60), history), "progress").endswith("step 100 of 1000")
    line = row(shown(PRICED, beat(220, 0), history), "progress")
    assert line.endswith("step 220 of 1000, 2 steps/s, 6 min left")


def test_another_attempt_starts_counting_anew() -> None:
    history = History()
    history.add(beat(900, 60))
    again = replace(PRICED, attempt=2)
    assert "steps/s" not in row(shown(again, beat(400, 30, attempt=2), history), "progress")
    # What the lost attempt said last is no progress of this one.
    assert not any(line.startswith("progress") for line in shown(replace(PRICED, attempt=3), beat(400, 0, attempt=2)))


def test_a_heartbeat_that_is_read_twice_counts_once() -> None:
    history = History()
    for _ in range(3):
        history.add(beat(100, 60))
    assert len(history.losses) == 1


def test_what_is_known_is_said_and_nothing_else() -> None:
    lines = shown(PRICED, Absent())
    assert row(lines, "cost").endswith("$0.81 of $5.00, $0.77 an hour")
    assert row(lines, "gone by").startswith("2026-01-31 23:01 UTC at the latest")
    assert not any(line.startswith(("progress", "loss", "signs")) for line in lines)
    signs = row(shown(PRICED, beat(1, 20, gpu_utilisation=97.0, checkpoint_age=timedelta(seconds=60))), "signs")
    assert signs == "GPU 97 %, checkpoint 80 s ago, heartbeat 20 s ago"


def test_what_the_watchdog_thinks_is_shown() -> None:
    run = replace(
        PRICED,
        suspect=Suspect(Cause.HUNG, "no progress for 16 min", NOW),
        stop=Stop(Cause.REQUESTED, "killed by ann\x1b[2J", NOW),
    )
    lines = shown(run, Absent())
    assert row(lines, "watchdog") == "suspects: no progress for 16 min"
    assert "\x1b" not in row(lines, "stopping")


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([0.0, 7.0, 3.5]) == "▁█▅"
    assert sparkline([2.0, 2.0], unicode=False) == "__"
    assert sparkline([]) == ""
