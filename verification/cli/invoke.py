"""Runs the command's real entry point: in this process, which is quick, or as a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader
from botocore.session import Session

from chronos_ec2.aws import clients
from chronos_ec2.cli import main
from verification.cli.answers import READ_TIMEOUT

_LIMIT = 45
_MODELS = create_loader()
_ONCE = Config(connect_timeout=2, read_timeout=READ_TIMEOUT, retries={"mode": "standard", "total_max_attempts": 1})


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str
    seconds: float


@contextmanager
def asked_once() -> Iterator[None]:
    """Clients ask once and wait for seconds: how often botocore asks is not what is checked here."""
    kept = {name: getattr(clients, name) for name in ("_CONFIG", "_BRIEF")}
    for name, config in kept.items():
        setattr(clients, name, config.merge(_ONCE))
    try:
        yield
    finally:
        for name, config in kept.items():
            setattr(clients, name, config)


def in_this_process(
    arguments: Sequence[str], variables: Mapping[str, str], *, stdin: str = "", encoding: str = "utf-8"
) -> Result:
    """Run the command with these variables as its environment. Its streams are files, as in a pipe."""
    start = time.monotonic()
    argv = ["chronos-ec2", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = [io.TextIOWrapper(os.fdopen(os.dup(each.fileno()), "wb"), encoding=encoding) for each in (out, err)]
        with (
            patch.dict(os.environ, variables, clear=True),
            patch.object(sys, "argv", argv),
            patch.object(sys, "stdin", io.StringIO(stdin)),
            patch.object(sys, "stdout", streams[0]),
            patch.object(sys, "stderr", streams[1]),
        ):
            new_session()
            code = _run()
        for stream in streams:
            stream.close()
        texts = [_whole(each.fileno(), encoding) for each in (out, err)]
    clients.forget_credentials()
    return Result(code, texts[0], texts[1], time.monotonic() - start)


def _run() -> int:
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_LIMIT)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - what Python would print
        traceback.print_exc()
        return 1
    finally:
        signal.alarm(0)
    return 0


def _too_long(*_: object) -> None:
    raise RuntimeError(f"the command did not end within {_LIMIT} s")


def new_session() -> None:
    """A session with this moment's variables. botocore's models are read once, because that takes longest."""
    clients.forget_credentials()
    session = Session()
    session.register_component("data_loader", _MODELS)
    try:
        boto3.setup_default_session(botocore_session=session)
    except (BotoCoreError, ValueError):
        clients.forget_credentials()  # what is wrong with the settings is for the command to find


def _whole(number: int, encoding: str) -> str:
    os.lseek(number, 0, os.SEEK_SET)
    with os.fdopen(os.dup(number), "rb") as file:
        return file.read().decode(encoding, errors="surrogateescape")


def as_process(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    stdin: str | None = "",
    shell: str = '"$@"',
    folder: Path | None = None,
    limit: float = 120,
) -> Result:
    """Run the command as a process of its own session, without a terminal.

    `shell` is what bash runs, with the command as "$@": `"$@" | head -1`, `"$@" >&-`.
    """
    start = time.monotonic()
    command = ["bash", "-o", "pipefail", "-c", shell, "bash", sys.executable, "-m", "chronos_ec2.cli", *arguments]
    done = subprocess.run(
        command,
        env=dict(variables),
        input=None if stdin is None else stdin.encode(),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        cwd=folder,
        timeout=limit,
        start_new_session=True,
    )
    out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return Result(done.returncode, out, err, time.monotonic() - start)
