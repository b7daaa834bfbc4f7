"""Orders and ledgers of schedules in the bucket."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.records.s3_keys import ledger_key, schedule_key, schedules_prefix
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.ports import ObjectStore
from chronos_ec2.services.ledgers import LedgerRead, create_once, read_ledger, write_ledger


@dataclass(frozen=True, slots=True)
class ScheduleStore:
    """The schedules of an environment. Every method raises ServiceUnavailable, NotAllowed."""

    environment: str
    objects: ObjectStore

    def names(self) -> tuple[str, ...]:
        """The names of all schedules."""
        return self.objects.children(schedules_prefix(self.environment))

    def order(self, name: str) -> Schedule | None:
        """The order of a schedule; None if there is none. Raises InvalidDocument."""
        found = self.objects.read(schedule_key(self.environment, name), MAX_REQUEST_BYTES)
        return Schedule.from_json(found.body, name) if found else None

    def create(self, schedule: Schedule) -> None:
        """Write a new order. Raises LostRace if there is one of its name."""
        create_once(self.objects, schedule_key(self.environment, schedule.name), schedule.to_json())

    def enable(self, name: str, *, enabled: bool) -> Schedule | None:
        """Pause or resume a schedule; None if there is none. Raises InvalidDocument."""
        order = self.order(name)
        if order is None or order.enabled is enabled:
            return order
        changed = Schedule(
            order.name, order.expression, order.data_set, order.run, order.then, order.max_cost_per_month_usd, enabled
        )
        self.objects.write(schedule_key(self.environment, name), changed.to_json())
        return changed

    def delete(self, name: str) -> None:
        """Forget a schedule: the order first, so that nothing starts without a ledger."""
        self.objects.remove(schedule_key(self.environment, name))
        self.objects.remove(ledger_key(self.environment, name))

    def ledger(self, name: str) -> LedgerRead:
        """The ledger of a schedule. Raises InvalidDocument."""
        return read_ledger(self.objects, ledger_key(self.environment, name))

    def replace_ledger(self, name: str, ledger: Ledger, expected: LedgerRead) -> None:
        """Write the next version of a ledger. Raises LostRace if it was written since."""
        write_ledger(self.objects, ledger_key(self.environment, name), ledger, expected)
