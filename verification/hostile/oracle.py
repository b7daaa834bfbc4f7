"""What must hold beside a hostile instance: for itself, and for everybody else."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from verification.findings import Findings
from verification.simulation.guarantees import BOOT, LATE, PRICED
from verification.simulation.ledger import USD_PER_HOUR, Account
from verification.simulation.oracles.notifications import NotificationOracle
from verification.simulation.oracles.oracle import Oracle
from verification.simulation.scenario import FaultKind
from verification.simulation.system import System

_HOUR = 3600.0
_OF_A_RUN, _OF_AN_INSTANCE = 2, 4
"""Messages: its start and its end; that it resumes, waits for capacity, has no record, does not go."""
_ENDS = frozenset({"completed", "failed", "killed", "stuck", "over-budget"})


@dataclass(slots=True)
class HostileFindings(Findings):
    """What a history showed."""

    instances_bought: list[str] = field(default_factory=list)
    past_deadline: list[str] = field(default_factory=list)
    over_cap: list[str] = field(default_factory=list)
    others_harmed: list[str] = field(default_factory=list)
    silenced: list[str] = field(default_factory=list)
    flooded: list[str] = field(default_factory=list)
    runs_of_others_attacked: int = 0
    messages_per_hour_max: int = 0


class HostileOracle(Oracle):
    """The oracle of all histories, which expects of a run that an instance may lie about no more than is promised."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.notifications: _Notifications = _Notifications(system)
        self._attacked: set[str] = set()
        """The runs of others that an instance wrote about."""

    def turned(self, instance_id: str) -> None:
        """Nothing is promised to an instance from now on, and nothing that it says is true."""
        self._concede(self._system.fleet.bill[instance_id].run_id)

    def attacked(self, run_id: str) -> None:
        """Environments are the boundary: whoever writes about the run of another may end it, and no more."""
        if run_id not in self.notifications.conceded:
            self._attacked.add(run_id)
            self._concede(run_id)

    def _concede(self, run_id: str) -> None:
        """The instances of a run may end, and say at the end that EC2 has reclaimed them, or not say when they died.

        Where a launcher died before it asked EC2, a claim in a made-up name costs that attempt, and the time for a
        boot at most.
        """
        system = self._system
        self.notifications.conceded.add(run_id)
        system.ledger.unsure[run_id] = max(USD_PER_HOUR.values()) * BOOT / _HOUR
        for one in system.fleet.bill.values():
            if one.run_id == run_id:
                system.asked.add(one.instance_id)
                system.ledger.disturbances[one.instance_id] |= {FaultKind.SPOT, FaultKind.PARTITION}
                failure = system.failing.get(one.instance_id)
                if failure is not None and failure.name not in (LATE, PRICED):
                    self.forgive(one.instance_id)

    def fails(self, instance_id: str, failure: str, since: float | None = None, until: float | None = None) -> None:
        """From now on the instance should end. Where heartbeats may lie, only time and money tell that."""
        run_id = self._system.fleet.bill[instance_id].run_id
        if run_id not in self.notifications.conceded or failure in (LATE, PRICED):
            super().fails(instance_id, failure, since, until)

    def instance_launched(self, instance_id: str) -> None:
        """A later instance of such a run may end too."""
        run_id = self._system.fleet.bill[instance_id].run_id
        if run_id in self.notifications.conceded:
            self._concede(run_id)

    def report_was_written(self, key: str) -> None:
        """The watchdog has written about a run; in one that lies, nothing else can be read."""
        if key.split("/")[1] not in self.notifications.conceded:
            super().report_was_written(key)

    def findings(self) -> HostileFindings:
        """What was found at the end."""
        system, verdicts, published = self._system, self.verdicts, self.notifications.published_at
        found = HostileFindings(
            instances_bought=[*verdicts.two_instances, *self._bought()],
            past_deadline=verdicts.leaks,
            over_cap=verdicts.over_cap,
            others_harmed=[
                *verdicts.wrong, *verdicts.alien, *verdicts.stuck, *verdicts.two_agents, *verdicts.kept_by_a_kill,
                *verdicts.wrong_money, *verdicts.wrong_budgets, *verdicts.doubled_markers,
            ],
            silenced=verdicts.lost,
            runs_of_others_attacked=len(self._attacked),
            messages_per_hour_max=max(
                (bisect_left(published, at + _HOUR) - index for index, at in enumerate(published)), default=0
            ),
        )  # fmt: skip
        allowed = _OF_A_RUN * len(system.ledger.accounts) + _OF_AN_INSTANCE * len(system.fleet.ours)
        # A message is sent twice where SNS's answer was lost, or a function crashed after it.
        allowed += min(verdicts.duplicates, len(system.noise.disturbed))
        if found.messages_per_hour_max > allowed:
            found.flooded.append(f"{found.messages_per_hour_max} messages within an hour, allowed {allowed}")
        return found

    def _bought(self) -> list[str]:
        """Instances beyond the order."""
        scenario, bought = self._system.scenario, []
        ordered = 1 + scenario.crashes_left + scenario.preemptions_left
        for run_id, account in self._system.ledger.accounts.items():
            late = [one for one in account.instances if one.launched > account.created + scenario.max_runtime]
            bought += [f"{one.instance_id} is more than {run_id} ordered" for one in account.instances[ordered:]]
            bought += [f"{one.instance_id} was launched past the deadline of {run_id}" for one in late]
        return bought


class _Notifications(NotificationOracle):
    """Exactly one message tells of the end of every run; which, its instance may have made up."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.conceded: set[str] = set()
        self.published_at: list[float] = []

    def was_published(self) -> None:
        self.published_at.append(self._system.time.seconds)
        super().was_published()

    def _possible_ends(self, account: Account) -> set[str]:
        return set(_ENDS) if account.run_id in self.conceded else super()._possible_ends(account)
