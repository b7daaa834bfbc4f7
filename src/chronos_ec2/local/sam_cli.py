"""The AWS SAM CLI, in its own environment because it pins boto3.

`python -m chronos_ec2.local.sam_cli build` runs `sam build`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from chronos_ec2.local.state_dir import (
    ENVIRONMENT,
    MARK,
    LocalAwsFailed,
    Record,
    StateDir,
    aws_variables,
    last_lines,
    tool_variables,
    without_aws,
)
from chronos_ec2.local.tool_venv import index_hint, isolated_python

_REQUIREMENTS = "sam-requirements.txt"


def project_root() -> Path:
    """The checkout that this package runs from. Raises LocalAwsFailed if it is not installed from one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "template.yaml").is_file():
        raise LocalAwsFailed(
            "the embedded AWS needs a checkout of chronos-ec2", "`pip install -e '.[agent,local]'` in one"
        )
    return root


def deploy(state: StateDir, record: Record) -> None:
    """Build and deploy the template of this checkout.

    Raises:
        LocalAwsFailed: `sam` could not be installed, or failed; the message has its last lines and names its log.
    """
    build(state, record)
    _sam(state, record, ["deploy", *_config(), "--config-env", ENVIRONMENT])


def build(state: StateDir, record: Record) -> None:
    """Build the bundles of this checkout's functions. Raises LocalAwsFailed as `deploy` does."""
    state.sam.mkdir(parents=True, exist_ok=True)
    template = str(project_root() / "template.yaml")
    _sam(state, record, ["build", "--template-file", template, *_config()])


def sam(say: Callable[[str], None] = lambda _line: None) -> Path:
    """Return the `sam` command, installed on first use; its Python is beside it. Raises LocalAwsFailed."""
    lock = resources.files(__package__).joinpath(_REQUIREMENTS).read_text()
    return isolated_python("AWS SAM CLI", lock, say).with_name("sam")


def _config() -> list[str]:
    return ["--config-file", str(project_root() / "samconfig.toml")]


def _sam(state: StateDir, record: Record, arguments: Sequence[str]) -> None:
    command = [str(sam()), *arguments]
    variables = tool_variables(without_aws(os.environ)) | aws_variables(record.endpoint, record.access_key)
    variables |= {MARK: record.token, "SAM_CLI_TELEMETRY": "0"}
    log = state.log("sam")
    with log.open("a") as output:
        output.write(f"$ sam {' '.join(arguments)}\n")
        output.flush()
        done = subprocess.run(
            command,
            cwd=state.sam,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = last_lines(log)
        raise LocalAwsFailed(f"`sam {arguments[0]}` failed, see {log}:\n{lines}", index_hint(lines))


if __name__ == "__main__":
    os.execv(sam(print), ["sam", *sys.argv[1:]])  # noqa: S606 - there is no shell to start
