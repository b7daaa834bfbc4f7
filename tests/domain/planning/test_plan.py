"""What a run will probably cost, and what it costs at most."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.planning.plan import Expected, WorstCase, differences, expected, worst_case
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.testing.builders import NOW, RUN_ID, a_run

LIMITS = replace(Limits(), max_runtime=timedelta(hours=10))
BOUND = timedelta(seconds=90)
SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)


def test_at_most_the_most_expensive_instance_runs_until_the_deadline_is_enforced() -> None:
    assert LIMITS.deadline_bound == BOUND
    assert worst_case(NOW, 2.0, None, LIMITS) == WorstCase(NOW + timedelta(hours=10) + BOUND, 2.0 * (10 + 90 / 3600))


def test_a_cap_holds_but_for_the_time_until_it_is_enforced() -> None:
    assert worst_case(NOW, 2.0, 5.0, LIMITS).usd == 5.0 + 2.0 * 90 / 3600
    assert worst_case(NOW, 2.0, 500.0, LIMITS).usd == 2.0 * (10 + 90 / 3600)


def test_the_cap_of_a_group_is_for_all_its_runs_and_each_may_go_over_it_by_a_sweep() -> None:
    found = worst_case(NOW, 2.0, 5.0, LIMITS, runs=3, longest=timedelta(hours=24))
    assert found == WorstCase(NOW + timedelta(hours=24) + BOUND, 5.0 + 3 * 2.0 * 90 / 3600)
    assert worst_case(NOW, 2.0, None, LIMITS, runs=3, longest=timedelta(hours=24)).usd == 3 * 2.0 * (10 + 90 / 3600)


def test_without_a_price_the_end_is_known_and_the_cost_is_not() -> None:
    assert worst_case(NOW, None, None, LIMITS) == WorstCase(NOW + timedelta(hours=10) + BOUND, None)


@pytest.mark.parametrize(
    ("steps", "hours"), [(None, 2.0), ((100, 100), 2.0), ((100, 300), 6.0), ((1, 2), 4.0), ((0, 300), 2.0)]
)
def test_a_run_takes_as_long_as_the_last_one_by_its_steps(steps: tuple[int, int] | None, hours: float) -> None:
    former = a_run(created_at=NOW, ended_at=NOW + timedelta(hours=2), verdict=SUCCEEDED)
    assert expected(former, steps, 3.0) == Expected(timedelta(hours=hours), 3.0 * hours, RUN_ID)


def test_nothing_is_expected_of_a_run_that_failed_or_has_no_price() -> None:
    former = a_run(created_at=NOW, ended_at=NOW + timedelta(hours=2), verdict=SUCCEEDED)
    assert expected(former, None, None) is None
    assert expected(replace(former, ended_at=None), None, 3.0) is None
    failed = Verdict(Outcome.FAILED, Cause.HUNG, "hung", DecidedBy.WATCHDOG)
    assert expected(replace(former, verdict=failed), None, 3.0) is None


def test_differences_are_named_by_dotted_keys() -> None:
    before = {"model": {"base": "a", "lora": None}, "training": {"steps": 100, "seed": 0}, "old": 1}
    after = {"model": {"base": "a", "lora": {"rank": 8}}, "training": {"steps": 200, "seed": 0}, "new": [1]}
    assert list(differences(before, after)) == [
        ("model.lora", None, {"rank": 8}),
        ("new", None, [1]),
        ("old", 1, None),
        ("training.steps", 100, 200),
    ]
