"""Tools whose dependencies conflict with ours: each is installed once, into its own environment."""

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

from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.local.state_dir import LocalAwsFailed, last_lines, tool_variables

TOOLS = Path(__file__).resolve().parents[3] / ".tools"
_COMPLETE = ".complete"


def isolated_python(
    tool: str,
    lock: str,
    say: Callable[[str], None],
    tools: Path = TOOLS,
    install: Callable[[str, Path, str, Path], None] | None = None,
) -> Path:
    """Return the Python of an environment with what `lock` pins, installed in `tools` on first use.

    `tool` is its name in messages and the file system. The folder's name depends on the lock. A marker file, written
    last, says that the installation is complete; an interrupted one is started again. `install` is for tests; None:
    pip.

    Raises:
        LocalAwsFailed: pip failed; the message has its last lines.
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
            (install or _install)(tool, home, lock, base / f"{name}.log")
    return python


def _install(tool: str, home: Path, lock: str, log: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    try:
        venv.create(home, with_pip=True)
    except (OSError, subprocess.SubprocessError) as error:
        hint = f"`{sys.executable} -m venv` must work: on Debian and Ubuntu, `apt install python3-venv`"
        raise LocalAwsFailed(
            f"could not make an environment for the {tool}: {one_line(str(error), 300)}", hint
        ) from error
    requirements = home / "requirements.txt"
    requirements.write_text(lock)
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    # Of a source archive the build would fetch what no lock names.
    command += ["--only-binary=:all:", "--require-hashes"]
    with log.open("w") as output:
        done = subprocess.run(
            [*command, "-r", str(requirements)],
            env=tool_variables(os.environ),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = last_lines(log)
        raise LocalAwsFailed(f"could not install the {tool}, see {log}:\n{lines}", index_hint(lines))
    (home / _COMPLETE).touch()


def index_hint(lines: str) -> str:
    """What to do about the last lines of pip's output, empty if it could ask its index."""
    unreachable = any(
        words in lines for words in ("No matching distribution", "ProxyError", "Max retries", "onnection")
    )
    return "the package index must be reachable: see HTTPS_PROXY and `pip config list`" if unreachable else ""
