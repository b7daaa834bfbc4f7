"""Writes the report of a run at its end, on its instance."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from agent.logs.redaction import redacted
from agent.results.schema import problems
from agent.run_context import RunContext
from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import load_json
from chronos_ec2.domain.planning.cost import cost_until
from chronos_ec2.domain.records.status import Outcome, Verdict
from chronos_ec2.services.report import REPORT

_log = logging.getLogger(__name__)
_TIME_FOR_PICTURES = timedelta(seconds=20)
_LOG_LINES, _LOG_BYTES = 30, 20_000
_MAX_EVALUATION_BYTES = 4 * 1024 * 1024


def write_report(ctx: RunContext, verdict: Verdict, training: dict[str, Any]) -> None:
    """Make and upload report.html. Errors are logged: a report is no reason to fail a run.

    If the run was told to stop and little time is left, there are no pictures: the outcome must still be written.
    """
    try:
        # Imported here: the claim of a run does not wait for them on a cold disk.
        from agent.report.page import render  # noqa: PLC0415
        from agent.report.sections import Material, report_page  # noqa: PLC0415

        run, now = ctx.session.run, ctx.world.clock.now()
        material = Material(
            run, now, verdict, ctx.request, cost_until(now, run, ctx.request.limits),
            begun=ctx.record.run_document(run, ctx.workdir.facts),
            ended={} if problems(training) else training,
            evaluation=_evaluation(ctx) if verdict.outcome is Outcome.SUCCEEDED else {},
            metrics=ctx.workdir.metrics,
            examples=ctx.record.result.get("examples", ()),
            log=_end_of_log(ctx),
        )  # fmt: skip
        stopped = ctx.control.stop is not None
        hurried = stopped and ctx.control.stop_time_left(ctx.request.limits.grace) < _TIME_FOR_PICTURES
        ctx.results.body(REPORT, render(report_page(material, pictures=not hurried)), "text/html; charset=utf-8")
    except Exception as error:  # noqa: BLE001 - as documented
        _log.warning("no report: %s: %s", type(error).__name__, error)


def _evaluation(ctx: RunContext) -> dict[str, Any]:
    """The evaluation that the trainer has written, which has more than its result."""
    path = ctx.workdir.evaluation / "report.json"
    try:
        return load_json(path.read_bytes(), path.name, _MAX_EVALUATION_BYTES)
    except (OSError, InvalidDocument):
        return {}


def _end_of_log(ctx: RunContext) -> str:
    path = ctx.workdir.trainer_log
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_BYTES))
        lines = log.read().decode(errors="replace").splitlines()
    return redacted("\n".join(lines[-_LOG_LINES:]))
