"""The checkpoints of a run in the bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.records.checkpoint import MANIFEST, Manifest
from chronos_ec2.ports import ObjectStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint in S3 whose parts all have their sizes. `prefix` ends with a slash."""

    prefix: str
    manifest: Manifest
    written_at: datetime


def stored_checkpoints(objects: ObjectStore, prefix: str) -> Iterator[Stored]:
    """The checkpoints below a prefix, latest first. Raises ServiceUnavailable."""
    sizes = dict(objects.keys(prefix))
    steps = {key.removeprefix(prefix).removesuffix(f"/{MANIFEST}") for key in sizes if key.endswith(f"/{MANIFEST}")}
    for step in sorted((int(step) for step in steps if step.isdecimal()), reverse=True):
        folder = f"{prefix}{step}/"
        found = objects.read(folder + MANIFEST)
        if found is None:
            continue
        try:
            manifest = Manifest.from_json(found.body, step)
        except InvalidDocument as error:
            _log.warning("checkpoint %d skipped: %s", step, error)
            continue
        if torn := [part.name for part in manifest.parts if sizes.get(folder + part.name) != part.size]:
            _log.warning("checkpoint %d skipped: %s is missing or has another size", step, torn[0])
            continue
        yield Stored(folder, manifest, found.written_at)
