"""What the commands about runs do with the name of a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.options import connect, on_interrupt
from chronos_ec2.cli.output import console, dollars, print_json, print_table, print_warning
from chronos_ec2.client.group import GroupHandle, best_run, cost_of_group
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.services.groups.status import GroupView
from chronos_ec2.services.run_details import RunDetails

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
    best = best_run(world, view)
    return {
        "group": view.group.name,
        "purpose": view.group.purpose,
        "ended": result is not None,
        "succeeded": result is not None and result.whole,
        "summary": view.summary,
        "cost_usd": cost_of_group(world, view),
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
    console.print(f"cost      {dollars(cost_of_group(world, view))}{limit}")
    ranked = view.ranking
    if best := best_run(world, view):
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

    def show(view: GroupView) -> None:
        if json:
            print_json(group_as_document(reader.world, view))
        else:
            console.print(f"group {name}: {view.summary}")

    with on_interrupt(f"the group goes on; `chronos-ec2 monitor {name}` follows it again"):
        return GroupHandle(name, environment, reader).wait(interval=interval, on_change=show).whole


def report_on_group(world: OperatorWorld, view: GroupView, path: Path | None, *, json: bool) -> None:
    """Print what a group has brought; `path` is for the report of a run."""
    if path is not None:
        problem = f"group {view.group.name} has no page of its own"
        raise InvalidInput("--to", problem, "leave it out, or name one of its runs")
    show_group(world, view, json=json)


def _best_document(best: RunDetails) -> dict[str, Any]:
    return {"run_id": best.run.run_id, "exported": best.exported, "test": dict(best.scores)}


def _differs(keys: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in keys.items())
