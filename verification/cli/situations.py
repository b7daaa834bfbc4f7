"""Commands in situations, each with the exit codes that it may end with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from chronos_ec2.cli.app import SUMMARIES, load
from verification.cli.answers import EXPIRED, LAUNCH_REFUSALS, MEND, NETWORKS, REFUSALS, SILENCE, Refusal, stack
from verification.cli.proxy import Fault
from verification.cli.world import ACTIVE, BEST, FAILED, TRAINED

Exits = frozenset[int]


OK, LEFT, NO_SUCCESS = frozenset({0}), frozenset({1}), frozenset({2, 3})


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
    faults: tuple[Fault, ...] = ()
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


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, how it ends when nothing is wrong, and which services it asks.

    `brief`: it meets an answer of each kind only, because it asks as another command does that meets them all.
    """

    arguments: tuple[str, ...]
    exits: Exits
    services: frozenset[str]
    changes: bool = False
    brief: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return " ".join(self.arguments)


def _command(line: str, exits: Exits, services: str, *, changes: bool = False, brief: bool = False) -> Command:
    return Command(tuple(line.split()), exits, frozenset(services.split()), changes, brief)


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
    _command("launch --trainer probe --json", OK, "scheduler s3 ec2", changes=True),
    _command("launch --config train.yaml --lane second", OK, "scheduler s3 ec2", changes=True),
    _command(f"monitor {FAILED} --json", LEFT, "s3"),
    _command(f"logs {FAILED} --log agent", OK, "s3"),
    _command(f"results {FAILED} --to results --json", OK, "s3", changes=True),
    _command(f"kill {ACTIVE} --json", OK, "s3", changes=True),
    _command("cleanup --json", LEFT, "s3 ec2 scheduler", changes=True),
    _command("verify --json", LEFT, "s3 ec2 scheduler"),
    _command("doctor --json", OK, "s3"),
    _command("runs --json", OK, "s3"),
    _command(f"runs show {FAILED} --json", OK, "s3"),
    _command(f"runs compare {FAILED} {ACTIVE}", OK, "s3"),
    _command("teardown --yes --json", MEND, "s3 ec2 scheduler"),
    _command("upload data sales sales --json", OK, "s3", changes=True),
    _command("upload config train.yaml --json", OK, "s3", changes=True),
    _command("upload agent --json", OK, "s3", changes=True),
    *(
        _command(line, exits, services, changes=changes, brief=True)
        for line, exits, services, changes in (
            ("forecast --data sales --horizon 6 --model champion --json", OK, "scheduler s3 ec2", True),
            (f"forecast --data sales --horizon 6 --model run:{TRAINED} --plan", OK, "s3", False),
            ("evaluate --data sales --horizon 6 --models champion --yes --json", OK, "scheduler s3 ec2", True),
            ("evaluate --config evaluate.yaml --plan --json", OK, "s3", False),
            ("launch --config train.yaml --promote better --model-name demand --json", OK, "scheduler s3 ec2", True),
            (f"launch --resume {FAILED} --json", MEND, "s3", False),
            ("launch --config train.yaml --data ./good.csv --plan --json", OK, "s3", False),
            (f"{_FORECAST} --shards 3 --parallel 2 --name parts", OK, "s3", False),
            (_EVALUATE, OK, "s3", False),
            (_SWEEP, OK, "s3", False),
            (f"monitor {FAILED} --compact", LEFT, "s3", False),
            (f"results {TRAINED} --to results --checkpoints --json", OK, "s3", False),
            ("runs list --json", OK, "s3", False),
            ("launch --config train.yaml --spot --wait-for-capacity 2h --on-demand-after 30m", OK, "s3 ec2", True),
            (f"report {FAILED} --to report.html --json", OK, "s3", False),
            (f"report {TRAINED}", OK, "s3", False),
            (f"results {TRAINED} --to results", OK, "s3", False),
            (f"hold {ACTIVE} --for 1h --json", MEND, "s3", False),
            (f"release {ACTIVE} --json", MEND, "s3", False),
            ("schedule list --json", OK, "s3", False),
            *((f"schedule {name} nightly --json", MEND, "s3", False) for name in ("show", "pause", "resume", "run")),
            ("schedule delete nightly --yes --json", MEND, "s3", False),
            ("schedule create nightly --config train.yaml --rate 1d --json", OK, "s3", True),
            ("models list --json", OK, "s3", False),
            ("models show", OK, "s3", False),
            (f"models promote {TRAINED} --reason because --yes --json", OK, "s3", True),
            ("models rollback --yes --json", OK, "s3", True),
            ("runs list --limit 3", OK, "s3", False),
            (f"runs compare {TRAINED} {BEST} --json", OK, "s3", False),
            (f"runs compare {FAILED} {BEST} --html compared.html --json", OK, "s3", False),
            (f"kill {ACTIVE} --now --reason enough", OK, "s3", True),
            ("upload data good.csv good --replace", OK, "s3", True),
        )
    ),
)  # fmt: skip


def answers_of_aws(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Each command with each answer; `outputs` are the stack's."""
    for command in COMMANDS:
        yield Situation(f"{command.name}: nothing is wrong", command.arguments, command.exits, renews=command.changes)
    yield from _refusals()
    yield from _midway()
    yield from _networks()
    yield from _stacks(outputs)


def _one_of_each(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """A refusal for each exit code, and the last, which is one that nobody has met yet."""
    return (*{refusal.exits: refusal for refusal in refusals[:-1]}.values(), refusals[-1])


def _refusals() -> Iterator[Situation]:
    """AWS's own errors, in its own documents."""
    for service, refusals in REFUSALS.items():
        for command in COMMANDS:
            if service != "cloudformation" and service not in command.services:
                continue
            for refusal in _one_of_each(refusals) if command.brief else refusals:
                fault = Fault(service, refusal.answer(service))
                name = f"{command.name}: {service} answers {refusal.code}"
                # Whoever may wait for capacity also waits for an answer.
                waits = service == "ec2" and "--wait-for-capacity" in command.arguments
                exits = refusal.exits | OK if waits else refusal.exits
                yield Situation(name, command.arguments, exits, (fault,), renews=command.changes)
    launch = COMMANDS[0]
    for refusal in LAUNCH_REFUSALS:
        fault = Fault("ec2", refusal.answer("ec2"), holds="Action=RunInstances")
        name = f"{launch.name}: RunInstances answers {refusal.code}"
        yield Situation(name, launch.arguments, refusal.exits, (fault,), renews=True)
    # What is only a warning keeps its exit code.
    for refusal in REFUSALS["cloudformation"][:2]:
        fault = Fault("sns", refusal.answer("sns"))
        yield Situation(f"verify: sns answers {refusal.code}", ("verify", "--json"), LEFT | MEND, (fault,))


def _midway() -> Iterator[Situation]:
    """Credentials that expire while a command works, and a stack of which a part is deleted."""
    for command in COMMANDS:
        if command.changes:
            for after in (2, 5, 9):
                fault = Fault("s3", EXPIRED.answer("s3"), after=after)
                name = f"{command.name}: credentials expire after {after} requests to S3"
                yield Situation(name, command.arguments, command.exits | MEND, (fault,), renews=True)
        if "scheduler" in command.services:
            gone = Refusal("ResourceNotFoundException", 404, MEND, "Schedule group chronos-ec2-dev does not exist.")
            fault = Fault("scheduler", gone.answer("scheduler"))
            name = f"{command.name}: the schedules are deleted"
            yield Situation(name, command.arguments, command.exits | NO_SUCCESS, (fault,), renews=command.changes)


_PATIENT = ("launch --trainer probe --json", "verify --json", "upload config train.yaml --json")


def _networks() -> Iterator[Situation]:
    """What comes back is no answer of AWS."""
    for command in COMMANDS:
        for answer in NETWORKS[:2] if command.brief else (*NETWORKS, *((SILENCE,) if command.name in _PATIENT else ())):
            for service in ("cloudformation", *sorted(command.services & {"s3"})):
                if service == "s3" and command.name.startswith("upload agent"):
                    continue
                name = f"{command.name}: {service} gets {answer.name}"
                fault = Fault(service, answer)
                # A plan guesses without the bucket, and a diagnosis is made of whatever answers.
                tolerant = service == "s3" and (command.arguments[0] == "doctor" or "--plan" in command.arguments)
                exits = NO_SUCCESS | OK if tolerant else NO_SUCCESS
                yield Situation(name, command.arguments, exits, (fault,), renews=command.changes)


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
    deleting = ("teardown",)
    for status in _WITHOUT_OUTPUTS:
        fault = Fault("cloudformation", stack(status, {}))
        for command in COMMANDS:
            if command.arguments[:1] != deleting and (not command.brief or status in _TYPICAL):
                name = f"{command.name}: the stack is {status}, without outputs"
                yield Situation(name, command.arguments, MEND, (fault,))
    for status in _WITH_OUTPUTS:
        for command in COMMANDS:
            if command.arguments[:1] != deleting and (not command.brief or status in _TYPICAL):
                exits = LEFT if command.name.startswith("doctor") else command.exits
                exits = MEND if command.name.startswith(_STARTS) else exits
                name = f"{command.name}: the stack is {status}"
                fault = Fault("cloudformation", stack(status, outputs))
                yield Situation(name, command.arguments, exits, (fault,), renews=command.changes)
