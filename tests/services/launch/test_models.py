"""Models are found at the launch, copied into the bucket once, and pinned by the hash of each file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from chronos_ec2.domain.errors import InvalidInput, RunNotFound, ServiceUnavailable
from chronos_ec2.domain.records.request import ModelReference
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import hub_model_key, run_key
from chronos_ec2.services.launch.models import ModelFinder, check_models
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import RUN_ID, a_run
from tests.model_hub import FILES, KEPT, MemoryHub

NAME, KEY, BUCKET = "amazon/chronos-tiny", "model.base", "a-bucket"
HASHES = tuple((name, hashlib.sha256(FILES[name]).hexdigest()) for name in KEPT)


@pytest.fixture
def hub(tmp_path: Path) -> MemoryHub:
    return MemoryHub(tmp_path / "hub")


@pytest.fixture
def finder(env: Environment, hub: MemoryHub) -> ModelFinder:
    return ModelFinder(env.store, env.aws.transfer, hub, "dev", BUCKET, lambda _text: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (path / name).write_bytes(FILES[name])
    return path


def published(finder: ModelFinder, given: str) -> ModelReference:
    return finder.publish(finder.find(KEY, given))


def in_bucket(env: Environment, reference: ModelReference) -> dict[str, str]:
    prefix = reference.uri.removeprefix(f"s3://{BUCKET}/")
    keys = [key for key, _ in env.objects.keys(prefix)]
    return {key.removeprefix(prefix): hashlib.sha256(env.objects.body(key)).hexdigest() for key in keys}


def writes(env: Environment) -> list[str]:
    return [key for call, key in env.faults.calls if call in ("objects.write", "objects.create", "objects.replace")]


def test_a_model_of_the_hub_is_copied_by_its_content_with_what_a_run_needs_alone(
    env: Environment, hub: MemoryHub, finder: ModelFinder
) -> None:
    commit = hub.put(NAME)
    found = finder.find(KEY, NAME)
    assert (found.reference, found.shown) == (None, f"{NAME}@{commit[:12]}")
    assert found.size == sum(len(FILES[name]) for name in KEPT)
    reference = finder.publish(found)
    assert reference.given == NAME
    assert reference.uri.startswith(f"s3://{BUCKET}/cached-datasets/models/")
    assert reference.sha256 == HASHES
    assert in_bucket(env, reference) == dict(HASHES)


def test_finding_a_model_writes_nothing_and_downloads_nothing(
    env: Environment, hub: MemoryHub, finder: ModelFinder
) -> None:
    hub.put(NAME)
    before = len(writes(env))
    finder.find(KEY, NAME)
    assert len(writes(env)) == before
    assert hub.asked == [f"find {NAME}"]


def test_a_model_is_copied_once(env: Environment, hub: MemoryHub, finder: ModelFinder) -> None:
    hub.put(NAME)
    first, before = published(finder, NAME), len(writes(env))
    assert published(finder, NAME) == first
    assert len(writes(env)) == before
    assert hub.asked.count(f"download {NAME}") == 1


def test_a_commit_that_was_copied_needs_no_hub(hub: MemoryHub, finder: ModelFinder) -> None:
    commit = hub.put(NAME)
    published(finder, NAME)
    hub.answers = False
    assert published(finder, f"{NAME}@{commit}").sha256 == HASHES
    with pytest.raises(ServiceUnavailable):
        finder.find(KEY, NAME)


def test_the_commit_of_the_launch_counts_whatever_the_branch_becomes(hub: MemoryHub, finder: ModelFinder) -> None:
    old = hub.put(NAME)
    before = published(finder, NAME)
    hub.put(NAME, FILES | {"model.safetensors": b"newer"})
    assert published(finder, NAME).uri != before.uri
    assert published(finder, f"{NAME}@{old}").uri == before.uri


def test_a_copy_of_which_a_file_is_gone_is_made_again(env: Environment, hub: MemoryHub, finder: ModelFinder) -> None:
    hub.put(NAME)
    reference = published(finder, NAME)
    env.objects.remove(reference.uri.removeprefix(f"s3://{BUCKET}/") + "model.safetensors")
    assert finder.find(KEY, NAME).reference is None
    assert published(finder, NAME) == reference
    assert in_bucket(env, reference) == dict(HASHES)


def test_a_damaged_note_of_a_copy_is_written_again(env: Environment, hub: MemoryHub, finder: ModelFinder) -> None:
    commit = hub.put(NAME)
    reference = published(finder, NAME)
    key = hub_model_key("dev", NAME, commit)
    env.objects.write(key, b'{"sha256": {"config.json": 7}}')
    assert published(finder, NAME) == reference
    assert json.loads(env.objects.body(key))["sha256"] == dict(HASHES)


def test_a_folder_is_copied_under_the_same_name_as_the_hub_s(hub: MemoryHub, finder: ModelFinder, folder: Path) -> None:
    hub.put(NAME)
    mine, theirs = published(finder, str(folder)), published(finder, NAME)
    assert (mine.uri, mine.sha256) == (theirs.uri, theirs.sha256)
    assert hub.asked.count(f"download {NAME}") == 1


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"model.safetensors": b"w"}, "has no config.json, so it is not a model"),
        ({"config.json": FILES["config.json"]}, "has no .safetensors file, and weights in other formats can run code"),
        ({"config.json": FILES["config.json"], "pytorch_model.bin": b"w"}, "has no .safetensors file"),
        (
            {"config.json": b"{}", "model.safetensors": b"w"},
            "is not a model of Chronos: its config.json has no",
        ),
        ({"config.json": b"[", "model.safetensors": b"w"}, "config.json of .* is not JSON"),
        ({"config.json": b"[1]", "model.safetensors": b"w"}, "is not a model of Chronos"),
    ],
)
def test_what_is_not_a_model_of_chronos_is_refused_before_anything_is_written(
    env: Environment, finder: ModelFinder, tmp_path: Path, files: dict[str, bytes], problem: str
) -> None:
    path = tmp_path / "other"
    path.mkdir()
    for name, body in files.items():
        (path / name).write_bytes(body)
    before = len(writes(env))
    with pytest.raises(InvalidInput, match=problem) as caught:
        finder.find(KEY, str(path))
    assert caught.value.where == KEY
    assert len(writes(env)) == before


def test_a_model_of_the_hub_without_safe_weights_is_refused_before_it_is_downloaded(
    hub: MemoryHub, finder: ModelFinder
) -> None:
    hub.put(NAME, {"config.json": FILES["config.json"], "pytorch_model.bin": b"pickle"})
    with pytest.raises(InvalidInput, match=r"has no \.safetensors file"):
        finder.find(KEY, NAME)
    assert hub.asked == [f"find {NAME}"]


def test_a_folder_that_does_not_exist_is_named(finder: ModelFinder) -> None:
    with pytest.raises(InvalidInput, match=r"model\.base: \./nowhere is not a folder"):
        finder.find(KEY, "./nowhere")


def put_run(env: Environment, models: tuple[tuple[str, str], ...]) -> None:
    run: Run = a_run(models=models)
    env.objects.write(run_key("dev", RUN_ID, "state.json"), run.to_json())
    for name, _ in models:
        env.objects.write(run_key("dev", RUN_ID, f"models/{name}"), FILES["config.json"])


def test_the_model_of_a_run_has_the_hashes_of_its_final_record(env: Environment, finder: ModelFinder) -> None:
    models = (("adapter/adapter_config.json", "a" * 64), ("config.json", "b" * 64))
    put_run(env, models)
    reference = published(finder, f"run:{RUN_ID}")
    uri = f"s3://{BUCKET}/dev/{RUN_ID}/models/"
    assert reference == ModelReference(f"run:{RUN_ID}", uri, models)
    assert published(finder, uri).sha256 == models


def test_a_run_without_a_model_or_with_a_lost_one_is_refused(env: Environment, finder: ModelFinder) -> None:
    with pytest.raises(RunNotFound):
        finder.find(KEY, f"run:{RUN_ID}")
    put_run(env, ())
    with pytest.raises(InvalidInput, match=f"run {RUN_ID} has exported no model"):
        finder.find(KEY, f"run:{RUN_ID}")
    put_run(env, (("config.json", "b" * 64),))
    env.objects.remove(run_key("dev", RUN_ID, "models/config.json"))
    with pytest.raises(InvalidInput, match=r"models/config.json, of the model of run .*, is gone"):
        finder.find(KEY, f"run:{RUN_ID}")


def test_the_model_of_an_active_run_does_not_exist_yet(env: Environment, finder: ModelFinder) -> None:
    run_id = env.launch().run_id
    with pytest.raises(InvalidInput, match=f"run {run_id} is active"):
        finder.find(KEY, f"run:{run_id}")


def test_a_model_in_the_bucket_has_the_hash_of_each_of_its_files(
    env: Environment, finder: ModelFinder, folder: Path
) -> None:
    prefix = "cached-datasets/dev/models/mine/"
    for name in ("config.json", "README.md"):  # without a hash of ours
        env.objects.write(prefix + name, FILES[name])
    weights = folder / "model.safetensors"
    env.aws.transfer.upload(weights, f"{prefix}model.safetensors", lambda _count: None, sha256="c" * 64)
    reference = published(finder, f"s3://{BUCKET}/{prefix[:-1]}")
    readme = ("README.md", hashlib.sha256(FILES["README.md"]).hexdigest())
    assert reference.uri == f"s3://{BUCKET}/{prefix}"
    assert reference.sha256 == (readme, HASHES[0], ("model.safetensors", "c" * 64))


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("s3://another-bucket/models/x/", "is not in the stack's bucket, and instances read no other"),
        (f"s3://{BUCKET}/prod/{RUN_ID}/models/", "is where the instances of dev read no models"),
        (f"s3://{BUCKET}/cached-datasets/prod/models/x/", "is where the instances of dev read no models"),
        (f"s3://{BUCKET}/dev/{RUN_ID}/checkpoints/10/", "is where the instances of dev read no models"),
        (f"s3://{BUCKET}/cached-datasets/dev/models/nothing/", "has no config.json"),
    ],
)
def test_a_model_that_an_instance_could_not_read_is_refused(finder: ModelFinder, uri: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        finder.find(KEY, uri)


def test_a_resumed_run_needs_its_models_still(env: Environment, hub: MemoryHub, finder: ModelFinder) -> None:
    hub.put(NAME)
    reference = published(finder, NAME)
    check_models(env.store, [reference], "--resume")
    env.objects.remove(reference.uri.removeprefix(f"s3://{BUCKET}/") + "config.json")
    with pytest.raises(InvalidInput, match=f"--resume: .*config.json, of the model {NAME}, is gone"):
        check_models(env.store, [reference], "--resume")
