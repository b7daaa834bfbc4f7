"""Defaults by instance type are applied once, to keys that are not set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.job_config.defaults import BY_FAMILY, gpus_of, resolve
from chronos_ec2.job_config.parse import parse_config
from tests.job_config.test_schema import a_config

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def resolved(instance_type: str | None, **changes: Any) -> tuple[Any, ...]:
    config = resolve(parse_config(a_config(**changes), "test"), instance_type).config
    training = config.training
    lora = config.model.lora is not None
    return lora, training.batch_size, training.learning_rate, config.context_length, training.workers


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [
        ("g4dn.xlarge", (True, 32, 1e-5, 2048, 2)),
        ("g4dn.2xlarge", (True, 32, 1e-5, 2048, 4)),
        ("g5.2xlarge", (True, 128, 1e-5, 2048, 6)),
        ("g6.48xlarge", (True, 128, 1e-5, 2048, 6)),
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
        ("g7.xlarge", None),
        ("t3.large", None),
        (None, None),
    ],
)
def test_the_gpus_of_an_instance_type(instance_type: str | None, gpus: int | None) -> None:
    assert gpus_of(instance_type) == gpus


@pytest.mark.parametrize("instance_type", [*(f"{family}.2xlarge" for family in BY_FAMILY), None])
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
    assert resolve(config, "g5.2xlarge").config is config


def test_a_stored_configuration_does_not_change_on_another_instance() -> None:
    """A later attempt must continue with the same batches."""
    first = resolve(parse_config(a_config(), "test"), "g5.2xlarge")
    stored = parse_config(first.config.model_dump(mode="json"), "test")
    assert stored == first.config
    again = resolve(stored, "p4d.24xlarge")
    assert (again.config, again.chosen) == (stored, {})


@pytest.mark.parametrize("family", BY_FAMILY)
def test_the_table_in_the_docs_is_up_to_date(family: str) -> None:
    one = BY_FAMILY[family]
    mode = "LoRA" if one.lora else "all weights"
    row = (
        f"| `{family}` | {one.gpu} | {mode} | {one.lora_rows}, {one.full_rows} | {one.context_length} | {one.workers} |"
    )
    assert row in DOCS.read_text()
