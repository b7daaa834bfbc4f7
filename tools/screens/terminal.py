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

_TAKEN_AWAY = re.compile(r"\r?(?:\x1b\[1A|\x1b\[2K)+")
"""How rich takes a screen away to draw the next one."""
_OTHER = re.compile(r"\x1b\[\?\d+[hl]|\r")
_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_LIGHT = TerminalTheme(
    (246, 248, 250), (31, 35, 40),
    [(31, 35, 40), (207, 34, 46), (17, 99, 41), (149, 98, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131),
     (110, 119, 129)],
)  # fmt: skip
THEMES: Mapping[str, TerminalTheme] = {"light": _LIGHT, "dark": SVG_EXPORT_THEME}
WIDTHS = (80, 120)
_LINES = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command has shown: each screen that it drew in place of another, and what is left at its end."""

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
    parts = [_OTHER.sub("", part) for part in _TAKEN_AWAY.split(received.decode())]
    words = " ".join([Path(command[0]).name, *command[1:]])
    return Shown(words, columns, tuple(part for part in parts[:-1] if part.strip()), parts[-1], process.returncode)


def draw(shown: Shown, output: str, folder: Path, name: str) -> None:
    """Write the SVG of a command and what it shows, light and dark."""
    console = Console(
        record=True, width=shown.columns, file=io.StringIO(), color_system="truecolor", force_terminal=True,
        legacy_windows=False,
    )  # fmt: skip
    console.print(Text.assemble(("$ ", "bold green"), (shown.command, "bold")))
    console.print(Text.from_ansi(output.rstrip()))
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
