"""The request of a run: written once at launch, read by the agent and by a relaunch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import SHA256_PATTERN, check_name, one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.capacity import ON_DEMAND, Market, read_market
from chronos_ec2.domain.records.champion import Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import read_model_hashes
from chronos_ec2.domain.records.run import check_run_id
from chronos_ec2.domain.records.status import Job

SCHEMA_VERSION = 1
REQUEST = "request.json"
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Room for the list of about a hundred thousand data files."""
_LONGEST_SPAN = timedelta(days=366)
_REST_BYTES = 64 * 1024
"""Room for everything in a request but its configuration and its data files."""
_FOLDER_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?:[0-9A-Za-z._-]{1,100}/){1,9}")


class DataObject(NamedTuple):
    """An object to train on: its key, its size in bytes, and the ETag that its content had at the launch."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model that a run loads.

    Attributes:
        given: Its name in the configuration.
        uri: The folder with its files, in the bucket of the run.
        sha256: The SHA-256 of each file, by its name in the folder.
    """

    given: str
    uri: str
    sha256: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The reference in the request."""
        return {"given": self.given, "uri": self.uri, "sha256": dict(self.sha256)}

    @classmethod
    def from_fields(cls, fields: Fields) -> ModelReference:
        """The reference in a request. Raises InvalidDocument."""
        return cls(
            fields.text("given"),
            fields.matching("uri", _FOLDER_URI),
            read_model_hashes(fields, "sha256"),
        )


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that another takes up.

    Attributes:
        checkpoints_of: Whose checkpoint it begins with: the parent, or the parent's if that had none of its own.
        data_sha256: Hash of the data set that the parent trained on, None if unknown.
    """

    run_id: str
    checkpoints_of: str
    data_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may cost in time, money and lost attempts. Whatever its lock says, no instance is launched beyond it.

    Attributes:
        prices: USD per hour of the types that the run may get; `price_per_hour_usd` is that of any other.
        preemptions: How many attempts may be lost because EC2 reclaims the instance.
        crashes: How many attempts may be lost because the instance or its agent dies.
    """

    deadline: datetime
    max_cost_usd: float | None = None
    price_per_hour_usd: float | None = None
    prices: tuple[tuple[str, float], ...] = ()
    preemptions: int = 0
    crashes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields in the request."""
        return {
            "deadline": format_time(self.deadline),
            "max_cost_usd": self.max_cost_usd,
            "price_per_hour_usd": self.price_per_hour_usd,
            "prices": dict(self.prices),
            "preemptions": self.preemptions,
            "crashes": self.crashes,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Budget:
        """The budget in a request. Raises InvalidDocument."""
        prices = fields.child("prices")
        return cls(
            deadline=fields.time("deadline"),
            max_cost_usd=fields.number_or_none("max_cost_usd"),
            price_per_hour_usd=fields.number_or_none("price_per_hour_usd"),
            prices=tuple((kind, prices.number(kind)) for kind in fields.raw("prices")),
            preemptions=fields.count("preemptions"),
            crashes=fields.count("crashes"),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """The write-once request of a run.

    Attributes:
        config: The resolved configuration, see `job_config`.
        bundle_sha256: Hash of the agent's code.
        dataset_keys: Exactly the objects to train on.
        models: Exactly the models to load.
        log_group: The CloudWatch log group, if the logs go there too.
        code_sha256: Hash of the user's own trainer, if any.
        commit: The git commit of the launching code, None if unknown.
        wait_for_capacity: How long an attempt waits for capacity at most. None: the first attempt does not wait,
            later ones until the deadline.
        on_demand_after: How long an attempt waits for spot capacity before on-demand capacity will do too.
        parent: The run that this one takes up, if any.
        budget: What the run may cost; a run without one gets no second instance.
        promotion: Which champion its model may replace, and when; None: none.
        job: What the run does.
        future_keys: Exactly the objects with the known covariates of the points to forecast; empty without them.
        schedule: The schedule that has a job to do after this run, if any.
        group: The group that it is a member of, if any.
    """

    run_id: str
    lane: Lane
    config: Mapping[str, Any]
    instance_types: tuple[str, ...]
    bundle_sha256: str
    dataset_keys: tuple[DataObject, ...]
    limits: Limits
    allow_cpu: bool = False
    market: Market = ON_DEMAND
    log_group: str | None = None
    code_sha256: str | None = None
    commit: str | None = None
    wait_for_capacity: timedelta | None = None
    on_demand_after: timedelta | None = None
    parent: Parent | None = None
    budget: Budget | None = None
    promotion: Promotion | None = None
    job: Job = Job.TRAIN
    future_keys: tuple[DataObject, ...] = ()
    models: tuple[ModelReference, ...] = ()
    schedule: str | None = None
    group: str | None = None

    def to_json(self) -> bytes:
        """The request as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "job": self.job,
                "environment": self.lane.environment,
                "lane": self.lane.name,
                "instance_types": list(self.instance_types),
                "bundle_sha256": self.bundle_sha256,
                "code_sha256": self.code_sha256,
                "commit": self.commit,
                "parent": self.parent
                and {
                    "run_id": self.parent.run_id,
                    "checkpoints_of": self.parent.checkpoints_of,
                    "data_sha256": self.parent.data_sha256,
                },
                "allow_cpu": self.allow_cpu,
                "market": self.market,
                "log_group": self.log_group,
                "wait_for_capacity_seconds": _seconds(self.wait_for_capacity),
                "on_demand_after_seconds": _seconds(self.on_demand_after),
                "budget": self.budget and self.budget.to_dict(),
                "promotion": self.promotion and self.promotion.to_dict(),
                "schedule": self.schedule,
                "group": self.group,
                "limits": self.limits.to_seconds(),
                "config": dict(self.config),
                "models": [one.to_dict() for one in self.models],
                "dataset": _dataset(self.dataset_keys),
                "future": _dataset(self.future_keys),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Request:
        """The request in `raw`. Raises InvalidDocument."""
        fields = Fields(load_json(raw, REQUEST, MAX_REQUEST_BYTES), REQUEST)
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"{REQUEST}: schema_version {version}, this release reads {SCHEMA_VERSION}")
        try:
            return cls(
                run_id=check_run_id(fields.text("run_id")),
                lane=Lane(fields.text("environment"), fields.text("lane")),
                config=fields.raw("config"),
                instance_types=tuple(fields.texts("instance_types")),
                bundle_sha256=fields.matching("bundle_sha256", SHA256_PATTERN),
                dataset_keys=_objects(fields, "dataset"),
                limits=Limits.from_overrides(fields.raw("limits")),
                allow_cpu=fields.flag("allow_cpu"),
                market=read_market(fields.text_or_none("market") or ON_DEMAND),
                log_group=fields.text_or_none("log_group"),
                code_sha256=fields.matching("code_sha256", SHA256_PATTERN) if fields.has("code_sha256") else None,
                commit=fields.text_or_none("commit"),
                wait_for_capacity=_span(fields, "wait_for_capacity_seconds"),
                on_demand_after=_span(fields, "on_demand_after_seconds"),
                parent=_parent(fields.child("parent")) if fields.has("parent") else None,
                budget=Budget.from_fields(fields.child("budget")) if fields.has("budget") else None,
                promotion=Promotion.from_fields(fields.child("promotion")) if fields.has("promotion") else None,
                job=Job(fields.text("job")),
                future_keys=_objects(fields, "future"),
                models=tuple(ModelReference.from_fields(one) for one in fields.children("models")),
                schedule=check_name(fields.text("schedule"), "schedule") if fields.has("schedule") else None,
                group=check_name(fields.text("group"), "group") if fields.has("group") else None,
            )
        except (ValueError, InvalidInput) as error:
            raise InvalidDocument(f"{REQUEST}: {one_line(str(error), 120)}") from error


def _parent(fields: Fields) -> Parent:
    run_id, checkpoints_of = check_run_id(fields.text("run_id")), check_run_id(fields.text("checkpoints_of"))
    return Parent(run_id, checkpoints_of, fields.text_or_none("data_sha256"))


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _span(fields: Fields, name: str) -> timedelta | None:
    seconds = fields.number_or_none(name)
    if seconds is not None and seconds > _LONGEST_SPAN.total_seconds():
        raise InvalidDocument(f"{REQUEST}: field {name!r} is out of range")
    return None if seconds is None else timedelta(seconds=seconds)


def _objects(fields: Fields, name: str) -> tuple[DataObject, ...]:
    parts = fields.children(name)
    return tuple(DataObject(part.text("key"), part.count("bytes"), part.text("etag")) for part in parts)


def _dataset(objects: tuple[DataObject, ...]) -> list[dict[str, Any]]:
    return [{"key": one.key, "bytes": one.size, "etag": one.etag} for one in objects]


def check_request_size(config: Mapping[str, Any], dataset_keys: tuple[DataObject, ...]) -> None:
    """Raise InvalidInput, which names what is too large, if no reader would accept a request with these."""
    of_config, of_data = len(dump_json(config)), len(dump_json({"dataset": _dataset(dataset_keys)}))
    if of_config + of_data + _REST_BYTES <= MAX_REQUEST_BYTES:
        return
    limit = f"a run's request has room for {MAX_REQUEST_BYTES / 1e6:.1f} MB"
    if of_data >= of_config:
        problem = f"the list of its {len(dataset_keys)} files has {of_data / 1e6:.1f} MB, and {limit}"
        raise InvalidInput("data.path", problem, "merge small files into larger ones")
    raise InvalidInput("--config", f"the configuration has {of_config / 1e6:.1f} MB, and {limit}", "shorten it")
