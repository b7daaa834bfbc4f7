"""What people and programs see: error and hint lines, exit codes, JSON, colours, lines that are not cut."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator

import pytest

from chronos_ec2.cli.errors import explain, report
from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.output import console, print_json, styled
from chronos_ec2.domain.errors import InvalidInput, NotAllowed, RunNotFound, ServiceUnavailable


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "CHRONOS_EC2_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    yield
    console.json = False


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("--lane", "is not a name", "use letters"), 2),
        (RunNotFound("20260131T120000Z-1a2b3c", "dev"), 2),
        (NotAllowed("not allowed to list"), 2),
        (ServiceUnavailable("no answer"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "train.yaml"), 2),
        (EOFError(), 2),
        (RuntimeError("a bug"), 70),
        (KeyError("a bug"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code_and_none_that_of_a_failed_run(
    error: Exception | KeyboardInterrupt, code: int
) -> None:
    assert explain(error)[0] == code
    assert code != ExitCode.FAILED


def test_an_error_is_an_error_line_and_a_hint_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(InvalidInput("--lane", "is not a name", "use letters")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: --lane: is not a name")
    assert second == "hint: use letters"


def test_a_bug_says_that_it_is_one_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RuntimeError("boom")) == 70
    err = capsys.readouterr().err
    assert err.startswith("error: unexpected RuntimeError: boom\nhint: this is a bug")
    assert "Traceback" not in err


def test_each_line_of_json_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, line_buffering=False))
    print_json({"a": 1})
    assert written.getvalue() == b'{"a": 1}\n'


class Terminal(io.StringIO):
    """A terminal that keeps what is shown."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("json", [True, False])
def test_progress_is_for_people_alone(monkeypatch: pytest.MonkeyPatch, json: bool) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    console.json = json
    with console.status("uploading"):
        pass
    assert ("uploading" in terminal.getvalue()) is not json


def test_no_color_wins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.print(styled("a run", "bold red"))
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    console.print(styled("a run", "bold red"))
    assert capsys.readouterr().out == "a run\n"


def test_a_narrow_terminal_neither_cuts_nor_wraps_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    line = "run 20260131T120000Z-1a2b3c: its instance is being terminated"
    console.print(line)
    assert capsys.readouterr().out == line + "\n"
