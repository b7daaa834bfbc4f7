"""What a launch takes up of a run that has ended: its request, and its latest complete checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, load_json
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Parent, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, bundle_key, code_key, run_key
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.checkpoints import stored_checkpoints
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.models import check_models
from chronos_ec2.services.run_queries import find_run

OPTION = "--resume"
_RUN_DOCUMENT = "run.json"


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that can be taken up: its request, what the new run must know of it, and the step of its checkpoint."""

    request: Request
    parent: Parent
    step: int


def find_resumable(store: RunStore, environment: str, run_id: str) -> Resumed:
    """The run to take up.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: it is active or complete, it left no complete checkpoint, or its data or trainer have changed.
    """
    view = find_run(store, environment, run_id)
    _must_be_over(view.run, view.active, environment)
    request = _request_of(store, environment, run_id)
    sources = [run_id, *([request.parent.checkpoints_of] if request.parent else [])]
    found = ((source, _latest_step(store, environment, source)) for source in sources)
    source, step = next(((source, step) for source, step in found if step is not None), (run_id, None))
    if step is None:
        problem = f"run {run_id} left no complete checkpoint (their parts expire after two weeks)"
        raise InvalidInput(OPTION, problem, "launch a new run with --config FILE")
    check_unchanged(store, request, run_id)
    check_models(store, request.models, OPTION)
    code = request.code_sha256
    if code is not None and code_key(code) not in dict(store.objects.keys(code_key(code))):
        raise InvalidInput(OPTION, f"{code_key(code)}, the trainer of run {run_id}, is gone", "launch a new run")
    return Resumed(request, Parent(run_id, source, _data_sha256(store, environment, source)), step)


def _latest_step(store: RunStore, environment: str, run_id: str) -> int | None:
    latest = next(stored_checkpoints(store.objects, run_key(environment, run_id, CHECKPOINTS)), None)
    return None if latest is None else latest.manifest.step


def _must_be_over(run: Run, active: bool, environment: str) -> None:
    if active:
        commands = [f"`chronos-ec2 {name} {run.run_id} --environment {environment}`" for name in ("monitor", "kill")]
        problem = f"run {run.run_id} is active (status {run.status})"
        raise InvalidInput(OPTION, problem, f"{commands[0]} follows it, {commands[1]} ends it")
    if run.verdict and run.verdict.outcome is Outcome.SUCCEEDED:
        remedy = "its model is in its results; to train further, launch a run with another --config FILE"
        raise InvalidInput(OPTION, f"run {run.run_id} has completed its training, so nothing is left to resume", remedy)


def _request_of(store: RunStore, environment: str, run_id: str) -> Request:
    request = store.read_request(environment, run_id)
    if request is None:
        raise InvalidInput(OPTION, f"run {run_id} has no {REQUEST} any more", "launch a new run with --config FILE")
    return request


def check_unchanged(store: RunStore, request: Request, run_id: str) -> None:
    """Raise InvalidInput unless the bucket has the files that a run was launched with, by name and ETag.

    The instance compares their content. Files that were added are not trained on.
    """
    path = str(request.config.get("data", {}).get("path", ""))
    now = {one.key: one for one in find_dataset(store, request.lane.environment, path)}
    changed = [one.key for one in request.dataset_keys if now.get(one.key) != one]
    if changed:
        how = "was overwritten" if changed[0] in now else "is gone"
        more = f", and {len(changed) - 1} more differ" if len(changed) > 1 else ""
        problem = f"data set {path} has changed since run {run_id}: {changed[0]} {how}{more}"
        raise InvalidInput(OPTION, problem, "upload the data as it was, or launch a new run with --config FILE")


def _data_sha256(store: RunStore, environment: str, run_id: str) -> str | None:
    """The hash of the data that a run trained on, None if it did not get as far as to write it down."""
    found = store.objects.read(run_key(environment, run_id, _RUN_DOCUMENT), MAX_REQUEST_BYTES)
    if found is None:
        return None
    try:
        fields = Fields(load_json(found.body, _RUN_DOCUMENT, MAX_REQUEST_BYTES), _RUN_DOCUMENT)
        return fields.child("data").text_or_none("sha256") if fields.has("data") else None
    except InvalidDocument:
        return None


def has_bundle(store: RunStore, sha256: str) -> bool:
    """Whether the bucket still has an agent's code."""
    return bundle_key(sha256) in dict(store.objects.keys(bundle_key(sha256)))
