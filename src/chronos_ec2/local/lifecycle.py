"""An embedded AWS on this machine: up, down, and a context that is both."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chronos_ec2.aws.clients import client
from chronos_ec2.local import emulator, sam_cli
from chronos_ec2.local.processes import is_marked, kill_marked, marked, start_detached
from chronos_ec2.local.state_dir import (
    DEFAULT_STATE_DIR,
    ENVIRONMENT,
    MARK,
    REGION,
    Layout,
    LocalAwsFailed,
    Record,
    aws_variables,
    without_aws,
)


def _silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class LocalAws:
    """An embedded AWS that is up, the stack deployed."""

    endpoint: str
    state_dir: Path
    environment: str = ENVIRONMENT
    region: str = REGION

    @property
    def variables(self) -> dict[str, str]:
        """The variables that point any AWS client, the CLI and `sam` at this AWS, and the CLI at its environment."""
        return aws_variables(self.endpoint) | {"ENVIRONMENT": self.environment}

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """A whole environment for a child process: `base` (default: ours) with no other AWS in it."""
        return without_aws(os.environ if base is None else base) | self.variables

    def disk(self, instance_id: str) -> Path:
        """The folder of an instance: `boot.log`, `agent.pid` once there is an agent, `bundle/`, `work/`."""
        return Layout(self.state_dir).instances / instance_id

    def shell(self) -> list[str]:
        """The lines that point a shell at this AWS, and away from every other."""
        foreign = os.environ.keys() - without_aws(os.environ).keys() - self.variables.keys()
        return [
            *(f"unset {name}" for name in sorted(foreign)),
            *(f"export {name}={value}" for name, value in self.variables.items()),
        ]

    @contextmanager
    def exported(self) -> Iterator[LocalAws]:
        """Point this process at this AWS for a while; no other variable is touched."""
        replaced = os.environ.keys() - without_aws(os.environ).keys() | os.environ.keys() & self.variables.keys()
        foreign = {name: os.environ[name] for name in replaced}
        _change(os.environ, remove=foreign, add=self.variables)
        try:
            yield self
        finally:
            _change(os.environ, remove=self.variables, add=foreign)


def _change(variables: MutableMapping[str, str], remove: Iterable[str], add: Mapping[str, str]) -> None:
    # A client that was made for the one AWS may not serve the other.
    client.cache_clear()
    for name in list(remove):
        variables.pop(name, None)
    variables.update(add)


def up(
    state_dir: Path = DEFAULT_STATE_DIR, *, say: Callable[[str], None] = _silent, owner: int | None = None
) -> LocalAws:
    """Start the embedded AWS in `state_dir`, deploy the stack and play EC2; what is up already is left as it is.

    What is there in part, after a crash, is ended and begun anew. `say` hears of each step. With `owner`, a pid,
    everything ends when that process ends; without, it stays until `down`.

    Raises:
        LocalAwsFailed: it could not be started, the reason is in the message; nothing is left running.
    """
    if not sys.platform.startswith("linux"):
        raise LocalAwsFailed("the embedded AWS needs Linux: it finds its processes through /proc")
    layout = Layout(state_dir.resolve())
    with layout.locked():
        record = layout.read()
        if record and _whole(record):
            return LocalAws(record.endpoint, layout.root)
        _end(layout)
        try:
            return _start(layout, say, owner)
        except BaseException:
            _end(layout)
            raise


def down(state_dir: Path = DEFAULT_STATE_DIR) -> bool:
    """End the embedded AWS of `state_dir` with everything that it started; whether there was anything.

    Raises:
        LocalAwsFailed: another command is at work there.
        StillAlive: a process did not end.
    """
    layout = Layout(state_dir.resolve())
    if not layout.root.exists():
        return False
    with layout.locked():
        return _end(layout)


@contextmanager
def local_aws(state_dir: Path = DEFAULT_STATE_DIR, *, say: Callable[[str], None] = _silent) -> Iterator[LocalAws]:
    """An embedded AWS for as long as the block runs, or this process lives.

    Raises:
        LocalAwsFailed: one is up in `state_dir` already, and is not ours to end; or it could not be started.
    """
    layout = Layout(state_dir.resolve())
    record = layout.read()
    if record and marked(MARK, record.token):
        raise LocalAwsFailed(f"an embedded AWS is up in {layout.root}; `chronos-ec2 local down` ends it")
    aws = up(state_dir, say=say, owner=os.getpid())
    try:
        yield aws
    finally:
        down(state_dir)


def _start(layout: Layout, say: Callable[[str], None], owner: int | None) -> LocalAws:
    sam_cli.project_root()
    python = emulator.installed(say)
    sam_cli.sam(say)
    for stale in (layout.scratch, layout.sam, layout.instances):
        shutil.rmtree(stale, ignore_errors=True)
    for log in layout.root.glob("*.log"):
        log.unlink()
    token = uuid.uuid4().hex
    say("starting the embedded AWS")
    pid, port = emulator.start(python, layout, token)
    endpoint = f"http://127.0.0.1:{port}"
    record = Record(token, endpoint, port, emulator=pid, owner=owner)
    layout.write(record)
    emulator.wait_until_ready(endpoint, pid, token, layout.log("emulator"))
    say("deploying the stack with sam")
    sam_cli.deploy(layout, endpoint, token)
    # The stand-in reads the record when it starts, so what it needs of it is there before.
    command = [sys.executable, "-m", "chronos_ec2.local.ec2.simulator", "--state", str(layout.root)]
    variables = without_aws(os.environ) | aws_variables(endpoint) | {MARK: token, "PYTHONUNBUFFERED": "1"}
    layout.write(replace(record, stand_in=start_detached(command, variables, layout.log("ec2"))))
    return LocalAws(endpoint, layout.root)


def _whole(record: Record) -> bool:
    return (
        record.stand_in is not None
        and is_marked(record.stand_in, MARK, record.token)
        and is_marked(record.emulator, MARK, record.token)
        and emulator.answers(record.endpoint)
    )


def _end(layout: Layout) -> bool:
    """End whatever the record names and whatever that started; whether there was anything.

    All of it is killed: none of it has anything to save. Logs and the disks of instances stay for who wants to look.
    """
    record = layout.read()
    if record is None:
        return False
    kill_marked(MARK, record.token)
    layout.record.unlink(missing_ok=True)
    shutil.rmtree(layout.scratch, ignore_errors=True)
    return True
