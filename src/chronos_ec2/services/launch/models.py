"""The models that a run loads: found at the launch, and pinned by the SHA-256 of each file.

An instance reads models from the stack's bucket alone. What is elsewhere, on the hub or in a folder, is copied there
once, under the hash of its files.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import did_you_mean
from chronos_ec2.domain.records.model_source import (
    ChampionModel,
    HubModel,
    LocalModel,
    RunModel,
    StoredModel,
    parse_reference,
)
from chronos_ec2.domain.records.reports import MAX_MODEL_FILES
from chronos_ec2.domain.records.request import ModelReference
from chronos_ec2.domain.records.s3_keys import (
    COPIED_MODELS,
    RUN_ID_PATTERN,
    hub_model_key,
    model_key,
    run_key,
    shared_key,
)
from chronos_ec2.input_files import check_input, read_input, shown
from chronos_ec2.model_registry import Registry
from chronos_ec2.ports import HubFiles, ModelHub, ObjectTransfer
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.wheels import file_sha256
from chronos_ec2.services.run_queries import find_run

Hashes = tuple[tuple[str, str], ...]
"""Name and SHA-256 of each file, by name."""
MODELS = "models/"
CONFIG = "config.json"
_WEIGHTS = ".safetensors"
_KEPT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}\.(?:json|safetensors)")
"""Files of a model without folders. Weights as pickles are left out, because loading one can run any code."""
_SCHEMA_VERSION = 1
_MAX_CONFIG_BYTES = 1 << 20
_CHRONOS = ("chronos_config", "chronos_pipeline_class")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a run will load.

    Attributes:
        given: its name in the configuration.
        shown: what it is, for people.
        size: in bytes.
        reference: where it is in the bucket; None until it is copied.
        hub: its name on the hub and its files there, if it has to be copied from there.
        folder: where its files are on this machine, if they have to be copied from here.
        sha256: of each file, as far as it is known.
    """

    given: str
    shown: str
    size: int
    reference: ModelReference | None = None
    hub: tuple[str, HubFiles] | None = None
    folder: Path | None = None
    sha256: Hashes = ()


@dataclass(frozen=True, slots=True)
class ModelFinder:
    """Finds models for the runs of an environment. `bucket` is the stack's; `report` gets each slow step."""

    store: RunStore
    transfer: ObjectTransfer
    hub: ModelHub
    environment: str
    bucket: str
    report: Callable[[str], None]

    def find(self, key: str, given: str) -> FoundModel:
        """The model that a configuration names at `key`. Nothing is written.

        Raises:
            InvalidInput: there is no such model, an instance could not read it, or it is not a model of Chronos.
            RunNotFound: no run has that id.
            ServiceUnavailable, NotAllowed: the hub or AWS did not answer, or refused.
        """
        source = parse_reference(given)
        match source:
            case HubModel():
                return self._of_hub(key, given, source)
            case LocalModel(path):
                return self._of_folder(key, given, Path(path).expanduser())
            case RunModel(run_id):
                return self._of_run(key, given, run_id)
            case ChampionModel(model):
                champion = Registry(self.environment, self.store.objects).champion(model)
                if champion is None:
                    remedy = "`chronos-ec2 models` makes one; `launch --promote better` makes the first by itself"
                    known = Registry(self.environment, self.store.objects).models()
                    raise InvalidInput(key, f"model {model} has no champion", did_you_mean(model, known, remedy))
                return self._in_run(key, given, champion.run_id, champion.files)
            case StoredModel():
                return self._of_bucket(key, given, source)

    def publish(self, found: FoundModel) -> ModelReference:
        """Copy a found model into the bucket unless it is there.

        Raises:
            InvalidInput: what the hub has is not a model of Chronos.
            ServiceUnavailable, NotAllowed: the hub or AWS did not answer, or refused.
        """
        if found.reference is not None:
            return found.reference
        self.report(f"copying {found.shown} into the bucket ({found.size / 1e6:.0f} MB)")
        if found.hub is None:
            assert found.folder is not None
            return self._copy(found.given, found.folder, found.sha256)
        name, files = found.hub
        kept = _kept(found.given, found.given, [file for file, _ in files.files])
        folder = self.hub.download(name, files.commit, kept)
        hashes = _hashes(found.given, found.given, folder, kept)
        reference = self._copy(found.given, folder, hashes)
        note = {"schema_version": _SCHEMA_VERSION, "sha256": dict(hashes)}
        self.store.objects.write(hub_model_key(self.environment, name, files.commit), dump_json(note))
        return reference

    def _of_hub(self, key: str, given: str, source: HubModel) -> FoundModel:
        """A commit that was copied before is found without the hub."""
        files = None if source.commit else self.hub.find(source.name, source.revision)
        commit = files.commit if files else source.commit or ""
        shown = f"{source.name}@{commit[:12]}"
        copied = self._copied_before(source.name, commit)
        if copied and (size := self._size_in_bucket(copied)) is not None:
            return FoundModel(given, shown, size, self._reference(given, copied))
        files = files or self.hub.find(source.name, commit)
        kept = _kept(key, given, [name for name, _ in files.files])
        size = sum(size for name, size in files.files if name in kept)
        return FoundModel(given, shown, size, hub=(source.name, files))

    def _copied_before(self, name: str, commit: str) -> Hashes:
        """The files of a model of the hub, if it was copied into the bucket."""
        key = hub_model_key(self.environment, name, commit)
        if (found := self.store.objects.read(key)) is None:
            return ()
        try:
            note = Fields(load_json(found.body, key), key)
            return tuple(sorted((file, note.child("sha256").text(file)) for file in note.raw("sha256")))
        except InvalidDocument:
            return ()  # then it is copied again

    def _of_folder(self, key: str, given: str, folder: Path) -> FoundModel:
        if not folder.is_dir():
            raise InvalidInput(key, f"{given} is not a folder", "name a model's folder, or a hub id: amazon/chronos-2")
        hashes = _hashes(key, given, folder, [path.name for path in folder.iterdir() if path.is_file()])
        size = sum((folder / name).stat().st_size for name, _ in hashes)
        there = self._size_in_bucket(hashes) is not None
        reference = self._reference(given, hashes) if there else None
        return FoundModel(given, given, size, reference, folder=folder, sha256=hashes)

    def _of_run(self, key: str, given: str, run_id: str) -> FoundModel:
        """The model of a run, with the hashes in its final record, which no instance can write."""
        view = find_run(self.store, self.environment, run_id)
        if view.active:
            raise InvalidInput(key, f"run {run_id} is active", f"`chronos-ec2 monitor {run_id}` follows it to its end")
        if not view.run.models:
            remedy = "`chronos-ec2 runs` shows how each run ended"
            raise InvalidInput(key, f"run {run_id} has exported no model", remedy)
        return self._in_run(key, given, run_id, view.run.models)

    def _in_run(self, key: str, given: str, run_id: str, hashes: Hashes) -> FoundModel:
        prefix = run_key(self.environment, run_id, MODELS)
        sizes = {name.removeprefix(prefix): size for name, size in self.store.objects.keys(prefix)}
        if missing := [name for name, _ in hashes if name not in sizes]:
            raise InvalidInput(
                key, f"{prefix}{missing[0]}, of the model of run {run_id}, is gone", "name another model"
            )
        size = sum(sizes[name] for name, _ in hashes)
        return FoundModel(given, given, size, ModelReference(given, f"s3://{self.bucket}/{prefix}", hashes))

    def _of_bucket(self, key: str, given: str, source: StoredModel) -> FoundModel:
        """A model that somebody has put into the bucket. Files without a hash of ours are read to find it."""
        if source.bucket != self.bucket:
            remedy = f"download it, and name its folder; or copy it to s3://{self.bucket}/{self._uploads}"
            raise InvalidInput(key, f"{given} is not in the stack's bucket, and instances read no other", remedy)
        if match := re.fullmatch(rf"{self.environment}/({RUN_ID_PATTERN.pattern})/{MODELS}", source.prefix):
            return self._of_run(key, given, match[1])
        if not source.prefix.startswith((COPIED_MODELS, shared_key(self.environment, ""))):
            remedy = f"copy it to s3://{self.bucket}/{self._uploads}"
            raise InvalidInput(key, f"{given} is where the instances of {self.environment} read no models", remedy)
        sizes = {name.removeprefix(source.prefix): size for name, size in self.store.objects.keys(source.prefix)}
        _kept(key, given, sizes)
        if len(sizes) > MAX_MODEL_FILES or not all(sizes.values()):
            problem = (
                f"{given} has {len(sizes)} files, or an empty one; a model has at most {MAX_MODEL_FILES}, none empty"
            )
            raise InvalidInput(key, problem, "keep the files of the model alone there")
        self.report(f"reading {given}")
        # All of them: an instance refuses a folder with a file that is not in the request.
        hashes = tuple((name, self._sha256_of(source.prefix + name)) for name in sorted(sizes))
        reference = ModelReference(given, f"s3://{self.bucket}/{source.prefix}", hashes)
        return FoundModel(given, given, sum(sizes.values()), reference)

    @property
    def _uploads(self) -> str:
        return shared_key(self.environment, "models/NAME/")

    def _sha256_of(self, key: str) -> str:
        with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as folder:
            path = Path(folder) / "file"
            known = self.transfer.download_piece(key, path, range(1), lambda _count: None).sha256
            if known is not None:
                return known
            self.transfer.download(key, path, lambda _count: None)
            return file_sha256(path)

    def _copy(self, given: str, folder: Path, hashes: Hashes) -> ModelReference:
        there = dict(self.store.objects.keys(model_key(_content(hashes), "")))
        for name, sha256 in hashes:
            key, path = model_key(_content(hashes), name), folder / name
            if there.get(key) != path.stat().st_size:
                self.transfer.upload(path, key, lambda _count: None, sha256=sha256)
        return self._reference(given, hashes)

    def _reference(self, given: str, hashes: Hashes) -> ModelReference:
        return ModelReference(given, f"s3://{self.bucket}/{model_key(_content(hashes), '')}", hashes)

    def _size_in_bucket(self, hashes: Hashes) -> int | None:
        """The bytes of a model that was copied, None if the bucket does not have all of it."""
        prefix = model_key(_content(hashes), "")
        sizes = {key.removeprefix(prefix): size for key, size in self.store.objects.keys(prefix)}
        return sum(sizes[name] for name, _ in hashes) if all(name in sizes for name, _ in hashes) else None


def check_models(store: RunStore, references: Iterable[ModelReference], where: str) -> None:
    """Raise InvalidInput unless the bucket still has the files of each model that a run has named."""
    for reference in references:
        prefix = reference.uri.split("/", 3)[3]
        there = dict(store.objects.keys(prefix))
        if missing := next((name for name, _ in reference.sha256 if prefix + name not in there), None):
            raise InvalidInput(where, f"{prefix}{missing}, of the model {reference.given}, is gone", "launch a new run")


def _kept(key: str, given: str, names: Iterable[str]) -> tuple[str, ...]:
    """The files of a model that a run needs. Raises InvalidInput if it is none."""
    kept = tuple(sorted(name for name in names if _KEPT.fullmatch(name)))
    if CONFIG not in kept:
        remedy = "name the folder or hub id of a whole model, as save_pretrained writes it"
        raise InvalidInput(key, f"{given} has no {CONFIG}, so it is not a model", remedy)
    if not any(name.endswith(_WEIGHTS) for name in kept):
        remedy = "save it again: model.save_pretrained(FOLDER) writes model.safetensors"
        raise InvalidInput(key, f"{given} has no {_WEIGHTS} file, and weights in other formats can run code", remedy)
    return kept


def _hashes(key: str, given: str, folder: Path, names: Iterable[str]) -> Hashes:
    """The SHA-256 of each file that is kept. Raises InvalidInput if it is not a model of Chronos."""
    kept = _kept(key, given, names)
    try:
        config = json.loads(read_input(folder / CONFIG, _MAX_CONFIG_BYTES, option=key))
        for name in kept:
            check_input(folder / name, f"{key}: {shown(folder / name)}")
        hashes = tuple((name, file_sha256(folder / name)) for name in kept)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(key, f"{CONFIG} of {given} is not JSON", "save the model again") from error
    except OSError as error:
        remedy = "check the path and its permissions"
        raise InvalidInput(key, f"{given} cannot be read: {error.strerror}", remedy) from error
    if not isinstance(config, dict) or not any(name in config for name in _CHRONOS):
        remedy = "Chronos-2, Chronos-Bolt and Chronos-T5 can be used, such as amazon/chronos-2"
        raise InvalidInput(key, f"{given} is not a model of Chronos: its {CONFIG} has no {_CHRONOS[0]}", remedy)
    return hashes


def _content(hashes: Hashes) -> str:
    """The hash of a model: of the names and hashes of its files."""
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes)).encode()).hexdigest()
