"""Model checking: `python -m verification.model.check` expects no error in the protocol, and one in every mutant.

There are five models: the protocol of a lane, the launchers of one attempt, the registry of models, schedules, and
groups. A mutant is a model without one rule, selected by a preprocessor define. For each variant spin generates a
verifier in C, which visits every reachable state or stops at the first error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

LIVENESS = "LIVENESS"


@dataclass(frozen=True, slots=True)
class Model:
    """A model, and its mutants: each violates an assertion, or the liveness property.

    Assertions are named in the comments behind them. Liveness is checked in a smaller model, where anything waits.
    """

    name: str
    mutants: tuple[str, ...]
    liveness: str = ""
    liveness_mutants: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Its source."""
        return Path(__file__).with_name(f"{self.name}.pml")


PROTOCOL = Model(
    "protocol",
    (
        "LAUNCH_BEFORE_RECORD", "NO_CLAIM", "WORK_BEFORE_CLAIM", "UNCONDITIONAL_CLAIM", "ANY_ATTEMPT",
        "UNCONDITIONAL_COMMIT", "VERDICT_WITHOUT_VOID", "NEXT_WITHOUT_VOID", "UNCONDITIONAL_VOID",
        "OUTCOME_OF_UNCLAIMED", "VERDICT_WITHOUT_OUTCOME", "UNCONDITIONAL_VERDICT", "NEXT_BEFORE_TERMINATED",
        "RELEASE_BEFORE_TERMINATED", "RELEASE_BY_OUTCOME", "STATE_BEFORE_LIST", "IDS_FROM_CLAIM", "ANY_CLAIMANT",
        "ONE_LOOK_AT_ABSENCE", "CLOCK_AFTER_LIST", "STAMP_BEFORE_LIST", "STAMP_BEFORE_CLAIM",
        "CLOCK_AFTER_HEARTBEAT", "CLAIM_KEEPS_SUSPECT",
    ),
    "settles",
    ("TERMINATE_ONCE", "IGNORE_ORPHANS", "NO_DEADLINE", "WAIT_FOR_CLAIMANT", "VOID_IS_NO_END"),
)  # fmt: skip
LAUNCHERS = Model(
    "launchers",
    (
        "LOCK_NOT_READ_AGAIN", "TAKE_OVER_AT_ONCE", "FORGET_OPTION_IN_WORK", "ASK_PAST_SLOT", "RELEASE_DURING_LAUNCH",
    ),
    "frees",
    ("KILL_WAITS_FOR_LAUNCH",),
)  # fmt: skip
REGISTRY = Model(
    "registry",
    (
        "JUDGE_AGAIN", "ANY_CHAMPION", "FIRST_NEEDS_A_CHAMPION", "REPLACE_BEFORE_HISTORY", "UNCONDITIONAL_WRITE",
        "UNCONDITIONAL_ROLLBACK", "VERSION_RECURS",
    ),
)  # fmt: skip
SCHEDULES = Model(
    "schedules",
    (
        "ID_NOT_DERIVED", "CLAIM_NOT_READ", "DATA_DONE_WHEN_RESERVED", "RECORDS_BEFORE_LANE",
        "UNCONDITIONAL_RESERVATION", "TAKE_AFTER_RESERVATION", "TWO_AT_WORK", "RELEASE_BEFORE_FOLLOW",
        "TELL_BEFORE_FORECAST",
    ),
)  # fmt: skip
GROUPS = Model(
    "groups",
    (
        "UNCONDITIONAL_ENTRY", "LANE_BEFORE_ENTRY", "MEMBER_CLAIM_NOT_READ", "FOLLOW_WHILE_STARTING",
        "FOLLOW_BEFORE_NEXT", "RELEASE_BEFORE_NEXT", "STOP_NOT_READ", "KILL_LANES_FIRST", "UNCONDITIONAL_STOP",
    ),
)  # fmt: skip
MODELS = (PROTOCOL, LAUNCHERS, REGISTRY, SCHEDULES, GROUPS)

Variant = tuple[Model, tuple[str, ...]]
"""A model and its defines."""
BASE: tuple[Variant, ...] = tuple(
    (model, defines) for model in MODELS for defines in ((), (LIVENESS,)) if model.liveness or not defines
)
MUTANTS: tuple[Variant, ...] = tuple(
    (model, defines)
    for model in MODELS
    for defines in [*((one,) for one in model.mutants), *((LIVENESS, one) for one in model.liveness_mutants)]
)

_MEMORY_MB = 4000
_DEPTH = 100_000
_TIMEOUT_SECONDS = 1200


class CannotCheck(Exception):
    """A tool is missing or failed, or the search was incomplete: nothing is proved."""


@dataclass(frozen=True, slots=True)
class Check:
    """A search, exhaustive unless it found an error.

    `failed` names the violated property; `trail` is the counterexample, step by step.
    """

    name: str
    states: int
    seconds: float
    failed: str | None = None
    trail: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """The result of all searches. `states` and `violations` are the protocol's own, safety and liveness together."""

    states: int
    violations: int
    mutants: int
    mutants_caught: int
    seconds: float
    failed_property: dict[str, str | None]
    """By mutant: the violated property, None if it survived."""
    by_model: dict[str, dict[str, int]]
    """By model: its states, violations, mutants, and how many of them are caught."""


def check_model() -> ModelResult:
    """Check the protocol and every mutant. Raises CannotCheck."""
    return summary([check(*variant) for variant in BASE], [check(*variant) for variant in MUTANTS])


def summary(base: list[Check], mutants: list[Check]) -> ModelResult:
    """Sum up all searches."""
    whole = _figures(base, mutants)
    return ModelResult(
        states=whole["states"],
        violations=whole["violations"],
        mutants=whole["mutants"],
        mutants_caught=whole["caught"],
        seconds=round(sum(one.seconds for one in base + mutants), 1),
        failed_property={one.name: one.failed for one in mutants},
        by_model={
            model: _figures(*([one for one in checks if one.model == model] for checks in (base, mutants)))
            for model in dict.fromkeys(one.model for one in base)
        },
    )


def _figures(base: list[Check], mutants: list[Check]) -> dict[str, int]:
    return {
        "states": sum(one.states for one in base),
        "violations": sum(one.failed is not None for one in base),
        "mutants": len(mutants),
        "caught": sum(one.failed is not None for one in mutants),
    }


def check(model: Model, defines: tuple[str, ...] = ()) -> Check:
    """Search the variant of a model that the defines select. Raises CannotCheck."""
    for tool in ("spin", "cc"):
        if shutil.which(tool) is None:
            raise CannotCheck(f"{tool} is not installed: apt-get install spin gcc libc6-dev")
    name, source = variant_name(model, defines), model.path.name
    given = [f"-D{define}" for define in defines]
    is_liveness = LIVENESS in defines
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(model.path, folder)
        _run(["spin", *given, "-a", source], folder)
        # Breadth first finds the short way to an error; optimising takes far longer than a search that stops there.
        kind = ["-DNFAIR=4"] if is_liveness else ["-DSAFETY", "-DBFS"] if defines else ["-DSAFETY"]
        level = "-O2" if is_liveness or not defines else "-O0"
        _run(["cc", level, "-w", *kind, f"-DMEMLIM={_MEMORY_MB}", "-o", "pan", "pan.c"], folder)
        found = _run(["./pan", *(["-a", "-f"] if is_liveness else []), f"-m{_DEPTH}"], folder)
        seconds = time.monotonic() - started
        errors, states = _errors_and_states(found)
        if not errors:
            return Check(name, states, seconds, model=model.name)
        trail = _run(["spin", *given, "-t", "-p", source], folder)
    return Check(name, states, seconds, _violated(model, found, trail), trail, model.name)


def variant_name(model: Model, defines: tuple[str, ...]) -> str:
    """The name of a variant in tables: its last define, or what is checked."""
    name = defines[-1] if defines else "SAFETY"
    return name if model is PROTOCOL or name not in ("SAFETY", LIVENESS) else f"{model.name.upper()} {name}"


def _run(command: list[str], folder: str) -> str:
    try:
        ended = subprocess.run(
            command, cwd=folder, timeout=_TIMEOUT_SECONDS, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CannotCheck(f"{command[0]} took longer than {_TIMEOUT_SECONDS} s") from error
    if ended.returncode != 0:
        raise CannotCheck(f"`{' '.join(command)}` failed with {ended.returncode}:\n{ended.stdout[-2000:]}")
    return ended.stdout


def _errors_and_states(found: str) -> tuple[int, int]:
    """Of a search. Raises CannotCheck if it ended early without an error."""
    errors, states = re.search(r"errors: (\d+)", found), re.search(r"(\d+) states, stored", found)
    if errors is None or states is None:
        raise CannotCheck(f"not the output of a verifier:\n{found[-2000:]}")
    complete = not re.search(r"Search not completed|search depth too small|memory limit|out of memory", found)
    if errors[1] == "0" and not complete:
        raise CannotCheck(f"the search was incomplete:\n{found[-2000:]}")
    return int(errors[1]), int(states[1])


def _violated(model: Model, found: str, trail: str) -> str:
    """The name of the violated property."""
    if "acceptance cycle" in found:
        return model.liveness
    at = re.search(re.escape(model.path.name) + r":(\d+), Error: assertion violated", trail)
    if at is None:
        raise CannotCheck(f"an error outside the properties:\n{found[:2000]}")
    name = re.search(r"/\* ([A-Z_]+) \*/", model.path.read_text().splitlines()[int(at[1]) - 1])
    if name is None:
        raise CannotCheck(f"{model.path.name}:{at[1]} has an assertion without a name")
    return name[1]


def main() -> int:
    """Print a table. Returns 1 on a violation or a surviving mutant, 2 if the check could not run."""
    print(f"{'variant':<24} {'states':>12} {'seconds':>8}  violated")
    try:
        base = [_printed(check(*variant)) for variant in BASE]
        mutants = [_printed(check(*variant)) for variant in MUTANTS]
    except CannotCheck as error:
        print(error, file=sys.stderr)
        return 2
    for one in base:
        if one.failed:
            print(f"\n{one.name} violates {one.failed}:\n{one.trail}")
    result = summary(base, mutants)
    print(
        f"{result.states:,} states, {result.violations} violations; "
        f"{result.mutants_caught} of {result.mutants} mutants caught; {result.seconds:.0f} s"
    )
    return int(result.violations > 0 or result.mutants_caught < result.mutants)


def _printed(one: Check) -> Check:
    print(f"{one.name:<24} {one.states:>12,} {one.seconds:>8.1f}  {one.failed or '-'}", flush=True)
    return one


if __name__ == "__main__":
    sys.exit(main())
