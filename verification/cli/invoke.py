"""Runs the command's real entry point: in this process, which is quick, or as a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

from chronos_ec2.aws.clients import forget_credentials
from chronos_ec2.cli import main
from verification.cli.situations import Situation
from verification.cli.world import new_session

_LIMIT, _LIMIT_OF_A_PROCESS = 45, 120
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def invoke(situation: Situation, variables: Mapping[str, str]) -> Result:
    """Run the command with these variables as its environment."""
    run = in_this_process if situation.shell is None else as_process
    return run(situation, variables)


def in_this_process(situation: Situation, variables: Mapping[str, str]) -> Result:
    """Call the entry point. Its streams are files, as in a pipe."""
    argv, stdin = ["chronos-ec2", *situation.arguments], io.StringIO(situation.stdin)
    with (
        TemporaryFile("w+", encoding=situation.encoding) as out,
        TemporaryFile("w+", encoding=situation.encoding) as err,
        patch.dict(os.environ, variables, clear=True),
        patch.multiple(sys, argv=argv, stdin=stdin, stdout=out, stderr=err),
    ):
        new_session()
        code = _run()
        forget_credentials()
        return Result(code, *(_written(stream) for stream in (out, err)))


def _written(stream: Any) -> str:
    stream.flush()
    stream.buffer.seek(0)
    return str(stream.buffer.read(), stream.encoding, "surrogateescape")


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


def as_process(situation: Situation, variables: Mapping[str, str]) -> Result:
    """Run a line of bash as a process of its own session, without a terminal."""
    command = ("bash", "-o", "pipefail", "-c", str(situation.shell), "bash", sys.executable, "-m", "chronos_ec2.cli")
    done = subprocess.run(
        [*command, *situation.arguments],
        env=dict(variables),
        input=b"",
        capture_output=True,
        check=False,
        timeout=_LIMIT_OF_A_PROCESS,
        start_new_session=True,
    )
    return Result(done.returncode, *(text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr)))
