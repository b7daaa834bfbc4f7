"""Feeds every target with what Hypothesis makes up and with what AWS or we really write, changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from verification.fuzz.targets import Target, targets
from verification.simulation.campaign import without_log


@dataclass(slots=True)
class FuzzResult:
    """How many inputs there were, of each target, and what they broke."""

    inputs: int = 0
    failures: list[str] = field(default_factory=list)
    by_target: dict[str, int] = field(default_factory=dict)


@without_log()
def fuzz(examples: int) -> FuzzResult:
    """Feed every target with so many inputs."""
    result = FuzzResult()
    for target in targets():
        result.by_target[target.name], failure = _fed(target, examples)
        result.failures += [failure] if failure else []
    result.inputs = sum(result.by_target.values())
    return result


def _fed(target: Target, examples: int) -> tuple[int, str]:
    fed = 0

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(target.inputs)
    def feed(raw: Any) -> None:
        nonlocal fed
        fed += 1
        try:
            target.feed(raw)
        except target.allowed:
            return

    try:
        feed()
    except Exception as error:  # noqa: BLE001 - whatever escapes is the finding
        return fed, f"{target.name}: {type(error).__name__}: {error}"
    return fed, ""
