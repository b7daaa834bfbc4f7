"""Uploads the results of a run. The model is first and training.json last, so that it marks complete results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.data.hashing import sha256_of
from agent.logs.redacted_copy import Part
from agent.protocol.workdir import Workdir
from agent.results.schema import problems
from chronos_ec2.domain.errors import InvalidDocument, ServiceUnavailable
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.records.reports import check_model_names
from chronos_ec2.domain.records.s3_keys import log_key, run_key
from chronos_ec2.ports import ObjectStore, ObjectTransfer
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
TRAINING = "training.json"
RUN = "run.json"
_DELAYS = (2, 5, 10, 20, 30)
_MODEL_LICENSE = (
    "These weights were trained by the owner of this bucket. Where they started from published Chronos-2 weights,\n"
    "those are Copyright Amazon.com, Inc. or its affiliates, under the Apache License, Version 2.0:\n"
    "https://www.apache.org/licenses/LICENSE-2.0\n"
)


class Results:
    """Writes below `{environment}/{run_id}/`. Writes are retried for a minute, then raise ServiceUnavailable."""

    def __init__(
        self,
        objects: ObjectStore,
        transfer: ObjectTransfer,
        environment: str,
        run_id: str,
        progress: Progress,
        sleep: Callable[[float], None] = time.sleep,
        attempt: int = 1,
    ) -> None:
        self._objects = objects
        self._transfer = transfer
        self._environment = environment
        self._run_id = run_id
        self._progress = progress
        self._sleep = sleep
        self._attempt = attempt
        self.uploaded: dict[str, int] = {}
        self.models: tuple[tuple[str, str], ...] = ()
        """Name and SHA-256 of each file of the model."""

    def key_of(self, name: str) -> str:
        """The key of an object of the run."""
        return run_key(self._environment, self._run_id, name)

    def file(self, path: Path, name: str, sha256: str | None = None) -> None:
        """Upload a file, with its hash for whoever downloads it in pieces."""
        self._retried(lambda: self._transfer.upload(path, self.key_of(name), self._progress.synced, sha256=sha256))
        self.uploaded[name] = path.stat().st_size

    def document(self, name: str, document: dict[str, Any]) -> None:
        """Write a JSON document."""
        self.body(name, dump_json(document), "application/json")

    def body(self, name: str, body: bytes, content_type: str) -> None:
        """Write an object."""
        self._retried(lambda: self._objects.write(self.key_of(name), body, content_type))
        self._progress.synced(len(body))
        self.uploaded[name] = len(body)

    def try_document(self, name: str, document: dict[str, Any]) -> bool:
        """Write a JSON document without retries. Returns whether it succeeded."""
        body = dump_json(document)
        try:
            self._objects.write(self.key_of(name), body)
        except ServiceUnavailable as error:
            _log.warning("%s not written yet: %s", name, error)
            return False
        self.uploaded[name] = len(body)
        return True

    def summary(self, document: dict[str, Any]) -> None:
        """Write training.json. One that violates its schema is a bug, which is logged, but better than none."""
        for problem in problems(document):
            _log.error("training.json: %s", problem)
        self.document(TRAINING, document)

    def missing(self) -> list[str]:
        """The names of uploaded objects that are not in S3, or have another size there. Raises ServiceUnavailable."""
        sizes: dict[str, int] = {}
        self._retried(lambda: sizes.update(self._objects.keys(self.key_of(""))))
        # A copy, because a thread that was left behind may add to it.
        uploaded = dict(self.uploaded)
        return sorted(name for name, size in uploaded.items() if sizes.get(self.key_of(name)) != size)

    def log(self, part: Part) -> None:
        """Upload a part of a log, without retries: it is uploaded again anyway.

        Does not count as progress, because a hung trainer may still write to its log.
        """
        key = log_key(self._environment, self._run_id, part.log, self._attempt, part.number)
        self._transfer.upload(part.path, key, lambda _count: None)

    def model(self, folder: Path) -> bool:
        """Upload the model for `BaseChronosPipeline.from_pretrained`. Returns False if there is none.

        Chronos downloads exactly config.json, model.safetensors and LICENSE.txt. The licence must exist: S3 answers 403
        instead of 404 for a missing key if the reader may not list the bucket, and Chronos treats that as an error. The
        output of a custom trainer is uploaded unchanged.
        """
        licence = folder / "LICENSE.txt"
        if (folder / "config.json").exists() and not licence.exists():
            licence.write_text(_MODEL_LICENSE)
        files = sorted(part for part in folder.rglob("*") if part.is_file())
        hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
        try:
            self.models = tuple((name, hashes[name]) for name in check_model_names(hashes))
        except InvalidDocument as error:
            _log.warning("the hashes of the model are not recorded: %s", error)
        for path in files:
            self.file(path, f"models/{path.relative_to(folder).as_posix()}")
        return bool(files)

    def evaluation(self, workdir: Workdir) -> None:
        """Upload forecasts, metrics, TensorBoard files and the evaluation, as far as they exist."""
        for path in (workdir.forecasts, workdir.metrics):
            if path.exists():
                self.file(path, path.name)
        for path in sorted(workdir.evaluation.glob("*")):
            self.file(path, f"eval/{path.name}")
        for path in sorted(workdir.tensorboard.glob("*")):
            self.file(path, f"tensorboard/{path.name}")

    def plots(self, workdir: Workdir, examples: list[dict[str, Any]], season_length: int) -> None:
        """Draw and upload the plots. Errors are logged: they are no reason to fail a trained model."""
        # Imported here: the claim of a run does not wait for matplotlib on a cold disk.
        from agent import plots  # noqa: PLC0415

        loss, forecast = workdir.plots / "loss.png", workdir.plots / "forecast.png"
        try:
            plots.draw_loss(workdir.metrics, loss)
            if examples:
                plots.draw_forecasts(examples, forecast, season_length)
        except Exception as error:  # noqa: BLE001 - as documented
            _log.warning("plots not drawn: %s", error)
        for picture in (loss, forecast):
            if picture.exists():
                self.file(picture, f"plots/{picture.name}")

    def _retried(self, call: Callable[[], None]) -> None:
        for delay in _DELAYS:
            try:
                call()
            except ServiceUnavailable as error:
                _log.warning("%s; retrying in %s s", error, delay)
                self._sleep(delay)
            else:
                return
        call()
