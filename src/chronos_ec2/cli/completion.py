"""What the shell offers for runs, groups, lanes, data sets and models. It asks AWS, briefly, and never fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.parsing.names import check_name
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.model_registry import Registry
from chronos_ec2.services.run_queries import run_ids as every_run

PATIENCE = 1.0
"""Seconds that AWS has for an answer."""
_USUAL = ("dev", "stage", "prod")
_MODELS = (
    "champion", "amazon/chronos-2", "amazon/chronos-bolt-base", "amazon/chronos-bolt-small", "amazon/chronos-bolt-tiny",
)  # fmt: skip
_RUNS = 100
_Names = Callable[[OperatorWorld], Iterable[str]]


def environments(incomplete: str) -> list[str]:
    """Names of environments: AWS is not asked, because people may not list its stacks."""
    named = os.environ.get("ENVIRONMENT")
    return _like(incomplete, dict.fromkeys([*([named] if named else []), *_USUAL]))


def run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the latest runs, newest first."""
    return _asked(context, incomplete, _runs)


def runs_and_groups(context: typer.Context, incomplete: str) -> list[str]:
    """The names of groups, and the ids of the latest runs."""
    return _asked(context, incomplete, lambda world: [*world.groups.orders.names(), *_runs(world)])


def groups(context: typer.Context, incomplete: str) -> list[str]:
    """The names of groups."""
    return _asked(context, incomplete, lambda world: world.groups.orders.names())


def lanes(context: typer.Context, incomplete: str) -> list[str]:
    """The lanes that are in use."""
    return _asked(context, incomplete, lambda world: [lane.name for lane in world.store.lanes(world.stack.environment)])


def datasets(context: typer.Context, incomplete: str) -> list[str]:
    """The data sets in the bucket."""
    return _asked(
        context, incomplete,
        lambda world: world.store.objects.children(shared_key(world.stack.environment, "training-data/")),
    )  # fmt: skip


def registered(context: typer.Context, incomplete: str) -> list[str]:
    """The models that have a champion."""
    return _asked(context, incomplete, lambda world: Registry(world.stack.environment, world.store.objects).models())


def models(incomplete: str) -> list[str]:
    """What forecasts without training; a shell would break the names of others at their colon."""
    return _like(incomplete, _MODELS)


def _runs(world: OperatorWorld) -> list[str]:
    return sorted(every_run(world.store, world.stack.environment), reverse=True)[:_RUNS]


def _asked(context: typer.Context, incomplete: str, names: _Names) -> list[str]:
    """The names that AWS knows, none if it does not answer in time."""
    region, bucket = (context.params.get(name) for name in ("region", "bucket"))
    environment = context.params.get("environment") or os.environ.get("ENVIRONMENT") or "dev"
    found: list[str] = []

    def ask() -> None:
        with suppress(Exception):
            check_name(environment, "--environment")
            found.extend(_like(incomplete, names(operator_world(environment, region, bucket))))

    asking = Thread(target=ask, daemon=True)  # which the end of the process does not wait for
    asking.start()
    asking.join(PATIENCE)
    return [*found]


def _like(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
