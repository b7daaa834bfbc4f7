"""The data sync of a run: its data set, its models and code, and the checkpoint that it goes on from."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import chain
from pathlib import Path

from agent.checkpoint.restore import restore, restore_metrics
from agent.data.dataset import DataSet, download
from agent.data.trainer_code import fetch_code
from agent.errors import RunFailed
from agent.run_context import RunContext
from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, run_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.job_config.jobs import JobConfig, model_references
from chronos_ec2.services.checkpoints import stored_checkpoints

_log = logging.getLogger(__name__)


class DataSync:
    """Brings onto the instance what the work needs."""

    def __init__(self, context: RunContext) -> None:
        self._ctx = context
        self._checkpoints_known = False

    def find_checkpoints(self) -> None:
        """Before the first heartbeat: without a checkpoint in its last heartbeat, a lost run gets no next attempt."""
        ctx = self._ctx
        try:
            objects = ctx.world.store.objects
            latest = next(chain.from_iterable(stored_checkpoints(objects, one) for one in self._checkpoints()), None)
        except ServiceUnavailable as error:
            _log.warning("%s; checkpoints are listed again before training", error)
            return
        self._checkpoints_known = True
        if latest is not None:
            ctx.progress.checkpointed(max(timedelta(0), ctx.world.clock.now() - latest.written_at))

    def _checkpoints(self) -> tuple[str, ...]:
        """The prefixes of the checkpoints to resume from: the run's own, then those of the run that it takes up."""
        own, parent = self._ctx.results.key_of(CHECKPOINTS), self._ctx.request.parent
        environment = self._ctx.identity.environment
        return (own,) if parent is None else (own, run_key(environment, parent.checkpoints_of, CHECKPOINTS))

    def download(self) -> None:
        """Download exactly the data set that the request names. Raises RunFailed."""
        ctx = self._ctx
        ctx.record.dataset = dataset = self._download(ctx.request.dataset_keys, ctx.workdir.data)
        if ctx.request.future_keys:
            ctx.workdir.future.mkdir()
            ctx.record.future = self._download(ctx.request.future_keys, ctx.workdir.future)
        dataset.write_hashes(ctx.workdir.data_hashes)
        if (parent := ctx.request.parent) and parent.data_sha256 not in (None, dataset.sha256):
            raise RunFailed(Cause.USER_CODE, f"data set: its files have changed since run {parent.run_id}")
        _log.info("data set: %d files, %d bytes", len(dataset.files), dataset.size)

    def prepare(self, config: JobConfig) -> None:
        """Check the columns of the data set, and download models and code. Raises RunFailed."""
        ctx = self._ctx
        assert ctx.record.dataset is not None
        files = [one.path for one in ctx.record.dataset.files]
        # pyarrow and numpy take as long to import as all that the claim needs, and are installed after it.
        from agent.data.columns import count_rows  # noqa: PLC0415

        try:
            rows = count_rows(files, config.data)
        except InvalidInput as error:
            raise RunFailed(Cause.USER_CODE, str(error)) from error
        ctx.record.rows = rows
        ctx.progress.work()
        self._download_models(config)
        if ctx.request.code_sha256 is not None:
            fetch_code(ctx.world.store.objects, ctx.request.code_sha256, ctx.workdir.code)
        _log.info("data set: %d rows", rows)

    def _download_models(self, config: JobConfig) -> None:
        """Download the models of the request. A model that it does not pin is never loaded."""
        ctx = self._ctx
        pinned = {model.given for model in ctx.request.models}
        for key, given in model_references(config).items():
            if given not in pinned:
                raise RunFailed(Cause.USER_CODE, f"{key}: the request pins no model {given}, so it is not loaded")
        ctx.models.download_all(ctx.request.models, ctx.workdir.reference)

    def _download(self, keys: tuple[DataObject, ...], folder: Path) -> DataSet:
        ctx = self._ctx
        return download(ctx.world.transfer, keys, folder, ctx.progress.synced, ctx.control.check)

    def restore(self) -> None:
        """Restore the latest checkpoint, of an earlier attempt or of the run that is taken up, for the trainer."""
        ctx, run, parent = self._ctx, self._ctx.session.run, self._ctx.request.parent
        objects, transfer, folder = ctx.world.store.objects, ctx.world.transfer, ctx.workdir.checkpoints
        step = None
        try:
            for prefix in self._checkpoints():
                step = restore(objects, transfer, prefix, folder, ctx.progress.synced, ctx.control.check)
                if step is not None:
                    break
            if step is not None and ctx.forecasts is not None:
                step = ctx.forecasts.resume(objects, transfer, ctx.progress.synced, ctx.control.check)
        except ServiceUnavailable as error:
            raise RunFailed(Cause.INFRA, f"checkpoints: {error}") from error
        if step is None and parent is not None:
            raise RunFailed(Cause.INFRA, f"no complete checkpoint of run {parent.checkpoints_of} is left in S3")
        ctx.record.resumed_from = step
        if not self._checkpoints_known:
            self.find_checkpoints()
        taken_up = parent.checkpoints_of if parent else None
        restore_metrics(objects, transfer, run, step or 0, ctx.workdir.metrics, taken_up)
        if step is None and run.attempt > 1:
            _log.warning("no complete checkpoint in S3: attempt %d starts over", run.attempt)
