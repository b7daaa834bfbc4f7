"""The life of an agent, from top to bottom: claim, the phases of the run, the verdict, nothing left behind."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.boot import systemd
from agent.boot.request import World, read_request
from agent.checkpoint.restore import restore, stored_checkpoints
from agent.checkpoint.upload import CheckpointUploader
from agent.data.columns import check_columns
from agent.data.dataset import download
from agent.data.trainer_code import fetch_code
from agent.errors import RunFailed
from agent.host import nvml
from agent.host.kernel_events import Box
from agent.logs.shipper import LogShipper, Send, StreamCopy
from agent.preflight.checks import Check, Needs, preflight
from agent.protocol.checkpoint_dir import CHECKPOINTS
from agent.protocol.metrics_log import continue_metrics
from agent.protocol.workdir import Workdir
from agent.results.cleanup import CLEANUP_STATUS, clean, empty
from agent.results.run_record import RunRecord
from agent.results.upload import RUN, Results
from agent.supervise.heartbeat_thread import HeartbeatThread
from agent.supervise.periodic import PeriodicTask
from agent.supervise.supervisor import TO_UPLOAD, Listener, Timeouts, read_result, supervise
from chronos_ec2.domain.cost import time_left
from chronos_ec2.domain.errors import ChronosError, Fenced, InvalidDocument, InvalidInput, ServiceUnavailable
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.codec import load_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.records.request import REQUEST, Request
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.training_config.defaults import gpus_of
from chronos_ec2.training_config.parse import parse_config
from chronos_ec2.training_config.schema import TrainingConfig
from chronos_ec2.worker.claim import Identity, Record
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import EndedByWatchdog, Stopped
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
SUCCEEDED, FAILED, FENCED = 0, 1, 3
"""Exit codes: the run succeeded; it failed or was killed; it is not, or not any more, ours."""
_NOTE_SECONDS = 60.0
"""Between two writes of a finer step: each of them is an S3 event that wakes a Lambda."""
_COMPLETED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained, evaluated, and results in S3", DecidedBy.AGENT)


def live(
    world: World,
    bucket: str,
    identity: Identity,
    workdir: Workdir,
    control: Control,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Be the agent of a run until it is over, and return the exit code. Never raises ChronosError."""
    try:
        request = read_request(world.store, identity, sleep)
        record = Record(world.store, world.clock, request.lane, identity, sleep)
        run = record.claim()
    except ChronosError as error:
        # Nothing was touched. The box goes away; the watchdog says what became of the run.
        _log.error("run %s not claimed: %s", identity.run_id, error)
        return FENCED
    workdir.claimed.touch()
    systemd.ready()
    _log.info("claimed run %s, attempt %d", run.run_id, run.attempt)
    life = AgentRun(world, bucket, request, record, identity, workdir, control)
    try:
        return life.run()
    except Fenced as error:
        _log.error("fenced: %s", error)
        life.exit_report()
        empty(workdir)
        return FENCED
    except ChronosError:
        # The verdict could not be written. The watchdog finds the box gone, and ends the run.
        _log.exception("the run ended without a word")
        return FAILED


class AgentRun:
    """A claimed run. Each phase raises RunFailed, Stopped or Fenced to end it."""

    def __init__(
        self,
        world: World,
        bucket: str,
        request: Request,
        record: Record,
        identity: Identity,
        workdir: Workdir,
        control: Control,
    ) -> None:
        self._request = request
        self._record = record
        self._control = control
        self._workdir = workdir
        self._world = world
        self._bucket = bucket
        self._box = Box()
        self._gpus = gpus_of(identity.instance_type)
        objects = world.store.objects
        self._progress = Progress()
        self._run_record = RunRecord(self._progress)
        self._results = Results(
            objects,
            world.transfer,
            identity.environment,
            identity.run_id,
            self._progress,
            attempt=record.run.attempt,
        )
        self._begun = False
        self._looked = False
        self._clock_ahead: timedelta | None = None
        self._checkpoints = CheckpointUploader(
            objects, world.transfer, self._results.key_of, workdir.checkpoints, self._progress
        )
        logs = (workdir.agent_log, workdir.trainer_log)
        # The metrics go with the logs: should the box be lost, the next attempt goes on from them.
        routes: list[tuple[Send, tuple[Path, ...]]] = [(self._results.log, (*logs, workdir.metrics))]
        if request.log_group is not None:
            streams = world.log_streams(request.log_group)
            prefix = f"{identity.run_id}/{record.run.attempt}/"
            routes.append((StreamCopy(streams, prefix, world.clock).send, logs))
        self._logs = LogShipper(routes, workdir.logs / "shown")
        self._gauge = nvml.Gauge()
        sender = HeartbeatWriter(world.store, world.clock, record, identity, self._progress, self._gauge.read)
        self._renewer = LeaseRenewer(sender, record, control, request.limits, alive=systemd.alive)

    def run(self) -> int:
        """All phases, then the end. Raises Fenced."""
        self._look_for_checkpoints()
        with HeartbeatThread(self._renewer.tick, self._request.limits.heartbeat_retry.total_seconds()):
            with ExitStack() as threads:
                threads.enter_context(self._gauge)
                threads.enter_context(self._checkpoints)
                threads.enter_context(self._logs)
                verdict = self._phases()
                self._save(verdict)
            return self._leave(verdict)

    def _look_for_checkpoints(self) -> None:
        """Before the first beat: one that knew of none would take the next attempt from a run that has some."""
        prefix = self._results.key_of(CHECKPOINTS)
        try:
            newest = next(stored_checkpoints(self._world.store.objects, prefix), None)
        except ServiceUnavailable as error:
            _log.warning("%s; checkpoints are looked for again before training", error)
            return
        self._looked = True
        if newest is not None:
            self._progress.checkpointed(max(timedelta(0), self._world.clock.now() - newest.written_at))

    def exit_report(self) -> None:
        """Ship the logs of a run that was taken from us, unless another instance has it and writes its own."""
        try:
            self._record.look()
        except EndedByWatchdog:
            pass
        except Fenced:
            return
        self._logs.ship()

    def _phases(self) -> Verdict:
        """The work of the run, and how it ended. Raises Fenced."""
        try:
            with self._run_record.phase(Status.INITIALIZATION):
                config = self._initialize()
            with self._run_record.phase(Status.DATA_SYNC):
                self._sync_data(config)
                self._restore()
            with self._run_record.phase(Status.TRAINING):
                self._train()
            with self._run_record.phase(Status.RESULTS_SYNC):
                self._sync_results(config)
            # It is done: an order to stop that comes now has nothing left to stop.
            self._control.check_fence()
        except RunFailed as ending:
            self._run_record.retry_elsewhere = ending.elsewhere
            return ending.verdict
        except Stopped as ending:
            return ending.verdict
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to end with a verdict, not with a silence
            _log.exception("unexpected")
            message = f"the agent failed in {self._record.run.status}: {type(error).__name__}: {error}"
            return Verdict(Outcome.FAILED, Cause.INFRA, one_line(message), DecidedBy.AGENT)
        return _COMPLETED

    def _initialize(self) -> TrainingConfig:
        try:
            config = parse_config(dict(self._request.config), f"config in {REQUEST}")
        except InvalidInput as error:
            raise RunFailed(Cause.USER_CODE, str(error)) from error
        self._record.note("gpu_preflight")
        self._clock_ahead = self._clock_offset()
        size = sum(size for _, size in self._request.dataset_keys)
        driver = nvml.ask()
        if isinstance(driver, nvml.Driver):
            self._run_record.gpus = driver.gpus
        needs = Needs(size, self._request.allow_cpu, self._gpus)
        preflight(self._workdir.root, needs, driver, self._checked, self._clock_ahead)
        self._control.check()
        return config

    def _checked(self, check: Check) -> None:
        self._run_record.checks.append(check)
        self._progress.work()

    def _clock_offset(self) -> timedelta | None:
        """How far this box's clock is ahead of S3's, to about a second, as its first beat shows; None before that."""
        run = self._record.run
        beat = self._world.store.read_heartbeat(run.lane.environment, run.run_id)
        if not isinstance(beat, HeartbeatReceived) or beat.heartbeat.attempt != run.attempt:
            return None
        return parse_time(beat.heartbeat.sent_at) - beat.received_at

    def _sync_data(self, config: TrainingConfig) -> None:
        self._enter(Status.DATA_SYNC, "downloading")
        keys = self._request.dataset_keys
        dataset = download(self._world.transfer, keys, self._workdir.data, self._progress.synced, self._control.check)
        self._run_record.dataset = dataset
        try:
            rows = check_columns([one.path for one in dataset.files], config.data)
        except InvalidInput as error:
            raise RunFailed(Cause.USER_CODE, str(error)) from error
        self._run_record.rows = rows
        self._progress.work()
        if self._request.code_sha256 is not None:
            fetch_code(self._world.store.objects, self._request.code_sha256, self._workdir.code)
        _log.info("data set: %d files, %d bytes, %d rows", len(dataset.files), dataset.size, rows)

    def _restore(self) -> None:
        """Bring back what an earlier attempt has saved: the trainer goes on from the newest checkpoint it finds."""
        objects, transfer, prefix = self._world.store.objects, self._world.transfer, self._results.key_of(CHECKPOINTS)
        try:
            restored = restore(
                objects, transfer, prefix, self._workdir.checkpoints, self._progress.synced, self._control.check
            )
        except ServiceUnavailable as error:
            raise RunFailed(Cause.INFRA, f"checkpoints: {error}") from error
        self._run_record.resumed_from = restored
        if not self._looked:
            self._look_for_checkpoints()
        continue_metrics(objects, transfer, self._record.run, restored or 0, self._workdir.metrics)
        if restored is None and self._record.run.attempt > 1:
            _log.warning("no whole checkpoint in S3: attempt %d begins anew", self._record.run.attempt)

    def _train(self) -> None:
        self._enter(Status.TRAINING, "training")
        self._workdir.config.write_text(json.dumps(dict(self._request.config)))
        limits, now = self._request.limits, self._now()
        left = self._time_left(now)
        # It ends by itself before anybody asks it to, if it can. Where it hangs has to be in S3 before the watchdog has
        # seen enough of it.
        timeouts = Timeouts(limits.grace, limits.progress / 2, left - limits.grace - limits.sweep, left - limits.grace)
        near = self._nearest_limit(left, now)
        listener = Listener(self._checkpoints.offer, lambda: self._control.give_stop(near))
        with PeriodicTask(self._note, self._control, _NOTE_SECONDS):
            result = supervise(self._workdir, self._progress, self._control, timeouts, listener, self._box)
        self._run_record.result = result
        if result.get("stopped_early"):
            raise RunFailed(Cause.INFRA, "the trainer was told to stop by somebody else than its agent")

    def _now(self) -> datetime:
        """The time as S3 has it, as far as it is known: deadline and price were set by other clocks than the box's."""
        if self._clock_ahead is None:
            self._clock_ahead = self._clock_offset()
        return self._world.clock.now() - (self._clock_ahead or timedelta(0))

    def _time_left(self, now: datetime) -> timedelta:
        """Until deadline or cap."""
        run = self._record.run
        return time_left(run, run.attempt_started_at, now)

    def _nearest_limit(self, left: timedelta, now: datetime) -> Stop:
        """Why the run ends when the time that is left is over."""
        run = self._record.run
        if run.deadline - now <= left:
            reason = f"the deadline {run.deadline:%Y-%m-%d %H:%M:%SZ} is near"
            return Stop(Cause.OVER_DEADLINE, reason, run.deadline - self._request.limits.grace)
        return Stop(Cause.OVER_BUDGET, f"the cap of ${run.max_cost_usd:.2f} is near", now + left)

    def _sync_results(self, config: TrainingConfig) -> None:
        self._enter(Status.RESULTS_SYNC, "uploading")
        results = self._results
        has_model = results.model(self._workdir.model)
        self._control.check_fence()
        results.evidence(self._workdir)
        results.document(RUN, self._beginning())
        results.plots(self._workdir, self._run_record.result.get("examples", []), config.evaluation.season_length)
        self._control.check_fence()
        while not self._checkpoints.drain(_NOTE_SECONDS):
            self._control.check()
        uri = f"s3://{self._bucket}/{results.key_of('models/')}" if has_model else None
        self._logs.ship()
        document = self._run_record.to_document(self._request, self._record.run, _COMPLETED, uri)
        if missing := results.missing():
            raise RunFailed(Cause.INFRA, f"S3 does not have {', '.join(missing[:3])} as it was uploaded: launch again")
        results.summary(document)

    def _save(self, verdict: Verdict) -> None:
        """Save what an unfinished run has, as far as S3 takes it: its last checkpoint, metrics, both documents."""
        if verdict.outcome is Outcome.SUCCEEDED:
            return
        _log.error("%s, %s: %s", verdict.outcome, verdict.cause, verdict.message)
        if verdict.cause is Cause.PREEMPTED:
            self._record.note("interrupted")
        try:
            if not self._run_record.result and self._workdir.result.exists():
                self._run_record.result = read_result(self._workdir.result)
            # What the trainer has not needed of the time to stop in is the upload's too.
            left = self._control.time_to_leave(self._request.limits.grace, TO_UPLOAD)
            self._checkpoints.drain(left.total_seconds())
            self._logs.ship()
            self._results.evidence(self._workdir)
            document = self._run_record.to_document(self._request, self._record.run, verdict, None)
            self._results.summary(document)
            self._results.document(RUN, self._beginning())
        except Exception as error:  # noqa: BLE001 - what cannot be saved is no reason to lose the verdict as well
            _log.warning("not all of it could be saved: %s", error)

    def _leave(self, verdict: Verdict) -> int:
        """Clean up, and pronounce the verdict as the last thing: after it the watchdog wants this box gone."""
        if verdict.outcome is Outcome.SUCCEEDED:
            self._record.note("cleaning_up")
        receipt = clean(
            self._request.run_id, self._workdir, self._progress, self._checkpoints, self._logs, self._results
        )
        try:
            self._results.document(CLEANUP_STATUS, receipt)
        except ChronosError as error:
            _log.warning("%s not written: %s", CLEANUP_STATUS, error)
        _log.info("verdict: %s, %s", verdict.outcome, verdict.cause)
        self._logs.ship()
        ended = self._record.finish(verdict)
        return SUCCEEDED if ended.verdict and ended.verdict.outcome is Outcome.SUCCEEDED else FAILED

    def _enter(self, status: Status, step: str) -> None:
        self._control.check()
        self._record.advance(status, step)
        self._progress.work()
        _log.info("%s", status)

    def _note(self) -> None:
        if not self._begun and self._workdir.facts.exists():
            self._begun = self._results.once(RUN, self._beginning())
        now = self._progress.snapshot()
        if now.total_steps:
            self._record.note(f"step_{now.step}")

    def _beginning(self) -> dict[str, Any]:
        """run.json, with what the trainer has said before its first step, if it has."""
        facts: dict[str, Any] = {}
        if self._workdir.facts.exists():
            try:
                facts = load_json(self._workdir.facts.read_bytes(), self._workdir.facts.name)
            except InvalidDocument as error:
                _log.warning("left out of %s: %s", RUN, error)
        return self._run_record.beginning(self._request, self._record.run, facts)
