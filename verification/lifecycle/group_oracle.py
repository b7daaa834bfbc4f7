"""What must hold of a group, by the documents in the bucket and by what EC2 bills."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chronos_ec2.domain.groups.order import Group, Purpose
from verification.findings import Findings
from verification.lifecycle.runs import RunsOracle
from verification.simulation.ledger import USD_PER_HOUR, OrderedLimits
from verification.simulation.system import System

_CENT = 0.01


@dataclass(slots=True)
class GroupFindings(Findings):
    """What a history showed."""

    started_twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    over_cap: list[str] = field(default_factory=list)
    too_many: list[str] = field(default_factory=list)
    after_kill: list[str] = field(default_factory=list)
    parts_in_no_or_two_shards: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    of_the_protocol: list[str] = field(default_factory=list)
    members: int = 0
    whole: bool = False
    killed: bool = False
    spent_up: bool = False


class GroupOracle(RunsOracle):
    """Watches ledger, result and manifest of a group, the final records of its members, and their instances."""

    def __init__(self, system: System, group: Group) -> None:
        super().__init__(system)
        self.found: GroupFindings = GroupFindings()
        self.result: dict[str, Any] | None = None
        self.deleted = False
        """Whether somebody has deleted the order: then nobody can say how the group has ended, or tell."""
        self._group = group
        self._prefix = f"{group.environment}/groups/{group.name}/"
        self._entered: dict[str, float | None] = {}
        """The members in the ledger, and what each may cost."""
        self._closed = self._killed = False

    # --- what is written ---------------------------------------------------------------------------------------

    def was_written(self, key: str, body: bytes) -> None:
        """An object of the bucket was written."""
        super().was_written(key, body)
        if key == f"{self._prefix}ledger.json":
            self._ledger_written(json.loads(body))
        elif key == f"{self._prefix}result.json":
            self.result = json.loads(body)

    def is_killed(self) -> None:
        """An operator kills the group: from now on each of its instances may end."""
        self._killed = True
        fleet = self._system.fleet
        self._system.asked |= {one.instance_id for one in fleet.bill.values() if one.run_id in self._group.run_ids}

    def _ledger_written(self, document: dict[str, Any]) -> None:
        found, entries = self.found, document["entries"]
        run_ids = [one["run_id"] for one in entries]
        if gone := self._entered.keys() - set(run_ids):
            found.lost.append(f"{sorted(gone)} are in the ledger no more")
        if len(set(run_ids)) < len(run_ids) or not set(run_ids) <= set(self._group.run_ids):
            found.started_twice.append(f"the ledger has {run_ids}")
        for one in entries:
            if one["run_id"] in self._entered:
                continue
            if self._closed:
                found.after_kill.append(f"{one['run_id']} is entered after the end or a kill")
            self._enter(one)
        self._closed |= document["stopped"] is not None
        found.killed |= str(document["stopped"]).startswith("killed: ")

    def _enter(self, entry: dict[str, Any]) -> None:
        """A member is entered: there must be money for it, beside what the others have cost or may yet cost."""
        system, budget, run_id, cap = self._system, self._group.budget, entry["run_id"], entry["cap_usd"]
        self._entered[run_id] = cap
        at_work = self._entered.keys() - self._final.keys()
        if len(at_work) > self._group.parallel:
            self.found.too_many.append(f"{len(at_work)} are at work, of {self._group.parallel}")
        latest = min(datetime.fromisoformat(entry["reserved_at"]) + system.limits.max_runtime, budget.deadline)
        deadline = system.time.seconds + (latest - system.time.now()).total_seconds()
        system.ledger.ordered[run_id] = OrderedLimits(cap, deadline)
        committed = self._usd(self._final) + sum(self._entered[one] or 0.0 for one in at_work)
        limit = budget.max_cost_usd
        if limit is not None and committed > limit + self._inexact(self._final) + _CENT:
            self.found.over_cap.append(f"{run_id} is entered, and ${committed:.2f} of ${limit:.2f} are committed")

    # --- runs --------------------------------------------------------------------------------------------------

    def begins(self, instance_id: str) -> None:
        """EC2 starts an instance: it must be the first of an attempt of a member that is entered and not over."""
        one = self._system.fleet.bill[instance_id]
        if self._killed:
            self._system.asked.add(instance_id)
        if one.run_id not in self._entered:
            self.found.started_twice.append(f"{instance_id} of {one.run_id}, which is not entered")
        elif self._begun.get(one.run_id, 0) >= one.attempt or one.run_id in self._final:
            self.found.started_twice.append(f"{instance_id} of {one.run_id}, attempt {one.attempt}, once more")
        super().begins(instance_id)

    # --- at the end --------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Everybody has ended, and nobody was forgotten."""
        super().at_the_end()
        found, group = self.found, self._group
        found.left, found.members = [*self.ending.leaks(), *self.ending.stuck()], len(self._begun)
        # A lane is kept until its group has gone on, also after a kill, and launchers die.
        known = {*found.left, *self.verdicts.kept_by_a_kill}
        found.of_the_protocol = [text for text in self.verdicts.failed if text not in known]
        found.lost += [f"{run_id} is entered and has no end" for run_id in self._unended()]
        if self.deleted:
            return
        if self.result is None:
            found.lost.append("the group has no result")
            return
        if "ended" not in [one.attributes["kind"] for one in self._system.notifier.messages]:
            found.lost.append("nobody was told that the group has ended")
        succeeded = sum(map(self._succeeded, self._final))
        if self.result["succeeded"] != succeeded:
            found.lost.append(f"the result says {self.result['succeeded']} have succeeded, {succeeded} have")
        if left := len(group.members) - len(self._entered):
            self._must_have_a_reason(left, succeeded)
        found.whole = succeeded == len(group.members)
        if found.whole and group.purpose is Purpose.SHARDS:
            self._parts_must_be_whole()

    def _unended(self) -> list[str]:
        """The members that have no final record, of which a kill may leave those that never held a lane."""
        without = self._entered.keys() - self._final.keys()
        return sorted(without & self._begun.keys() if self.found.killed or self.deleted else without)

    def _must_have_a_reason(self, left: int, succeeded: int) -> None:
        """Members were never entered: the group was killed, a shard has failed, money or time were too short."""
        group, limit = self._group, self._group.budget.max_cost_usd
        failed = len(self._final) > succeeded
        late = (group.budget.deadline - self._system.time.now()).total_seconds() < 86400.0
        if self.found.killed or (failed and group.purpose is Purpose.SHARDS) or late:
            return
        boot = USD_PER_HOUR[group.request.instance_types[0]] / 3600 * self._system.limits.boot.total_seconds()
        spent = self._usd(self._final) + self._inexact(self._final) + _CENT
        self.found.spent_up = limit is not None and (limit - spent) / min(left, group.parallel) <= boot + _CENT
        if not self.found.spent_up:
            self.found.lost.append(f"{left} members were never started")

    def _parts_must_be_whole(self) -> None:
        key, objects = f"{self._prefix}manifest.json", self._system.objects
        parts = json.loads(objects.body(key))["parts"] if objects.holds(key) else []
        runs = [one["key"].split("/")[1] for one in parts]
        if sorted(runs) != sorted(self._group.run_ids) or [one["shard"] for one in parts] != [*range(len(runs))]:
            self.found.parts_in_no_or_two_shards.append(f"the manifest has parts of {runs}")
