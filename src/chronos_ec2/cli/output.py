"""Output: tables and lines for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from chronos_ec2.cli.errors import print_problem
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.names import one_line, printable
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.capacity import Waiting
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Outcome, Status
from chronos_ec2.services.run_queries import RunView
from chronos_ec2.services.verify import Finding

_COLOURS = {Status.FAILED: "red", Status.KILLED: "yellow", Status.CLEANUP: "green"}
_OUTCOME_COLOURS = {Outcome.SUCCEEDED: "green", Outcome.FAILED: "red", Outcome.KILLED: "yellow"}
_GAP = "  "
_MAX_CELL = 4000
_MIN_ROOM = 20


class Output:
    """Lines for people on standard output, progress on standard error. No line is wrapped or cut.

    A `str` is shown as it is, as one line: it may have text from S3, from EC2 or from an instance. Only a `Text`, which
    `styled` makes, has a style.

    Colours follow NO_COLOR, FORCE_COLOR and TERM. Progress is for terminals, and there is none with `--json`.
    """

    def __init__(self) -> None:
        self.json = False
        self._shown: Live | None = None

    def print(self, *parts: str | Text) -> None:
        """Print one line."""
        with self.without_progress():
            _console(stderr=False).print(joined(*parts), soft_wrap=True)

    def field(self, name: str | Text, text: str | Text) -> None:
        """Print a line that begins with a name. A terminal that is narrower shows the rest of the text below it."""
        first, content = joined(name), joined(text)
        lines: Sequence[Text] = [content]
        if self.width and first.cell_len + content.cell_len > self.width:
            room = max(self.width - first.cell_len, _MIN_ROOM)
            longest = max(map(cell_len, content.plain.split()), default=0)
            if longest > room:  # no id or path is broken
                first.rstrip()
                self.print(first)
                first, room = Text(_GAP), max(longest, room)
            lines = [*content.wrap(_console(stderr=False), room)]
        for line in lines:
            line.rstrip()
            self.print(first, line)
            first = Text(" " * first.cell_len)

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None: standard output is no terminal."""
        return _console(stderr=False).width if sys.stdout.isatty() else None

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show what is going on; what the block gets changes the text."""
        console = _console(stderr=True)
        if self.json or not sys.stderr.isatty() or console.is_dumb_terminal:
            yield lambda _text: None
            return
        spinner = Spinner("dots" if "utf" in console.encoding.lower() else "line")
        spinner.update(text=Text(one_line(text)))
        # Rich would send standard output, too, to the console of standard error.
        shown = Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        with shown:
            self._shown = shown
            try:
                yield lambda text: spinner.update(text=Text(one_line(text)))
            finally:
                self._shown = None

    @property
    def live(self) -> bool:
        """Whether standard output is a terminal on which something can change."""
        return not self.json and sys.stdout.isatty() and not _console(stderr=False).is_dumb_terminal

    @property
    def unicode(self) -> bool:
        """Whether standard output can show more than ASCII."""
        return "utf" in _console(stderr=False).encoding.lower()

    @contextmanager
    def screen(self) -> Iterator[Callable[[RenderableType], None]]:
        """Show on a terminal what the block gets, each time in place of what was there; nothing stays."""
        shown = Live(console=_console(stderr=False), transient=True, auto_refresh=False, redirect_stdout=False)
        with shown:
            self._shown = shown
            try:
                yield lambda content: shown.update(content, refresh=True)
            finally:
                self._shown = None

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while bytes arrive; the block tells how many more have."""
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        terminal = _console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        hidden = self.json or not total or not sys.stderr.isatty() or terminal.is_dumb_terminal
        with Progress(
            *columns, console=terminal, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
        ) as shown:
            task = shown.add_task(one_line(text), total=total)
            yield lambda count: shown.advance(task, count)

    @contextmanager
    def without_progress(self) -> Iterator[None]:
        """Take progress off the screen while something is printed."""
        shown = self._shown
        if shown:
            shown.stop()
        yield
        if shown:
            shown.start()


class _Console(Console):
    """Rich's, which would exit with 1 when nobody reads the output."""

    def on_broken_pipe(self) -> None:
        """Let `cli.errors` end the command."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    """A console for this moment's streams and variables."""
    # Without this rich prints bold although NO_COLOR is set.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return _Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, color_system=colours)


console = Output()


def print_json(document: object) -> None:
    """Print a document as one line of JSON, at once."""
    print(json.dumps(document, default=str), flush=True)


def print_warning(text: str, hint: str = "") -> None:
    """Print a warning on stderr."""
    with console.without_progress():
        print_problem(text, hint, kind="warning")


def print_findings(environment: str, left: tuple[Finding, ...]) -> None:
    """Print what `verify` has found."""
    if not left:
        checked = "instances, volumes, interfaces, spot requests, schedules, uploads, locks"
        console.print(styled(f"environment {environment}: nothing is left", "green"), f" ({checked})")
        return
    rows = [(finding.kind, finding.name, finding.state, finding.run_id or "none") for finding in left]
    print_table(("what", "name", "state", "run"), rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table.

    A row is one line. On a terminal that is narrower, the last cell has a line of its own; where that is not enough,
    each cell has one.
    """
    cells = [[_cell(cell) for cell in row] for row in (columns, *rows)]
    lines, without_last = _aligned(cells), _aligned([row[:-1] for row in cells])
    lines[0].stylize("bold")
    if not _fits(lines) and _fits(without_last):
        without_last[0].stylize("bold")
        for line, row in zip(without_last, cells, strict=True):
            console.print(line)
            if row[-1].plain:
                row[-1].stylize("dim")
                console.field(_GAP, row[-1])
        return
    if not _fits(lines):
        lines = [line for row in cells[1:] for line in _aligned([*zip(cells[0], row, strict=True)])]
    for line in lines:
        console.print(line)


def styled(text: str, style: str) -> Text:
    """`text` in a style of rich, such as `green` or `bold`."""
    return Text(printable(text), style)


def joined(*parts: str | Text) -> Text:
    """The parts one after the other."""
    return Text().join(part if isinstance(part, Text) else Text(printable(part)) for part in parts)


def _cell(content: str | Text) -> Text:
    return content if isinstance(content, Text) else Text(one_line(printable(content), _MAX_CELL))


def _fits(lines: Sequence[Text]) -> bool:
    width = console.width
    return width is None or all(line.cell_len <= width for line in lines)


def _aligned(rows: Sequence[Sequence[Text]]) -> list[Text]:
    """A line a row; all cells but the last are as wide as their column."""
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for *first, last in rows:
        padded = [cell + " " * (width - cell.cell_len) for cell, width in zip(first, widths, strict=False)]
        line = Text(_GAP).join([*padded, last])
        line.rstrip()
        lines.append(line)
    return lines


def coloured_status(run: Run) -> Text:
    """The status of a run."""
    return styled(run.status, _COLOURS.get(run.status, "cyan"))


def coloured_end(run: Run) -> Text:
    """How a run has ended; its status while it has not."""
    verdict = run.verdict
    return styled(verdict.outcome, _OUTCOME_COLOURS[verdict.outcome]) if verdict else coloured_status(run)


def verdict_line(run: Run) -> Text:
    """Outcome, cause and message of a run that has ended; empty for an active run."""
    verdict = run.verdict
    if verdict is None:
        return Text()
    outcome = styled(verdict.outcome, _OUTCOME_COLOURS[verdict.outcome])
    return joined(outcome, f" ({verdict.cause}): {one_line(printable(verdict.message))}")


def print_waiting(waiting: Waiting) -> None:
    """Print EC2's last word about each option, and when it is asked again."""
    for refusal in waiting.refusals:
        console.print(f"  {one_line(str(refusal))}")
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
