"""Commands in situations, each with the exit codes that it may end with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from typing import Any

from chronos_ec2.cli.app import SUMMARIES, load
from verification.cli import answers
from verification.cli.answers import LEFT, MEND, NO_SUCCESS, OK, Exits, Fault, Refusal
from verification.cli.world import ACTIVE, BEST, FAILED, TRAINED


@cache
def leaves() -> dict[str, Any]:
    """Every command that can be run, by its full name."""
    found: dict[str, Any] = {}
    for name in SUMMARIES:
        command = load(name)
        inner = getattr(command, "commands", {})
        found |= {f"{name} {one}": each for one, each in inner.items()}
        if not inner or command.invoke_without_command:
            found[name] = command
    return found


@dataclass(frozen=True)
class Situation:
    """A command and what is wrong, if anything.

    Attributes:
        variables: changes of the environment; None removes a variable.
        shell: run as a process of its own, by this line of bash with the command as "$@"; None: in this process.
        renews: the command changes the world, which is made anew afterwards.
        reports: what is wrong, and what to do about it, is in the command's output instead of an error line.
    """

    name: str
    arguments: tuple[str, ...]
    exits: Exits
    fault: Fault | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)
    stdin: str = ""
    encoding: str = "utf-8"
    shell: str | None = None
    renews: bool = False
    colours: bool = False
    reports: bool = False

    @property
    def command(self) -> str:
        """The command that the arguments name; empty if there is no such command."""
        return next((name for name in (" ".join(self.arguments[:2]), *self.arguments[:1]) if name in leaves()), "")

    @property
    def as_json(self) -> bool:
        """Whether standard output has to be JSON."""
        return "--json" in self.arguments


def wrong(*words: str) -> Situation:
    """A command line that has to be mended."""
    line = ascii(" ".join(words))
    return Situation(line if len(line) < 300 else f"{line[:160]}…{line[-30:]}", words, MEND)


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, how it ends when nothing is wrong, and which services it asks.

    `brief`: it meets an answer of each kind only, because it asks as another command does that meets them all.
    """

    line: str
    exits: Exits = OK
    services: tuple[str, ...] = ()
    changes: bool = False
    brief: bool = False

    def situation(self, what: str, fault: Fault | None = None, exits: Exits | None = None, **others: Any) -> Situation:
        """The command in a situation: what is wrong, and the exit codes if they are others for it."""
        name, arguments = f"{self.line}: {what}", tuple(self.line.split())
        return Situation(name, arguments, exits or self.exits, fault, renews=self.changes, **others)


_BUCKET = ("cloudformation", "s3")
_INSTANCES = (*_BUCKET, "ec2")
_ALL = (*_INSTANCES, "scheduler")


def _commands(
    *lines: str, exits: Exits = OK, services: tuple[str, ...] = _BUCKET, changes: bool = False, brief: bool = False
) -> tuple[Command, ...]:
    return tuple(Command(line, exits, services, changes, brief) for line in lines)


_brief = partial(_commands, brief=True)

_EVERYTHING = (
    "--item-id item_id --timestamp timestamp --target target --series n* --context 64 --to results --max-cost 9 "
    "--price 1 --spot --wait-for-capacity 2h --on-demand-after 1h --preemptions 2 --allow-cpu --yes --watch --plan"
)
_FORECAST = f"forecast --config forecast.yaml --data ./good.csv --instance-type g5.2xlarge {_EVERYTHING}"
_EVALUATE = f"evaluate --lane x --crashes 0 --max-hours 2 --models champion --data ./good.csv --horizon 3 {_EVERYTHING}"
_SWEEP = (
    "sweep grid.yaml --data ./good.csv --instance-type g5.2xlarge --max-hours 2 --max-cost 9 --price 1 --spot "
    "--wait-for-capacity 2h --on-demand-after 1h --preemptions 2 --crashes 0 --allow-cpu --yes --watch --plan "
    "--parallel 2 --name rates"
)
COMMANDS = (
    *_commands("launch --trainer probe --json", services=_ALL, changes=True),
    *_commands("launch --config train.yaml --lane second", services=_ALL, changes=True),
    *_commands(f"monitor {FAILED} --json", exits=LEFT),
    *_commands(f"logs {FAILED} --log agent"),
    *_commands(f"results {FAILED} --to results --json", f"kill {ACTIVE} --json", changes=True),
    *_commands("cleanup --json", exits=LEFT, services=_ALL, changes=True),
    *_commands("verify --json", exits=LEFT, services=_ALL),
    *_commands("doctor --json", "runs --json", f"runs show {FAILED} --json", f"runs compare {FAILED} {ACTIVE}"),
    *_commands("teardown --yes --json", exits=MEND, services=_ALL),
    *_commands("upload data sales sales --json", "upload config train.yaml --json", changes=True),
    *_commands("upload agent --json", changes=True),
    *_brief("forecast --data sales --horizon 6 --model champion --json", services=_ALL, changes=True),
    *_brief(f"forecast --data sales --horizon 6 --model run:{TRAINED} --plan"),
    *_brief("evaluate --data sales --horizon 6 --models champion --yes --json", services=_ALL, changes=True),
    *_brief("evaluate --config evaluate.yaml --plan --json"),
    *_brief("launch --config train.yaml --promote better --model-name demand --json", services=_ALL, changes=True),
    *_brief(f"launch --resume {FAILED} --json", exits=MEND),
    *_brief("launch --config train.yaml --data ./good.csv --plan --json"),
    *_brief(f"{_FORECAST} --shards 3 --parallel 2 --name parts", _EVALUATE, _SWEEP),
    *_brief(f"monitor {FAILED} --compact", exits=LEFT),
    *_brief(f"results {TRAINED} --to results --checkpoints --json", "runs list --json"),
    *_brief(
        "launch --config train.yaml --spot --wait-for-capacity 2h --on-demand-after 30m",
        services=_INSTANCES, changes=True,
    ),
    *_brief(f"report {FAILED} --to report.html --json", f"report {TRAINED}", f"results {TRAINED} --to results"),
    *_brief(f"hold {ACTIVE} --for 1h --json", f"release {ACTIVE} --json", exits=MEND),
    *_brief("schedule list --json"),
    *_brief(
        *(f"schedule {name} nightly --json" for name in ("show", "pause", "resume", "run")),
        "schedule delete nightly --yes --json", exits=MEND,
    ),
    *_brief("schedule create nightly --config train.yaml --rate 1d --json", changes=True),
    *_brief("models list --json", "models show"),
    *_brief(f"models promote {TRAINED} --reason because --yes --json", "models rollback --yes --json", changes=True),
    *_brief("runs list --limit 3", f"runs compare {TRAINED} {BEST} --json"),
    *_brief(f"runs compare {FAILED} {BEST} --html compared.html --json"),
    *_brief(f"kill {ACTIVE} --now --reason enough", "upload data good.csv good --replace", changes=True),
)  # fmt: skip


def answers_of_aws(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Each command with each answer; `outputs` are the stack's."""
    yield from (command.situation("nothing is wrong") for command in COMMANDS)
    yield from _refusals()
    yield from _midway()
    yield from _networks()
    yield from _stacks(outputs)


def _one_of_each(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """A refusal for each exit code, and the last, which is one that nobody has met yet."""
    return (*{refusal.exits: refusal for refusal in refusals[:-1]}.values(), refusals[-1])


def _refusals() -> Iterator[Situation]:
    """AWS's own errors, in its own documents."""
    for (service, refusals), command in product(answers.REFUSALS.items(), COMMANDS):
        if service in command.services:
            # Whoever may wait for capacity also waits for an answer.
            waits = service == "ec2" and "--wait-for-capacity" in command.line
            for refusal in _one_of_each(refusals) if command.brief else refusals:
                exits = refusal.exits | OK if waits else refusal.exits
                yield command.situation(f"{service} answers {refusal.code}", refusal.fault(service), exits)
    for refusal in answers.LAUNCH_REFUSALS:
        fault = refusal.fault("ec2", holds=b"Action=RunInstances")
        yield COMMANDS[0].situation(f"RunInstances answers {refusal.code}", fault, refusal.exits)
    # What is only a warning keeps its exit code.
    for refusal in answers.REFUSALS["cloudformation"][:2]:
        name = f"verify: sns answers {refusal.code}"
        yield Situation(name, ("verify", "--json"), LEFT | MEND, refusal.fault("sns"))


def _midway() -> Iterator[Situation]:
    """Credentials that expire while a command works, and a stack of which a part is deleted."""
    for command in COMMANDS:
        for after in (2, 5, 9) if command.changes else ():
            what, fault = f"credentials expire after {after} requests to S3", answers.EXPIRED.fault("s3", after=after)
            yield command.situation(what, fault, command.exits | MEND)
        if "scheduler" in command.services:
            fault = answers.SCHEDULES_DELETED.fault("scheduler")
            yield command.situation("the schedules are deleted", fault, command.exits | NO_SUCCESS)


_PATIENT = ("launch --trainer probe --json", "verify --json", "upload config train.yaml --json")


def _networks() -> Iterator[Situation]:
    """What comes back is no answer of AWS."""
    for command in COMMANDS:
        received = answers.NETWORKS[:2] if command.brief else answers.NETWORKS
        for answer in (*received, answers.SILENCE) if command.line in _PATIENT else received:
            yield command.situation(f"cloudformation gets {answer.name}", Fault("cloudformation", answer), NO_SUCCESS)
            # A plan guesses without the bucket, and a diagnosis is made of whatever answers.
            tolerant = command.line.startswith("doctor") or "--plan" in command.line
            exits = NO_SUCCESS | OK if tolerant else NO_SUCCESS
            if not command.line.startswith("upload agent"):
                yield command.situation(f"s3 gets {answer.name}", Fault("s3", answer), exits)


_WITHOUT_OUTPUTS = (
    "CREATE_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED",
    "DELETE_IN_PROGRESS", "DELETE_FAILED", "REVIEW_IN_PROGRESS", "CREATE_COMPLETE",
)  # fmt: skip
_WITH_OUTPUTS = (
    "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_FAILED",
    "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED",
)  # fmt: skip
_TYPICAL = ("ROLLBACK_COMPLETE", "UPDATE_IN_PROGRESS")
_STARTS = ("launch", "forecast", "evaluate", "sweep", "drill", "schedule create")


def _stacks(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Stacks in every state but a good one."""
    states = [(status, False) for status in _WITHOUT_OUTPUTS] + [(status, True) for status in _WITH_OUTPUTS]
    for (status, complete), command in product(states, COMMANDS):
        if command.line.startswith("teardown") or (command.brief and status not in _TYPICAL):
            continue
        fault = Fault("cloudformation", answers.stack(status, outputs if complete else {}))
        if not complete:
            yield command.situation(f"the stack is {status}, without outputs", fault, MEND)
        elif command.line.startswith("doctor"):
            yield command.situation(f"the stack is {status}", fault, LEFT)
        else:
            exits = MEND if command.line.startswith(_STARTS) else command.exits
            yield command.situation(f"the stack is {status}", fault, exits)
