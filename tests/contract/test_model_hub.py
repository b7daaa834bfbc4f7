"""What every hub of models does: the one in memory, and the adapter of the Hugging Face hub before a server like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.model_hub import HuggingFaceHub
from chronos_ec2.ports import ModelHub
from tests.model_hub import FILES, KEPT, MemoryHub, serving

NAME = "amazon/chronos-tiny"


@pytest.fixture
def memory(tmp_path: Path) -> MemoryHub:
    return MemoryHub(tmp_path / "hub")


@pytest.fixture(params=["memory", "huggingface"])
def hub(
    request: pytest.FixtureRequest, memory: MemoryHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ModelHub]:
    if request.param == "memory":
        yield memory
        return
    with serving(memory) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield HuggingFaceHub(cache=tmp_path / "cache", timeout=5)


def test_the_newest_commit_is_the_default(hub: ModelHub, memory: MemoryHub) -> None:
    first = memory.put(NAME, FILES | {"config.json": b"{}"})
    second = memory.put(NAME)
    assert hub.find(NAME, None).commit == second
    assert hub.find(NAME, "main").commit == second
    assert hub.find(NAME, first).commit == first


def test_each_file_has_its_size(hub: ModelHub, memory: MemoryHub) -> None:
    memory.put(NAME)
    assert dict(hub.find(NAME, None).files) == {name: len(body) for name, body in FILES.items()}


def test_files_of_a_commit_are_downloaded_into_one_folder(hub: ModelHub, memory: MemoryHub) -> None:
    commit = memory.put(NAME)
    memory.put(NAME, FILES | {"config.json": b"{}"})
    folder = hub.download(NAME, commit, KEPT)
    assert {name: (folder / name).read_bytes() for name in KEPT} == {name: FILES[name] for name in KEPT}


def test_a_model_that_does_not_exist_is_named(hub: ModelHub) -> None:
    with pytest.raises(InvalidInput, match=f"{NAME}: the hub has no such model") as caught:
        hub.find(NAME, None)
    assert caught.value.hint


def test_a_revision_that_does_not_exist_is_named(hub: ModelHub, memory: MemoryHub) -> None:
    memory.put(NAME)
    with pytest.raises(InvalidInput, match="the hub has no revision v9 of this model"):
        hub.find(NAME, "v9")


def test_a_hub_that_does_not_answer_is_no_error_of_the_model(hub: ModelHub, memory: MemoryHub) -> None:
    commit = memory.put(NAME)
    memory.answers = False
    with pytest.raises(ServiceUnavailable, match="did not answer"):
        hub.find(NAME, None)
    with pytest.raises(ServiceUnavailable, match="did not answer"):
        hub.download(NAME, commit, KEPT)
