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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

_REDRAWN = re.compile(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""How rich takes a screen away to draw the next one."""
_OTHER = re.compile(r"\x1b\[\?\d+[hl]|\r")
_FONT_FACES = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
THEMES: Mapping[str, TerminalTheme] = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}
WIDTHS = (80, 120)


@dataclass(frozen=True)
class Shown:
    """What a command has shown: each screen that it drew in place of another, and what is left at its end."""

    command: str
    columns: int
    screens: tuple[str, ...]
    left: str
    exit_code: int


def show(arguments: Sequence[str], columns: int, environ: Mapping[str, str], folder: Path, program: str = "") -> Shown:
    """Run `chronos-ec2 …` on a terminal."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    clean = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [program or "chronos-ec2", *arguments], stdin=child, stdout=child, stderr=child, cwd=folder,
        env={**clean, **terminal}, close_fds=True, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    received = bytearray()
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # nobody has the other end any more
            break
        if not piece:
            break
        received += piece
    os.close(parent)
    parts = [_OTHER.sub("", part) for part in _REDRAWN.split(received.decode())]
    return Shown(
        " ".join(["chronos-ec2", *arguments]), columns, tuple(part for part in parts[:-1] if part.strip()), parts[-1],
        process.wait(),
    )  # fmt: skip


def draw(shown: Shown, output: str, folder: Path, name: str) -> list[Path]:
    """Write the SVG of a command and what it shows, light and dark."""
    console = Console(
        record=True, width=shown.columns, file=io.StringIO(), color_system="truecolor", force_terminal=True,
        legacy_windows=False,
    )  # fmt: skip
    console.print(Text.assemble(("$ ", "bold green"), (shown.command, "bold")), highlight=False)
    console.print(Text.from_ansi(output.rstrip()), highlight=False)
    paths = []
    for theme, colours in THEMES.items():
        path = folder / f"{name}-{shown.columns}-{theme}.svg"
        # Pages that show pictures load no fonts from elsewhere.
        code = _FONT_FACES.sub("", CONSOLE_SVG_FORMAT)
        svg = console.export_svg(
            title="", theme=colours, clear=False, code_format=code, unique_id=f"{name}-{theme}", font_aspect_ratio=0.61
        )
        path.write_text(svg)
        paths.append(path)
    return paths
