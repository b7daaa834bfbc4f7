"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.cli.completion import environments, run_ids, runs_and_groups
from chronos_ec2.cli.errors import notes_of
from chronos_ec2.cli.output import console
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name, one_line
from chronos_ec2.domain.parsing.numbers import check_number


def within(option: str, least: float, most: float) -> Callable[[float], float]:
    """A callback that refuses a number out of a range."""
    return lambda value: check_number(value, option, least, most)


def _no_progress_with_json(json: bool) -> bool:
    console.json = json
    return json


@contextmanager
def on_interrupt(what_goes_on: str) -> Iterator[None]:
    """Say in the message about Ctrl-C what goes on, unless a service knows better."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not notes_of(interrupt):
            interrupt.add_note(what_goes_on)
        raise


def confirm(question: str) -> None:
    """Ask on the terminal. Raises InvalidInput unless the answer is yes."""
    print(f"{one_line(question)} [y/N]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)  # nobody has pressed Enter
    if answer.strip().lower() not in ("y", "yes"):
        raise InvalidInput("confirmation", "nothing was done: the answer was not yes", "answer y, or give --yes")


def check_target(option: str, path: Path, *, folder: bool) -> None:
    """Raise InvalidInput for a file or folder that cannot be written, before anything is paid for."""
    place = path
    while not place.exists() and place.parent != place:
        place = place.parent
    if place.is_dir() != (folder or place != path):
        problem = f"{one_line(str(place), 200)} is a {'folder' if place.is_dir() else 'file'}"
        raise InvalidInput(option, problem, f"name a {'folder' if folder else 'file'} that is there or can be made")
    if not os.access(place, os.W_OK):
        raise InvalidInput(option, f"{one_line(str(place), 200)} may not be written", "name another place")


Environment = Annotated[
    str,
    typer.Option(
        "--environment",
        "-e",
        envvar="ENVIRONMENT",
        help="The environment: dev, stage, prod or another.",
        autocompletion=environments,
    ),
]
Region = Annotated[str | None, typer.Option(envvar="AWS_REGION", help="AWS region. Default: the profile's.")]
Bucket = Annotated[str | None, typer.Option(envvar="BUCKET", help="Must be the stack's bucket if given.")]
Interval = Annotated[
    float,
    typer.Option(help="Seconds between reads.", callback=within("--interval", 0.2, 3600)),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", callback=_no_progress_with_json)]
RunOrGroup = Annotated[
    str, typer.Argument(help="A run id, see `runs`, or the name of a group.", autocompletion=runs_and_groups)
]
OptionalRunOrGroup = Annotated[
    str | None,
    typer.Argument(
        help="A run id, see `runs`, or the name of a group. Default: the only active run.",
        autocompletion=runs_and_groups,
    ),
]
OptionalRunId = Annotated[
    str | None, typer.Argument(help="A run id, see `runs`. Default: the only active run.", autocompletion=run_ids)
]


def connect(environment: str, region: str | None, bucket: str | None) -> OperatorWorld:
    """Connect to the stack of an environment. Raises UserError if it cannot be reached."""
    check_name(environment, "--environment")
    return operator_world(environment, region or None, bucket or None)
