"""`python -m verification.fuzz.campaign`: whatever comes from outside is read, or refused with an error of ours.

Every parser is fed with what Hypothesis makes up and with what AWS or we really write, changed in some bytes or fields.
None may raise anything but its own error. Then the same input is put before the watchdog, as lock, heartbeat, message
marker or event beside a healthy run: nothing may be terminated.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from verification.fuzz.targets import Target, targets
from verification.simulation.campaign import without_log


@dataclass(frozen=True, slots=True)
class FuzzResult:
    """How many inputs there were, of each target, and what they broke."""

    inputs: int
    failures: list[str]
    by_target: dict[str, int]


@without_log()
def fuzz(examples: int) -> FuzzResult:
    """Feed every target with so many inputs."""
    fed = {target.name: _fed(target, examples) for target in targets()}
    by_target = {name: inputs for name, (inputs, _) in fed.items()}
    return FuzzResult(sum(by_target.values()), [failure for _, failure in fed.values() if failure], by_target)


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


if __name__ == "__main__":
    result = fuzz(2000)
    print(json.dumps(asdict(result), indent=1))
    sys.exit(bool(result.failures))
