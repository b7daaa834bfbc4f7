"""`chronos-ec2 models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.completion import registered, run_ids
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, confirm, connect
from chronos_ec2.cli.output import console, joined, print_json, print_table
from chronos_ec2.domain.errors import InvalidInput, LostRace
from chronos_ec2.domain.parsing.names import check_name, did_you_mean
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Champion
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.model_registry import Registry
from chronos_ec2.services.run_queries import find_run

Model = Annotated[str, typer.Argument(help="The name of a model.", autocompletion=registered)]
models = typer.Typer(name="models", rich_markup_mode=None, no_args_is_help=True)


@models.callback()
def _models() -> None:
    """Show the model in use, its champion; change it, or change back."""


@models.command("list")
def list_(environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """List the models of an environment with their champions."""
    registry, world = _registry(environment, region, bucket)
    found = [champion for name in registry.models() if (champion := registry.champion(name))]
    if json:
        print_json([_as_document(one, world) for one in found])
    elif not found:
        console.print(f"no champions yet in environment {environment}: `launch --promote better` makes the first one")
    else:
        print_table(("model", "champion", "since", ""), [(one.model, *_row(one)[1:]) for one in found])


@models.command()
def show(
    model: Model = DEFAULT_MODEL,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Show the champion of a model and all before it, newest first."""
    registry, world = _registry(environment, region, bucket)
    versions = registry.history(_checked(model))
    if not versions:
        raise _no_champion(model, registry)
    if json:
        print_json([_as_document(one, world) for one in versions])
        return
    print_table(("version", "run", "since", ""), [_row(one) for one in versions])
    console.print(f"files     {_uri(versions[0], world)}")


@models.command()
def promote(
    run_id: Annotated[
        str, typer.Argument(help="The run whose model is to be the champion, see `runs`.", autocompletion=run_ids)
    ],
    model: Annotated[str, typer.Option(help="The name of the model.", autocompletion=registered)] = DEFAULT_MODEL,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "by hand",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Make the model of a run the champion, whatever its scores."""
    registry, world = _registry(environment, region, bucket)
    run = find_run(world.store, environment, run_id).run
    before = registry.champion(_checked(model))
    if not yes:
        confirm(f"make run {run_id} the champion of model {model} in place of {before.run_id if before else 'none'}?")
    _told(_changed(lambda: registry.promote(model, run, reason, world.clock.now()), model), world, json=json)


@models.command()
def rollback(
    model: Model = DEFAULT_MODEL,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Make the champion before the present one the champion again."""
    registry, world = _registry(environment, region, bucket)
    before = registry.champion(_checked(model))
    if before is None:
        raise _no_champion(model, registry)
    if not yes:
        confirm(f"take back run {before.run_id} as the champion of model {model}?")
    _told(_changed(lambda: registry.roll_back(model, world.clock.now()), model), world, json=json)


def _registry(environment: str, region: str | None, bucket: str | None) -> tuple[Registry, OperatorWorld]:
    world = connect(environment, region, bucket)
    return Registry(environment, world.store.objects), world


def _checked(model: str) -> str:
    return check_name(model, "model")


def _no_champion(model: str, registry: Registry) -> InvalidInput:
    remedy = "`chronos-ec2 models list` lists all; `launch --promote better` makes the first one"
    return InvalidInput("model", f"{model} has no champion", did_you_mean(model, registry.models(), remedy))


def _changed(change: Callable[[], Champion], model: str) -> Champion:
    try:
        return change()
    except LostRace as error:
        problem = f"the champion of {model} has just been changed by somebody else"
        raise InvalidInput("model", problem, f"see `chronos-ec2 models show {model}`, then try again") from error


def _told(made: Champion, world: OperatorWorld, *, json: bool) -> None:
    if json:
        print_json(_as_document(made, world))
    else:
        console.print(f"run {made.run_id} is the champion of model {made.model} now (version {made.seq})")


def _row(one: Champion) -> tuple[str, ...]:
    return str(one.seq), one.run_id, format_time(one.since), str(joined(f"{one.how}: {one.reason}"))


def _uri(one: Champion, world: OperatorWorld) -> str:
    return f"s3://{world.stack.bucket}/{run_key(world.stack.environment, one.run_id, 'models/')}"


def _as_document(one: Champion, world: OperatorWorld) -> dict[str, Any]:
    return {
        "model": one.model,
        "version": one.seq,
        "run_id": one.run_id,
        "uri": _uri(one, world),
        "sha256": dict(one.files),
        "how": str(one.how),
        "reason": one.reason,
        "since": format_time(one.since),
    }
