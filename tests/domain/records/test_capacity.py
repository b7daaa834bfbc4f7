"""Waiting for capacity: the pauses, the refusals that are kept, and the form in the record."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.capacity import (
    MAX_REFUSALS,
    SPOT,
    Launching,
    LaunchOption,
    Refusal,
    Waiting,
    pause_after,
)
from chronos_ec2.domain.records.run import LAUNCHING, WAITING, Run
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.testing.builders import LANE, NOW, launching

OPTION = LaunchOption("g5.xlarge", "subnet-a", SPOT)
FRESH = Waiting(NOW, NOW + timedelta(hours=2), 0, NOW)


def test_the_pauses_double_from_a_minute_to_a_quarter_of_an_hour() -> None:
    assert [pause_after(tries) // timedelta(minutes=1) for tries in range(1, 8)] == [1, 2, 4, 8, 15, 15, 15]
    assert pause_after(10**6) == timedelta(minutes=15)


def test_each_refused_try_is_counted_and_the_next_is_a_pause_later() -> None:
    once = FRESH.refused([Refusal(OPTION, "Code", "words")], NOW)
    assert (once.tries, once.next_try_at) == (1, NOW + timedelta(minutes=1))
    later = NOW + timedelta(minutes=5)
    twice = once.refused([Refusal(OPTION, "Code", "words")], later)
    assert (twice.tries, twice.next_try_at) == (2, later + timedelta(minutes=2))
    assert (twice.since, twice.until) == (FRESH.since, FRESH.until)


def test_only_the_last_word_about_each_option_is_kept() -> None:
    other = LaunchOption("g5.xlarge", "subnet-b", SPOT)
    first = FRESH.refused([Refusal(OPTION, "Old", "a"), Refusal(other, "Old", "b")], NOW)
    assert [str(refusal) for refusal in first.refused([Refusal(OPTION, "New", "c")], NOW).refusals] == [
        "g5.xlarge in subnet-b (spot): Old: b",
        "g5.xlarge in subnet-a (spot): New: c",
    ]


def test_whatever_ec2_says_the_record_stays_small_and_readable() -> None:
    options = [LaunchOption(f"type-{number}", "subnet-a") for number in range(3 * MAX_REFUSALS)]
    words = "no\x00room\n" + "\N{HIGH VOLTAGE SIGN}" * 5000
    waiting = FRESH.refused([Refusal(option, words, words) for option in options], NOW)
    run = launching(current_step=WAITING, waiting=waiting)
    assert len(run.to_json()) < MAX_DOCUMENT_BYTES
    assert Run.from_json(run.to_json(), LANE) == run
    assert [refusal.option for refusal in waiting.refusals] == options[-40:]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("waiting", {"since": None}),
        ("waiting", {"tries": -1}),
        ("waiting", {"refusals": [{"instance_type": "g5.xlarge"}]}),
        ("waiting", {"refusals": "none"}),
        ("waiting", {"next_try_at": "soon"}),
        ("launching", {"market": "black"}),
        ("launching", {"since": None}),
        ("launching", {"subnet_id": 7}),
    ],
)
def test_a_record_with_half_of_it_is_unreadable(field: str, value: dict[str, Any]) -> None:
    whole = launching(launching=Launching(OPTION, NOW), waiting=FRESH)
    document = json.loads(whole.to_json())
    document[field] |= value
    with pytest.raises(InvalidDocument):
        Run.from_json(json.dumps(document).encode(), LANE)


def test_a_run_that_waits_is_not_claimed_and_its_next_attempt_begins_anew() -> None:
    run = launching(current_step=WAITING, waiting=FRESH, launching=Launching(OPTION, NOW))
    assert not run.claimed
    again = run.next_attempt(Cause.PREEMPTED, 0.0, NOW)
    assert (again.current_step, again.launching, again.waiting) == (LAUNCHING, None, None)
