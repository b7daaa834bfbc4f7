"""The oracles' own accounts of every run: what was ordered, what EC2 billed, and what locks say by their JSON.

Nothing here calls the code that the oracles judge: no rule, no price, no parser of it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from chronos_ec2.testing import VirtualTime
from chronos_ec2.testing.virtual.ec2 import Billed, VirtualFleet
from verification.simulation.faulty_aws import Noise
from verification.simulation.guarantees import KILLED, SEEN, SWEEP, Verdicts
from verification.simulation.scenario import FaultKind, Layer, Scenario

USD_PER_HOUR = {"g4dn.2xlarge": 0.752, "g5.2xlarge": 1.212}
"""The prices in the order."""
Record = Mapping[str, Any]
_LARGEST, _HIGHEST = 64 * 1024, 2**63 - 1
_CENT = 0.0002
"""Messages have four decimals."""
_WAITS = 60.0
_LONG, _SKEW = 43_200.0, 60.0
_NOT_REPORTED = ("attempt", "stop", "suspect", "launching", "waiting", "deadline")
"""What a watchdog does not copy from the reports of an instance."""


@lru_cache(maxsize=64)
def parse_record(body: bytes) -> Record | None:
    """A lock by its JSON, or None if no release of this schema may act on it."""
    try:
        record = json.loads(body.decode()) if len(body) <= _LARGEST else None
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("schema_version") != 1:
        return None
    return record if 0 <= record["seq"] <= _HIGHEST else None


@dataclass(slots=True)
class Account:
    """One run. Times are seconds."""

    run_id: str
    lane: str
    ordered: float
    """When its launcher began: its deadline counts from between then and `created`."""
    created: float
    attempt: int = 1
    crashes: int = 0
    preemptions: int = 0
    """What it was charged."""
    said: tuple[Any, ...] = ()
    """What its record said that no agent reports."""
    updated: str = ""
    """When it was updated, as it says: what somebody forges may be older than what it replaces."""
    killed: float | None = None
    freed: float | None = None
    instances: list[Billed] = field(default_factory=list)
    signs: dict[int, float] = field(default_factory=dict)
    """When the agent of each attempt last reported, or its record was written for another reason while it lived."""
    refused: dict[int, float] = field(default_factory=dict)
    """When EC2 first had no capacity for an attempt."""
    wasted: float = 0.0
    """USD in its record that no instance cost."""


@dataclass(frozen=True, slots=True)
class OrderedLimits:
    """The cap in USD and the deadline of a run that was ordered with its own."""

    cap: float | None
    deadline: float


class Ledger:
    """Keeps the accounts, and adds to the verdicts what is wrong with the books of the system."""

    def __init__(
        self, scenario: Scenario, time: VirtualTime, fleet: VirtualFleet, noise: Noise, verdicts: Verdicts
    ) -> None:
        self._scenario, self._time, self._fleet, self._noise = scenario, time, fleet, noise
        self._verdicts = verdicts
        self.accounts: dict[str, Account] = {}
        self.disturbances: defaultdict[str, set[FaultKind]] = defaultdict(set)
        """What happened to each instance."""
        self.unsure: dict[str, float] = {}
        """USD that the books of a run may be too high: somebody claims in the name of instances that do not exist."""
        self.ordered: dict[str, OrderedLimits] = {}
        """By run: the limits of those that have other ones than the scenario says."""
        self._holders: dict[str, str] = {}

    def instance_launched(self, instance_id: str) -> None:
        """RunInstances started an instance: no other of the same attempt may live."""
        one = self._fleet.bill[instance_id]
        if account := self.accounts.get(one.run_id):
            living = [other for other in account.instances if other.attempt == one.attempt and other.ended is None]
            text = f"{instance_id} is a second living instance of {one.run_id}, attempt {one.attempt}"
            self._verdicts.two_instances += [f"{text}, at {self._time.seconds:.0f} s" for _ in living]
            account.instances.append(one)

    def refused(self, run_id: str, attempt: int) -> None:
        """EC2 has no capacity for an attempt."""
        if account := self.accounts.get(run_id):
            account.refused.setdefault(attempt, self._time.seconds)

    def lock_written(self, lane: str, record: Record | None) -> None:
        """A record that nobody forged was written, or the lane is free or unreadable."""
        holder = self._holders.pop(lane, None)
        if record is not None:
            self._holders[lane] = record["run_id"]
        if holder is not None and holder != self._holders.get(lane):
            self._freed(self.accounts[holder])
        if record is None:
            return
        now, run_id = self._time.seconds, record["run_id"]
        account = self.accounts.setdefault(run_id, Account(run_id, lane, self._noise.caller.began or now, now))
        verdict, stop = record["verdict"] or {}, record["stop"] or {}
        if account.killed is None and (verdict.get("outcome") == "killed" or stop.get("cause") == "requested"):
            account.killed = now
        lives = any(one.attempt == record["attempt"] and one.ended is None for one in account.instances)
        said, account.said = account.said, tuple(map(record.get, _NOT_REPORTED))
        told = account.said != said and record["updated_at"] > account.updated
        if told and lives and not record["suspect"] and verdict.get("decided_by") != "watchdog":
            account.signs[record["attempt"]] = now
        account.updated = record["updated_at"]
        self._check_budgets(account, record)
        if record["attempt"] > account.attempt:
            self.check_money(run_id, record["spent_usd"], f"attempt {record['attempt']}", record["attempt"])
            account.attempt = record["attempt"]

    def reported(self, run_id: str, attempt: int) -> None:
        """An agent has written a report."""
        if account := self.accounts.get(run_id):
            account.signs[attempt] = self._time.seconds

    def _check_budgets(self, account: Account, record: Record) -> None:
        crashes = self._scenario.crashes_left - record["crashes_left"]
        preemptions = self._scenario.preemptions_left - record["preemptions_left"]
        before = account.crashes, account.preemptions
        if (crashes, preemptions) == before and record["attempt"] == account.attempt:
            return
        account.crashes, account.preemptions = crashes, preemptions
        lost, text = record["attempt"] - 1, f"{account.run_id}, attempt {record['attempt']}"
        started = {one.attempt for one in account.instances}
        wrong = self._verdicts.wrong_budgets
        if crashes + preemptions != lost or min(record["crashes_left"], record["preemptions_left"]) < 0:
            wrong.append(f"{text}: charged for {crashes} crashes and {preemptions} preemptions")
        if not started >= set(range(1, lost + 1)) and account.run_id not in self.unsure:
            wrong.append(f"{text}: charged for an attempt that never had an instance")
        happened = [self.disturbances[one.instance_id] for one in account.instances if one.attempt == lost]
        if crashes > before[0] and happened == [{FaultKind.SPOT}] and self._scenario.clean:
            wrong.append(f"{text}: EC2 reclaimed its instance, and a crash was charged")
        if preemptions > before[1] and not any(FaultKind.SPOT in kinds for kinds in happened):
            wrong.append(f"{text}: EC2 reclaimed nothing, and a preemption was charged")

    def _freed(self, account: Account) -> None:
        account.freed = self._time.seconds
        if account.killed is None or Layer.SWEEP in self._scenario.layers_off or self._untagged(account):
            return
        since = max([account.killed, *(one.gone or 0.0 for one in account.instances)])
        late, guarantee = account.freed - since, KILLED.later(self._scenario.list_lag)
        if late > guarantee.allowed(since, self._noise.disturbed):
            self._verdicts.kept_by_a_kill.append(f"{account.run_id} kept its lane for {late:.0f} s after its kill")

    def _untagged(self, account: Account) -> bool:
        """Whether it had an instance that the watchdog cannot see, nor end."""
        return any(FaultKind.UNTAGGED in self.disturbances[one.instance_id] for one in account.instances)

    def may_wait(self) -> bool:
        """Whether a run that holds its lane may still wait for capacity: EC2 has refused it, and it has no instance."""
        limit = self._scenario.wait_for_capacity or self._scenario.max_runtime
        for account in map(self.accounts.__getitem__, self._holders.values()):
            attempt, since = max(account.refused.items(), default=(0, 0.0))
            launched = any(one.attempt == attempt for one in account.instances)
            if attempt and not launched and self._time.seconds < since + limit + SWEEP:
                return True
        return False

    def cost(self, run_id: str, at: float, before_attempt: float = float("inf")) -> tuple[float, float]:
        """The least and the most that a run's books may say at a time, in USD: right within one sweep."""
        least = most = 0.0
        for one in self.accounts[run_id].instances:
            if one.attempt < before_attempt and one.launched <= at:
                price = USD_PER_HOUR[one.instance_type] / 3600
                ended = at if one.ended is None else min(self._known_end(one), at)
                least += price * max(ended - SWEEP - self._scenario.list_lag - one.launched, 0.0)
                most += price * (min(self._known_gone(one), at) - one.launched + SWEEP)
        return least - _CENT, most + _CENT + self.unsure.get(run_id, 0.0)

    def billed(self, account: Account) -> float:
        """USD for which EC2 bills a run so far."""
        ends = [(one, self._time.seconds if one.ended is None else one.ended) for one in account.instances]
        return sum(USD_PER_HOUR[one.instance_type] / 3600 * (end - one.launched) for one, end in ends)

    def _known_end(self, one: Billed) -> float:
        """Until when it must be known to have lived: EC2 does not name every end, nor are all heartbeats readable.

        So an instance that is cut off from S3 and powers itself off counts until its last sign of life.
        """
        ended, last = one.ended or 0.0, self.accounts[one.run_id].signs.get(one.attempt, one.launched)
        untold = {FaultKind.SPOT, FaultKind.PARTITION} & self.disturbances[one.instance_id]
        return min(ended, last) if untold or not self._scenario.clean else ended

    def _known_gone(self, one: Billed) -> float:
        if one.gone is None:
            return float("inf")
        return one.gone + SEEN.later(self._scenario.list_lag).allowed(one.gone, self._noise.blinded)

    def check_money(
        self, run_id: str, said: float | None, where: str, before: float = float("inf"), at: float | None = None
    ) -> None:
        """A record or message says what a run has cost, until a time and in the attempts before one."""
        account = self.accounts[run_id]
        if self._untagged(account) or Layer.SWEEP in self._scenario.layers_off:
            return
        least, most = self.cost(run_id, self._time.seconds if at is None else at, before)
        if said is None or not least <= said <= most:
            says = "no cost" if said is None else f"${said:.4f}"
            self._verdicts.wrong_money.append(f"{run_id}: {where} says {says}, true ${least:.4f} to ${most:.4f}")
            account.wasted = max(account.wasted, (said or 0.0) - most)

    def deadlines(self, run_id: str | None) -> tuple[float, float] | None:
        """Between which seconds the deadline of a run lies, by its order."""
        account, runtime = self.accounts.get(str(run_id)), self._scenario.max_runtime
        if account and (limits := self.ordered.get(account.run_id)):
            return limits.deadline - 1.0, limits.deadline + 1.0
        return (account.ordered + runtime - 1.0, account.created + runtime) if account else None

    def deadline_is_near(self, account: Account) -> bool:
        """Whether a run may reach its deadline, which is half a day after its order otherwise."""
        limits = self.ordered.get(account.run_id)
        return (limits.deadline - account.created + _SKEW if limits else self._scenario.max_runtime) < _LONG

    def cap(self, run_id: str) -> float | None:
        """USD that a run may cost, by its order."""
        limits = self.ordered.get(run_id)
        return limits.cap if limits else self._scenario.max_cost

    def spent_at(self, instance_id: str) -> float | None:
        """When the run of an instance has spent its cap on it; None without a cap or a run."""
        one = self._fleet.bill[instance_id]
        cap = self.cap(one.run_id)
        if cap is None or one.run_id not in self.accounts:
            return None
        before, _ = self.cost(one.run_id, one.launched, one.attempt)
        return one.launched + (cap - max(before, 0.0)) / USD_PER_HOUR[one.instance_type] * 3600

    def waits(self) -> Iterator[tuple[str, float]]:
        """How each wait for capacity ended, and after how many seconds: went on, killed, or gave up."""
        for account in self.accounts.values():
            for attempt, since in account.refused.items():
                got = [one.launched for one in account.instances if one.attempt == attempt]
                until = min(got, default=self._time.seconds if account.freed is None else account.freed)
                if until - since >= _WAITS:
                    yield "went on" if got else "killed" if account.killed else "gave up", until - since
