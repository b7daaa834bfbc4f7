"""What a launch starts, and what it has started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.capacity import ON_DEMAND, LaunchOption, Market, Waiting
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import DataObject, ModelReference, Parent
from chronos_ec2.domain.records.status import Job


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A new run, ready to launch. Prices are in USD.

    Attributes:
        instance_types: tried in order, each in every subnet.
        prices: USD per hour by instance type, with volume and public address; types with unknown prices are not in it.
        price_per_hour_usd: of each of the instance types, in place of `prices`.
        log_group: the CloudWatch log group for the logs of agent and trainer; None: the bucket only.
        code_sha256: the archive of the user's own trainer; None: a built-in trainer.
        commit: the commit of the checkout that launches; None: not a git checkout.
        wait_for_capacity: how long to wait for capacity; None: the first attempt not at all, later ones until the
            deadline.
        on_demand_after: after how long a wait for spot capacity on-demand capacity will do too; None: never.
        parent: the run that this one takes up, if any; `dataset` then has exactly the files to train on.
        stack_id: the stack whose watchdog will end the run.
        job: what the run does.
        future: exactly the files with the known covariates of the points to forecast.
        models: exactly the models to load.
    """

    lane: Lane
    config: Mapping[str, Any]
    data_path: str
    instance_types: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    bucket: str
    bundle_sha256: str
    limits: Limits
    prices: Mapping[str, float] = field(default_factory=dict)
    price_per_hour_usd: float | None = None
    max_cost_usd: float | None = None
    preemptions_left: int = 0
    crashes_left: int = 0
    allow_cpu: bool = False
    market: Market = ON_DEMAND
    log_group: str | None = None
    code_sha256: str | None = None
    commit: str | None = None
    wait_for_capacity: timedelta | None = None
    on_demand_after: timedelta | None = None
    parent: Parent | None = None
    dataset: tuple[DataObject, ...] | None = None
    stack_id: str = ""
    job: Job = Job.TRAIN
    future: tuple[DataObject, ...] = ()
    models: tuple[ModelReference, ...] = ()

    def price_of(self, instance_type: str) -> float | None:
        """USD per hour of an instance type, None if unknown."""
        return self.prices.get(instance_type) if self.price_per_hour_usd is None else self.price_per_hour_usd

    @property
    def highest_price(self) -> float | None:
        """USD per hour of the most expensive instance that the run may get, None if one is unknown."""
        prices = [price for kind in self.instance_types if (price := self.price_of(kind)) is not None]
        return max(prices) if len(prices) == len(self.instance_types) else None


@dataclass(frozen=True, slots=True)
class Launched:
    """An attempt whose instance was started."""

    run_id: str
    attempt: int
    instance_id: str
    option: LaunchOption


@dataclass(frozen=True, slots=True)
class WaitsForCapacity:
    """An attempt for which EC2 has no capacity now. The watchdog goes on; nothing runs and nothing costs."""

    run_id: str
    attempt: int
    waiting: Waiting
    instance_id: None = None
    option: None = None
