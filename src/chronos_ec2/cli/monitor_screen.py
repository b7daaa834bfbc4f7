"""What `monitor` shows on a terminal: a run at a glance, in 80 columns or more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chronos_ec2.cli.output import coloured_status, dollars, joined
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import one_line, printable
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.planning.cost import price_in
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.run import WAITING, Run
from chronos_ec2.services.run_queries import RunView

_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = "_.-=+*#@"
_BAR, _LABEL, _POINTS = 20, 8, 40
_LOG_LINES = 4
_KEPT = 60


@dataclass(slots=True)
class History:
    """What a heartbeat does not say alone: how the loss went, and how fast steps pass."""

    losses: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    steps: deque[tuple[datetime, int]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))
    _attempt: int = 0

    def add(self, received: HeartbeatReceived) -> None:
        """Take note of a heartbeat, once."""
        heartbeat = received.heartbeat
        if heartbeat.attempt != self._attempt:
            self.losses.clear()
            self.steps.clear()
            self._attempt = heartbeat.attempt
        if self.steps and self.steps[-1][0] >= received.received_at:
            return
        self.steps.append((received.received_at, heartbeat.step))
        if heartbeat.loss is not None:
            self.losses.append(heartbeat.loss)

    @property
    def steps_per_second(self) -> float | None:
        """The speed over the heartbeats seen, None without progress."""
        if len(self.steps) < 2:
            return None
        (began, first), (ended, last) = self.steps[0], self.steps[-1]
        seconds = (ended - began).total_seconds()
        return (last - first) / seconds if seconds > 0 and last > first else None


def screen(
    view: RunView, cost_usd: float | None, now: datetime, history: History, limits: Limits, *, unicode: bool = True
) -> RenderableType:
    """A run at a glance."""
    run, received = view.run, view.heartbeat
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim", width=_LABEL)
    table.add_column(no_wrap=True, overflow="ellipsis")
    rows: list[tuple[str, RenderableType]] = [
        ("run", _title(run)),
        ("instance", _instance(run)),
        ("phases", Text(", ".join(_phases(run, now)))),
    ]
    if run.current_step == WAITING and run.waiting:
        rows.append(("waits", Text(view.progress)))
    if isinstance(received, HeartbeatReceived) and received.heartbeat.attempt == run.attempt:
        history.add(received)
        rows += _work(received.heartbeat, history, view.unit, unicode=unicode)
        rows.append(("signs", Text(", ".join(_signs(received, now)))))
    rows.append(("cost", _cost(run, cost_usd)))
    gone_by = run.deadline + limits.deadline_bound
    rows.append(("gone by", Text(f"{gone_by:%Y-%m-%d %H:%M} UTC at the latest, in {human_span(gone_by - now)}")))
    if run.suspect:
        rows.append(("watchdog", Text(f"suspects: {one_line(run.suspect.reason)}", style="yellow")))
    if run.stop:
        rows.append(("stopping", Text(one_line(run.stop.reason), style="yellow")))
    for name, content in rows:
        table.add_row(name, content)
    log = [Text(one_line(printable(line)), style="dim", no_wrap=True, overflow="ellipsis") for line in history.log]
    hint = Text("Ctrl-C stops following; the run goes on", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(table, *log, hint)


def sparkline(values: list[float], *, unicode: bool = True) -> str:
    """A line of characters as high as the values."""
    levels = _LEVELS if unicode else _ASCII_LEVELS
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = high - low or 1.0
    return "".join(levels[round((value - low) / span * (len(levels) - 1))] for value in values)


def _title(run: Run) -> RenderableType:
    step = "" if run.current_step == run.status else f" ({run.current_step})"
    return joined(f"{run.run_id}  ", coloured_status(run), step)


def _instance(run: Run) -> RenderableType:
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return joined(f"{run.instance_type} {run.instance_id or '(none yet)'}{attempt}")


def _phases(run: Run, now: datetime) -> Iterator[str]:
    ends = [moment for _, moment in run.phases[1:]] + [now]
    for (status, began), ended in zip(run.phases, ends, strict=True):
        yield f"{status} {human_span(ended - began)}"


def _work(heartbeat: Heartbeat, history: History, unit: str, *, unicode: bool) -> list[tuple[str, RenderableType]]:
    rows: list[tuple[str, RenderableType]] = []
    if heartbeat.total_steps:
        speed = history.steps_per_second
        text = f"{unit} {heartbeat.step} of {heartbeat.total_steps}"
        if speed:
            left = timedelta(seconds=(heartbeat.total_steps - heartbeat.step) / speed)
            units = unit if unit == "series" else f"{unit}s"
            text += f", {speed:.3g} {units}/s, {human_span(max(left, timedelta(0)))} left"
        rows.append(("progress", _bar(heartbeat.step, heartbeat.total_steps, text)))
    elif heartbeat.bytes_synced:
        rows.append(("synced", Text(f"{heartbeat.bytes_synced / 1e6:.1f} MB")))
    if heartbeat.loss is not None:
        line = sparkline([*history.losses][-_POINTS:], unicode=unicode)
        rows.append(("loss", Text(f"{line}  {heartbeat.loss:.4g}")))
    return rows


def _signs(received: HeartbeatReceived, now: datetime) -> Iterator[str]:
    heartbeat = received.heartbeat
    if heartbeat.gpu_utilisation is not None:
        yield f"GPU {heartbeat.gpu_utilisation:.0f} %"
    age = max(now - received.received_at, timedelta(0))
    if heartbeat.checkpoint_age is not None:
        yield f"checkpoint {human_span(heartbeat.checkpoint_age + age)} ago"
    yield f"heartbeat {human_span(age)} ago"
    if heartbeat.stalled_for >= timedelta(minutes=1):
        yield f"no progress for {human_span(received.stalled_for(now))}"


def _cost(run: Run, cost_usd: float | None) -> RenderableType:
    price = price_in(run)
    rate = "" if price is None else f", {dollars(price)} an hour"
    if run.max_cost_usd is None or cost_usd is None:
        return Text(f"{dollars(cost_usd)}{rate}")
    return _bar(cost_usd, run.max_cost_usd, f"{dollars(cost_usd)} of {dollars(run.max_cost_usd)}{rate}")


def _bar(done: float, total: float, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_BAR)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(
        total=max(total, 1e-9), completed=min(done, total), width=_BAR, style="bright_black", complete_style="cyan",
        finished_style="green",
    )  # fmt: skip
    grid.add_row(bar, Text(text))
    return grid
