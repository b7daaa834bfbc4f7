"""The output of a forecast job in S3: parts as they are done, and the manifest last."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from agent.data.download import Download, ObjectChanged, fetch
from agent.protocol.checkpoint_dir import folder_of
from agent.protocol.forecast_parts import DoneParts, ForecastPart, latest_parts
from agent.protocol.workdir import Workdir
from agent.results.upload import Results
from chronos_ec2.domain.records.s3_keys import FORECASTS
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_log = logging.getLogger(__name__)
MANIFEST = "manifest.json"


class ForecastOutput:
    """Uploads parts, and goes on from those that an earlier attempt has uploaded."""

    def __init__(self, results: Results, workdir: Workdir) -> None:
        self._results = results
        self._workdir = workdir
        self._uploaded: set[str] = set()

    def upload(self) -> None:
        """Upload all parts of the latest checkpoint that are not uploaded yet, and delete them here.

        Called before a checkpoint is uploaded: one in S3 names no part that is not there.
        """
        for part in latest_parts(self._workdir.checkpoints).parts:
            if part.name not in self._uploaded:
                path = self._workdir.forecast_parts / part.name
                self._results.file(path, FORECASTS + part.name, part.sha256)
                self._uploaded.add(part.name)
                path.unlink()

    def resume(
        self,
        objects: ObjectStore,
        transfer: ObjectTransfer,
        on_bytes: Callable[[int], None],
        check: Callable[[], None],
    ) -> int | None:
        """Go on with the first part that is not in S3 as the restored checkpoint has it; its step, None to start over.

        Raises ServiceUnavailable: S3 does not answer, which says nothing about the parts.
        """
        checkpoints = self._workdir.checkpoints
        done = latest_parts(checkpoints)
        whole = self._whole(done, objects, transfer, on_bytes, check)
        if whole < len(done.parts):
            _log.warning("part %s is not in S3 as it was uploaded: going on from it", done.parts[whole].name)
            shutil.rmtree(folder_of(checkpoints, done.items))
            done = done.first(whole)
            if whole:
                done.save(checkpoints)
        for part in done.parts:
            self._uploaded.add(part.name)
            self._results.uploaded[FORECASTS + part.name] = part.bytes
        return done.items or None

    def _whole(
        self,
        done: DoneParts,
        objects: ObjectStore,
        transfer: ObjectTransfer,
        on_bytes: Callable[[int], None],
        check: Callable[[], None],
    ) -> int:
        """How many parts, from the first on, are in S3 with their size and SHA-256."""
        key_of = self._results.key_of
        sizes = dict(objects.keys(key_of(FORECASTS)))
        folder = self._workdir.forecast_parts
        folder.mkdir(exist_ok=True)
        for number, part in enumerate(done.parts):
            key, path = key_of(FORECASTS + part.name), folder / f"compared-{part.name}"
            if sizes.get(key) != part.bytes:
                return number
            try:
                hashes = fetch(transfer, [Download(key, part.bytes, path)], on_bytes, check)
            except ObjectChanged:
                return number
            finally:
                path.unlink(missing_ok=True)
            if hashes != (part.sha256,):
                return number
        return len(done.parts)

    def finish(self, summary: dict[str, Any]) -> None:
        """Upload what is left, and the manifest last."""
        self.upload()
        parts = latest_parts(self._workdir.checkpoints).parts
        self._results.document(FORECASTS + MANIFEST, self._manifest(summary, parts))

    def _manifest(self, summary: dict[str, Any], parts: tuple[ForecastPart, ...]) -> dict[str, Any]:
        counts = "rows_without_numbers", "quantiles_cross"
        named = [
            {"key": self._results.key_of(FORECASTS + part.name)}
            | {name: value for name, value in asdict(part).items() if name not in {"name", *counts}}
            for part in parts
        ]
        fields = ("format", "rows", "items", "first_timestamp", "last_timestamp", *counts, "model")
        return {"schema_version": 1, **{name: summary[name] for name in fields}, "parts": named}
