"""Where things lie in the bucket. Agents, functions and people in consoles rely on these keys."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.lane import Lane, lanes_prefix
from chronos_ec2.domain.records.s3_keys import (
    bundle_key,
    exit_report_key,
    idle_unreadable_key,
    incident_key,
    python_env_key,
    run_key,
    run_prefix,
    set_aside_key,
    suspect_key,
)
from chronos_ec2.testing.builders import INSTANCE_ID, RUN_ID

MAIN, SECOND = Lane("dev"), Lane("dev", "second")


@pytest.mark.parametrize(
    ("lane", "key"), [(MAIN, "dev/system-state.json"), (SECOND, "dev/lanes/second/system-state.json")]
)
def test_a_lock_has_its_key_and_the_key_its_lane(lane: Lane, key: str) -> None:
    assert lane.state_key == key
    assert Lane.from_state_key(key) == lane


@pytest.mark.parametrize(
    "key",
    [
        "",
        "system-state.json",
        "dev/system-state.jsonx",
        "dev/system-state_json",
        "dev/run/system-state.json",
        "x/dev/system-state.json",
        "Dev/system-state.json",
        "dev/lanes/main/system-state.json",
        "dev/lanes/Second/system-state.json",
        "dev/lanes//system-state.json",
        "cached-datasets/system-state.json",
        "cached-datasets/lanes/second/system-state.json",
        f"{'d' * 32}/system-state.json",
        f"dev/lanes/{'s' * 32}/system-state.json",
    ],
)
def test_any_other_key_is_no_lock(key: str) -> None:
    assert Lane.from_state_key(key) is None


@pytest.mark.parametrize(("environment", "lane"), [("d" * 31, "main"), ("dev", "s" * 31)])
def test_the_longest_names_still_make_a_lock(environment: str, lane: str) -> None:
    longest = Lane(environment, lane)
    assert Lane.from_state_key(longest.state_key) == longest


@pytest.mark.parametrize(("environment", "lane", "where"), [("Dev", "main", "environment"), ("dev", "Second", "lane")])
def test_a_lane_is_made_of_valid_names_only(environment: str, lane: str, where: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Lane(environment, lane)
    assert refusal.value.where == where


def test_a_lane_is_called_by_its_environment_and_unless_it_is_the_main_one_by_its_name() -> None:
    assert str(MAIN) == "environment dev"
    assert str(SECOND) == "environment dev, lane second"


def test_lanes_sort_by_environment_then_name() -> None:
    assert sorted([SECOND, Lane("prod"), MAIN]) == [MAIN, SECOND, Lane("prod")]


def test_everything_of_a_run_is_below_its_prefix() -> None:
    assert lanes_prefix("dev") == "dev/lanes/"
    assert run_prefix("dev", RUN_ID) == f"dev/{RUN_ID}/"
    assert run_key("dev", RUN_ID, "request.json") == f"dev/{RUN_ID}/request.json"


@pytest.mark.parametrize(
    ("incident", "attempt", "key"),
    [
        (RUN_ID, None, f"dev/notified/{RUN_ID}/failed"),
        (RUN_ID, 2, f"dev/notified/{RUN_ID}/failed-2"),
        (INSTANCE_ID, None, f"dev/incidents/{INSTANCE_ID}/failed"),
        (f"{RUN_ID}0", None, f"dev/incidents/{RUN_ID}0/failed"),
    ],
)
def test_a_message_has_one_marker_with_the_run_or_among_the_incidents(
    incident: str, attempt: int | None, key: str
) -> None:
    assert incident_key("dev", incident, "failed", attempt) == key


def test_what_has_no_run_has_keys_of_its_own() -> None:
    assert suspect_key("dev", INSTANCE_ID) == f"dev/suspects/{INSTANCE_ID}.json"
    assert set_aside_key(SECOND, '"ab-12"') == "dev/unreadable/second-ab12"
    assert idle_unreadable_key(SECOND, '"ab-12"') == "dev/suspects/second-ab12.json"
    assert exit_report_key("dev", RUN_ID, 2) == f"dev/{RUN_ID}/logs/exit-report-2.txt"
    assert bundle_key("0a1b") == "cached-datasets/agent/0a1b.tar.gz"
    assert python_env_key("0a1b") == "cached-datasets/python-env/0a1b.tar"
