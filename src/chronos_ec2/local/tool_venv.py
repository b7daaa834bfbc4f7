"""Tools whose pinned dependencies exclude ours: each is installed once, into an environment of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from chronos_ec2.local.state_dir import LocalAwsFailed, last_lines

TOOLS = Path(__file__).resolve().parents[3] / ".tools"
_COMPLETE = ".complete"
# What a user may have set for the packages of their own; both make pip refuse to install into this environment.
_PIP = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


def isolated_python(tool: str, lock: str, say: Callable[[str], None], tools: Path = TOOLS) -> Path:
    """Return the Python of the environment that has what `lock` pins; make it in `tools` on first use.

    `tool` names it in messages and in the file system. The folder's name depends on the lock. A marker written last
    says that the installation is complete: one that was interrupted is started again.

    Raises:
        LocalAwsFailed: pip failed; its last lines are in the message.
    """
    name = hashlib.sha256(f"{sys.version_info[:2]}\n{lock}".encode()).hexdigest()[:16]
    base = tools / tool.replace(" ", "-")
    home = base / name
    python = home / "bin" / "python"
    base.mkdir(parents=True, exist_ok=True)
    with (base / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (home / _COMPLETE).exists() or not python.exists():
            say(f"installing the {tool} (once)")
            _install(tool, home, lock, base / f"{name}.log")
    return python


def _install(tool: str, home: Path, lock: str, log: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    requirements = home / "requirements.txt"
    requirements.write_text(lock)
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    with log.open("w") as output:
        done = subprocess.run(
            [*command, "-r", str(requirements)],
            env=os.environ | _PIP,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise LocalAwsFailed(f"could not install the {tool}, see {log}:\n{last_lines(log)}")
    (home / _COMPLETE).touch()
