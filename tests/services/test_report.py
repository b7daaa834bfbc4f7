"""The report that an instance has left: taken only if it tells the end, and without power in a browser."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.services.report import MAX_REPORT_BYTES, POLICY, REPORT, fetch_report
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.builders import a_run

ENDED = Verdict(Outcome.FAILED, Cause.USER_CODE, "said by the agent", DecidedBy.AGENT)


@pytest.fixture
def aws() -> MemoryAws:
    return MemoryAws()


def the_run(aws: MemoryAws, verdict: Verdict | None = ENDED) -> Run:
    now = aws.clock.now()
    return a_run(created_at=now, phases=((Status.INITIALIZATION, now),), verdict=verdict)


def leave(aws: MemoryAws, run: Run, body: bytes) -> None:
    aws.clock.advance(timedelta(minutes=1))
    aws.objects.write(run_key(run.lane.environment, run.run_id, REPORT), body)


def test_a_report_is_fetched_as_it_is(aws: MemoryAws) -> None:
    run, body = the_run(aws), (POLICY + "<html>").encode()
    leave(aws, run, body)
    assert fetch_report(aws.objects, run) == body


@pytest.mark.parametrize("body", [b"<script>alert(1)</script>", b" " + POLICY.encode(), b"", POLICY.encode()[:-2]])
def test_a_browser_runs_nothing_of_a_report_that_was_made_by_somebody_else(aws: MemoryAws, body: bytes) -> None:
    run = the_run(aws)
    leave(aws, run, body)
    assert fetch_report(aws.objects, run) == POLICY.encode() + body


def test_the_report_of_an_earlier_attempt_is_none_of_the_run(aws: MemoryAws) -> None:
    run = the_run(aws)
    leave(aws, run, b"first attempt")
    aws.clock.advance(timedelta(minutes=1))
    later = replace(run, attempt=2, phases=(*run.phases, (Status.INITIALIZATION, aws.clock.now())))
    assert fetch_report(aws.objects, later) is None


def test_the_report_of_an_agent_whose_word_did_not_count_is_none(aws: MemoryAws) -> None:
    run = the_run(aws, replace(ENDED, decided_by=DecidedBy.WATCHDOG))
    leave(aws, run, b"succeeded")
    assert fetch_report(aws.objects, run) is None


def test_a_run_without_a_report(aws: MemoryAws) -> None:
    assert fetch_report(aws.objects, the_run(aws)) is None
    active = the_run(aws, None)
    leave(aws, active, b"not yet")
    assert fetch_report(aws.objects, active) is None


def test_a_report_that_is_far_too_large_is_refused(aws: MemoryAws) -> None:
    run = the_run(aws)
    leave(aws, run, bytes(MAX_REPORT_BYTES + 1))
    with pytest.raises(InvalidDocument):
        fetch_report(aws.objects, run)
