"""What must hold of schedules and promotions, by the documents in the bucket and by what EC2 bills.

Nothing here calls the code that it judges: documents are read as JSON, and which trigger a run belongs to is known from
which invocation wrote its request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison
from verification.findings import Findings
from verification.lifecycle.plan import CAP, Plan
from verification.lifecycle.runs import RunsOracle
from verification.simulation.system import System

_MARGIN, _NAIVE = 0.1, 0.3
"""By how much a model must be better to be significantly better; how good the seasonal naive forecast is."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a run is started for: the time that a schedule's invocation is for, or the run that it comes after."""

    schedule: str
    at: str
    asked: bool = False
    after: str = ""


@dataclass(slots=True)
class LifecycleFindings(Findings):
    """What a history showed."""

    runs_of_unchanged_data: list[str] = field(default_factory=list)
    runs_of_torn_data: list[str] = field(default_factory=list)
    double_runs: list[str] = field(default_factory=list)
    over_month_cap: list[str] = field(default_factory=list)
    lost_forecasts: list[str] = field(default_factory=list)
    worse_promoted: list[str] = field(default_factory=list)
    lost_promotions: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    triggers: int = 0
    runs: int = 0
    promotions: int = 0


class LifecycleOracle(RunsOracle):
    """Watches requests, instances, final records and the champion pointer."""

    def __init__(self, system: System, plan: Plan) -> None:
        super().__init__(system)
        self._plan = plan
        self.found: LifecycleFindings = LifecycleFindings()
        self._triggers: dict[str, Trigger] = {}
        """By run."""
        self._fired: dict[Trigger, str] = {}
        self._trained: dict[str, str] = {}
        """By schedule, the data of its last training that has succeeded."""
        self._versions: dict[tuple[str, str], str] = {}
        """By key and ETag of a file, which version of the data it is of."""
        self._champions: list[str] = []
        """The run of each version of the pointer, the first first."""
        self._by_conclusion: set[str] = set()
        self._holders: dict[Lane, str] = {}

    # --- what is written ---------------------------------------------------------------------------------------

    def was_written(self, key: str, body: bytes) -> None:
        """An object of the bucket was written."""
        super().was_written(key, body)
        run_id, name = key.split("/")[1], key.rpartition("/")[2]
        trigger: Trigger | None = self.working_for.get(self._system.noise.caller)
        if name.endswith(".parquet"):
            self._versions[key, self._system.objects.stored(key).etag] = body.decode().split(" ")[1]
        elif name == "champion.json":
            self._promoted(json.loads(body))
        elif name == "request.json" and trigger is not None:
            self._triggers.setdefault(run_id, trigger)
        elif name == "state.json" and self._succeeded(run_id) and run_id in self._triggers:
            request = self._request(run_id)
            if request["job"] == "train":
                self._trained[self._triggers[run_id].schedule] = _data(request)

    def lock_was_written(self, key: str) -> None:
        """A lane is taken, or free: then its run is concluded."""
        super().lock_was_written(key)
        lane = Lane.from_state_key(key)
        record = self._system.record_in(lane)
        if lane is None:
            return
        if record is not None:
            self._holders[lane] = record["run_id"]
        elif (run_id := self._holders.pop(lane, None)) is not None:
            self._concluded(run_id)

    # --- runs --------------------------------------------------------------------------------------------------

    def begins(self, instance_id: str) -> None:
        """EC2 starts an instance: if it is the first of a run of a schedule, that run begins."""
        one = self._system.fleet.bill[instance_id]
        run_id, trigger = one.run_id, self._triggers.get(one.run_id)
        if trigger is None:
            return
        before = self._fired.setdefault(trigger, run_id)
        if before != run_id or self._begun.get(run_id, 0) >= one.attempt:
            self.found.double_runs.append(f"{run_id} begins for {trigger}, for which {before} had begun")
        super().begins(instance_id)
        request = self._request(run_id)
        unchanged = request["job"] == "train" and self._trained.get(trigger.schedule) == _data(request)
        if unchanged and not trigger.asked:
            self.found.runs_of_unchanged_data.append(f"{run_id} begins, with the data of the last that succeeded")
        versions = {self._versions[each["key"], each["etag"]] for each in request["dataset"]}
        if len(versions) > 1:
            self.found.runs_of_torn_data.append(f"{run_id} begins, with files of versions {sorted(versions)}")
        self._month_must_suffice(run_id, _month(trigger))

    def _month_must_suffice(self, run_id: str, month: tuple[str, str]) -> None:
        runs = [other for other, its in self._triggers.items() if other in self._begun and _month(its) == month]
        over = [other for other in runs if other != run_id and other in self._final]
        committed, limit = self._usd(over) + CAP * (len(runs) - len(over)), self._plan.month
        if limit is not None and committed > limit + self._inexact(over):
            self.found.over_month_cap.append(f"{run_id} begins, and ${committed:.2f} of ${limit:.2f} are committed")

    # --- promotions --------------------------------------------------------------------------------------------

    def comparison(self, run_id: str) -> Comparison | None:
        """What an instance measures: the models that its own is compared with, and those that it is better than."""
        promotion = self._request(run_id)["promotion"]
        if promotion is None:
            return None
        champion = self._version(promotion["compared_with"])
        compared = {"seasonal_naive": None} | ({"champion": champion} if champion else {})
        better = [name for name, other in compared.items() if self._better(run_id, other)]
        return Comparison("trained", tuple(compared), tuple(better))

    def _promoted(self, document: Mapping[str, Any]) -> None:
        run_id, former = document["run_id"], self._champions[-1] if self._champions else None
        self._champions.append(run_id)
        if document["seq"] != len(self._champions):
            text = f"version {document['seq']} is written as the {len(self._champions)}."
            self.found.lost_promotions.append(text)
        if document["how"] != "conclusion":
            return
        self.found.promotions += 1
        if not self._better(run_id, former) or run_id in self._by_conclusion:
            self.found.worse_promoted.append(f"{run_id} takes the place of {former}")
        self._by_conclusion.add(run_id)

    def _concluded(self, run_id: str) -> None:
        """A run is over: its model is the champion if it is better than the one that is still the champion."""
        if run_id not in self._triggers or not self._succeeded(run_id):
            return
        promotion = self._request(run_id)["promotion"]
        if promotion is None or promotion["compared_with"] != len(self._champions) or run_id in self._by_conclusion:
            return
        if self._better(run_id, self._version(promotion["compared_with"])):
            self.found.lost_promotions.append(f"{run_id} is better than the champion, and is not promoted")

    def _version(self, seq: int) -> str | None:
        return self._champions[seq - 1] if seq else None

    def _better(self, run_id: str, other: str | None) -> bool:
        return self._quality(run_id) > (_NAIVE if other is None else self._quality(other)) + _MARGIN

    def _quality(self, run_id: str) -> float:
        return Random(f"{self._plan.scenario.seed} {run_id}").random()

    # --- at the end --------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Nothing lives and nothing is locked; each training that has succeeded was followed."""
        found, objects = self.found, self._system.objects
        found.left = [*self.ending.leaks(), *self.ending.stuck()]
        found.runs, found.triggers = len(self._begun), len(set(self.working_for.values()))
        for run_id in self._begun:
            if self._request(run_id)["schedule"] is None or not self._succeeded(run_id):
                continue
            note = f"dev/followed/{run_id}.json"
            following = json.loads(objects.body(note))["run_id"] if objects.holds(note) else ""
            if following is not None and following not in self._begun:
                found.lost_forecasts.append(f"{run_id} has succeeded, and no forecast follows")

    def _request(self, run_id: str) -> dict[str, Any]:
        return dict(json.loads(self._system.objects.body(f"dev/{run_id}/request.json")))


def _data(request: Mapping[str, Any]) -> str:
    return json.dumps(request["dataset"])


def _month(trigger: Trigger) -> tuple[str, str]:
    """The schedule, and the month that what is started for it counts towards."""
    return trigger.schedule, f"{datetime.fromisoformat(trigger.at):%Y-%m}"
