"""Whether an invocation of a schedule starts a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.facts import Absent, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.limits import LAUNCH_SLOT, TAKE_OVER_AFTER
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.decide import Nothing, Situation, Start, decide
from chronos_ec2.domain.schedules.ledger import Entry, Ledger
from chronos_ec2.testing.builders import NOW, RUN_ID, a_run, held

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def an_entry(run_id: str = RUN_ID, **changes: Any) -> Entry:
    return replace(Entry(run_id, Job.TRAIN, NOW, NOW, "a" * 64, 5.0), **changes)


def former(number: int = 1, **changes: Any) -> Entry:
    """The entry of a run of days ago that has succeeded and cost $2."""
    at = NOW - number * DAY
    fields: dict[str, Any] = {"at": at, "reserved_at": at, "spent_usd": 2.0, "succeeded": True, "data_sha256": "b" * 64}
    return an_entry(f"20260130T1100{number:02}Z-1a2b3c", **fields | changes)


def decided(*entries: Entry, lock: LockRead = Absent(), limit: float | None = None, **changes: Any) -> Start | Nothing:
    situation = Situation(an_entry(), Ledger(tuple(entries)), lock, NOW, limit)
    return decide(replace(situation, **changes))


def test_by_itself_a_run_starts() -> None:
    assert decided() == Start(an_entry(), enter=True)


def test_a_paused_schedule_starts_what_an_operator_asks_for_alone() -> None:
    assert decided(enabled=False) == Nothing("the schedule is paused")
    assert isinstance(decided(enabled=False, asked=True), Start)


def test_an_invocation_is_too_late_after_an_hour() -> None:
    assert isinstance(decided(entry=an_entry(at=NOW - timedelta(hours=1))), Start)
    found = decided(entry=an_entry(at=NOW - timedelta(hours=1) - SECOND))
    assert found == Nothing("it is for 2026-01-31 10:59Z, which is too long ago")


def test_data_that_are_not_whole_start_nothing_and_people_are_told() -> None:
    text = "the data set has no _SUCCESS: an upload is at work, or was interrupted"
    assert decided(complete=False) == Nothing(text, "incomplete")


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_run_that_is_over_is_not_started_again(succeeded: bool) -> None:
    over = an_entry(spent_usd=1.0, succeeded=succeeded)
    assert decided(over, enabled=False, complete=False) == Nothing(f"run {RUN_ID} is over")


def test_a_run_that_another_delivery_has_entered_is_started_as_long_as_its_reservation_counts() -> None:
    entered = an_entry(reserved_at=NOW - TAKE_OVER_AFTER + SECOND, cap_usd=1.0)
    assert decided(entered) == Start(entered, enter=False)
    lapsed = an_entry(reserved_at=NOW - TAKE_OVER_AFTER, cap_usd=1.0)
    assert decided(lapsed) == Start(an_entry(), enter=True)


def test_an_entry_may_start_as_long_as_a_launcher_lives() -> None:
    assert an_entry(reserved_at=NOW - LAUNCH_SLOT + SECOND).may_start(NOW)
    assert not an_entry(reserved_at=NOW - LAUNCH_SLOT).may_start(NOW)


def test_the_data_of_the_last_run_that_succeeded_start_nothing() -> None:
    last = former(1, data_sha256="a" * 64)
    unchanged = Nothing(f"the data have not changed since run {last.run_id}")
    assert decided(former(2), last) == unchanged
    assert decided(last, former(1, succeeded=False)) == unchanged
    assert isinstance(decided(last, asked=True), Start)
    assert isinstance(decided(former(2, data_sha256="a" * 64), former(1)), Start)
    assert isinstance(decided(replace(last, succeeded=False)), Start)
    assert isinstance(decided(replace(last, job=Job.FORECAST)), Start)
    assert isinstance(decided(last, entry=an_entry(job=Job.FORECAST)), Start)


def test_a_busy_lane_starts_nothing_and_people_are_told_unless_its_run_has_the_same_data() -> None:
    lock, entry = held(a_run()), an_entry("20260131T120000Z-ffffff")
    text = f"run {RUN_ID} holds {lock.run.lane} (training)"
    assert decided(lock=lock, entry=entry) == Nothing(text, f"busy {RUN_ID}")
    holder = an_entry(reserved_at=NOW - DAY)
    assert decided(holder, lock=lock, entry=entry) == Nothing(text)
    assert decided(replace(holder, data_sha256="c" * 64), lock=lock, entry=entry) == Nothing(text, f"busy {RUN_ID}")


def test_a_reservation_keeps_the_lane_until_it_lapses() -> None:
    waits = former(1, succeeded=None, spent_usd=None, reserved_at=NOW - TAKE_OVER_AFTER + SECOND)
    assert decided(waits) == Nothing(f"run {waits.run_id} is being started")
    assert isinstance(decided(replace(waits, reserved_at=NOW - TAKE_OVER_AFTER)), Start)
    assert isinstance(decided(replace(waits, job=Job.FORECAST)), Start)
    assert isinstance(decided(replace(waits, succeeded=False)), Start)


@pytest.mark.parametrize("lock", [Unreadable("not JSON", "e", NOW), ReadFailed("SlowDown " + "x" * 500)])
def test_a_lock_that_cannot_be_read_starts_nothing_and_people_are_told(lock: LockRead) -> None:
    found = decided(lock=lock)
    assert isinstance(found, Nothing)
    assert found.reason.startswith("the lane's lock cannot be read: ")
    assert len(found.reason) <= 200
    assert found.about == "unreadable"


@pytest.mark.parametrize(
    ("entry", "spent"),
    [
        (former(1), 2.0),
        (former(1, succeeded=False), 2.0),
        (former(1, succeeded=None, spent_usd=None), 0.0),  # it never took its lane
        (former(1, succeeded=None, spent_usd=None, job=Job.FORECAST), 5.0),  # it may still run, in a lane of its own
        (former(1, succeeded=None, spent_usd=None, job=Job.FORECAST, cap_usd=None), 0.0),
        (former(40), 0.0),  # of another month
        (former(365), 0.0),  # of the same month of another year
    ],
)
def test_a_month_has_a_limit_that_counts_costs_and_what_living_runs_may_cost(entry: Entry, spent: float) -> None:
    assert isinstance(decided(entry, limit=spent + 5.0), Start)
    found = decided(entry, limit=spent + 4.99)
    text = f"${spent:.2f} of ${spent + 4.99:.2f} of 2026-01 are spent, and a run may cost $5.00"
    assert found == Nothing(text, "spent 2026-01")


def test_without_a_cap_a_run_starts_until_its_month_is_spent() -> None:
    assert isinstance(decided(former(1), entry=an_entry(cap_usd=None), limit=2.0), Start)
    assert isinstance(decided(former(1), entry=an_entry(cap_usd=None), limit=1.99), Nothing)
