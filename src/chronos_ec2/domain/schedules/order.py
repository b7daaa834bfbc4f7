"""The order of a schedule: when it starts runs, and what they are like. Operators write it, the launcher reads it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import is_name, one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.champion import Champion
from chronos_ec2.domain.records.model_source import ChampionModel, parse_reference
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, DataObject, ModelReference, Request
from chronos_ec2.domain.records.run import new_run_id
from chronos_ec2.domain.records.s3_keys import run_key

SCHEMA_VERSION = 1
UNNAMED_RUN = "20000101T000000Z-000000"
"""The run id in an order: each run gets its own."""
MAX_NAME = 20
"""Characters of a schedule's name: its forecasts have a lane that is named after it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run of a schedule is like. Its data, its deadline and the champion are those of the moment it starts.

    Attributes:
        request: of any such run.
        future: the data set with the known covariates of the points to forecast.
    """

    request: Request
    future: str | None = None

    @property
    def data_path(self) -> str:
        """The path of its data set."""
        return str(self.request.config["data"]["path"])

    @property
    def champion(self) -> str | None:
        """The model of the registry whose champion it loads or is compared with, None if there is none."""
        if self.request.promotion:
            return self.request.promotion.model
        config = self.request.config
        given = [config.get("model"), *(config.get("models") or ())]
        found = (parse_reference(one) for one in given if isinstance(one, str))
        return next((one.model for one in found if isinstance(one, ChampionModel)), None)

    def at(
        self,
        run_id: str,
        now: datetime,
        files: tuple[DataObject, ...],
        future: tuple[DataObject, ...],
        champion: tuple[Champion, str] | None,
    ) -> Request:
        """The request of a run. `champion` is the present one, and the bucket that has it.

        Raises:
            InvalidInput: it forecasts with a champion, and there is none.
        """
        request, config = self.request, dict(self.request.config)
        models = tuple(one for one in request.models if not isinstance(parse_reference(one.given), ChampionModel))
        promotion = request.promotion
        if promotion:
            name = str(ChampionModel(promotion.model)) if champion else None
            config["evaluation"] = {**config.get("evaluation", {}), "champion": name}
            promotion = replace(promotion, compared_with=champion[0].seq if champion else 0)
        elif self.champion and not champion:
            raise InvalidInput("model", f"model {self.champion} has no champion", "`chronos-ec2 models` makes one")
        if champion:
            models = (*models, _reference(*champion, environment=request.lane.environment))
        budget = request.budget and replace(request.budget, deadline=now + request.limits.max_runtime)
        return replace(
            request, run_id=run_id, config=config, dataset_keys=files, future_keys=future, models=models,
            promotion=promotion, budget=budget,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The fields in an order."""
        return {"request": load_json(self.request.to_json(), "request", MAX_REQUEST_BYTES), "future": self.future}

    @classmethod
    def from_fields(cls, fields: Fields) -> Planned:
        """What an order says of a run. Raises InvalidDocument."""
        return cls(Request.from_json(dump_json(fields.raw("request"))), fields.text_or_none("future"))


def _reference(champion: Champion, bucket: str, environment: str) -> ModelReference:
    uri = f"s3://{bucket}/{run_key(environment, champion.run_id, 'models/')}"
    return ModelReference(str(ChampionModel(champion.model)), uri, champion.files)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order of a schedule.

    Attributes:
        expression: of EventBridge Scheduler, such as `cron(0 3 * * ? *)`; None: it waits for data.
        data_set: whose new data start a run; None: time does.
        run: what it starts.
        then: the job after each run that has succeeded; None: none.
        max_cost_per_month_usd: what its runs of a month may cost together, by UTC; None: no limit.
        enabled: whether it starts runs by itself.
    """

    name: str
    expression: str | None
    data_set: str | None
    run: Planned
    then: Planned | None = None
    max_cost_per_month_usd: float | None = None
    enabled: bool = True

    @property
    def environment(self) -> str:
        """Its environment."""
        return self.run.request.lane.environment

    @property
    def when(self) -> str:
        """When it starts runs, for people."""
        return self.expression or f"new data in {self.data_set}"

    def to_json(self) -> bytes:
        """The order as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "expression": self.expression,
                "data_set": self.data_set,
                "enabled": self.enabled,
                "max_cost_per_month_usd": self.max_cost_per_month_usd,
                "run": self.run.to_dict(),
                "then": self.then and self.then.to_dict(),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes, name: str) -> Schedule:
        """The order of a schedule. Raises InvalidDocument."""
        what = f"schedule {name}"
        fields = Fields(load_json(raw, what, MAX_REQUEST_BYTES), what)
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
        if fields.text("name") != name:
            raise InvalidDocument(f"{what}: the order of another schedule")
        try:
            return cls(
                name=check_schedule_name(name),
                expression=fields.text_or_none("expression"),
                data_set=fields.text_or_none("data_set"),
                run=Planned.from_fields(fields.child("run")),
                then=Planned.from_fields(fields.child("then")) if fields.has("then") else None,
                max_cost_per_month_usd=fields.number_or_none("max_cost_per_month_usd"),
                enabled=fields.flag("enabled"),
            )
        except InvalidInput as error:
            raise InvalidDocument(f"{what}: {one_line(str(error), 120)}") from error


def check_schedule_name(name: str) -> str:
    """Return `name` if a schedule may have it, else raise InvalidInput."""
    if not is_name(name) or len(name) > MAX_NAME:
        problem = f"{one_line(name, 60)!r} is not a name of a schedule"
        raise InvalidInput("NAME", problem, f"lower-case letters, digits and '-', at most {MAX_NAME}")
    return name


def run_id_of(environment: str, schedule: str, at: datetime, after: str = "") -> str:
    """The run that a schedule starts at a time, or after another run: the same however often it is asked for."""
    text = f"{environment}/{schedule}/{after}/{format_time(at)}"
    return new_run_id(at, hashlib.sha256(text.encode()).digest()[:3])


def data_sha256(files: tuple[DataObject, ...]) -> str:
    """The hash of a data set: of the key, size and ETag of each file."""
    lines = "".join(f"{one.etag} {one.size} {one.key}\n" for one in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
