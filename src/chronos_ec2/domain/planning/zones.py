"""The availability zones of a stack, and which of them offer an instance type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Zones:
    """The zones of a stack's subnets; `offering` has those that offer a type, for the types of which EC2 says so."""

    stack: tuple[str, ...]
    offering: Mapping[str, tuple[str, ...]]

    def without(self, instance_types: Sequence[str]) -> tuple[str, ...]:
        """The types that no zone of the stack offers."""
        return tuple(kind for kind in instance_types if self.offering.get(kind) == ())
