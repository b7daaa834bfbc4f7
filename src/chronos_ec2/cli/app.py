"""The command's top level. A command's module is imported when the command runs, so that `--help` is quick."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from chronos_ec2.cli.exit_codes import MEANINGS

_NAME = "chronos-ec2"
_COMPLETION = "_CHRONOS_EC2_COMPLETE"
_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
SUMMARIES = {
    "launch": "Start a run on a new instance.",
    "forecast": "Forecast what comes after the end of each series.",
    "evaluate": "Compare models on the last points of each series.",
    "sweep": "Train with several configurations, and compare them.",
    "monitor": "Follow a run until it is over and its instance is gone.",
    "logs": "Print a log of a run.",
    "results": "Download what a run has left: model, scores, forecasts, logs.",
    "report": "Fetch the report of a run, one HTML file, and open it.",
    "kill": "End a run after it has saved its work.",
    "hold": "Keep an instance that hangs or is silent, to look at it.",
    "release": "Let go of an instance that `hold` keeps.",
    "cleanup": "Run one watchdog pass now, and abort orphaned uploads.",
    "verify": "Check that nothing is left: no instance, no upload, no lock.",
    "doctor": "Check what a launch depends on, and say how to mend it.",
    "drill": "Harm probe runs, to prove that their instances end in time.",
    "runs": "List the runs of an environment; show one, compare several.",
    "teardown": "Delete an environment's stack; the bucket stays.",
    "data": "Check a data set before anything is paid for.",
    "models": "Show the model in use, its champion; change it, or change back.",
    "schedule": "Start runs by themselves: at a time, or when new data are there.",
    "upload": "Upload a data set, a configuration or the agent.",
    "local": "Run the whole system on an embedded AWS on this machine.",
}
"""The commands in the order of `--help`, each with the first sentence of its own help."""
_FOLDERS = {
    "jobs": {"launch", "forecast", "evaluate", "sweep", "kill", "hold", "release", "schedule"},
    "runs": {"monitor", "logs", "report", "results", "runs"},
    "data": {"data", "models", "upload"},
    "account": {"cleanup", "drill", "verify", "doctor", "teardown", "local"},
}
"""The folder of each command's module in cli/commands."""
_MODULES = {"release": "hold"}
"""The modules that are not named like their command."""


class LazyGroup(TyperGroup):
    """Lists the commands by their summaries, and imports only the one that is invoked."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in SUMMARIES.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the real command instead of the listed one."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and command else command, rest


def load(name: str) -> Any:
    """Import a command: the function, or the typer app with commands of its own, of that name in the module."""
    folder = next(folder for folder, names in _FOLDERS.items() if name in names)
    found = getattr(import_module(f"chronos_ec2.cli.commands.{folder}.{_MODULES.get(name, name)}"), name)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, context_settings=_HELP_OPTIONS)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=LazyGroup,
    help="Train Amazon Chronos on EC2 GPUs. One command starts a run; the GPU is gone when the run is over.",
    epilog="Exit codes: " + "; ".join(f"{code:d} {meaning}" for code, meaning in MEANINGS.items()) + ".",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    # Rich's help takes longer to import than everything else together.
    rich_markup_mode=None,
    context_settings=_HELP_OPTIONS,
)


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name, and return its exit code. Every error is raised."""
    command = typer.main.get_command(app)
    if _COMPLETION in os.environ:
        with suppress(OSError, AttributeError):  # the first process of a job keeps it; Windows has no sessions
            os.setsid()  # gives the terminal away: a profile with MFA would ask on it for a code
        command.main(arguments, _NAME)  # answers the shell, and exits
    try:
        with command.make_context(_NAME, arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


@app.callback()
def _without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
