"""`up` starts everything or nothing, and `down` leaves nothing, whatever was killed before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.local import LocalAws, LocalAwsFailed, down, emulator, local_aws, sam_cli, up
from chronos_ec2.local.processes import is_marked, marked
from chronos_ec2.local.state_dir import MARK, Record, StateDir
from tests.local.conftest import Cloud, alive, wait_for
from tests.local.quick import deploy_outputs_only

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def recorded(state: StateDir) -> Record:
    record = state.read()
    assert record is not None
    return record


@pytest.mark.embedded_aws
def test_up_is_idempotent_and_repairs_what_a_crash_left(state: StateDir) -> None:
    aws = up(state.root, deploy=deploy_outputs_only)
    try:
        record = recorded(state)
        assert up(state.root, deploy=deploy_outputs_only) == aws
        assert recorded(state) == record
        with pytest.raises(LocalAwsFailed, match=r"is running in .*chronos-ec2 local down"), local_aws(state.root):
            pass
        assert (
            aws.environ({"PATH": "/bin", "AWS_PROFILE": "mine", "BUCKET": "mine"}) == {"PATH": "/bin"} | aws.variables
        )

        with aws.exported():
            cloud = Cloud(aws, read_stack(client("cloudformation"), aws.environment))
            pids = cloud.agent_of(cloud.launch(cloud.upload_agent(600)))["pids"]
        # Nothing that the simulator started survives its SIGKILL.
        assert record.ec2_simulator is not None
        os.kill(record.ec2_simulator, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in pids))
        assert alive(record.emulator)
        # An AWS without its simulator is started again.
        assert up(state.root, deploy=deploy_outputs_only).endpoint != aws.endpoint
        assert marked(MARK, record.token) == []
    finally:
        last = recorded(state)
        assert down(state.root) is True
    assert marked(MARK, last.token) == []
    assert state.read() is None
    assert down(state.root) is False


@pytest.mark.embedded_aws
def test_nothing_survives_a_killed_owner(state: StateDir) -> None:
    code = f"""
import os, signal
from pathlib import Path
from chronos_ec2.local import local_aws
from tests.local.quick import deploy_outputs_only
with local_aws(Path({str(state.root)!r}), deploy=deploy_outputs_only):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    token = recorded(state).token
    wait_for(lambda: marked(MARK, token) == [])


@pytest.mark.embedded_aws
def test_a_failed_deployment_leaves_nothing_and_says_why(state: StateDir) -> None:
    tokens: list[str] = []

    def fail(state: StateDir, record: Record) -> None:
        tokens.append(record.token)
        state.sam.mkdir()
        sam_cli._sam(state, record, ["deploy", "--no-such-option"])

    with pytest.raises(LocalAwsFailed, match=r"(?s)`sam deploy` failed, see .*sam\.log:.*no-such-option"):
        up(state.root, deploy=fail)
    assert marked(MARK, tokens[0]) == []
    assert state.read() is None


def test_a_reused_pid_is_left_alone(state: StateDir) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        state.root.mkdir()
        state.write(Record("stale", "http://127.0.0.1:1", "KEY", emulator=stranger.pid, ec2_simulator=stranger.pid))
        assert not is_marked(stranger.pid, MARK, "stale")
        assert down(state.root) is True
        assert alive(stranger.pid)
        stranger.kill()


def test_up_and_down_exclude_each_other(state: StateDir) -> None:
    with state.locked(), pytest.raises(LocalAwsFailed, match="another command"):
        down(state.root)


def test_a_damaged_record_is_named(state: StateDir) -> None:
    state.root.mkdir()
    state.record.write_text('{"token": 1}')
    with pytest.raises(LocalAwsFailed, match=r"state\.json is not readable"):
        down(state.root)


def test_the_record_is_read_as_it_was_written(state: StateDir) -> None:
    state.root.mkdir()
    record = Record("token", "http://127.0.0.1:1", "KEY", emulator=2)
    state.write(record)
    state.write(replace(record, ec2_simulator=3))
    assert state.read() == replace(record, ec2_simulator=3)


def test_the_embedded_aws_is_not_reached_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "example.org,localhost")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    aws = LocalAws("http://127.0.0.1:2", "KEY", tmp_path)
    with aws.exported():
        assert urllib.request.proxy_bypass("127.0.0.1:2")
        assert urllib.request.proxy_bypass("example.org")
        assert not urllib.request.proxy_bypass("example.com")
    assert (os.environ["no_proxy"], os.environ.get("NO_PROXY")) == ("example.org,localhost", None)


def test_the_health_check_bypasses_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            emulator._DIRECT.open(f"http://127.0.0.1:{server.server_port}/no-such-file", timeout=30)


def test_a_shell_that_has_another_profile_is_pointed_away_from_it_too(tmp_path: Path) -> None:
    """The exports are also used where `local up` was not run."""
    script = "\n".join(["export AWS_PROFILE=mine", *LocalAws("http://127.0.0.1:2", "KEY", tmp_path).shell(), "env"])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert "AWS_PROFILE" not in done.stdout


def test_a_shell_is_pointed_away_from_its_former_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("BUCKET", "mine")
    script = "\n".join([*LocalAws("http://127.0.0.1:2", "KEY", tmp_path).shell(), "env"])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:2"
    assert not {"AWS_PROFILE", "BUCKET"} & set(seen)
