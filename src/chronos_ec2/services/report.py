"""The report of a run that its instance has left in the bucket."""

from __future__ import annotations

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import DecidedBy
from chronos_ec2.ports import ObjectStore

REPORT = "report.html"
MAX_REPORT_BYTES = 32 * 1024 * 1024
POLICY = """\
<!doctype html>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'">
"""
"""How a report begins. A browser then runs nothing and loads nothing, whatever follows."""


def fetch_report(objects: ObjectStore, run: Run) -> bytes | None:
    """The report of a run as a browser may open it, None if the instance that ended it left none.

    An instance wrote it, which may be hostile, so the policy is put in front of anything that does not begin with it.
    A report of an earlier attempt, or of an agent whose word on the end did not count, is none.

    Raises:
        InvalidDocument: it is far too large.
        ServiceUnavailable, NotAllowed: it could not be read.
    """
    found = objects.read(run_key(run.lane.environment, run.run_id, REPORT), MAX_REPORT_BYTES)
    if found is None or found.written_at < run.attempt_started_at:
        return None
    if run.verdict is None or run.verdict.decided_by is DecidedBy.WATCHDOG:
        return None
    if len(found.body) > MAX_REPORT_BYTES:
        raise InvalidDocument(f"{REPORT} of run {run.run_id}: more than {MAX_REPORT_BYTES} bytes")
    policy = POLICY.encode()
    return found.body if found.body.startswith(policy) else policy + found.body
