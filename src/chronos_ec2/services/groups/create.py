"""The order of a group, from the launch that it is ordered with. All checks come before anything is written."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.groups.decide import least_usd
from chronos_ec2.domain.groups.order import MAX_MEMBERS, Group, Member, Purpose, check_group_name
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.numbers import check_number
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, ModelReference
from chronos_ec2.domain.schedules.order import UNNAMED_RUN
from chronos_ec2.job_config.jobs import model_references
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.launch.launcher import prices_of
from chronos_ec2.services.launch.spec import LaunchSpec, order_of
from chronos_ec2.services.schedules.plan import WAIT

Variant = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A configuration, and by which dotted keys and values it differs from the others."""


def check_group(name: str | None, purpose: Purpose, members: int, parallel: int, orders: GroupStore) -> str:
    """The name of a new group, one of its own if none is given. Raises InvalidInput."""
    option = "--shards" if purpose is Purpose.SHARDS else "GRID"
    check_number(members, option, 2, MAX_MEMBERS)
    check_number(parallel, "--parallel", 1, MAX_MEMBERS)
    chosen = check_group_name(f"{purpose}-{secrets.token_hex(3)}" if name is None else name, "--name")
    if orders.taken(chosen):
        raise name_taken(chosen)
    return chosen


def name_taken(name: str) -> InvalidInput:
    """What somebody hears whose group cannot have its name."""
    return InvalidInput("--name", f"there is a group {name} already", "choose another one, or leave it out")


def order_group(
    name: str, purpose: Purpose, spec: LaunchSpec, variants: Sequence[Variant], parallel: int, now: datetime
) -> Group:
    """The order of a group whose members are launched like `spec`, each with its configuration.

    Raises InvalidInput: the price cap cannot be kept or is too low, or the order is too large to be read again.
    """
    prices, price = prices_of(spec)
    spec = replace(spec, wait_for_capacity=spec.wait_for_capacity or WAIT)
    request = order_of(spec, UNNAMED_RUN, now, spec.dataset or (), prices, price)
    assert request.budget is not None
    deadline = now + longest(len(variants), parallel, spec.limits, spec.wait_for_capacity)
    members = tuple(Member(config, _models_of(config, spec), differs_in) for config, differs_in in variants)
    request = replace(request, models=(), budget=replace(request.budget, deadline=deadline))
    group = Group(name, purpose, now, request, members, parallel)
    if (size := len(group.to_json())) > MAX_REQUEST_BYTES:
        problem = f"the order of {len(members)} runs has {size / 1e6:.1f} MB, and there is room for 16.8 MB"
        raise InvalidInput("data.path", problem, "merge small files into larger ones")
    if spec.max_cost_usd is not None and spec.max_cost_usd < (least := least_usd(group)):
        problem = f"${spec.max_cost_usd:.2f} may be spent before an instance has started to work"
        raise InvalidInput("--max-cost", problem, f"at least ${least + 0.01:.2f}, for all runs together")
    return group


def longest(members: int, parallel: int, limits: Limits, wait_for_capacity: timedelta | None) -> timedelta:
    """How long a group may take if each of its runs takes as long as one may."""
    return -(-members // parallel) * (limits.max_runtime + (wait_for_capacity or WAIT))


def _models_of(config: Mapping[str, Any], spec: LaunchSpec) -> tuple[ModelReference, ...]:
    """The models that a configuration names, out of those of the launch."""
    named = model_references(parse_config(dict(config), "a member's configuration")).values()
    return tuple(one for one in spec.models if one.given in named)
