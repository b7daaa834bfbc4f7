"""Make a LaunchSpec: plan, which resolves and checks everything, and publish, which uploads code and agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import MAX_LIMIT, Limits
from chronos_ec2.domain.parsing.names import split_instance_types
from chronos_ec2.domain.parsing.numbers import check_number
from chronos_ec2.domain.parsing.times import short_span
from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT, Market
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import DataObject, check_request_size
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.stack_status import check_status
from chronos_ec2.job_config.defaults import resolve
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import TrainingConfig
from chronos_ec2.ports import Catalogue, ObjectTransfer, Prices, SetupChecks, Stack
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor import check_bucket_region, check_sweep
from chronos_ec2.services.launch.config import default_config
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.lane import refuse_if_busy
from chronos_ec2.services.launch.quotas import check_quota
from chronos_ec2.services.launch.resume import Resumed, find_resumable, has_bundle
from chronos_ec2.services.launch.spec import LaunchSpec
from chronos_ec2.services.launch.types import find_types
from chronos_ec2.services.prices import at_price, check_cap, list_prices
from chronos_ec2.services.publish.agent import CHECKOUT, commit_of, publish_agent
from chronos_ec2.services.publish.trainer import publish_code
from chronos_ec2.services.smoke_test import PROBE_DATA_PATH, put_probe_data

MAX_RESTARTS = 1000
"""Of each kind. A run that lost its instance more often has another problem."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What the user asks for. The stack, the bucket and the instance type decide what is None.

    Attributes:
        config: the configuration; None: the default in the bucket.
        config_path: the file that `config` was read from; the user's own trainer is beside it.
        instance_types: comma-separated, tried in order.
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
class Prepared:
    """A LaunchSpec that has passed every check, and what a person wants to know about it.

    Attributes:
        spec: after `plan` without what is published for the run.
        config: the resolved configuration.
        dataset: each file; empty for the data of the smoke test, which come with it.
        chosen: the configuration keys that were chosen for the instance type.
        resumed: the run that it takes up, if any.
    """

    spec: LaunchSpec
    config: JobConfig
    dataset: tuple[DataObject, ...]
    chosen: Mapping[str, Any]
    resumed: Resumed | None = None


@dataclass(frozen=True, slots=True)
class LaunchPreparation:
    """Prepares launches in one environment. `report` gets each slow step, `warn` each likely mistake."""

    stack: Stack
    store: RunStore
    transfer: ObjectTransfer
    setup_checks: SetupChecks
    prices: Prices
    catalogue: Catalogue
    limits: Limits
    report: Callable[[str], None]
    warn: Callable[[str], None]

    def plan(self, request: LaunchRequest) -> Prepared:
        """Check everything that a run needs; write nothing.

        The lane is checked here so that nothing is uploaded for a launch that would be refused; only the lock decides.

        Raises:
            InvalidInput: an option, the configuration or the data set is wrong.
            StackNotReady: the stack is changing, a change has failed, or its sweep is switched off.
            LaneBusy: another run holds the lane.
            QuotaExceeded: the account's vCPU quota allows none of the instance types.
            ServiceUnavailable, NotAllowed: AWS did not answer, or refused.
        """
        check_waiting(request)
        if request.resume is not None:
            return self._plan_resumed(request, request.resume)
        config = request.config or default_config(self.store, self.stack.environment, self.warn)
        instance_types = split_instance_types(request.instance_types or self.stack.instance_type)
        kinds = self._types(request, instance_types, request.allow_cpu)
        # A run that may train on a CPU gets no defaults for a GPU.
        resolved = resolve(config, None if request.allow_cpu else kinds.get(instance_types[0]))
        config = resolved.config
        spec = self._spec(request, config.model_dump(mode="json"), config.data.path, instance_types)
        dataset = (
            ()
            if spec.data_path == PROBE_DATA_PATH
            else find_dataset(self.store, self.stack.environment, spec.data_path)
        )
        check_request_size(spec.config, dataset)
        return Prepared(spec, config, dataset, resolved.chosen)

    def _plan_resumed(self, request: LaunchRequest, run_id: str) -> Prepared:
        """Check that a run can be taken up."""
        resumed = find_resumable(self.store, request.lane.environment, run_id)
        before = resumed.request
        instance_types = split_instance_types(request.instance_types or ",".join(before.instance_types))
        config = parse_config(dict(before.config), f"the configuration of run {run_id}")
        self._types(request, instance_types, before.allow_cpu)
        spec = replace(
            self._spec(request, before.config, config.data.path, instance_types),
            bundle_sha256=before.bundle_sha256, code_sha256=before.code_sha256, commit=before.commit,
            allow_cpu=before.allow_cpu, parent=resumed.parent, dataset=before.dataset_keys,
        )  # fmt: skip
        return Prepared(spec, config, before.dataset_keys, {}, resumed)

    def publish(self, request: LaunchRequest, prepared: Prepared) -> LaunchSpec:
        """Upload what the bucket lacks of a planned run, and return what is to be launched.

        Raises:
            InvalidInput, UserError: the trainer or the agent's packages cannot be packed.
            ServiceUnavailable, NotAllowed: AWS did not answer, or refused.
        """
        spec = prepared.spec
        if prepared.resumed is None:
            if spec.data_path == PROBE_DATA_PATH:
                put_probe_data(self.store, self.stack.environment)
            spec = replace(
                spec, code_sha256=publish_code(_custom_module(prepared.config), request.config_path, self.store)
            )
        elif has_bundle(self.store, spec.bundle_sha256):
            return spec
        else:
            self.warn(f"the agent of run {request.resume} is gone from the bucket, so this checkout's is used")
        bundle_sha256, _ = publish_agent(self.stack.packages_in_image, self.store, self.transfer, self.report)
        return replace(spec, bundle_sha256=bundle_sha256, commit=commit_of(CHECKOUT))

    def _types(
        self, request: LaunchRequest, instance_types: tuple[str, ...], allow_cpu: bool
    ) -> Mapping[str, InstanceType]:
        """What the types are. Raises InvalidInput for one that the stack does not allow or a run cannot use."""
        self.stack.bounds.check(instance_types, with_max_runtime(self.limits, request.max_hours).max_runtime)
        return find_types(self.catalogue, instance_types, allow_cpu, self.warn)

    def _spec(
        self, request: LaunchRequest, config: Mapping[str, Any], data_path: str, instance_types: tuple[str, ...]
    ) -> LaunchSpec:
        """What is to be launched, without what is published for it; every option and the account are checked."""
        region, volume_gib, price = self.stack.region, self.stack.volume_gib, request.price_per_hour_usd
        prices = list_prices(self.prices, region, instance_types, volume_gib)
        if price is None:
            check_cap(instance_types, prices, request.max_cost_usd)
        check_status(self.stack.name, self.stack.status, self.stack.environment)
        check_sweep(self.setup_checks)
        check_bucket_region(self.setup_checks, region)
        refuse_if_busy(self.store, request.lane)
        check_quota(self.setup_checks, instance_types, request.market, self.warn)
        return LaunchSpec(
            lane=request.lane,
            config=config,
            data_path=data_path,
            instance_types=instance_types,
            subnet_ids=self.stack.subnet_ids,
            bucket=self.stack.bucket,
            bundle_sha256="",
            limits=with_max_runtime(self.limits, request.max_hours),
            prices=prices,
            price_per_hour_usd=None if price is None else at_price(price, self.prices, region, volume_gib),
            max_cost_usd=request.max_cost_usd,
            preemptions_left=request.preemptions,
            crashes_left=request.crashes,
            allow_cpu=request.allow_cpu,
            market=request.market,
            log_group=self.stack.agent_log_group,
            wait_for_capacity=request.wait_for_capacity,
            on_demand_after=request.on_demand_after,
            stack_id=self.stack.stack_id,
            job=Job(config.get("job", Job.TRAIN)),
        )


def _custom_module(config: JobConfig) -> str | None:
    return config.custom_module if isinstance(config, TrainingConfig) else None


def check_waiting(request: LaunchRequest) -> None:
    """Raise InvalidInput for a fall-back to on-demand capacity that could never happen."""
    wait, fall_back = request.wait_for_capacity, request.on_demand_after
    if fall_back is None:
        return
    if request.market != SPOT:
        raise InvalidInput("--on-demand-after", "is for spot capacity", "give --spot too")
    if wait is not None and fall_back >= wait:
        remedy = f"less than {short_span(wait)}, or a longer --wait-for-capacity"
        raise InvalidInput("--on-demand-after", f"{short_span(fall_back)} is never reached", remedy)


def with_max_runtime(limits: Limits, hours: float | None) -> Limits:
    """Return the limits with another maximum run time. Raises InvalidInput if it is too short to do anything in."""
    if hours is None:
        return limits
    shortest = limits.boot + 2 * limits.grace
    if timedelta(hours=hours) < shortest:
        raise InvalidInput("--max-hours", f"{hours} is too short", f"at least {shortest.total_seconds() / 3600:.2f}")
    return replace(limits, max_runtime=timedelta(hours=hours))
