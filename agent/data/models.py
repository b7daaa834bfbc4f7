"""Model sync: download exactly the models that the request names, and compare each file with its SHA-256 there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.data.download import Download, ObjectChanged, fetch
from agent.errors import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.request import ModelReference
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import ListedObject, ObjectStore, ObjectTransfer


@dataclass(frozen=True, slots=True)
class ModelSync:
    """Downloads the models of a run from its bucket. `check` is called regularly, and stops it by raising."""

    objects: ObjectStore
    transfer: ObjectTransfer
    bucket: str
    on_bytes: Callable[[int], None]
    check: Callable[[], None]
    sleep: Callable[[float], None] = time.sleep

    def download_all(self, models: Iterable[ModelReference], folder_of: Callable[[str], Path]) -> None:
        """Download models, each into the folder of its name. Raises RunFailed."""
        for model in models:
            self.download(model, folder_of(model.given))

    def download(self, model: ModelReference, folder: Path) -> None:
        """Download a model into a folder.

        Raises:
            RunFailed: it cannot be downloaded, or is not what it was at the launch: a file has changed, is missing, or
                was added. Nothing in the folder may be loaded then.
        """
        expected = dict(model.sha256)
        try:
            found = self._listed(model)
            for parent in {(folder / name).parent for name in expected}:
                parent.mkdir(parents=True, exist_ok=True)
            downloads = [Download(one.key, one.size, folder / name, one.etag) for name, one in found.items()]
            hashes = fetch(self.transfer, downloads, self.on_bytes, self.check, self.sleep)
        except ServiceUnavailable as error:
            raise RunFailed(Cause.INFRA, f"model {model.given}: {error}") from error
        except ObjectChanged as error:
            raise _changed(model, str(error)) from error
        for name, sha256 in zip(found, hashes, strict=True):
            if sha256 != expected[name]:
                raise _changed(model, f"{name} has the SHA-256 {sha256}, expected {expected[name]}")

    def _listed(self, model: ModelReference) -> dict[str, ListedObject]:
        """The files of a model by name: exactly those of the request."""
        prefix, expected = model.uri.removeprefix(f"s3://{self.bucket}/"), dict(model.sha256)
        if prefix == model.uri:
            raise _changed(model, f"{model.uri} is not in the bucket of this run")
        # One more than expected shows that there are more; there may be millions.
        listed = islice(self.objects.listed(prefix), len(expected) + 1)
        found = {one.key.removeprefix(prefix): one for one in listed}
        for name in sorted(found.keys() ^ expected.keys()):
            raise _changed(model, f"{one_line(name, 100)} {'was added' if name in found else 'is missing'}")
        return found


def _changed(model: ModelReference, problem: str) -> RunFailed:
    text = f"model {model.given}: {problem}. It is not what it was at the launch, so nothing of it was loaded"
    return RunFailed(Cause.USER_CODE, f"{text}; launch again")
