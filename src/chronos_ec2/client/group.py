"""Groups of runs from Python: start one, wait for it, take what its runs have made together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.client.run import RunHandle, fetch, read_forecasts
from chronos_ec2.domain.errors import InvalidInput, LostRace, RunUnsuccessful
from chronos_ec2.domain.groups.order import Group, Purpose, check_group_name
from chronos_ec2.domain.groups.result import Result
from chronos_ec2.domain.parsing.names import did_you_mean
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.services.groups.create import Variant, check_group, name_taken, order_group
from chronos_ec2.services.groups.status import GroupView, find_group
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.lane import refuse_if_busy
from chronos_ec2.services.launch.prepare import Prepared
from chronos_ec2.services.launch.spec import LaunchRequest, LaunchSpec
from chronos_ec2.services.results import ResultFile, list_results
from chronos_ec2.services.run_details import RunDetails, run_details
from chronos_ec2.services.run_queries import list_instances
from chronos_ec2.services.teardown import refuse_teardown

PARALLEL = 4
"""How many runs of a group are active at a time, if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """A group to make of a launch.

    Attributes:
        name: None: one is made up.
        variants: the configuration of each member, from the launch as it is planned.
        others: the configurations that may name other models than that of the launch.
    """

    name: str | None
    purpose: Purpose
    members: int
    parallel: int
    variants: Callable[[Prepared], Sequence[Variant]]
    others: tuple[JobConfig, ...] = ()

    def first(self, request: LaunchRequest, world: OperatorWorld) -> tuple[str, LaunchRequest]:
        """The name of the group, and the request of the first of its runs. Raises InvalidInput."""
        name = check_group(self.name, self.purpose, self.members, self.parallel, world.groups.orders)
        return name, replace(request, lane=Lane(request.lane.environment, f"{name}-0"), variants=self.others)

    def order(self, name: str, spec: LaunchSpec, variants: Sequence[Variant], world: OperatorWorld) -> Group:
        """The order of the group, whose data are in the bucket by now. Raises InvalidInput, and LaneBusy."""
        spec = replace(spec, dataset=find_dataset(world.store, spec.lane.environment, spec.data_path))
        group = order_group(name, self.purpose, spec, variants, self.parallel, world.clock.now())
        for lane in group.lanes:
            refuse_if_busy(world.store, lane)
        return group


def sharded(shards: int, parallel: int | None = None, name: str | None = None) -> Grouping:
    """One forecast, split into so many."""
    at_a_time = PARALLEL if parallel is None else parallel
    return Grouping(name, Purpose.SHARDS, shards, at_a_time, lambda one: _split(one.config, shards))


def begin(group: Group, world: OperatorWorld) -> None:
    """Order a group, and start the first of its runs. Raises InvalidInput if there is one of its name by now."""
    try:
        world.groups.orders.create(group)
    except LostRace as error:
        raise name_taken(group.name) from error
    refuse_teardown(world.store, group.environment, world.stack.stack_id)
    world.groups.go_on(group.name)


class GroupHandle:
    """A group of runs of an environment. It reads anew whenever it is asked; nothing is remembered.

    Each method raises InvalidInput if there is no such group, ServiceUnavailable or NotAllowed if it cannot be read.
    """

    def __init__(self, name: str, environment: str, reader: PatientReader) -> None:
        self.name = check_group_name(name)
        self.environment = environment
        self._reader = reader

    def __repr__(self) -> str:
        return f"<group {self.name} in {self.environment}>"

    @property
    def view(self) -> GroupView:
        """Its order, its members, and how it has ended."""
        return self._find(self._reader.world)

    @property
    def runs(self) -> tuple[RunHandle, ...]:
        """Those of its runs that have started."""
        return tuple(RunHandle(one.run_id, self.environment, self._reader) for one in self.view.members if one.run)

    @property
    def cost_usd(self) -> float | None:
        """What its runs have cost until now, in USD; None if a price is unknown."""
        return cost_of_group(self._reader.world, self.view)

    def wait(self, *, interval: float = 15.0, on_change: Callable[[GroupView], None] | None = None) -> Result:
        """Wait until all of its runs have ended. Ctrl-C ends the waiting, not the runs.

        While AWS does not answer or the credentials are expired, it logs that and goes on, for up to an hour.

        Args:
            interval: seconds between two reads.
            on_change: gets the group whenever one of its runs has started or ended.
        """
        self._find(self._reader.world)  # what cannot be read at the start is an error, not an outage
        seen = ""
        while True:
            view = self._reader.read(self._find)
            if on_change and view.summary != seen:
                on_change(view)
            seen = view.summary
            if view.result:
                return view.result
            time.sleep(interval)

    def succeeded(self, *, interval: float = 15.0) -> GroupHandle:
        """Wait for its end; the group itself. Raises RunUnsuccessful unless it has succeeded as a whole."""
        result = self.wait(interval=interval)
        if not result.whole:
            raise RunUnsuccessful(self.name, result.sentence, "group")
        return self

    def results(self, to: Path | str | None = None) -> Path:
        """Download the forecasts of all shards, or the results of a sweep's best run, into a folder.

        By default it is named like the group. Files that are there already are kept.
        """
        return fetch(group_results(self._reader.world, self.view), self.name if to is None else to, self._reader.world)

    def forecasts(self, to: Path | str | None = None) -> Any:
        """Download the forecasts of all shards; a `pyarrow.Table`. Raises InvalidInput if they are not whole."""
        return read_forecasts(self._reader.world, group_results(self._reader.world, self.view), f"group {self.name}",
                              self.name if to is None else to)  # fmt: skip

    def kill(self, *, now: bool = False, reason: str = "requested by the operator") -> None:
        """Let no further run start, and end those that are active after they have saved their work, or `now`."""
        self._find(self._reader.world)
        self._reader.world.groups.kill(self.name, self._reader.world.reconciler, reason, at_once=now)

    def _find(self, world: OperatorWorld) -> GroupView:
        view = find_group(world.store, self.environment, self.name)
        if view is None:
            known = world.groups.orders.names()
            remedy = did_you_mean(self.name, known, "`chronos-ec2 runs` lists the runs")
            raise InvalidInput("GROUP", f"there is no group {self.name}", remedy)
        return view


def group_results(world: OperatorWorld, view: GroupView) -> tuple[ResultFile, ...]:
    """The forecasts of all shards, or the results of the best run. Raises InvalidInput if there are none as a whole."""
    name = view.group.name
    if best := best_run(world, view):
        return list_results(world.store.objects, view.group.environment, best.run.run_id)
    if view.group.purpose is not Purpose.SHARDS or not (view.result and view.result.whole):
        problem = f"group {name} has no result as a whole: {view.summary}"
        raise InvalidInput(
            "RUN", problem, f"`chronos-ec2 runs show {name}` names its runs; each has results of its own"
        )
    parts = world.groups.orders.forecasts(name)
    return tuple(ResultFile(one.key, one.bytes, one.name) for one in parts)


def best_run(world: OperatorWorld, view: GroupView) -> RunDetails | None:
    """The best run of a sweep that has ended; its scores on the test windows played no part."""
    if view.result is None or not view.ranking:
        return None
    return run_details(world.store, view.group.environment, view.ranking[0].run_id)


def cost_of_group(world: OperatorWorld, view: GroupView) -> float | None:
    """What the runs of a group have cost until now, in USD."""
    listed = list_instances(world.fleet, view.group.environment)
    return view.cost_usd(world.clock.now(), world.limits, listed)


def _split(config: JobConfig, of: int) -> list[Variant]:
    """A configuration for each shard. Raises InvalidInput for a forecast that cannot be split."""
    document = config.model_dump(mode="json")
    shards = [{"index": index, "of": of} for index in range(of)]
    parse_config(document | {"shard": shards[0]}, "--shards")
    return [(document | {"shard": shard}, {"shard.index": shard["index"]}) for shard in shards]
