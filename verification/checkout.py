"""The checkout that is verified: its commit, and copies of it to change."""

from __future__ import annotations

import compileall
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The short hash of HEAD, with `-dirty` appended if a tracked file differs from it."""
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").strip()


def copy_checkout(target: Path, *compiled: str) -> Path:
    """Copy every file that git does not ignore, so that work on the checkout does not disturb what runs on the copy.

    Installed tools are shared. The byte code of the `compiled` folders is checked against the hash of the source, not
    its time, so that a module is compiled anew whenever it was changed.
    """
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if (source := ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    tools = ROOT / ".tools"
    tools.mkdir(exist_ok=True)
    (target / ".tools").symlink_to(tools)
    for folder in compiled:
        compileall.compile_dir(target / folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return target


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """A file has another text for a while."""
    original = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(original)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
