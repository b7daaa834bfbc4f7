"""Tries situations one after the other, and counts what is wrong in them."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from verification.cli.arguments import arguments
from verification.cli.invoke import Result, as_process, asked_once, in_this_process
from verification.cli.judge import KINDS, Complaint, complaints
from verification.cli.situations import NO_SUCCESS, Situation, answers_of_aws
from verification.cli.surroundings import files, processes, terminals, variables, write_settings
from verification.cli.world import World, world_in

WORKERS = 2


@dataclass
class Check:
    """The situations that were tried, and what was wrong in them."""

    commands: set[str] = field(default_factory=set)
    tried: dict[str, tuple[Situation, Result]] = field(default_factory=dict)
    found: list[tuple[str, Complaint]] = field(default_factory=list)

    def judge(self, situation: Situation, result: Result) -> None:
        """Note how a command ended."""
        if situation.name in self.tried:
            raise ValueError(f"two situations are named {situation.name!r}")
        self.tried[situation.name] = situation, result
        if situation.command:
            self.commands.add(situation.command)
        wrong = complaints(
            result, situation.exits, as_json=situation.as_json, colours=situation.colours, reports=situation.reports
        )
        if situation.shell is not None and "&-" in situation.shell:  # a closed stream shows nothing
            wrong = [(kind, words) for kind, words in wrong if kind == "wrong_exit_codes"]
        self.found += [(situation.name, complaint) for complaint in wrong]
        for kind, words in wrong:
            print(f"{kind}: {situation.name}\n    {words.strip()[-500:]}", file=sys.stderr, flush=True)

    def add(self, other: Check) -> None:
        """Add what another process has tried."""
        self.commands |= other.commands
        self.tried |= other.tried
        self.found += other.found

    def summary(self) -> dict[str, Any]:
        """The report."""
        counted = Counter(kind for _, (kind, _) in self.found)
        return {
            "commands": len(self.commands),
            "situations": len(self.tried),
            "with_faults_of_aws": sum(bool(situation.faults) for situation, _ in self.tried.values()),
            "as_processes": sum(situation.shell is not None for situation, _ in self.tried.values()),
            **{kind: counted[kind] for kind in KINDS},
            "exit_codes": dict(sorted(Counter(str(int(result.code)) for _, result in self.tried.values()).items())),
            "names_of_commands": sorted(self.commands),
            "failures": [{"situation": name, "kind": kind, "words": words} for name, (kind, words) in self.found],
        }


def situations(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """All of them; `outputs` are the stack's."""
    yield from answers_of_aws(outputs)
    yield from arguments()
    yield from variables()
    yield from files()
    yield from terminals()
    yield from processes()


_TELLING = (
    ": nothing is wrong", ": cloudformation answers OptInRequired", ": s3 answers AllAccessDisabled",
    ": s3 answers InternalError", ": cloudformation gets a portal's page",
    ": the stack is ROLLBACK_COMPLETE, without outputs",
)  # fmt: skip
"""What each command meets in the quick check: each way to end, and each way in which AWS says so."""
_OTHERS: tuple[tuple[Callable[[], Iterator[Situation]], int], ...] = (
    (arguments, 11), (variables, 7), (files, 5), (terminals, 13), (processes, 15),
)  # fmt: skip
"""Of other kinds, every so many."""


def telling_situations(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Those of the quick check: every command with the most telling answers, and some of each other kind."""
    chosen = [situation for situation in answers_of_aws(outputs) if situation.name.endswith(_TELLING)]
    chosen += [situation for kind, step in _OTHERS for situation in islice(kind(), 0, None, step)]
    first = {situation.command: situation for situation in reversed([*situations(outputs)])}
    tried = {situation.command for situation in chosen}
    yield from (*chosen, *(situation for command, situation in first.items() if command not in tried))


def check(world: World, chosen: Iterable[Situation]) -> Check:
    """Try situations one after the other."""
    done = Check()
    for situation in chosen:
        changed: dict[str, str | None] = {**world.variables, **situation.variables}
        environment = {name: value for name, value in changed.items() if value is not None}
        with world.proxy.with_faults(*situation.faults):
            if situation.shell is None:
                result = in_this_process(
                    situation.arguments, environment, stdin=situation.stdin, encoding=situation.encoding
                )
            else:
                result = as_process(situation.arguments, environment, shell=situation.shell)
        done.judge(situation, result)
        # What fails before it knows the bucket has changed nothing.
        early = result.code in NO_SUCCESS and any(fault.service == "cloudformation" for fault in situation.faults)
        if situation.renews and not early:
            world.renew()
    return done


def share(index: int, *, quick: bool = False) -> Check:
    """Try every WORKERS-th situation, in a world of this process."""
    chosen = telling_situations if quick else situations
    with tempfile.TemporaryDirectory() as folder, world_in(Path(folder)) as world, asked_once():
        write_settings(Path(folder))
        return check(world, islice(chosen(world.outputs), index, None, WORKERS))
