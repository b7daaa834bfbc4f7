"""A run in detail: its record, its configuration, and what its agent says of how it went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import load_json
from chronos_ec2.domain.planning.plan import differences
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Job
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.run_queries import RunView, find_run

TRAINING = "training.json"
FORECASTS = "forecasts/manifest.json"
_RANKED_BY = "wql"


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its request and its scores, each empty if the bucket does not have it.

    Attributes:
        training: training.json as it was written; an instance wrote it.
        scores: of the model in `models/`, by metric; lower is better.
        exported: which model that is, such as `trained` or `base`.
        forecasts: rows, items and parts of a forecast.
    """

    view: RunView
    request: Request | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    exported: str | None = None
    forecasts: Mapping[str, int] = field(default_factory=dict)

    @property
    def leaderboard(self) -> Mapping[str, Mapping[str, float]]:
        """The scores of every model that was compared, the best first."""
        evaluation = self.training.get("evaluation")
        models = evaluation.get("models") if isinstance(evaluation, Mapping) else None
        found = {str(name): _numbers(one) for name, one in models.items()} if isinstance(models, Mapping) else {}
        return dict(sorted(found.items(), key=lambda each: each[1].get(_RANKED_BY, math.inf)))

    @property
    def run(self) -> Run:
        """Its record."""
        return self.view.run

    @property
    def config(self) -> Mapping[str, Any]:
        """Its configuration."""
        return self.request.config if self.request else {}


def run_details(store: RunStore, environment: str, run_id: str) -> RunDetails:
    """Read a run in detail. Raises RunNotFound, ServiceUnavailable, NotAllowed, InvalidDocument: see `find_run`."""
    view = find_run(store, environment, run_id)
    request = store.read_request(environment, run_id)
    document = _document(store, environment, run_id, TRAINING)
    forecasts = _forecasts(_document(store, environment, run_id, FORECASTS)) if view.run.job is Job.FORECAST else {}
    return RunDetails(view, request, document, *_scores(document), forecasts)


def phases(run: Run) -> Iterator[tuple[str, timedelta]]:
    """Each phase that a run has left, in order, and how long it lasted."""
    for (status, began), (_, ended) in zip(run.phases, run.phases[1:], strict=False):
        yield str(status), ended - began


def config_differences(runs: list[RunDetails]) -> dict[str, list[Any]]:
    """The dotted keys in which the configurations of several runs differ, with the value of each run."""
    first, *others = runs
    keys = {key for other in others for key, _, _ in differences(first.config, other.config)}
    return {key: [_at(run.config, key) for run in runs] for key in sorted(keys)}


def _document(store: RunStore, environment: str, run_id: str, name: str) -> Mapping[str, Any]:
    """A document that an instance wrote; empty if there is none that can be read."""
    found = store.objects.read(run_key(environment, run_id, name))
    try:
        return load_json(found.body, name) if found else {}
    except InvalidDocument:
        return {}


def _forecasts(document: Mapping[str, Any]) -> dict[str, int]:
    parts = document.get("parts")
    counts = {"rows": document.get("rows"), "items": document.get("items")}
    found = {name: count for name, count in counts.items() if isinstance(count, int)}
    return found | ({"parts": len(parts)} if isinstance(parts, list) else {})


def _scores(document: Mapping[str, Any]) -> tuple[dict[str, float], str | None]:
    evaluation = document.get("evaluation")
    evaluation = evaluation if isinstance(evaluation, Mapping) else {}
    exported, models = evaluation.get("exported"), evaluation.get("models")
    scores = models.get(exported) if isinstance(models, Mapping) and isinstance(exported, str) else None
    if not isinstance(exported, str) or not isinstance(scores, Mapping):
        return {}, None
    return _numbers(scores), exported


def _numbers(scores: object) -> dict[str, float]:
    entries = scores.items() if isinstance(scores, Mapping) else ()
    return {str(name): float(value) for name, value in entries if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _at(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
