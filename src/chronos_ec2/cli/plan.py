"""The plan of a launch: what would run, where, within which limits, for how much at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chronos_ec2.cli.output import console, dollars, styled
from chronos_ec2.domain.parsing.names import counted, one_line
from chronos_ec2.domain.parsing.times import format_time, human_span, short_span
from chronos_ec2.domain.planning.plan import WorstCase, worst_case
from chronos_ec2.domain.planning.quota import VcpuQuota
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig, JobConfig
from chronos_ec2.job_config.schema import TrainingConfig
from chronos_ec2.services.groups.create import longest
from chronos_ec2.services.launch.former import Former
from chronos_ec2.services.launch.prepare import Prepared
from chronos_ec2.services.launch.types import Offer

_WORST = "at most"
_CHANGES = 6
"""How many changed keys are named; JSON has all of them."""


@dataclass(frozen=True, slots=True)
class GroupSize:
    """How many runs a group has, and how many of them run at a time."""

    runs: int
    parallel: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a launch at `now` would start; a group of such runs if it has a size."""

    prepared: Prepared
    former: Former | None
    now: datetime
    group: GroupSize | None = None

    @property
    def worst(self) -> WorstCase:
        """The most that all can cost, and when the last instance is gone at the latest."""
        spec, group = self.prepared.spec, self.group
        if group is None:
            return worst_case(self.now, spec.highest_price, spec.max_cost_usd, spec.limits)
        takes = longest(group.runs, group.parallel, spec.limits, spec.wait_for_capacity)
        return worst_case(self.now, spec.highest_price, spec.max_cost_usd, spec.limits, group.runs, takes)

    def print(self) -> None:
        """Print it for people, a line for each question."""
        for name, text in self._lines():
            line = one_line(text, 400)
            console.field(f"  {name:<10}", styled(line, "bold") if name == _WORST else line)

    def _lines(self) -> Iterator[tuple[str, str]]:
        spec, resumed = self.prepared.spec, self.prepared.resumed
        yield _work(self.prepared.config)
        if resumed:
            yield "resumes", f"run {resumed.parent.run_id} from step {resumed.step}"
        for model in self.prepared.models:
            where = "in the bucket" if model.reference else "which is copied into the bucket first"
            yield "model", f"{model.shown}, {model.size / 1e6:.1f} MB, {where}"
        if self.prepared.dataset:
            yield "data", f"{spec.data_path}: {_amount(self.prepared.dataset)}"
        if self.prepared.future:
            yield "future", _amount(self.prepared.future)
        zones = counted(len(spec.subnet_ids), "zone")
        yield "instance", f"{' or '.join(spec.instance_types)}, {spec.market}, in {zones}"
        for offer in self.prepared.offers:
            if offer.kind:
                yield "", f"{offer.name}: {offer.kind}"
            if offer.zones:
                yield "", f"{offer.name}: offered in {', '.join(offer.zones)}"
        yield from (("quota", _left(offer.quota)) for offer in self.prepared.offers if offer.quota)
        parts = " with volume and address" if spec.price_per_hour_usd is None else ""
        prices = (f"{kind} {dollars(spec.price_of(kind))} an hour{parts}" for kind in spec.instance_types)
        yield "price", ", ".join(prices)
        yield from (("", text) for offer in self.prepared.offers if (text := _quoted(offer)))
        yield "limits", ", ".join(self._limits())
        if self.prepared.chosen:
            yield "defaults", ", ".join(f"{key} {value}" for key, value in self.prepared.chosen.items())
        yield "expected", self._expected()
        if self.former and self.former.changed:
            yield "changed", f"{self._changes()} since run {self.former.run_id}"
        worst = self.worst
        yield _WORST, f"{dollars(worst.usd)}, and gone by {worst.gone_by:%Y-%m-%d %H:%M} UTC"

    def _limits(self) -> Iterator[str]:
        spec = self.prepared.spec
        if self.group:
            yield f"{counted(self.group.runs, 'run')}, {self.group.parallel} at a time"
        yield short_span(spec.limits.max_runtime) + (" each" if self.group else "")
        cap = "no cap" if spec.max_cost_usd is None else f"cap {dollars(spec.max_cost_usd)}"
        yield f"{cap} over all runs" if self.group else cap
        preemptions, crashes = counted(spec.preemptions_left, "preemption"), counted(spec.crashes_left, "crash", "es")
        yield f"resumes after {preemptions} and {crashes}"
        if spec.wait_for_capacity is not None:
            yield f"waits {short_span(spec.wait_for_capacity)} for capacity"
        if spec.on_demand_after is not None:
            yield f"takes on-demand capacity after {short_span(spec.on_demand_after)}"

    def _expected(self) -> str:
        likely = self.former and self.former.expected
        if not likely:
            return "unknown: no run of the same data has succeeded yet"
        each = " for each run" if self.group else ""
        return f"{human_span(likely.duration)}, {dollars(likely.usd)}{each}, as run {likely.like} took"

    def _changes(self) -> str:
        changed = self.former.changed if self.former else ()
        more = f" and {len(changed) - _CHANGES} more" if len(changed) > _CHANGES else ""
        return "; ".join(f"{key} {before}, now {after}" for key, before, after in changed[:_CHANGES]) + more

    def as_document(self) -> dict[str, Any]:
        """The plan as JSON."""
        spec, former, worst = self.prepared.spec, self.former, self.worst
        likely = former and former.expected
        return {
            "job": self.prepared.config.job,
            **_work_document(self.prepared.config),
            "data": {
                "path": spec.data_path,
                "files": len(self.prepared.dataset),
                "bytes": sum(one.size for one in self.prepared.dataset),
            },
            "models": [
                {"given": one.given, "shown": one.shown, "bytes": one.size, "in_bucket": one.reference is not None}
                for one in self.prepared.models
            ],
            "instance_types": [_type_document(offer, spec.price_of(offer.name)) for offer in self.prepared.offers],
            **({"group": {"runs": self.group.runs, "parallel": self.group.parallel}} if self.group else {}),
            "market": spec.market,
            "zones": len(spec.subnet_ids),
            "max_hours": spec.limits.max_runtime.total_seconds() / 3600,
            "max_cost_usd": spec.max_cost_usd,
            "preemptions": spec.preemptions_left,
            "crashes": spec.crashes_left,
            "expected": likely
            and {"hours": likely.duration.total_seconds() / 3600, "usd": likely.usd, "like": likely.like},
            "changed": {key: [before, after] for key, before, after in former.changed} if former else None,
            "worst_case": {"usd": worst.usd, "gone_by": format_time(worst.gone_by)},
        }


def _amount(files: Sequence[DataObject]) -> str:
    size = sum(one.size for one in files)
    return f"{counted(len(files), 'file')}, {f'{size / 1e6:.1f} MB' if size >= 1e5 else f'{size / 1e3:.1f} kB'}"


def _work(config: JobConfig) -> tuple[str, str]:
    """What a run does, and with what."""
    match config:
        case TrainingConfig():
            model = config.model
            base = model.base or f"a new {model.from_scratch and model.from_scratch.family}"
            return "trains", base if config.trainer == "chronos" else f"trainer {config.trainer}"
        case ForecastConfig():
            return "forecasts", f"{config.prediction_length} points with {config.model}"
        case EvaluateConfig():
            windows = f"{config.evaluation.windows} x {config.prediction_length} points"
            return "evaluates", f"{', '.join(config.models)} on {windows}"


def _work_document(config: JobConfig) -> dict[str, Any]:
    match config:
        case TrainingConfig():
            return {"trainer": config.trainer, "model": config.model.model_dump(mode="json")}
        case ForecastConfig():
            return {"model": config.model, "prediction_length": config.prediction_length}
        case EvaluateConfig():
            return {"prediction_length": config.prediction_length, "windows": config.evaluation.windows}


def _left(quota: VcpuQuota) -> str:
    return f"{quota.instance_type} needs {quota.vcpus} vCPUs, and {quota.left} ({quota.quota.code})"


def _quoted(offer: Offer) -> str:
    """Where the price of an instance type is from, and what spot capacity costs now; empty if it is not known."""
    found = offer.on_demand
    if found is None:
        return ""
    source = "as AWS lists it now" if found.live else f"from this release's list of {found.as_of}"
    spot = ", ".join(f"{zone} ${price.usd:.3f}" for zone, price in sorted(offer.spot.items(), key=lambda it: it[1].usd))
    return f"{offer.name} alone ${found.usd:.3f} on demand, {source}" + (f"; spot now {spot}" if spot else "")


def _type_document(offer: Offer, usd_per_hour: float | None) -> dict[str, Any]:
    kind, price, quota = offer.kind, offer.on_demand, offer.quota
    return {
        "type": offer.name,
        "usd_per_hour": usd_per_hour,
        "gpus": kind and kind.gpus,
        "gpu": kind and kind.gpu,
        "gpu_memory_mib": kind and kind.gpu_memory_mib,
        "compute_capability": kind and kind.compute_capability,
        "vcpus": kind and kind.vcpus,
        "list_usd": price and price.usd,
        "list_as_of": price and price.as_of.isoformat(),
        "list_is_current": price and price.live,
        "zones": offer.zones,
        "quota": quota and {"code": quota.quota.code, "vcpus": quota.vcpus, "limit": quota.limit, "used": quota.used},
        "spot_usd": {zone: each.usd for zone, each in offer.spot.items()},
    }
