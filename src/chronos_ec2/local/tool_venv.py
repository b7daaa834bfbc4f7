"""Tools whose pinned dependencies exclude ours: each is installed once, into an environment of its own."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import platformdirs

from chronos_ec2.local.state_dir import LocalAwsFailed, last_lines

_COMPLETE = ".complete"


def isolated_python(tool: str, lock: str, say: Callable[[str], None], cache: Path | None = None) -> Path:
    """The Python of the environment that has what `lock` pins, made on first use below `cache`.

    `tool` names it for people and in the file system; `cache` is the user's cache folder by default. The folder's name
    says what is in it, and a marker written last says that it is whole: an installation that was killed is begun anew.

    Raises:
        LocalAwsFailed: pip failed; its last lines are in the message.
    """
    name = hashlib.sha256(f"{sys.version_info[:2]}\n{lock}".encode()).hexdigest()[:16]
    base = (cache or platformdirs.user_cache_path("chronos-ec2")) / tool.replace(" ", "-")
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
        done = subprocess.run([*command, "-r", str(requirements)], stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise LocalAwsFailed(f"could not install the {tool}, see {log}:\n{last_lines(log)}")
    (home / _COMPLETE).touch()
