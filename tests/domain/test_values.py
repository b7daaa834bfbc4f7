"""The values of the domain are frozen and have no room for more than their fields."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import pytest

import chronos_ec2.domain

MODULES = [
    importlib.import_module(f"chronos_ec2.domain.{module.name}")
    for module in pkgutil.iter_modules(chronos_ec2.domain.__path__)
]
VALUES = {
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
}


@pytest.mark.parametrize("value", sorted(VALUES, key=lambda value: value.__name__))
def test_a_value_is_frozen_and_slotted(value: type) -> None:
    assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(value)
