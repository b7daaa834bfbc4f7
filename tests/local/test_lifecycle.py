"""Up is whole or nothing, and down leaves nothing, whoever was killed before."""

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
from tests.local import quick
from tests.local.conftest import Cloud, alive, wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def recorded(state: StateDir) -> Record:
    record = state.read()
    assert record is not None
    return record


@pytest.mark.embedded_aws
def test_up_twice_is_up_once_and_only_its_owner_may_end_it(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_cli, "deploy", quick.deploy)
    aws = up(state.root)
    try:
        record = recorded(state)
        assert up(state.root) == aws
        assert recorded(state) == record
        with pytest.raises(LocalAwsFailed, match=r"is up in .*chronos-ec2 local down"), local_aws(state.root):
            pass
        assert (
            aws.environ({"PATH": "/bin", "AWS_PROFILE": "mine", "BUCKET": "mine"}) == {"PATH": "/bin"} | aws.variables
        )

        with aws.exported():
            cloud = Cloud(aws, read_stack(client("cloudformation"), aws.environment))
            pids = cloud.agent_of(cloud.launch(cloud.upload_agent(600)))["pids"]
        # Killed in a way that leaves it no time: nothing that it started stays behind.
        assert record.ec2_simulator is not None
        os.kill(record.ec2_simulator, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in pids))
        assert alive(record.emulator)
        # What is there in part is begun anew.
        assert up(state.root).endpoint != aws.endpoint
        assert marked(MARK, record.token) == []
    finally:
        last = recorded(state)
        assert down(state.root) is True
    assert marked(MARK, last.token) == []
    assert state.read() is None
    assert down(state.root) is False


@pytest.mark.embedded_aws
def test_nothing_outlives_an_owner_that_is_killed(state: StateDir) -> None:
    code = f"""
import os, signal
from pathlib import Path
from chronos_ec2.local import local_aws, sam_cli
from tests.local import quick
sam_cli.deploy = quick.deploy
with local_aws(Path({str(state.root)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    token = recorded(state).token
    wait_for(lambda: marked(MARK, token) == [], seconds=300)


@pytest.mark.embedded_aws
def test_a_deployment_that_fails_leaves_nothing_and_says_why(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []

    def broken(layout: StateDir, endpoint: str, token: str) -> None:
        tokens.append(token)
        layout.sam.mkdir()
        sam_cli._sam(layout, endpoint, token, ["deploy", "--no-such-option"])

    monkeypatch.setattr(sam_cli, "deploy", broken)
    with pytest.raises(LocalAwsFailed, match=r"(?s)`sam deploy` failed, see .*sam\.log:.*no-such-option"):
        up(state.root)
    assert marked(MARK, tokens[0]) == []
    assert state.read() is None


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(state: StateDir) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        state.root.mkdir()
        state.write(Record("stale", "http://127.0.0.1:1", 1, emulator=stranger.pid, ec2_simulator=stranger.pid))
        assert not is_marked(stranger.pid, MARK, "stale")
        assert down(state.root) is True
        assert alive(stranger.pid)
        stranger.kill()


def test_two_commands_do_not_start_and_end_at_once(state: StateDir) -> None:
    with state.locked(), pytest.raises(LocalAwsFailed, match="another command"):
        down(state.root)


def test_a_damaged_record_is_named(state: StateDir) -> None:
    state.root.mkdir()
    state.record.write_text('{"token": 1}')
    with pytest.raises(LocalAwsFailed, match=r"state\.json is not readable"):
        down(state.root)


def test_a_record_survives_a_change_of_one_field(state: StateDir) -> None:
    state.root.mkdir()
    record = Record("token", "http://127.0.0.1:1", 1, emulator=2)
    state.write(record)
    state.write(replace(record, ec2_simulator=3))
    assert state.read() == replace(record, ec2_simulator=3)


def test_nothing_of_it_goes_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "example.org,localhost")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    aws = LocalAws("http://127.0.0.1:2", tmp_path)
    with aws.exported():
        assert urllib.request.proxy_bypass("127.0.0.1:2")
        assert urllib.request.proxy_bypass("example.org")
        assert not urllib.request.proxy_bypass("example.com")
    assert (os.environ["no_proxy"], os.environ.get("NO_PROXY")) == ("example.org,localhost", None)


def test_an_emulator_is_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            emulator._DIRECT.open(f"http://127.0.0.1:{server.server_port}/no-such-file", timeout=30)


def test_a_shell_is_pointed_away_from_the_aws_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("BUCKET", "mine")
    script = "\n".join([*LocalAws("http://127.0.0.1:2", tmp_path).shell(), "env"])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:2"
    assert not {"AWS_PROFILE", "BUCKET"} & set(seen)
