"""`chronos-ec2 local`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson
from chronos_ec2.cli.output import console, print_json, styled
from chronos_ec2.domain.parsing.names import printable

local = typer.Typer(
    name="local",
    help="Run the whole system on an embedded AWS on this machine.",
    rich_markup_mode=None,
)

State = Annotated[Path, typer.Option(help="State folder of the embedded AWS.")]
DEFAULT_STATE = Path(".chronos-ec2/local")


@local.command()
def up(state: State = DEFAULT_STATE, json: AsJson = False) -> None:
    """Start the embedded AWS, deploy the stack with sam and simulate EC2. Runs until `local down`.

    Prints the lines that point a shell at it: eval "$(chronos-ec2 local up)"
    """
    from chronos_ec2.local.lifecycle import up as start  # noqa: PLC0415 - needs the extra `local`

    aws = start(state, say=_silent if json else _say_on_stderr)
    if json:
        print_json({"endpoint": aws.endpoint, "variables": aws.variables, "unset": aws.unset})
        return
    _say_on_stderr(f"up at {aws.endpoint}; these lines point a shell at it:")
    for line in aws.shell():
        print(line)


@local.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop the embedded AWS and every process that it started."""
    from chronos_ec2.local.lifecycle import down as stop  # noqa: PLC0415 - needs the extra `local`

    console.print("stopped" if stop(state) else f"nothing was running in {state}")


@local.command()
def invoke(
    function: Annotated[str, typer.Argument(help="The function's name in template.yaml, such as Sweep.")],
    event: Annotated[Path, typer.Argument(help="A JSON file, such as events/sweep-tick.json.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Run a function once in a container. Needs Docker. Starts the embedded AWS, and leaves it running."""
    from chronos_ec2.local.lifecycle import up as start  # noqa: PLC0415 - needs the extra `local`
    from chronos_ec2.local.sam_invoke import built_functions, check_request  # noqa: PLC0415

    check_request(function, event)
    with built_functions(start(state, say=_say_on_stderr)) as functions:
        done = functions.invoke(function, event)
    for line in done.log.splitlines():
        print(printable(line), file=sys.stderr)
    print_json(done.answer)
    raise typer.Exit(1 if done.error else 0)


@local.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for plots and summary.json.")] = Path("build/demo"),
    state: State = DEFAULT_STATE,
    json: AsJson = False,
) -> None:
    """Deploy the stack, train Chronos-2 on M3 monthly, forecast, and let the watchdog end a hung run."""
    from chronos_ec2.local.demo import run_demo  # noqa: PLC0415 - needs the extra `local`

    summary = run_demo(state, output, _silent if json else _say)
    if json:
        print_json(summary)
    else:
        took = f" in {summary['seconds']:.0f} s; summary: {output / 'summary.json'}"
        console.print(styled("done", "green"), took)


def _say(line: str) -> None:
    console.print(line)


def _say_on_stderr(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _silent(_line: str) -> None:
    """With --json, stdout has the JSON only."""
