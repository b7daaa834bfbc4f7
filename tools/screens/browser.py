"""Look at an HTML file in headless Chromium: its picture, its console, and whether it is too wide for a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PHONE = 400
_ERRORS = re.compile(r":(?:ERROR|WARNING):CONSOLE|:CONSOLE[:(]\d+\)?\] \"(?:Uncaught|Failed|Refused)")
_NARROW = """<!doctype html><iframe id="page" src="{source}" width="{width}" height="800" style="border:0"></iframe>
<script>page.onload = () => document.title = page.contentDocument.documentElement.scrollWidth</script>"""


class NoBrowser(Exception):
    """There is no Chromium on this machine."""


def picture(page: Path, output: Path, *, dark: bool = False, width: int = 1000, height: int = 1100) -> None:
    """Write a PNG of the top of a page, in few colours. Raises NoBrowser."""
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _chromium(page, f"--screenshot={output.resolve()}", f"--window-size={width},{height}", scheme)
    with Image.open(output) as shown:
        shown.convert("RGB").quantize(64).save(output, optimize=True)


def console_errors(page: Path) -> int:
    """How many errors a page leaves on the console. Raises NoBrowser."""
    done = _chromium(page, "--dump-dom", "--enable-logging=stderr", "--v=0")
    return len(_ERRORS.findall(done.stderr))


def overflows(page: Path) -> bool:
    """Whether a page is wider than a phone. Raises NoBrowser."""
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(_NARROW.format(source=page.resolve().as_uri(), width=PHONE))
        done = _chromium(frame, "--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=4000")
    found = re.search(r"<title>(\d+)</title>", done.stdout)
    if found is None:
        raise RuntimeError(f"{page} was not shown: {done.stderr[-500:]}")
    return int(found[1]) > PHONE


def _chromium(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise NoBrowser("no Chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={profile}", *options, page.resolve().as_uri(),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
