"""A group as it is now: what became of each member, and what they have cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chronos_ec2.domain.errors import RunNotFound
from chronos_ec2.domain.facts import Found
from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.groups.result import Result
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import is_name
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.run_queries import RunView, find_run


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member: its run, None if none has started; what it may cost, and by what it differs from the others.

    `score`: of the model that it has `exported`, by which a sweep compares them: the WQL on the windows before those of
    the test.
    """

    run_id: str
    run: RunView | None
    cap_usd: float | None
    differs_in: Mapping[str, Any]
    score: float | None = None
    exported: str | None = None

    @property
    def status(self) -> str:
        """How it has ended, or where it is."""
        if self.run is None:
            return "not started"
        run = self.run.run
        return str(run.verdict.outcome if run.verdict else run.status)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group: its order, its members in order, and how it has ended; None if it has not."""

    group: Group
    members: tuple[MemberView, ...]
    stopped: str | None
    result: Result | None

    def cost_usd(self, now: datetime, limits: Limits, listed: Iterable[Instance] | None) -> float | None:
        """USD until `now`, None if unknown."""
        costs = [one.run.cost_usd(now, limits, listed) for one in self.members if one.run]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def ranking(self) -> tuple[MemberView, ...]:
        """The members with a score, the best first. Of equal ones the first in the order counts."""
        scored = (one for one in self.members if one.score is not None)
        return tuple(sorted(scored, key=lambda one: one.score or 0.0))

    @property
    def summary(self) -> str:
        """How far it is, for people."""
        if self.result:
            return self.result.sentence
        ended = sum(one.run is not None and not one.run.active for one in self.members)
        active = sum(one.run is not None and one.run.active for one in self.members)
        return f"{ended} of {len(self.members)} runs have ended, {active} are active" + (
            f" ({self.stopped})" if self.stopped else ""
        )


def find_group(store: RunStore, environment: str, name: str) -> GroupView | None:
    """A group of this name; None if there is none. Raises InvalidDocument, ServiceUnavailable, NotAllowed."""
    if not is_name(name):
        return None
    orders = GroupStore(environment, store.objects)
    group = orders.order(name)
    if group is None:
        return None
    result = orders.result(name)
    ledger = orders.ledger(name).ledger
    members = []
    for run_id, member in zip(group.run_ids, group.members, strict=True):
        entry = ledger.of(run_id)
        run = _run(store, environment, run_id) if entry else None
        found = _comparison(store, run) if run and group.purpose is Purpose.SWEEP else None
        judged = (found.selection, found.exported) if found else (None, None)
        members.append(MemberView(run_id, run, entry.cap_usd if entry else None, member.differs_in, *judged))
    return GroupView(group, tuple(members), ledger.stopped, result)


def _run(store: RunStore, environment: str, run_id: str) -> RunView | None:
    """The run of a member that is entered; None if it has not taken its lane yet."""
    try:
        return find_run(store, environment, run_id)
    except RunNotFound:
        return None


def _comparison(store: RunStore, view: RunView) -> Comparison | None:
    """What the instance of a run that has succeeded says of its models; None if it compared none.

    The run may still hold its lane: its group ends before it is released.
    """
    verdict = view.run.verdict
    if verdict is None or verdict.outcome is not Outcome.SUCCEEDED:
        return None
    outcome = store.read_outcome(view.run)
    return outcome.document.comparison if isinstance(outcome, Found) else None
