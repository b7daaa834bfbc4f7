"""Run a command on a terminal of a width, and draw what it shows, by rich's SVG export."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

_CONTROL = re.compile(r"(\n|\x1b\[1A|\x1b\[2K|\x1b\[\?\d+[hl]|\r)")
_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_LIGHT = TerminalTheme(
    (246, 248, 250), (31, 35, 40),
    [(31, 35, 40), (207, 34, 46), (17, 99, 41), (149, 98, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131),
     (110, 119, 129)],
    [(175, 184, 193), (164, 14, 38), (26, 127, 55), (99, 60, 1), (33, 139, 255), (163, 117, 236), (49, 146, 170),
     (140, 149, 159)],
)  # fmt: skip
THEMES: Mapping[str, TerminalTheme] = {"light": _LIGHT, "dark": SVG_EXPORT_THEME}
WIDTHS = (80, 120)
_LINES = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command has shown: the screen each time before something was taken away, and what is left at its end."""

    command: str
    columns: int
    screens: tuple[str, ...]
    left: str
    exit_code: int


def show(command: Sequence[str], columns: int, environ: Mapping[str, str], folder: Path) -> Shown:
    """Run a command on a terminal, in a folder. The picture has the name of its program without a path."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, columns, 0, 0))
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    clean = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, cwd=folder, env=clean | terminal, start_new_session=True
    ) as process:
        os.close(child)
        received = b"".join(_pieces(parent))
    os.close(parent)
    *screens, left = screens_of(received.decode())
    words = " ".join([Path(command[0]).name, *command[1:]])
    return Shown(words, columns, tuple(dict.fromkeys(screens)), left, process.returncode)


def screens_of(output: str) -> Iterator[str]:
    """The screen each time before a line is taken away, and the last one. Nothing else that rich writes moves text."""
    lines, row, cleared = [""], 0, False
    for piece in _CONTROL.split(output):
        match piece:
            case "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            case "\x1b[1A":
                row = max(row - 1, 0)
            case "\x1b[2K":
                if not cleared:
                    yield "\n".join(lines).rstrip()
                lines[row], cleared = "", True
            case _ if piece and not _CONTROL.fullmatch(piece):
                lines[row] += piece
                cleared = False
    yield "\n".join(lines).rstrip()


def draw(shown: Shown, output: str, folder: Path, name: str) -> None:
    """Write the SVG of a command and what it shows, light and dark."""
    console = Console(
        record=True, width=shown.columns, file=io.StringIO(), color_system="truecolor", force_terminal=True,
        legacy_windows=False,
    )  # fmt: skip
    console.print(Text.assemble(("$ ", "bold green"), (shown.command, "bold")))
    console.print(Text.from_ansi(output.rstrip()))
    console.print()  # fonts other than rich's need room below the last line
    for theme, colours in THEMES.items():
        svg = console.export_svg(title="", theme=colours, clear=False, unique_id=f"{name}-{theme}")
        # A picture in a page loads no font from elsewhere.
        (folder / f"{name}-{theme}.svg").write_text(_FONT_FACES.sub("", svg))


def widest(output: str) -> int:
    """The columns of the longest line."""
    return max((line.cell_len for line in Text.from_ansi(output).split()), default=0)


def _pieces(descriptor: int) -> Iterator[bytes]:
    """What arrives on a terminal, until nobody has its other end any more."""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece
