"""Tries situations one after the other, and counts what is wrong in them."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from verification.cli.answers import NO_SUCCESS
from verification.cli.arguments import arguments
from verification.cli.files import write_files
from verification.cli.invoke import Result, invoke
from verification.cli.judge import defects
from verification.cli.situations import Situation, answers_of_aws
from verification.cli.surroundings import files, processes, terminals, variables
from verification.cli.world import World, world_in

WORKERS = 2
Trial = tuple[Situation, Result]

_TELLING = (
    ": nothing is wrong", ": cloudformation answers OptInRequired", ": s3 answers AllAccessDisabled",
    ": s3 answers InternalError", ": cloudformation gets a portal's page",
    ": the stack is ROLLBACK_COMPLETE, without outputs",
)  # fmt: skip
"""What each command meets in the quick check: each way to end, and each way in which AWS says so."""
_OTHERS: dict[Callable[[], Iterator[Situation]], int] = {
    arguments: 11, variables: 7, files: 5, terminals: 13, processes: 15,
}  # fmt: skip
"""Situations of other kinds, and of how many one is in the quick check."""


def situations(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """All of them; `outputs` are the stack's."""
    return chain(answers_of_aws(outputs), *(kind() for kind in _OTHERS))


def telling_situations(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Those of the quick check: every command with the most telling answers, and some of each other kind."""
    chosen = [situation for situation in answers_of_aws(outputs) if situation.name.endswith(_TELLING)]
    chosen += [situation for kind, step in _OTHERS.items() for situation in islice(kind(), 0, None, step)]
    first = {situation.command: situation for situation in reversed([*situations(outputs)])}
    tried = {situation.command for situation in chosen}
    yield from (*chosen, *(situation for command, situation in first.items() if command not in tried))


def check(world: World, chosen: Iterable[Situation]) -> list[Trial]:
    """Try situations one after the other."""
    trials = []
    for situation in chosen:
        changed: dict[str, str | None] = {**world.variables, **situation.variables}
        with world.aws.failing(situation.fault):
            result = invoke(situation, {name: value for name, value in changed.items() if value is not None})
        trials.append((situation, result))
        if failure := _failure(situation, result):
            print(failure, file=sys.stderr, flush=True)
        # What fails before it knows the bucket has changed nothing.
        early = result.code in NO_SUCCESS and situation.fault and situation.fault.service == "cloudformation"
        if situation.renews and not early:
            world.renew()
    return trials


def _failure(situation: Situation, result: Result) -> dict[str, Any]:
    """What is wrong with how a command ended; nothing if nothing is."""
    kinds = [kind for kind, wrong in defects(situation, result).items() if wrong]
    words = {"code": result.code, "out": result.out[:300], "err": result.err[-600:]}
    return {"situation": situation.name, "exits": sorted(situation.exits), "kinds": kinds, **words} if kinds else {}


def summary(trials: Collection[Trial]) -> dict[str, Any]:
    """The report."""
    names = Counter(situation.name for situation, _ in trials)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"several situations have one name: {twice}")
    commands = {situation.command for situation, _ in trials} - {""}
    found = [defects(*trial) for trial in trials]
    return {
        "commands": len(commands),
        "situations": len(trials),
        "with_faults_of_aws": sum(situation.fault is not None for situation, _ in trials),
        "as_processes": sum(situation.shell is not None for situation, _ in trials),
        **{kind: sum(each[kind] for each in found) for kind in found[0]},
        "exit_codes": dict(sorted(Counter(str(int(result.code)) for _, result in trials).items())),
        "names_of_commands": sorted(commands),
        "failures": [failure for trial in trials if (failure := _failure(*trial))],
    }


def share(index: int, *, quick: bool = False) -> list[Trial]:
    """Try every WORKERS-th situation, in a world of this process."""
    chosen = telling_situations if quick else situations
    with tempfile.TemporaryDirectory() as folder, world_in(Path(folder)) as world:
        write_files(Path(folder))
        return check(world, islice(chosen(world.outputs), index, None, WORKERS))
