"""Groups start each member once, within their budget, and each oracle fails when what it guards is broken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.groups.decide import Over, Wait
from chronos_ec2.domain.groups.manifest import manifest, parts_of
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.records.s3_keys import followed_key, run_key
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.ledgers import LedgerRead, create_once
from verification.campaign import main, run_histories
from verification.lifecycle.group_history import GroupHistory
from verification.lifecycle.group_oracle import GroupFindings
from verification.lifecycle.plan import draw_group
from verification.lifecycle.shards import shard_figures


@pytest.mark.parametrize(("first", "count"), [(0, 30), pytest.param(10_000, 800, marks=pytest.mark.thorough)])
def test_each_member_starts_once_within_the_budget_and_none_is_lost(first: int, count: int) -> None:
    found = run_histories("groups", count, first)
    assert found["failed"] == []
    assert found["members"] > 2 * count
    assert min(found[name] for name in ("whole", "killed", "spent_up")) > 0


def test_each_series_is_in_one_shard() -> None:
    assert shard_figures(300) == {"items_in_no_or_two_shards": 0}


# --- what must be found ----------------------------------------------------------------------------------------------


class Forgetful(GroupStore):
    """The ledger forgets the first member."""

    def replace_ledger(self, name: str, ledger: Ledger, expected: LedgerRead) -> None:
        kept = ledger.entries[1:] if len(ledger.entries) > 1 else ledger.entries
        super().replace_ledger(name, replace(ledger, entries=kept), expected)


class FreeOfCharge(GroupStore):
    """What has ended has cost nothing."""

    def replace_ledger(self, name: str, ledger: Ledger, expected: LedgerRead) -> None:
        entries = tuple(one if one.succeeded is None else replace(one, spent_usd=0.0) for one in ledger.entries)
        super().replace_ledger(name, replace(ledger, entries=entries), expected)

    def ledger(self, name: str) -> LedgerRead:
        read = super().ledger(name)
        entries = tuple(one if one.succeeded is None else replace(one, spent_usd=0.0) for one in read.ledger.entries)
        return LedgerRead(replace(read.ledger, entries=entries), read.etag)


class Deaf(GroupStore):
    """Whoever goes on does not see that the group is killed."""

    def ledger(self, name: str) -> LedgerRead:
        read = super().ledger(name)
        return LedgerRead(replace(read.ledger, stopped=None), read.etag)


class Eager(GroupStore):
    """All members run at a time."""

    def order(self, name: str) -> Group | None:
        found = super().order(name)
        return found and replace(found, parallel=len(found.members))


class Scattered(GroupStore):
    """The manifest has the parts of the first shard twice, and none of the last."""

    def put_together(self, group: Group) -> None:
        parts = []
        for shard, run_id in enumerate((group.run_ids[0], *group.run_ids[:-1])):
            found = self.objects.read(run_key(self.environment, run_id, "forecasts/manifest.json"))
            assert found
            parts += parts_of(found.body, self.environment, run_id, shard)
        body = manifest(group.name, len(group.members), parts)
        create_once(self.objects, f"{self.environment}/groups/{group.name}/manifest.json", body)


def with_orders(store: type[GroupStore]) -> type[Groups]:
    """Groups whose documents are kept by another store."""

    class Defective(Groups):
        @property
        def orders(self) -> GroupStore:
            return store(self.schedules.environment, self.schedules.store.objects)

    return Defective


class NotedFirst(Groups):
    """It is noted that the group has gone on before it has."""

    def after(self, name: str, run_id: str) -> Wait | Over:
        environment, objects = self.schedules.environment, self.schedules.store.objects
        try:
            objects.create(followed_key(environment, run_id), dump_json({"group": name}))
        except LostRace:
            return Wait("it is noted")
        return self.go_on(name)


class Unconditional(Groups):
    """Whoever goes on starts the next member before it is entered."""

    def go_on(self, name: str) -> Wait | Over:
        group, ledger = self.orders.order(name), self.orders.ledger(name).ledger
        if group and ledger.entries and len(ledger.entries) < len(group.members):
            self._start(group, group.entry(len(ledger.entries), 9.0, self.schedules.clock.now()),
                        self.schedules.clock.now())  # fmt: skip
        return super().go_on(name)


@pytest.mark.parametrize(
    ("groups", "violation"),
    [
        pytest.param(with_orders(Forgetful), "lost", marks=pytest.mark.thorough),  # goes on to the end of its time
        (with_orders(FreeOfCharge), "over_cap"),
        pytest.param(with_orders(Deaf), "after_kill", marks=pytest.mark.thorough),  # likewise
        (with_orders(Eager), "too_many"),
        (with_orders(Scattered), "parts_in_no_or_two_shards"),
        (NotedFirst, "lost"),
        (Unconditional, "started_twice"),
    ],
)
def test_what_is_broken_is_found(groups: type[Groups], violation: str) -> None:
    assert violation in GroupFindings.violations()
    for seed in range(300):
        if getattr(GroupHistory(draw_group(seed), groups=groups).judged(), violation):
            return
    raise AssertionError(f"no {violation} in 300 histories")


def test_the_command_tells_what_happens_in_one_history(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["campaign", "groups", "--histories", "1", "--seed", "3"])
    assert main() == 0
    told = capsys.readouterr().out
    assert told.startswith("GroupPlan(scenario=Scenario(seed=3,")
    assert "! operator: Wait(" in told
