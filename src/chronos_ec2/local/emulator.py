"""ministack, an AWS emulator in one process behind a gate, installed once into its own environment."""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from chronos_ec2.local import gate
from chronos_ec2.local.processes import is_marked, start_detached
from chronos_ec2.local.state_dir import (
    MARK,
    REGION,
    LocalAwsFailed,
    Record,
    StateDir,
    last_lines,
    no_proxy,
    tool_variables,
    without_aws,
)
from chronos_ec2.local.tool_venv import isolated_python

_REQUIREMENTS = "emulator-requirements.txt"
_READY_WITHIN = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def installed(say: Callable[[str], None]) -> Path:
    """Return the Python of ministack's environment, installed on first use. Raises LocalAwsFailed."""
    return isolated_python("embedded AWS", resources.files(__package__).joinpath(_REQUIREMENTS).read_text(), say)


def start(python: Path, state: StateDir, token: str, access_key: str) -> tuple[int, str]:
    """Start ministack on a free port, with all its files in the state folder. Returns its pid and endpoint.

    It is ready when `wait_until_ready` returns, and answers only requests with `access_key`.
    """
    port = _free_port()
    state.scratch.mkdir(parents=True, exist_ok=True)
    variables = tool_variables(without_aws(os.environ)) | no_proxy()
    variables |= {
        MARK: token,
        gate.KEY: access_key,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "TMPDIR": str(state.scratch),
        "S3_DATA_DIR": str(state.scratch / "s3"),
        # These services use fixed ports, which a second emulator could not open.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # It would remove containers that it takes for its own.
        "DOCKER_HOST": f"unix://{state.scratch / 'no-docker.sock'}",
        "PYTHONUNBUFFERED": "1",
    }
    # -P: the modules beside the gate are not ministack's.
    command = [str(python), "-P", gate.__file__]
    return start_detached(command, variables, state.log("emulator")), f"http://127.0.0.1:{port}"


_AGAIN = "`chronos-ec2 local down`, then try again; a busy machine may need more than a minute"


def wait_until_ready(record: Record, log: Path) -> None:
    """Return when ministack answers. Raises LocalAwsFailed if it ends, or does not answer within a minute."""
    end = time.monotonic() + _READY_WITHIN
    while not answers(record):
        # A process shows its environment only after its exec.
        alive = _alive(record.emulator) or is_marked(record.emulator, MARK, record.token)
        if time.monotonic() > end or not alive:
            raise LocalAwsFailed(f"the embedded AWS did not start, see {log}:\n{last_lines(log)}", _AGAIN)
        time.sleep(0.1)


def answers(record: Record) -> bool:
    """Whether ministack is healthy."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{record.endpoint}/_ministack/health",
        headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={record.access_key}/"},
    )
    try:
        with _DIRECT.open(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
