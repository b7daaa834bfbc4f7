"""What the commands about runs do with the name of a group."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from chronos_ec2.bootstrap import OperatorWorld
from chronos_ec2.cli.options import connect, on_interrupt
from chronos_ec2.cli.output import console, dollars, print_json, print_table, print_warning
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.services.groups.status import GroupView, find_group
from chronos_ec2.services.results import ResultFile, list_results
from chronos_ec2.services.run_details import RunDetails, run_details
from chronos_ec2.services.run_queries import list_instances

_TRAINED = "trained"
"""The name of the model that a run has trained, among those that it has compared."""


def group_as_document(world: OperatorWorld, view: GroupView) -> dict[str, Any]:
    """A group as JSON."""
    result = view.result
    members = [
        {"run_id": one.run_id, "status": one.status, "max_cost_usd": one.cap_usd, "differs_in": dict(one.differs_in)}
        | ({"score": one.score, "exported": one.exported} if view.group.purpose is Purpose.SWEEP else {})
        for one in view.members
    ]
    best = _best(world, view)
    return {
        "group": view.group.name,
        "purpose": view.group.purpose,
        "ended": result is not None,
        "succeeded": result is not None and result.whole,
        "summary": view.summary,
        "cost_usd": _cost(world, view),
        "max_cost_usd": view.group.budget.max_cost_usd,
        "runs": members,
        **(
            {"compared": len(view.ranking), "best": best and _best_document(best)}
            if view.group.purpose is Purpose.SWEEP
            else {}
        ),
    }


def show_group(world: OperatorWorld, view: GroupView, *, json: bool) -> None:
    """Print a group and its members."""
    if json:
        print_json(group_as_document(world, view))
        return
    group, cap = view.group, view.group.budget.max_cost_usd
    limit = "" if cap is None else f" of {dollars(cap)}"
    console.print(f"group {group.name}, {group.purpose}, {group.parallel} at a time: {view.summary}")
    console.print(f"cost      {dollars(_cost(world, view))}{limit}")
    ranked = view.ranking
    if best := _best(world, view):
        scores = ", ".join(f"{name} {value:.4g}" for name, value in best.scores.items())
        among = f"of {len(ranked)} configurations compared before the test windows; on those: {scores}"
        console.print(f"best      run {best.run.run_id}, {among}")
        if best.exported != _TRAINED:
            console.print(f"          its model is the one that it began with ({best.exported}): training did not help")
    rest = [one for one in view.members if one not in ranked]
    rows = [
        (one.run_id, one.status, "" if one.score is None else f"{one.score:.4g}", one.exported or "",
         one.run.progress if one.run and one.run.active else "", _differs(one.differs_in))
        for one in (*ranked, *rest)
    ]  # fmt: skip
    judged = ("wql before the test", "model") if view.group.purpose is Purpose.SWEEP else ("", "")
    print_table(("run", "status", *judged, "", "differs in"), rows)


def follow_group(
    environment: str, region: str | None, bucket: str | None, name: str, interval: float = 5.0, *, json: bool = False
) -> bool:
    """Follow a group to its end. Returns whether all of its runs have succeeded."""
    reader = PatientReader(lambda: connect(environment, region, bucket), interval, print_warning)
    shown = ""
    with on_interrupt(f"the group goes on; `chronos-ec2 monitor {name}` follows it again"):
        while True:
            view = reader.read(lambda world: _known(world, environment, name))
            if view.summary != shown:
                if json:
                    print_json(group_as_document(reader.world, view))
                else:
                    console.print(f"group {name}: {view.summary}")
            shown = view.summary
            if view.result:
                return view.result.whole
            time.sleep(interval)


def group_results(world: OperatorWorld, view: GroupView) -> tuple[ResultFile, ...]:
    """The forecasts of all shards, or the results of the best run. Raises InvalidInput if there are none as a whole."""
    name = view.group.name
    if best := _best(world, view):
        return list_results(world.store.objects, view.group.environment, best.run.run_id)
    if view.group.purpose is not Purpose.SHARDS or not (view.result and view.result.whole):
        problem = f"group {name} has no result as a whole: {view.summary}"
        raise InvalidInput(
            "RUN", problem, f"`chronos-ec2 runs show {name}` names its runs; each has results of its own"
        )
    parts = world.groups.orders.forecasts(name)
    return tuple(ResultFile(one.key, one.bytes, one.name) for one in parts)


def report_on_group(world: OperatorWorld, view: GroupView, path: Path | None, *, json: bool) -> None:
    """Print what a group has brought; `path` is for the report of a run."""
    if path is not None:
        problem = f"group {view.group.name} has no page of its own"
        raise InvalidInput("--to", problem, "leave it out, or name one of its runs")
    show_group(world, view, json=json)


def _best(world: OperatorWorld, view: GroupView) -> RunDetails | None:
    """The best run of a sweep that has ended; its scores on the test windows played no part."""
    if view.result is None or not view.ranking:
        return None
    return run_details(world.store, view.group.environment, view.ranking[0].run_id)


def _best_document(best: RunDetails) -> dict[str, Any]:
    return {"run_id": best.run.run_id, "exported": best.exported, "test": dict(best.scores)}


def _known(world: OperatorWorld, environment: str, name: str) -> GroupView:
    view = find_group(world.store, environment, name)
    if view is None:
        raise InvalidInput("RUN", f"there is no group {name} any more", "`chronos-ec2 runs` lists the runs")
    return view


def _cost(world: OperatorWorld, view: GroupView) -> float | None:
    listed = list_instances(world.fleet, view.group.environment)
    return view.cost_usd(world.clock.now(), world.limits, listed)


def _differs(keys: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in keys.items())
