"""The latest run with the same data: what a new one will probably take, and how its configuration differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.planning.plan import Expected, differences, expected
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.spec import LaunchSpec
from chronos_ec2.services.run_queries import RunView, list_runs

_LOOKED_AT = 10
"""How many of the latest runs are looked at: each is two reads."""


@dataclass(frozen=True, slots=True)
class Former:
    """The latest successful run with the same data: its id, how its configuration differs, what a new run will take."""

    run_id: str
    changed: tuple[tuple[str, Any, Any], ...]
    expected: Expected | None


def find_former(store: RunStore, spec: LaunchSpec) -> Former | None:
    """Find it among the latest runs of the environment. None if there is none, or if the bucket does not say."""
    try:
        for view in list_runs(store, spec.lane.environment, _LOOKED_AT):
            if isinstance(view, RunView) and view.run.verdict and view.run.verdict.outcome is Outcome.SUCCEEDED:
                config = _config(store, spec.lane.environment, view.run.run_id)
                if config is not None and _same_work(config, spec.config):
                    likely = expected(view.run, _steps(config, spec.config), spec.price_of(spec.instance_types[0]))
                    return Former(view.run.run_id, tuple(differences(config, spec.config)), likely)
    except (ServiceUnavailable, NotAllowed):
        return None
    return None


def _config(store: RunStore, environment: str, run_id: str) -> Mapping[str, Any] | None:
    try:
        request = store.read_request(environment, run_id)
    except InvalidDocument:
        return None
    return request.config if request else None


def _same_work(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return all(before.get(key) == after.get(key) for key in ("job", "trainer")) and _path(before) == _path(after)


def _path(config: Mapping[str, Any]) -> object:
    data = config.get("data")
    return data.get("path") if isinstance(data, Mapping) else None


def _steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[int, int] | None:
    section = "probe" if after.get("trainer") == "probe" else "training"
    steps = [config[section].get("steps") for config in (before, after) if isinstance(config.get(section), Mapping)]
    return (steps[0], steps[1]) if len(steps) == 2 and all(isinstance(each, int) for each in steps) else None
