"""The lifecycle of an agent: claim the run, go through its phases, save what is left, clean up, write the outcome."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from agent.boot import systemd
from agent.boot.packages import PackageInstallation, Packages
from agent.boot.request import World, read_request
from agent.data_sync import DataSync
from agent.errors import RunFailed
from agent.host import nvml
from agent.logs.redaction import redacted
from agent.preflight.checks import Check, Needs, check_packages, preflight
from agent.protocol.workdir import Workdir
from agent.results.cleanup import clean, delete_all
from agent.results.upload import RUN
from agent.results.verdict import completed
from agent.run_context import RunContext, compose
from agent.run_report import write_report
from agent.supervise.periodic import HeartbeatThread, PeriodicTask
from agent.supervise.supervisor import UPLOAD_SHARE, Callbacks, Timeouts, read_result, supervise
from agent.supervise.time_limit import time_limit
from chronos_ec2.bundled.instance_types import gpus_of
from chronos_ec2.domain.errors import ChronosError, Fenced, InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.request import REQUEST
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Status, Verdict
from chronos_ec2.job_config.jobs import ForecastConfig, JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import EndedByWatchdog, Stopped
from chronos_ec2.worker.run_session import Identity, RunSession

_log = logging.getLogger(__name__)
SUCCEEDED, FAILED, FENCED = 0, 1, 3
"""Exit codes: the run succeeded; it failed or was killed; it does not, or no longer, belong to this agent."""
STEP_SECONDS = 60.0
"""Interval at which the current step is reported: each report is an S3 event that invokes a Lambda."""
_STEPS = {Job.TRAIN: "training", Job.FORECAST: "forecasting", Job.EVALUATE: "evaluating"}
"""The step of each job in the phase that works."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How to pause between retries, and how often to report the current step."""

    sleep: Callable[[float], None] = time.sleep
    step_seconds: float = STEP_SECONDS


def run_agent(
    world: World, bucket: str, identity: Identity, workdir: Workdir, control: Control,
    packages: Packages | None = None, pacing: Pacing = Pacing(),
) -> int:  # fmt: skip
    """Claim the run, and run it to its end. Returns the exit code. Never raises ChronosError."""
    try:
        request = read_request(world.store, identity, pacing.sleep)
        session = RunSession(world.store, world.clock, request.lane, identity, pacing.sleep)
        run = session.claim()
    except ChronosError as error:
        # Nothing was touched. The instance powers off, and the watchdog concludes the run.
        _log.error("run %s not claimed: %s", identity.run_id, error)
        return FENCED
    workdir.claimed.touch()
    systemd.ready()
    _log.info("claimed run %s, attempt %d", run.run_id, run.attempt)
    context = compose(world, bucket, request, session, identity, workdir, control)
    agent_run = AgentRun(context, pacing.step_seconds, packages)
    try:
        return agent_run.run()
    except Fenced as error:
        _log.error("fenced: %s", error)
        agent_run.ship_last_logs()
        delete_all(workdir)
        return FENCED
    except ChronosError:
        # The watchdog finds the instance gone, and concludes the run.
        _log.exception("the outcome could not be written")
        return FAILED


class AgentRun:
    """A claimed run. A phase ends the run by raising RunFailed, Stopped or Fenced."""

    def __init__(
        self, context: RunContext, step_seconds: float = STEP_SECONDS, packages: Packages | None = None
    ) -> None:
        self._ctx = context
        self._step_seconds = step_seconds
        self._packages = PackageInstallation(packages, context.world.transfer, context.progress.synced)
        self._data = DataSync(context)
        self._run_document_written = False

    def run(self) -> int:
        """Go through all phases, and return the exit code. Raises Fenced."""
        ctx = self._ctx
        self._data.find_checkpoints()
        retry = ctx.request.limits.heartbeat_retry.total_seconds()
        with HeartbeatThread(ctx.lease.tick, retry, ctx.progress.news):
            with ExitStack() as threads:
                threads.enter_context(self._packages)
                threads.enter_context(ctx.gpu_utilisation)
                threads.enter_context(ctx.checkpoints)
                threads.enter_context(ctx.logs)
                verdict = self._phases()
                if verdict.outcome is not Outcome.SUCCEEDED:
                    self._save_unfinished(verdict)
            return self._finish(verdict)

    def _phases(self) -> Verdict:
        """All phases, and the verdict they end with. Raises Fenced."""
        record = self._ctx.record
        try:
            with record.phase(Status.INITIALIZATION):
                config = self._initialize()
            with record.phase(Status.DATA_SYNC):
                self._enter(Status.DATA_SYNC, "downloading")
                self._data.download()
                self._packages.wait(self._ctx.control.check)
                check_packages(self._checked)
                self._data.prepare(config)
                self._data.restore()
            with record.phase(Status.TRAINING):
                self._work()
            with record.phase(Status.RESULTS_SYNC):
                self._sync_results(config)
            # A stop that is requested now has nothing left to stop.
            self._ctx.control.check_fence()
        except RunFailed as error:
            record.retry_elsewhere = error.elsewhere
            # It has the last line of the trainer's output.
            return replace(error.verdict, message=redacted(error.verdict.message))
        except Stopped as error:
            return error.verdict
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - the run must end with a verdict whatever happens
            _log.exception("unexpected error")
            message = f"the agent failed in {self._ctx.session.run.status}: {type(error).__name__}: {error}"
            return Verdict(Outcome.FAILED, Cause.INFRA, one_line(redacted(message)), DecidedBy.AGENT)
        return completed(self._ctx.request.job, self._ctx.record.result)

    def _initialize(self) -> JobConfig:
        ctx = self._ctx
        try:
            config = parse_config(dict(ctx.request.config), f"config in {REQUEST}")
        except InvalidInput as error:
            raise RunFailed(Cause.USER_CODE, str(error)) from error
        ctx.session.record_step("gpu_preflight")
        driver = nvml.query_driver()
        if isinstance(driver, nvml.Driver):
            ctx.record.gpus = driver.gpus
        dataset_bytes = sum(one.size for one in ctx.request.dataset_keys)
        needs = Needs(dataset_bytes, ctx.request.allow_cpu, gpus_of(ctx.identity.instance_type))
        preflight(ctx.workdir.root, needs, driver, self._checked, ctx.clock.offset())
        ctx.control.check()
        return config

    def _checked(self, check: Check) -> None:
        self._ctx.record.checks.append(check)
        self._ctx.progress.work()

    def _work(self) -> None:
        ctx, limits = self._ctx, self._ctx.request.limits
        self._enter(Status.TRAINING, _STEPS[ctx.request.job])
        ctx.workdir.config.write_text(json.dumps(dict(ctx.request.config)))
        left, stop = time_limit(ctx.session.run, limits, ctx.clock.now())
        callbacks = Callbacks(ctx.checkpoints.offer, lambda: ctx.control.request_stop(stop))
        with PeriodicTask("record-step", self._record_step, ctx.control, self._step_seconds):
            timeouts = Timeouts.of(left, limits)
            result = supervise(ctx.workdir, ctx.progress, ctx.control, timeouts, callbacks, ctx.kernel_events)
        ctx.record.result = result
        if result.get("stopped_early"):
            raise RunFailed(Cause.INFRA, "the trainer was stopped, but not by its agent")

    def _record_step(self) -> None:
        ctx = self._ctx
        if not self._run_document_written and ctx.workdir.facts.exists():
            document = ctx.record.run_document(ctx.session.run, ctx.workdir.facts)
            self._run_document_written = ctx.results.try_document(RUN, document)
        now = ctx.progress.snapshot()
        if now.total_steps and ctx.request.job is Job.TRAIN:
            ctx.session.record_step(f"step_{now.step}")

    def _sync_results(self, config: JobConfig) -> None:
        ctx, results = self._ctx, self._ctx.results
        self._enter(Status.RESULTS_SYNC, "uploading")
        has_model = results.model(ctx.workdir.model)
        ctx.control.check_fence()
        results.evaluation(ctx.workdir)
        results.document(RUN, ctx.record.run_document(ctx.session.run, ctx.workdir.facts))
        season = 1 if isinstance(config, ForecastConfig) else config.evaluation.season_length
        results.plots(ctx.workdir, ctx.record.result.get("examples", []), season)
        ctx.control.check_fence()
        while not ctx.checkpoints.drain(STEP_SECONDS):
            ctx.control.check()
        if ctx.forecasts is not None:
            ctx.forecasts.finish(ctx.record.result["forecast"])
        ctx.logs.ship()
        uri = f"s3://{ctx.bucket}/{results.key_of('models/')}" if has_model else None
        verdict = completed(ctx.request.job, ctx.record.result)
        document = ctx.record.training_document(ctx.session.run, verdict, uri)
        if missing := results.missing():
            raise RunFailed(Cause.INFRA, f"S3 does not have {', '.join(missing[:3])} as uploaded: launch again")
        write_report(ctx, verdict, document)
        results.summary(document)

    def _save_unfinished(self, verdict: Verdict) -> None:
        """Upload the last checkpoint, metrics and documents of an unfinished run, as far as S3 accepts them."""
        ctx = self._ctx
        _log.error("%s, %s: %s", verdict.outcome, verdict.cause, verdict.message)
        if verdict.cause is Cause.PREEMPTED:
            ctx.session.record_step("interrupted")
        try:
            if not ctx.record.result and ctx.workdir.result.exists():
                ctx.record.result = read_result(ctx.workdir.result)
            # The upload may use whatever stop time the trainer has left.
            left = ctx.control.stop_time_left(ctx.request.limits.grace, UPLOAD_SHARE)
            ctx.checkpoints.drain(left.total_seconds())
            ctx.logs.ship()
            ctx.results.evaluation(ctx.workdir)
            document = ctx.record.training_document(ctx.session.run, verdict)
            ctx.results.summary(document)
            ctx.results.document(RUN, ctx.record.run_document(ctx.session.run, ctx.workdir.facts))
            write_report(ctx, verdict, document)
        except Exception as error:  # noqa: BLE001 - the verdict must be written even if something cannot be saved
            _log.warning("not everything was saved: %s", error)

    def _finish(self, verdict: Verdict) -> int:
        """Clean up, and write the outcome last: after it the watchdog terminates this instance."""
        ctx = self._ctx
        if verdict.outcome is Outcome.SUCCEEDED:
            ctx.session.record_step("cleaning_up")
        cleanup = clean(ctx.workdir, ctx.progress, ctx.checkpoints, ctx.logs, ctx.results)
        _log.info("verdict: %s, %s", verdict.outcome, verdict.cause)
        ctx.logs.ship()
        ctx.session.finish(verdict, cleanup, ctx.results.models, ctx.record.comparison)
        return SUCCEEDED if verdict.outcome is Outcome.SUCCEEDED else FAILED

    def ship_last_logs(self) -> None:
        """Upload the logs of a fenced run, unless another instance has the run and uploads its own."""
        try:
            self._ctx.session.read()
        except EndedByWatchdog:
            pass
        except Fenced:
            return
        self._ctx.logs.ship()

    def _enter(self, status: Status, step: str) -> None:
        self._ctx.control.check()
        self._ctx.session.advance(status, step)
        self._ctx.progress.work()
        _log.info("%s", status)
