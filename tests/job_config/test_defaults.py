"""Defaults by instance type are applied once, to keys that are not set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.bundled.instance_types import bundled_types, gpus_of
from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.job_config.defaults import BY_GPU_GIB, resolve, workers_of
from chronos_ec2.job_config.parse import parse_config
from tests.job_config.test_schema import a_config

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def a_type(name: str | None) -> InstanceType | None:
    return bundled_types()[name] if name else None


def resolved(instance_type: str | None, **changes: Any) -> tuple[Any, ...]:
    config = resolve(parse_config(a_config(**changes), "test"), a_type(instance_type)).config
    training = config.training
    lora = config.model.lora is not None
    return lora, training.batch_size, training.learning_rate, config.context_length, training.workers


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [
        ("g4dn.xlarge", (True, 32, 1e-5, 2048, 2)),
        ("g4dn.2xlarge", (True, 32, 1e-5, 2048, 6)),
        ("g6f.xlarge", (True, 8, 1e-5, 2048, 2)),
        ("gr6.4xlarge", (True, 128, 1e-5, 2048, 8)),
        ("g7.2xlarge", (True, 128, 1e-5, 2048, 6)),
        ("g6e.xlarge", (False, 256, 1e-6, 8192, 2)),
        ("p3dn.24xlarge", (True, 128, 1e-5, 2048, 8)),
        ("p4de.24xlarge", (False, 256, 1e-6, 8192, 8)),
        ("p5.4xlarge", (False, 256, 1e-6, 8192, 8)),
        ("p5e.48xlarge", (False, 256, 1e-6, 8192, 8)),
        ("p5en.48xlarge", (False, 256, 1e-6, 8192, 8)),
        ("p6-b200.48xlarge", (False, 256, 1e-6, 8192, 8)),
        ("g5.2xlarge", (True, 128, 1e-5, 2048, 6)),
        ("g6.48xlarge", (True, 128, 1e-5, 2048, 8)),
        ("p4d.24xlarge", (False, 256, 1e-6, 8192, 8)),
        ("p5.48xlarge", (False, 256, 1e-6, 8192, 8)),
        ("t3.large", (False, 256, 1e-6, 2048, None)),
        (None, (False, 256, 1e-6, 2048, None)),
    ],
)
def test_each_instance_type_has_its_defaults(instance_type: str | None, expected: tuple[Any, ...]) -> None:
    assert resolved(instance_type) == expected


@pytest.mark.parametrize(
    ("instance_type", "gpus"),
    [
        *((f"{family}.{size}", 1) for family in ("g4dn", "g5", "g6") for size in ("xlarge", "2xlarge", "8xlarge")),
        *((f"{family}.12xlarge", 4) for family in ("g4dn", "g5", "g6")),
        *((f"{family}.24xlarge", 4) for family in ("g5", "g6")),
        *((name, 8) for name in ("g4dn.metal", "g5.48xlarge", "g6.48xlarge", "p4d.24xlarge", "p5.48xlarge")),
        ("g6f.large", 1),  # a part of one
        ("gr6.8xlarge", 1),
        ("g7.12xlarge", 2),
        ("g9.xlarge", None),
        ("t3.large", 0),
        (None, None),
    ],
)
def test_the_gpus_of_an_instance_type(instance_type: str | None, gpus: int | None) -> None:
    assert gpus_of(instance_type) == gpus


@pytest.mark.parametrize("instance_type", ["g4dn.2xlarge", "g5.2xlarge", "p4d.24xlarge", "t3.large", None])
def test_keys_that_are_set_stay_even_at_the_default_value(instance_type: str | None) -> None:
    training = {"batch_size": 256, "learning_rate": 1e-6, "workers": 0}
    changes = {"training": training, "context_length": 2048, "model": {"base": "amazon/chronos-2", "lora": None}}
    assert resolved(instance_type, **changes) == (False, 256, 1e-6, 2048, 0)


def test_training_all_weights_gets_smaller_batches() -> None:
    assert resolved("g5.2xlarge", model={"base": "./x", "lora": None})[:3] == (False, 64, 1e-6)


def test_lora_gets_its_learning_rate_on_every_type() -> None:
    assert resolved(None, model={"base": "./x", "lora": {}})[:3] == (True, 256, 1e-5)


def test_a_model_from_scratch_gets_neither_an_adapter_nor_a_longer_context() -> None:
    """But its own learning rate."""
    assert resolved("p4d.24xlarge", model={"from_scratch": {}}) == (False, 256, 1e-3, 2048, 8)
    assert resolved("g5.2xlarge", model={"from_scratch": {}}) == (False, 64, 1e-3, 2048, 6)
    assert resolved(None, model={"from_scratch": {}})[2] == 1e-3
    assert resolved(None, model={"from_scratch": {}}, training={"learning_rate": 1e-6})[2] == 1e-6


@pytest.mark.parametrize("trainer", ["probe", "mine:Mine"])
def test_other_trainers_get_no_defaults(trainer: str) -> None:
    config = parse_config(a_config(trainer=trainer), "test")
    assert resolve(config, a_type("g5.2xlarge")).config is config


def test_a_stored_configuration_does_not_change_on_another_instance() -> None:
    """A later attempt must continue with the same batches."""
    first = resolve(parse_config(a_config(), "test"), a_type("g5.2xlarge"))
    stored = parse_config(first.config.model_dump(mode="json"), "test")
    assert stored == first.config
    again = resolve(stored, a_type("p4d.24xlarge"))
    assert (again.config, again.chosen) == (stored, {})


@pytest.mark.parametrize("least", BY_GPU_GIB)
def test_the_table_in_the_docs_is_up_to_date(least: int) -> None:
    one, below = BY_GPU_GIB[least], min(gib for gib in BY_GPU_GIB if gib)
    mode, size = "LoRA" if one.lora else "all weights", f"from {least} GiB" if least else f"below {below} GiB"
    (row,) = (line for line in DOCS.read_text().splitlines() if line.startswith(f"| {size} |"))
    assert row.endswith(f"| {mode} | {one.lora_rows}, {one.full_rows} | {one.context_length} |")


def test_a_worker_has_a_core_of_its_gpu_and_two_are_left() -> None:
    found = {name: workers_of(kind) for name, kind in bundled_types().items() if kind.cuda}
    assert found["g6f.large"] == 1
    assert found["g5.xlarge"] == 2
    assert workers_of(replace(a_type("g5.12xlarge"), vcpus=16)) == 2
    assert set(found.values()) == {1, 2, 6, 8}
