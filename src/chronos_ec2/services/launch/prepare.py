"""Make a LaunchSpec: plan, which resolves and checks everything, and publish, which uploads code and agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import counted, split_instance_types
from chronos_ec2.domain.parsing.times import short_span
from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.domain.records.capacity import SPOT
from chronos_ec2.domain.records.model_source import ChampionModel, parse_reference
from chronos_ec2.domain.records.request import DataObject, check_request_size
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.stack_status import check_status
from chronos_ec2.job_config.defaults import resolve
from chronos_ec2.job_config.jobs import JobConfig, model_references
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import TrainingConfig
from chronos_ec2.model_registry import Registry
from chronos_ec2.ports import Catalogue, LaunchChecks, ModelHub, ObjectTransfer, Prices, SetupChecks, Stack
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.setup import check_bucket_region, check_sweep
from chronos_ec2.services.launch.account import ask_image, ask_quota, ask_zones
from chronos_ec2.services.launch.config import default_config, with_champion
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.lane import refuse_if_busy
from chronos_ec2.services.launch.models import FoundModel, ModelFinder
from chronos_ec2.services.launch.resume import Resumed, find_resumable, has_bundle
from chronos_ec2.services.launch.spec import LaunchRequest, LaunchSpec
from chronos_ec2.services.launch.types import Offer, find_types
from chronos_ec2.services.prices import at_price, check_cap, list_prices
from chronos_ec2.services.publish.agent import CHECKOUT, commit_of, publish_agent
from chronos_ec2.services.publish.data import LocalData
from chronos_ec2.services.publish.trainer import find_code, publish_code
from chronos_ec2.services.smoke_test import PROBE_DATA_PATH, put_probe_data

SMALL_GPUS = ("g6.xlarge", "g5.xlarge", "g4dn.xlarge")
"""Where a run forecasts or evaluates by default: these models use little of a GPU."""
SHORT_RUN = timedelta(hours=4)
"""The default deadline of a run that does not train."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A LaunchSpec that has passed every check, and what a person wants to know about it.

    Attributes:
        spec: after `plan` without what is published for the run.
        config: the resolved configuration.
        dataset: each file; empty for the data of the smoke test, which come with it.
        chosen: the configuration keys that were chosen for the instance type.
        resumed: the run that it takes up, if any.
        offers: what EC2 offers of each instance type.
        future: each file of the second data set, if there is one.
        models: what the run loads.
    """

    spec: LaunchSpec
    config: JobConfig
    dataset: tuple[DataObject, ...]
    chosen: Mapping[str, Any]
    resumed: Resumed | None = None
    offers: tuple[Offer, ...] = ()
    future: tuple[DataObject, ...] = ()
    models: tuple[FoundModel, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchPreparation:
    """Prepares launches in one environment. `report` gets each slow step, `warn` each likely mistake."""

    stack: Stack
    store: RunStore
    transfer: ObjectTransfer
    setup_checks: SetupChecks
    launch_checks: LaunchChecks
    prices: Prices
    hub: ModelHub
    catalogue: Catalogue
    limits: Limits
    report: Callable[[str], None]
    warn: Callable[[str], None]

    def plan(self, request: LaunchRequest) -> Prepared:
        """Check everything that a run needs; write nothing.

        The lane is checked here so that nothing is uploaded for a launch that would be refused; only the lock decides.

        Raises:
            InvalidInput: an option, the configuration or the data set is wrong, or no zone offers the instance types.
            StackNotReady: the stack is changing, a change has failed, its sweep is switched off, or its AMI is gone.
            LaneBusy: another run holds the lane.
            QuotaExceeded: the account's vCPU quota allows none of the instance types.
            ServiceUnavailable, NotAllowed: AWS did not answer, or refused.
        """
        check_waiting(request)
        if request.resume is not None:
            return self._plan_resumed(request, request.resume)
        given = request.config or default_config(self.store, self.stack.environment, self.warn)
        registry = Registry(self.stack.environment, self.store.objects)
        config, promotion = with_champion(given, registry, request.promote, request.model_name)
        instance_types = self._instance_types(request, Job(config.job))
        kinds = self._types(request, instance_types, Job(config.job), request.allow_cpu)
        # A run that may train on a CPU gets no defaults for a GPU.
        resolved = resolve(config, None if request.allow_cpu else kinds.get(instance_types[0]))
        config = resolved.config
        find_code(_custom_module(config), request.config_path)
        spec = self._spec(request, config.model_dump(mode="json"), config.data.path, instance_types)
        spec = replace(spec, promotion=promotion)
        offers = self._offers(request, instance_types, kinds)
        no_files = spec.data_path == PROBE_DATA_PATH or request.later
        dataset = () if no_files else self._files(request.data or spec.data_path, "data.path")
        future = () if request.future is None else self._files(request.future, "--future")
        check_request_size(spec.config, dataset + future)
        references = [pair for each in (config, *request.variants) for pair in model_references(each).items()]
        found = {
            given: self._models.find(key, given)
            for given, key in {given: key for key, given in references}.items()
            if not (request.later and isinstance(parse_reference(given), ChampionModel))
        }
        return Prepared(spec, config, dataset, resolved.chosen, None, offers, future, tuple(found.values()))

    @property
    def _models(self) -> ModelFinder:
        stack = self.stack
        return ModelFinder(self.store, self.transfer, self.hub, stack.environment, stack.bucket, self.report)

    def _files(self, data: LocalData | str, where: str) -> tuple[DataObject, ...]:
        if isinstance(data, LocalData):
            return data.objects()
        return find_dataset(self.store, self.stack.environment, data, where)

    def _instance_types(self, request: LaunchRequest, job: Job) -> tuple[str, ...]:
        """Those that are asked for; else the stack's to train, and small GPUs that it allows for any other job."""
        if request.instance_types:
            return split_instance_types(request.instance_types)
        small = [kind for kind in SMALL_GPUS if self.stack.bounds.allows(kind)]
        known = list_prices(self.prices, self.stack.region, small, self.stack.volume_gib)
        if job is Job.TRAIN or request.allow_cpu or not known:
            return split_instance_types(self.stack.instance_type)
        return tuple(known)[: self.stack.bounds.max_types]

    def _plan_resumed(self, request: LaunchRequest, run_id: str) -> Prepared:
        """Check that a run can be taken up."""
        resumed = find_resumable(self.store, request.lane.environment, run_id)
        before = resumed.request
        instance_types = split_instance_types(request.instance_types or ",".join(before.instance_types))
        config = parse_config(dict(before.config), f"the configuration of run {run_id}")
        kinds = self._types(request, instance_types, before.job, before.allow_cpu)
        spec = replace(
            self._spec(request, before.config, config.data.path, instance_types),
            bundle_sha256=before.bundle_sha256, code_sha256=before.code_sha256, commit=before.commit,
            allow_cpu=before.allow_cpu, parent=resumed.parent, dataset=before.dataset_keys,
            future=before.future_keys, models=before.models, promotion=before.promotion,
        )  # fmt: skip
        return Prepared(spec, config, before.dataset_keys, {}, resumed, self._offers(request, instance_types, kinds))

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
            for data in (request.data, request.future):
                if isinstance(data, LocalData):
                    self.report(f"uploading {counted(len(data.files), 'file')} as {data.data_path}")
                    data.upload(self.store, self.transfer, lambda _count: None)
            spec = replace(
                spec,
                code_sha256=publish_code(_custom_module(prepared.config), request.config_path, self.store),
                future=self._uploaded(request.future),
                models=tuple(self._models.publish(found) for found in prepared.models),
            )
        elif has_bundle(self.store, spec.bundle_sha256):
            return spec
        else:
            self.warn(f"the agent of run {request.resume} is gone from the bucket, so this checkout's is used")
        bundle_sha256, _ = publish_agent(self.stack.packages_in_image, self.store, self.transfer, self.report)
        return replace(spec, bundle_sha256=bundle_sha256, commit=commit_of(CHECKOUT))

    def _uploaded(self, future: LocalData | str | None) -> tuple[DataObject, ...]:
        if future is None:
            return ()
        path = future.data_path if isinstance(future, LocalData) else future
        return find_dataset(self.store, self.stack.environment, path, "--future")

    def _types(
        self, request: LaunchRequest, instance_types: tuple[str, ...], job: Job, allow_cpu: bool
    ) -> Mapping[str, InstanceType]:
        """What the types are. Raises InvalidInput for one that the stack does not allow or a run cannot use."""
        self.stack.bounds.check(instance_types, with_max_runtime(self.limits, request.max_hours, job).max_runtime)
        return find_types(self.catalogue, instance_types, allow_cpu, self.warn)

    def _offers(
        self, request: LaunchRequest, instance_types: tuple[str, ...], kinds: Mapping[str, InstanceType]
    ) -> tuple[Offer, ...]:
        """What EC2 offers of each type, in their order; refused if an instance of none of them can start."""
        ask_image(self.launch_checks, self.stack.environment, self.warn)
        zones = ask_zones(self.launch_checks, instance_types, self.warn)
        quotas = {
            each.instance_type: each for each in ask_quota(self.setup_checks, instance_types, request.market, self.warn)
        }
        return tuple(
            Offer(
                name,
                kinds.get(name),
                self.prices.on_demand(self.stack.region, name),
                self.prices.spot(self.stack.region, name) if request.market == SPOT else {},
                zones.offering.get(name) if zones else None,
                quotas.get(name),
            )
            for name in instance_types
        )

    def _spec(
        self, request: LaunchRequest, config: Mapping[str, Any], data_path: str, instance_types: tuple[str, ...]
    ) -> LaunchSpec:
        """What is to be launched, without what is published for it; every option and the account are checked."""
        region, volume_gib, price = self.stack.region, self.stack.volume_gib, request.price_per_hour_usd
        prices = list_prices(self.prices, region, instance_types, volume_gib)
        if price is None:
            check_cap(instance_types, prices, request.max_cost_usd)
        job = Job(config["job"])
        check_status(self.stack.name, self.stack.status, self.stack.environment)
        check_sweep(self.setup_checks)
        check_bucket_region(self.setup_checks, region)
        if not request.later:
            refuse_if_busy(self.store, request.lane)
        return LaunchSpec(
            lane=request.lane,
            config=config,
            data_path=data_path,
            instance_types=instance_types,
            subnet_ids=self.stack.subnet_ids,
            bucket=self.stack.bucket,
            bundle_sha256="",
            limits=with_max_runtime(self.limits, request.max_hours, job),
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
            job=job,
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


def with_max_runtime(limits: Limits, hours: float | None, job: Job = Job.TRAIN) -> Limits:
    """Return the limits with another maximum run time. Raises InvalidInput if it is too short to do anything in."""
    if hours is None:
        longest = limits.max_runtime if job is Job.TRAIN else min(limits.max_runtime, SHORT_RUN)
        return replace(limits, max_runtime=longest)
    shortest = limits.boot + 2 * limits.grace
    if timedelta(hours=hours) < shortest:
        raise InvalidInput("--max-hours", f"{hours} is too short", f"at least {shortest.total_seconds() / 3600:.2f}")
    return replace(limits, max_runtime=timedelta(hours=hours))
