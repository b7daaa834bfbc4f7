"""What a launch is asked for, what it starts, and what it has started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_ec2.domain.limits import MAX_LIMIT, Limits
from chronos_ec2.domain.parsing.names import split_instance_types
from chronos_ec2.domain.parsing.numbers import check_number
from chronos_ec2.domain.records.capacity import ON_DEMAND, LaunchOption, Market, Waiting
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Budget, DataObject, ModelReference, Parent, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.domain.records.status import Job, Status

if TYPE_CHECKING:
    from chronos_ec2.job_config.jobs import JobConfig
    from chronos_ec2.services.publish.data import LocalData

MAX_RESTARTS = 1000
"""Of each kind. A run that lost its instance more often has another problem."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What the user asks for. The stack, the bucket and the instance type decide what is None.

    Attributes:
        config: the configuration; None: the default in the bucket.
        promote: when the run's model becomes the champion of `model_name` by itself; None: never.
        data: the data set, if it has to be uploaded.
        future: the data set with the known covariates of the points to forecast: its path in the bucket, or what has to
            be uploaded.
        config_path: the file that `config` was read from; the user's own trainer is beside it.
        instance_types: comma-separated, tried in order.
        later: whether its runs start later: data, champion and a free lane are needed then, not now.
        variants: further configurations that runs of the same launch have; the models of all are found.
        resume: the run to take up; configuration, data, trainer and `allow_cpu` are then those of that run.
    """

    lane: Lane
    config: JobConfig | None
    config_path: Path | None = None
    instance_types: str | None = None
    max_hours: float | None = None
    max_cost_usd: float | None = None
    price_per_hour_usd: float | None = None
    market: Market = ON_DEMAND
    preemptions: int = 0
    crashes: int = 0
    allow_cpu: bool = False
    wait_for_capacity: timedelta | None = None
    on_demand_after: timedelta | None = None
    resume: str | None = None
    promote: Promote | None = None
    model_name: str = DEFAULT_MODEL
    data: LocalData | None = None
    future: LocalData | str | None = None
    later: bool = False
    variants: tuple[JobConfig, ...] = ()

    def __post_init__(self) -> None:
        """Raise InvalidInput for a number or a name that no run can have, before anything is read or written."""
        for value, option, most in (
            (self.max_hours, "--max-hours", MAX_LIMIT.total_seconds() / 3600),
            (self.max_cost_usd, "--max-cost", 1_000_000),
            (self.price_per_hour_usd, "--price", 10_000),
        ):
            if value is not None:
                check_number(value, option, 0, most, above=True)
        check_number(self.preemptions, "--preemptions", 0, MAX_RESTARTS)
        check_number(self.crashes, "--crashes", 0, MAX_RESTARTS)
        if self.instance_types:
            split_instance_types(self.instance_types)


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
        promotion: which champion the model may replace, and when; None: none.
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
    promotion: Promotion | None = None
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
    launched_at: datetime
    option: LaunchOption


@dataclass(frozen=True, slots=True)
class WaitsForCapacity:
    """An attempt for which EC2 has no capacity now. The watchdog goes on; nothing runs and nothing costs."""

    run_id: str
    attempt: int
    waiting: Waiting
    instance_id: None = None
    option: None = None


def order_of(
    spec: LaunchSpec,
    run_id: str,
    now: datetime,
    dataset: tuple[DataObject, ...],
    prices: dict[str, float],
    price: float | None,
) -> Request:
    """The request of a run. `price` is that of a type that has none in `prices`, in USD per hour."""
    budget = Budget(
        now + spec.limits.max_runtime, spec.max_cost_usd, price, tuple(prices.items()), spec.preemptions_left,
        spec.crashes_left,
    )  # fmt: skip
    return Request(
        run_id, spec.lane, spec.config, spec.instance_types, spec.bundle_sha256, dataset, spec.limits,
        spec.allow_cpu, spec.market, spec.log_group, spec.code_sha256, spec.commit, spec.wait_for_capacity,
        spec.on_demand_after, spec.parent, budget, spec.promotion, spec.job, spec.future, spec.models,
    )  # fmt: skip


def first_run(request: Request, now: datetime) -> Run:
    """The record of a run whose instance nobody has asked for yet. Raises ValueError for a request without a budget."""
    budget, wait = request.budget, request.wait_for_capacity
    if budget is None:
        raise ValueError("a run needs a budget")
    prices = dict(budget.prices)
    return Run(
        run_id=request.run_id,
        lane=request.lane,
        status=Status.INITIALIZATION,
        current_step=LAUNCHING,
        attempt=1,
        seq=0,
        nonce="",
        instance_type=max(request.instance_types, key=lambda kind: prices.get(kind, 0.0)),
        created_at=now,
        updated_at=now,
        deadline=budget.deadline,
        price_per_hour_usd=budget.price_per_hour_usd,
        max_cost_usd=budget.max_cost_usd,
        preemptions_left=budget.preemptions,
        crashes_left=budget.crashes,
        phases=((Status.INITIALIZATION, now),),
        prices=budget.prices,
        waiting=None if wait is None else Waiting(now, min(now + wait, budget.deadline - request.limits.boot), 0, now),
        parent=None if request.parent is None else request.parent.run_id,
        job=request.job,
    )
