"""Orders, ledgers and results of groups in the bucket."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.groups.manifest import ShardPart, manifest, parts_of, read_manifest
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.groups.result import Result
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.records.s3_keys import FORECASTS, group_key, groups_prefix, run_key
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.ports import ObjectStore
from chronos_ec2.services.ledgers import LedgerRead, create_once, read_ledger, write_ledger

ORDER, LEDGER, RESULT, MANIFEST = "order.json", "ledger.json", "result.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class GroupStore:
    """The groups of an environment. Every method raises ServiceUnavailable, NotAllowed."""

    environment: str
    objects: ObjectStore

    def open(self) -> tuple[str, ...]:
        """The names of the groups that have not ended."""
        prefix = groups_prefix(self.environment)
        names = [key.removeprefix(prefix).split("/") for key, _ in self.objects.keys(prefix)]
        ended = {name for name, *rest in names if rest == [RESULT]}
        return tuple(name for name, *rest in names if rest == [ORDER] and name not in ended)

    def taken(self, name: str) -> bool:
        """Whether anything is there of a group of this name, also of one whose order was deleted."""
        return next(iter(self.objects.keys(self._key(name, ""))), None) is not None

    def names(self) -> tuple[str, ...]:
        """The names of all groups, also of those that have ended."""
        return self.objects.children(groups_prefix(self.environment))

    def order(self, name: str) -> Group | None:
        """The order of a group; None if there is none. Raises InvalidDocument."""
        found = self.objects.read(self._key(name, ORDER), MAX_REQUEST_BYTES)
        return Group.from_json(found.body, name) if found else None

    def create(self, group: Group) -> None:
        """Write a new order. Raises LostRace if there is one of its name."""
        create_once(self.objects, self._key(group.name, ORDER), group.to_json())

    def ledger(self, name: str) -> LedgerRead:
        """The ledger of a group. Raises InvalidDocument."""
        return read_ledger(self.objects, self._key(name, LEDGER))

    def replace_ledger(self, name: str, ledger: Ledger, expected: LedgerRead) -> None:
        """Write the next version of a ledger. Raises LostRace if it was written since."""
        write_ledger(self.objects, self._key(name, LEDGER), ledger, expected)

    def result(self, name: str) -> Result | None:
        """How a group has ended; None if it has not. Raises InvalidDocument."""
        found = self.objects.read(self._key(name, RESULT), MAX_REQUEST_BYTES)
        return Result.from_json(found.body, name) if found else None

    def end(self, result: Result) -> None:
        """Write how a group has ended. Raises LostRace if that is written already."""
        create_once(self.objects, self._key(result.name, RESULT), result.to_json())

    def put_together(self, group: Group) -> None:
        """Write one manifest over the forecasts of all members. Raises InvalidDocument."""
        parts: list[ShardPart] = []
        for shard, run_id in enumerate(group.run_ids):
            key = run_key(self.environment, run_id, f"{FORECASTS}{MANIFEST}")
            found = self.objects.read(key, MAX_REQUEST_BYTES)
            if found is None:
                raise InvalidDocument(f"{key} is missing")
            parts += parts_of(found.body, self.environment, run_id, shard)
        create_once(self.objects, self._key(group.name, MANIFEST), manifest(group.name, len(group.members), parts))

    def forecasts(self, name: str) -> tuple[ShardPart, ...]:
        """The files with the forecasts of all members; empty before they are put together. Raises InvalidDocument."""
        found = self.objects.read(self._key(name, MANIFEST), MAX_REQUEST_BYTES)
        return read_manifest(found.body, name) if found else ()

    def _key(self, name: str, document: str) -> str:
        return group_key(self.environment, name, document)
