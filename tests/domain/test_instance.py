"""The tags that make an instance ours, written at launch and read by the watchdog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chronos_ec2.domain.instance import HOLD, InstanceState, StateReason, hold_tag, owner_tags, read_tags, run_tags
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.testing.builders import LANE, RUN_ID, a_run, an_instance

DEADLINE = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
TAGS = {"Environment": "dev", "Lane": "second", "RunId": RUN_ID, "Attempt": "2", "Deadline": "2026-01-31T23:00:00Z"}


def test_three_tags_make_an_instance_ours() -> None:
    assert owner_tags("forecasts", "dev") == {
        "Project": "forecasts",
        "Environment": "dev",
        "ManagedBy": "chronos-ec2",
    }


def test_a_launch_tags_everything_that_a_watchdog_or_a_bill_asks_for() -> None:
    run = a_run(lane=Lane("dev", "second"), attempt=2, deadline=DEADLINE)
    assert run_tags(run, "forecasts", "research") == owner_tags("forecasts", "dev") | {
        "Name": f"chronos-dev-{RUN_ID}",
        "CostCenter": "research",
        "Lane": "second",
        "RunId": RUN_ID,
        "Attempt": "2",
        "Deadline": "2026-01-31T23:00:00.000Z",
    }


def test_tags_are_read_back() -> None:
    run = a_run(lane=Lane("dev", "second"), attempt=2, deadline=DEADLINE)
    assert read_tags(run_tags(run, "forecasts", "research")) == (run.lane, RUN_ID, 2, DEADLINE, False, None)


def test_no_tag_at_all_reads_as_nothing_known() -> None:
    assert read_tags({}) == (None, None, 0, None, False, None)


@pytest.mark.parametrize(
    ("name", "value", "place", "read"),
    [
        ("Environment", "Dev", 0, None),
        ("Lane", "Second", 0, None),
        ("RunId", f"{RUN_ID}\n", 1, None),
        ("RunId", "mine", 1, None),
        ("Attempt", "two", 2, 0),
        ("Attempt", "-2", 2, 0),
        ("Attempt", "٢", 2, 0),
        ("Attempt", "²", 2, 0),
        ("Deadline", "soon", 3, None),
        ("Deadline", "2026-01-31T23:00:00", 3, None),
        ("Deadline", "0001-01-01T00:00:00+14:00", 3, None),
        ("Deadline", "9999-12-31T23:59:59-14:00", 3, None),
    ],
)
def test_a_malformed_tag_counts_as_missing_and_the_others_still_count(
    name: str, value: str, place: int, read: object
) -> None:
    expected = [Lane("dev", "second"), RUN_ID, 2, DEADLINE, False, None]
    expected[place] = read
    assert list(read_tags(TAGS | {name: value})) == expected


def test_without_a_lane_tag_an_instance_belongs_to_the_main_lane() -> None:
    assert read_tags({"Environment": "dev"})[0] == LANE


@pytest.mark.parametrize(
    ("value", "held"), [("true", True), ("True", True), ("TRUE", True), ("false", False), ("", False)]
)
def test_hold_is_true_in_any_case(value: str, held: bool) -> None:
    assert read_tags({HOLD: value})[4:] == (held, None)


@pytest.mark.parametrize("until", [None, DEADLINE])
def test_the_tag_of_a_hold_is_read_as_it_was_written(until: datetime | None) -> None:
    assert read_tags({HOLD: hold_tag(until)})[4:] == (True, until)


@pytest.mark.parametrize("value", ["tomorrow", "2026-01-31T12:00:00", "2h", "0"])
def test_what_is_neither_true_nor_a_time_with_a_zone_holds_nothing(value: str) -> None:
    assert read_tags({HOLD: value})[4:] == (False, None)


def test_a_hold_with_an_end_is_over_at_that_time() -> None:
    held = an_instance(hold=True, hold_until=DEADLINE)
    assert held.on_hold(DEADLINE - timedelta(seconds=1))
    assert not held.on_hold(DEADLINE)
    assert an_instance(hold=True).on_hold(DEADLINE)
    assert not an_instance().on_hold(DEADLINE)


@pytest.mark.parametrize("state", InstanceState)
def test_an_instance_is_alive_until_ec2_says_terminated(state: InstanceState) -> None:
    assert an_instance(state=state).alive is (state != "terminated")


def test_an_instance_was_not_taken_back_unless_ec2_says_so() -> None:
    assert an_instance().reclaimed is False


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("Client.InternalError", "EC2 may not use the key of its volume: see VolumeKeyArn in docs/deploying.md"),
        (
            "Client.VolumeLimitExceeded",
            "ask for more of the quota of gp3 volumes, L-7A658B76: "
            "https://console.aws.amazon.com/servicequotas/home/services/ebs/quotas/L-7A658B76",
        ),
        (
            "Client.InvalidSnapshot.NotFound",
            "its AMI is gone: deploy the stack again, which takes the current one",
        ),
        (
            "Server.InsufficientInstanceCapacity",
            "EC2 had no such instance left: another type or zone may have one",
        ),
        ("Server.InternalError", "an error of EC2 itself: launch again"),
        ("Client.UserInitiatedShutdown", "somebody, or a program, has terminated it: CloudTrail says who"),
    ],
)
def test_a_reason_of_ec2s_with_a_known_remedy_names_it(code: str, hint: str) -> None:
    assert str(StateReason(code, "m")) == str(StateReason(code, f"{code}: m")) == f"{code}: m ({hint})"


def test_any_other_reason_is_what_ec2_says_on_one_line() -> None:
    assert str(StateReason("Server.ScheduledStop", "Stopped due to\na scheduled retirement")) == (
        "Server.ScheduledStop: Stopped due to a scheduled retirement"
    )
    assert len(str(StateReason("X", "x" * 10_000))) == 300


@pytest.mark.parametrize(
    ("code", "reclaimed", "no_capacity"),
    [
        ("Server.SpotInstanceTermination", True, False),
        ("Server.InsufficientInstanceCapacity", False, True),
        ("Client.InstanceInitiatedShutdown", False, False),
    ],
)
def test_two_reasons_change_what_happens_next(code: str, reclaimed: bool, no_capacity: bool) -> None:
    reason = StateReason(code, "m")
    assert (reason.reclaimed, reason.no_capacity) == (reclaimed, no_capacity)


def test_an_instance_has_no_state_reason_unless_ec2_gives_one() -> None:
    assert an_instance().state_reason is None


def test_an_instance_is_not_held_unless_it_says_so() -> None:
    assert an_instance().hold is False


def test_the_states_are_those_of_ec2() -> None:
    assert [str(state) for state in InstanceState] == [
        "pending",
        "running",
        "shutting-down",
        "terminated",
        "stopping",
        "stopped",
    ]
