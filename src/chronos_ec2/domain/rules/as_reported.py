"""The run as reported: what the instance of the current attempt says about it, copied into the record.

The rules read the record only, so this is all that an instance can bring into it: that it has claimed the attempt,
which phase and step it is in, and how it ended. Deadline, cap, prices, budgets, stop and attempt stay as they are.
Times are those at which S3 received the reports, or earlier ones within them. A report that is unreadable or could not
be read says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from chronos_ec2.domain.facts import Found, LaneFacts, LockHeld, Reports
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import follows


def as_reported(facts: LaneFacts, now: datetime) -> LaneFacts:
    """These facts, with the run as reported in the lock."""
    if not isinstance(facts.lock, LockHeld):
        return facts
    run = run_as_reported(facts.lock.run, facts.reports, facts.instances, now)
    return facts if run == facts.lock.run else replace(facts, lock=replace(facts.lock, run=run))


def run_as_reported(run: Run, reports: Reports, instances: Iterable[Instance], now: datetime) -> Run:
    """The run with the claim, the phases and the outcome of its current attempt. The first verdict stands."""
    if run.verdict is not None:
        return run
    claimed = run if run.claimed else _with_claim(run, reports, instances, now)
    if not claimed.claimed:
        return run
    reported = _with_outcome(_with_status(claimed, reports), reports, now)
    return run if reported == run else replace(reported, updated_at=now)


def _with_claim(run: Run, reports: Reports, instances: Iterable[Instance], now: datetime) -> Run:
    if not isinstance(reports.claim, Found) or reports.claim.document.instance_id is None:
        return run
    claimant = reports.claim.document.instance_id
    own = {
        instance.instance_id: instance
        for instance in instances
        if (instance.run_id, instance.attempt) == (run.run_id, run.attempt)
    }
    if not (own or run.instance_id or run.launching):
        return run  # no instance of this attempt was asked for yet, so none of it has claimed
    # EC2 says which instances are the attempt's, if it lists any: an id in a document is only believed without them.
    instance_id = claimant if claimant in own or not (run.instance_id or own) else run.instance_id
    if instance_id in own:
        instance_type = own[instance_id].instance_type
    else:
        instance_type = run.launching.option.instance_type if run.launching else run.instance_type
    return run.claimed_by(instance_id, instance_type, min(reports.claim.written_at, now))


def _with_status(run: Run, reports: Reports) -> Run:
    if not isinstance(reports.status, Found):
        return run
    report, written_at = reports.status.document, reports.status.written_at
    for status, at in report.phases:
        if follows(run.status, status):
            before = run.phases[-1][1] if run.phases else run.created_at
            run = run.advance(status, str(status), min(max(at, before), written_at))
    return replace(run, current_step=report.step) if report.phases[-1][0] is run.status else run


def _with_outcome(run: Run, reports: Reports, now: datetime) -> Run:
    if not isinstance(reports.outcome, Found):
        return run
    return run.end(reports.outcome.document.verdict, min(reports.outcome.written_at, now))
