"""Schedules start what they must and nothing else, and each oracle is shown to fail when what it guards is broken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from chronos_ec2.domain.facts import Found
from chronos_ec2.domain.records.champion import Promote
from chronos_ec2.domain.records.reports import OutcomeReport
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.schedules.decide import Nothing
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.ledgers import LedgerRead
from chronos_ec2.services.schedules import Schedules, Started
from chronos_ec2.services.schedules.store import ScheduleStore
from chronos_ec2.testing.builders import NOW
from verification.campaign import main, run_histories
from verification.findings import Findings
from verification.lifecycle.history import LifecycleHistory
from verification.lifecycle.oracle import LifecycleFindings
from verification.lifecycle.plan import Upload, draw
from verification.lifecycle.runs import PARTS, WatchedObjects
from verification.simulation.parts import Parts


@pytest.mark.parametrize(("first", "count"), [(0, 20), pytest.param(1000, 300, marks=pytest.mark.thorough)])
def test_each_trigger_starts_one_run_within_its_month_and_no_worse_model_is_promoted(first: int, count: int) -> None:
    found = run_histories("schedules", count, first)
    assert found["failed"] == []
    assert found["runs"] > count
    assert found["triggers"] > found["runs"]
    assert found["promotions"] > count / 2


# --- what must be found ----------------------------------------------------------------------------------------------


class ForgottenData(ScheduleStore):
    """The ledger does not say which data a run was trained on."""

    def ledger(self, name: str) -> LedgerRead:
        read = super().ledger(name)
        entries = tuple(replace(one, data_sha256="0" * 64) for one in read.ledger.entries)
        return LedgerRead(replace(read.ledger, entries=entries), read.etag)


class FreeOfCharge(ScheduleStore):
    """What has ended has cost nothing."""

    def ledger(self, name: str) -> LedgerRead:
        read = super().ledger(name)
        entries = tuple(one if one.succeeded is None else replace(one, spent_usd=0.0) for one in read.ledger.entries)
        return LedgerRead(replace(read.ledger, entries=entries), read.etag)

    def replace_ledger(self, name: str, ledger: Ledger, expected: LedgerRead) -> None:
        entries = tuple(one if one.succeeded is None else replace(one, spent_usd=0.0) for one in ledger.entries)
        super().replace_ledger(name, replace(ledger, entries=entries), expected)


class Forgetful(Schedules):
    @property
    def orders(self) -> ScheduleStore:
        return ForgottenData(self.environment, self.store.objects)


class Generous(Schedules):
    @property
    def orders(self) -> ScheduleStore:
        return FreeOfCharge(self.environment, self.store.objects)


class Punctual(Schedules):
    """A run is named after the time at which its trigger comes, not the one that it is for."""

    def invoke(self, name: str, at: datetime, *, asked: bool = False) -> Started | Nothing:
        del at
        return super().invoke(name, self.clock.now(), asked=asked)


class Hasty(Schedules):
    """The mark of a data set counts, whenever it was written."""

    def _marked(self, invocation: Any) -> datetime | None:
        return NOW if super()._marked(invocation) else None


class Abrupt(Schedules):
    """What follows a run is noted, and not started."""

    def after(self, name: str, run_id: str) -> Started | Nothing:
        started = Started("20260101T000000Z-000000", "it was started already")
        self.store.objects.write(
            f"{self.environment}/followed/{run_id}.json", f'{{"run_id": "{started.run_id}"}}'.encode()
        )
        return started


class Lenient(RunStore):
    """The watchdog promotes whatever has ended."""

    def read_request(self, environment: str, run_id: str) -> Request | None:
        request = super().read_request(environment, run_id)
        if request is None or request.promotion is None:
            return request
        return replace(request, promotion=replace(request.promotion, rule=Promote.ALWAYS))


class Hard(RunStore):
    """What an instance measures is not seen."""

    def read_outcome(self, run: Run) -> Any:
        found = super().read_outcome(run)
        if isinstance(found, Found) and isinstance(found.document, OutcomeReport):
            return replace(found, document=replace(found.document, comparison=None))
        return found


class Clinging(WatchedObjects):
    """The lock of a forecast is never deleted."""

    def remove(self, key: str, etag: str | None = None) -> None:
        if "-then/system-state.json" not in key:
            super().remove(key, etag)


@dataclass(frozen=True)
class Defect:
    """A part that is broken, the finding that must name it, and how plans are changed so that it shows."""

    finding: str
    parts: Parts = PARTS
    schedules: type[Schedules] = Schedules
    changes: dict[str, Any] = field(default_factory=dict)
    pauses: float = 0.0


OFTEN = tuple(900.0 * number for number in range(6))
NEW = tuple(Upload(at - 60.0, changed=True) for at in OFTEN[1:])
MEANWHILE = tuple(Upload(at + 30.0, changed=True) for at in OFTEN)
PLAIN: dict[str, Any] = {"times": OFTEN, "uploads": (), "asked": (), "by_hand": (), "rollbacks": (), "late": 0.0,
                         "doubled": 0.0, "dies": 0.0, "month": None, "begins": 0.0}  # fmt: skip
DEFECTS: dict[str, Defect] = {
    "the ledger forgets the data": Defect("runs_of_unchanged_data", schedules=Forgetful, changes=PLAIN),
    "the mark is looked at once": Defect(
        "runs_of_torn_data", schedules=Hasty, changes=PLAIN | {"uploads": MEANWHILE}, pauses=0.5
    ),
    "a run is named after its delivery": Defect(
        "double_runs", schedules=Punctual, changes=PLAIN | {"uploads": NEW, "doubled": 1.0}
    ),
    "what has ended is free": Defect(
        "over_month_cap", schedules=Generous, changes=PLAIN | {"uploads": NEW, "month": 0.5}
    ),
    "what follows is noted alone": Defect("lost_forecasts", schedules=Abrupt, changes=PLAIN),
    "whatever has ended is promoted": Defect(
        "worse_promoted", replace(PARTS, store=Lenient), changes=PLAIN | {"uploads": NEW}
    ),
    "no comparison is read": Defect("lost_promotions", replace(PARTS, store=Hard), changes=PLAIN | {"uploads": NEW}),
    "a lock is never deleted": Defect("left", replace(PARTS, objects=Clinging), changes=PLAIN),
}


def found_in(defect: Defect, seed: int) -> Findings:
    plan = replace(draw(seed), **defect.changes)
    quiet = replace(plan.scenario, call_errors=0.0, function_crashes=0.0, pauses=defect.pauses, faults=())
    return LifecycleHistory(replace(plan, scenario=quiet), parts=defect.parts, schedules=defect.schedules).judged()


@pytest.mark.parametrize("name", DEFECTS)
def test_an_oracle_finds_what_it_guards_broken(name: str) -> None:
    defect = DEFECTS[name]
    assert any(getattr(found_in(defect, seed), defect.finding) for seed in range(20))


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_without_the_defect_it_finds_nothing(name: str) -> None:
    whole = replace(DEFECTS[name], parts=PARTS, schedules=Schedules)
    assert [text for seed in range(3) for text in found_in(whole, seed).failed] == []


def test_every_oracle_is_shown_to_fail() -> None:
    assert {defect.finding for defect in DEFECTS.values()} == set(LifecycleFindings.violations())


def test_a_single_history_is_told_as_it_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["campaign", "schedules", "--histories", "1", "--seed", "2"])
    assert main() == 0
    told = capsys.readouterr().out
    assert told.startswith("Plan(scenario=Scenario(seed=2,")
    assert "are uploaded" in told
