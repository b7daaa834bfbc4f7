"""The pictures of the command: a terminal is drawn as it is, and what is measured of the command is measured."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from chronos_ec2.services.drill.faults import FAULTS
from tools.error_list import ROOT
from tools.screens import browser
from tools.screens.browser import NoBrowser, console_errors, overflows, picture
from tools.screens.drill_table import with_table
from tools.screens.measured import commands, said_by_errors, worst_case_held
from tools.screens.terminal import THEMES, draw, show, widest

LIVE = """
import time
from rich.console import Console
from rich.live import Live
from rich.text import Text
console = Console()
with Live(Text("one"), console=console, transient=True, auto_refresh=False) as live:
    for text in ("two" + chr(10) + "lines", "three"):
        live.update(Text(text, "red"), refresh=True)
console.print("columns", console.width, style="bold green")
"""


def test_a_terminal_shows_what_was_redrawn_and_what_stays(tmp_path: Path) -> None:
    shown = show([sys.executable, "-c", LIVE], 97, {"NO_COLOR": "1", "COLUMNS": "10"}, tmp_path)
    plain = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen).split() for screen in shown.screens]
    assert [screen for screen in plain if screen] == [["one"], ["two", "lines"], ["three"]]
    assert (re.sub(r"\x1b\[[0-9;]*m", "", shown.left).strip(), "\x1b[1;32m" in shown.left) == ("columns 97", True)
    assert (shown.exit_code, shown.columns) == (0, 97)


def test_a_picture_has_both_colours_and_loads_nothing(tmp_path: Path) -> None:
    shown = show(
        [sys.executable, "-c", "print('\\x1b[31mred\\x1b[0m & <plain>'); raise SystemExit(3)"], 40, {}, tmp_path
    )
    assert shown.exit_code == 3
    draw(shown, shown.left, tmp_path, "some")
    texts = {}
    for theme in THEMES:
        svg = (tmp_path / f"some-{theme}.svg").read_text()
        ET.fromstring(svg)
        assert not re.search(r"url\(['\"]?http|@font-face|<script", svg)
        texts[theme] = svg
    assert "red" in texts["light"]
    assert len(set(texts.values())) == len(THEMES)


def test_the_longest_line_counts() -> None:
    assert widest("\x1b[1mab\x1b[0mcd\n\nxy\n") == 4
    assert widest("") == 0


def test_every_command_is_run_by_a_test() -> None:
    assert [name for name, tested in commands().items() if not tested] == []


def test_a_command_that_no_test_runs_is_found(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text('def test(run):\n    run("verify")\n    run("runs", "show", "x")\n')
    (tmp_path / "test_other.py").write_text('COMMAND = [sys.executable, "-m", "chronos_ec2.cli", "drill", "--yes"]\n')
    assert {name for name, tested in commands(tmp_path).items() if tested} == {"verify", "runs show", "drill"}


def test_every_error_has_an_anchor() -> None:
    found = said_by_errors()
    assert found["cases"] == found["with_anchor"] > 200
    assert found["one_line"] > found["cases"] - 5  # those that quote a log


def test_a_run_above_its_worst_case_is_counted() -> None:
    assert worst_case_held([(1.0, 1.0), (1.01, 1.0)])["embedded_aws"] == {"above": 1, "runs": 2}


ROW = {"fault": "hang", "what": "it hangs", "since": "its end", "seconds": -1.2, "guaranteed": 90.0, "cause": None}


def test_the_table_of_a_drill_is_put_in_place() -> None:
    before = "a\n<!-- drill -->\nold\n<!-- /drill -->\nb"
    assert with_table(before, [ROW | {"kept": True}]).splitlines()[3:6] == [
        "|---|---|---|---:|---:|---|", "| `hang` | it hangs | its end | 0 | 90 | no record |", "<!-- /drill -->"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="did not keep"):
        with_table(before, [ROW | {"kept": False}])


@pytest.mark.parametrize("document", ["README.md", "docs/guides/drill.md"])
def test_the_documents_have_the_table_of_a_whole_drill(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "| `hang` | it hangs" in with_table(text, [ROW | {"kept": True}])
    assert all(f"| `{fault.name}` | {fault.what} |" in text for fault in FAULTS if not fault.opt_in)


def test_every_screen_in_a_document_was_looked_at() -> None:
    looked_at = json.loads((ROOT / "tools" / "screens" / "looked_at.json").read_text())
    drawn = {path.name.removesuffix("-light.svg") for path in (ROOT / "docs" / "img").glob("*-light.svg")}
    assert drawn
    assert drawn <= looked_at.keys()


def test_without_a_browser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBrowser, match="apt-get install chromium"):
        console_errors(tmp_path / "page.html")


@pytest.mark.thorough
def test_a_browser_sees_errors_overflow_and_colours(tmp_path: Path) -> None:
    if not any(map(browser.shutil.which, browser.PROGRAMS)):
        pytest.skip("no Chromium on this machine")
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text('<meta name="color-scheme" content="light dark"><p>short</p>')
    bad.write_text("<div style='width: 500px'>wide</div><script>undefined_name()</script>")
    assert (console_errors(good), overflows(good)) == (0, False)
    assert (console_errors(bad), overflows(bad)) == (1, True)
    pictures = []
    for dark in (False, True):
        picture(good, tmp_path / "some.png", dark=dark, height=300)
        pictures.append((tmp_path / "some.png").read_bytes())
    assert pictures[0] != pictures[1]
