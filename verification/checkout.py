"""The checkout that is verified: its commit, and copies of it to change."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The short hash of HEAD, with `-dirty` appended if a tracked file differs from it."""
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").strip()


def copy_checkout(target: Path) -> Path:
    """Copy every file that git does not ignore, so that work on the checkout does not disturb what runs on the copy.

    Installed tools are shared.
    """
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if (source := ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    tools = ROOT / ".tools"
    tools.mkdir(exist_ok=True)
    (target / ".tools").symlink_to(tools)
    return target


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
