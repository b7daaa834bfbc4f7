"""Start and stop an embedded AWS."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from chronos_ec2.aws.clients import forget_credentials
from chronos_ec2.local import emulator, sam_cli
from chronos_ec2.local.processes import is_marked, kill_marked, marked, start_detached
from chronos_ec2.local.state_dir import (
    DEFAULT_STATE_DIR,
    ENVIRONMENT,
    MARK,
    REGION,
    UNSET,
    LocalAwsFailed,
    Record,
    StateDir,
    aws_variables,
    without_aws,
)

Deploy = Callable[[StateDir, Record], None]
"""Deploys a stack on an embedded AWS."""


def _silent(_line: str) -> None:
    """Discard progress messages."""


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running embedded AWS with the stack deployed."""

    endpoint: str
    access_key: str = field(repr=False)
    state_dir: Path
    environment: str = ENVIRONMENT
    region: str = REGION

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point AWS clients, `sam` and the CLI at this AWS and its stack."""
        return aws_variables(self.endpoint, self.access_key) | {"ENVIRONMENT": self.environment}

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for a child process: `base` (default: this process's) with this AWS and no other."""
        return without_aws(os.environ if base is None else base) | self.variables

    def disk(self, instance_id: str) -> Path:
        """The folder of an instance: `boot.log`, `imds.json`, `agent.pid` once the agent runs, `bundle/`, `work/`."""
        return StateDir(self.state_dir).instances / instance_id

    @property
    def unset(self) -> list[str]:
        """The environment variables that point at another AWS, and those that would if a shell had them."""
        foreign = os.environ.keys() - without_aws(os.environ).keys()
        return sorted({*foreign, *UNSET} - self.variables.keys())

    def shell(self) -> list[str]:
        """The lines that point a shell at this AWS, and away from any other."""
        return [
            *(f"unset {name}" for name in self.unset),
            *(f"export {name}={value}" for name, value in self.variables.items()),
        ]

    @contextmanager
    def exported(self) -> Iterator[LocalAws]:
        """Point this process at this AWS inside the block. Unrelated variables stay."""
        replaced = os.environ.keys() - without_aws(os.environ).keys() | os.environ.keys() & self.variables.keys()
        foreign = {name: os.environ[name] for name in replaced}
        _change(os.environ, remove=foreign, add=self.variables)
        try:
            yield self
        finally:
            _change(os.environ, remove=self.variables, add=foreign)


def _change(variables: MutableMapping[str, str], remove: Iterable[str], add: Mapping[str, str]) -> None:
    for name in list(remove):
        variables.pop(name, None)
    variables.update(add)
    # A client or a key of one AWS must not be used for the other.
    forget_credentials()


def up(
    state_dir: Path = DEFAULT_STATE_DIR,
    *,
    say: Callable[[str], None] = _silent,
    owner: int | None = None,
    deploy: Deploy = sam_cli.deploy,
) -> LocalAws:
    """Start the embedded AWS in `state_dir`, deploy the stack and simulate EC2. One that runs already is left alone.

    What a crash has left is killed and started again. `say` gets each step. With `owner`, a pid, everything ends when
    that process ends; without, it runs until `down`. `deploy` deploys the stack, by default with sam.

    Raises:
        LocalAwsFailed: it could not be started, and nothing is left running; the message has the reason.
    """
    if not sys.platform.startswith("linux"):
        raise LocalAwsFailed("the embedded AWS needs Linux: it finds its processes in /proc", "use WSL or a container")
    state = StateDir(state_dir.resolve())
    with state.locked():
        record = state.read()
        if record and _healthy(record):
            return LocalAws(record.endpoint, record.access_key, state.root)
        _end(state)
        try:
            return _start(state, say, owner, deploy)
        except BaseException:
            _end(state)
            raise


def down(state_dir: Path = DEFAULT_STATE_DIR) -> bool:
    """Stop the embedded AWS of `state_dir` and everything that it started. Returns whether anything was running.

    Raises:
        LocalAwsFailed: another command is starting or stopping it.
        StillAlive: a process did not end.
    """
    state = StateDir(state_dir.resolve())
    if not state.root.exists():
        return False
    with state.locked():
        return _end(state)


@contextmanager
def local_aws(
    state_dir: Path = DEFAULT_STATE_DIR, *, say: Callable[[str], None] = _silent, deploy: Deploy = sam_cli.deploy
) -> Iterator[LocalAws]:
    """Run an embedded AWS for the duration of the block, at most as long as this process lives.

    Raises:
        LocalAwsFailed: one is running in `state_dir` already, or it could not be started.
    """
    state = StateDir(state_dir.resolve())
    record = state.read()
    if record and marked(MARK, record.token):
        raise LocalAwsFailed(f"an embedded AWS is running in {state.root}", "stop it with `chronos-ec2 local down`")
    aws = up(state_dir, say=say, owner=os.getpid(), deploy=deploy)
    try:
        yield aws
    finally:
        down(state_dir)


def _start(state: StateDir, say: Callable[[str], None], owner: int | None, deploy: Deploy) -> LocalAws:
    sam_cli.project_root()
    python = emulator.installed(say)
    sam_cli.sam(say)
    for stale in (state.scratch, state.sam, state.instances):
        shutil.rmtree(stale, ignore_errors=True)
    for log in state.root.glob("*.log"):
        log.unlink()
    token, access_key = uuid.uuid4().hex, secrets.token_hex(16).upper()
    say("starting the embedded AWS")
    pid, endpoint = emulator.start(python, state, token, access_key)
    record = Record(token, endpoint, access_key, emulator=pid, owner=owner)
    state.write(record)
    emulator.wait_until_ready(record, state.log("emulator"))
    say("deploying the stack with sam")
    deploy(state, record)
    # The simulator reads the record when it starts, so the record is written before and after.
    command = [sys.executable, "-m", "chronos_ec2.local.ec2.simulator", "--state", str(state.root)]
    variables = without_aws(os.environ) | aws_variables(endpoint, access_key) | {MARK: token, "PYTHONUNBUFFERED": "1"}
    state.write(replace(record, ec2_simulator=start_detached(command, variables, state.log("ec2"))))
    return LocalAws(endpoint, access_key, state.root)


def _healthy(record: Record) -> bool:
    return (
        record.ec2_simulator is not None
        and is_marked(record.ec2_simulator, MARK, record.token)
        and is_marked(record.emulator, MARK, record.token)
        and emulator.answers(record)
    )


def _end(state: StateDir) -> bool:
    """Kill whatever the record names and whatever that started. Returns whether anything was running.

    Logs and the folders of instances stay for inspection.
    """
    record = state.read()
    if record is None:
        return False
    kill_marked(MARK, record.token)
    state.record.unlink(missing_ok=True)
    shutil.rmtree(state.scratch, ignore_errors=True)
    return True
