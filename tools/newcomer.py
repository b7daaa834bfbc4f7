"""Do what README says, in a fresh clone and from its own lines: `make newcomer`.

The demo first, then the lines of `On AWS` on an embedded AWS: a check, a first training on a CSV file, a forecast by
its model, the report, and what is left. What a machine without AWS account and GPU cannot do is changed: sam has
deployed already, a CPU trains, and the model is a small new one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"```(sh|yaml)\n(.*?)```", re.DOTALL)
_DONE_BY_LOCAL_UP = ("git ", "python3 ", "source ", "pipx ", "sam ")
_SMALL_MODEL = """
context_length: 56
model: {from_scratch: {d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_heads: 2, patch: 7}}
training: {steps: 60, batch_size: 8, learning_rate: 2e-3}
evaluation: {season_length: 7}
"""
_STARTS = ("launch", "forecast")


def main() -> None:
    """Clone the checkout, and follow README."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--venv", type=Path, help="an environment to use instead of installing one")
    parser.add_argument("--without-demo", action="store_true", help="leave the demo out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "chronos-ec2"
        _do(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(clone)], Path(folder))
        if options.venv:
            (clone / ".venv").symlink_to(options.venv.resolve())
        shell, yaml = _blocks((clone / "README.md").read_text())
        if not options.without_demo:
            _do(["make", "demo"], clone)
        elif not options.venv:
            _do(["make", "venv"], clone)
        _on_aws(clone, shell, yaml)
    print("a newcomer's path: done")


def _blocks(readme: str) -> tuple[list[str], str]:
    """The lines of the shell block that begins with `git clone`, and the first configuration."""
    found = _BLOCK.findall(readme)
    shell = next(text for kind, text in found if kind == "sh" and text.startswith("git clone"))
    return shell.splitlines(), next(text for kind, text in found if kind == "yaml")


def _on_aws(clone: Path, shell: list[str], yaml: str) -> None:
    program = clone / ".venv" / "bin" / "chronos-ec2"
    up = json.loads(_do([str(program), "local", "up", "--json"], clone))
    environ = {name: value for name, value in os.environ.items() if name not in up["unset"]} | up["variables"]
    try:
        _write_sales(clone / "my-folder")
        (clone / "train.yaml").write_text(yaml + _SMALL_MODEL)
        print(f"train.yaml is README's, and a small new model:{_SMALL_MODEL}")
        later: list[list[str]] = []
        trained = ""
        for line in shell:
            command = shlex.split(line, comments=True)
            if not command or line.startswith(_DONE_BY_LOCAL_UP):
                continue
            # The model is trained first: the hub's may be out of reach.
            if command[1] == "forecast" and not trained:
                later.append(command)
                continue
            said = _do(_adapted(command, program), clone, environ)
            if command[1:3] == ["launch", "--config"]:
                trained = json.loads(said.splitlines()[-1])["run_id"]
            if command[1] == "monitor" and trained:
                for waiting in later:
                    _do([*_adapted(waiting, program), "--model", f"run:{trained}"], clone, environ)
                _do([str(program), "report", trained], clone, environ)
                later = []
            elif command[1:3] == ["launch", "--trainer"]:
                _do([str(program), "monitor"], clone, environ)
    finally:
        _do([str(program), "local", "down"], clone)


def _adapted(command: list[str], program: Path) -> list[str]:
    """A line of README for a machine without GPU, and without somebody to ask."""
    adapted = [str(program), *command[1:]]
    return [*adapted, "--allow-cpu", "--json"] if command[1] in _STARTS else adapted


def _write_sales(folder: Path) -> None:
    folder.mkdir()
    first = date(2025, 1, 1)
    lines = [
        f"shop-{shop},{first + timedelta(days=day)},{50 + 10 * shop + 12 * (day % 7) + day % 11}"
        for shop in range(6)
        for day in range(200)
    ]
    (folder / "sales.csv").write_text("\n".join(["item_id,timestamp,target", *lines]) + "\n")


def _do(command: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run a command, and say how long it took. Returns its output."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    shown = shlex.join([Path(command[0]).name, *command[1:]])
    print(f"{time.monotonic() - began:6.1f} s  {shown}", flush=True)
    if done.returncode:
        sys.exit(f"{shown} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
