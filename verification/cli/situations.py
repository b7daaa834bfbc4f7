"""Commands in situations, each with the exit codes that it may end with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from verification.cli.answers import LAUNCH_REFUSALS, MEND, NETWORKS, REFUSALS, SILENCE, stack
from verification.cli.proxy import Fault
from verification.cli.world import ACTIVE, FAILED

Exits = frozenset[int]
OK, LEFT, NO_SUCCESS = frozenset({0}), frozenset({1}), frozenset({2, 3})


@dataclass(frozen=True)
class Situation:
    """A command and what is wrong, if anything.

    Attributes:
        variables: changes of the environment; None removes a variable.
        shell: run as a process of its own, by this line of bash with the command as "$@"; None: in this process.
        renews: the command changes the world, which is made anew afterwards.
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

    @property
    def command(self) -> str:
        """The command, with its own command if it has any."""
        return " ".join(self.arguments[: 2 if self.arguments[:1] in (("upload",), ("local",)) else 1])

    @property
    def as_json(self) -> bool:
        """Whether standard output has to be JSON."""
        return "--json" in self.arguments


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, how it ends when nothing is wrong, and which services it asks."""

    arguments: tuple[str, ...]
    exits: Exits
    services: frozenset[str]
    changes: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return " ".join(self.arguments)


def _command(line: str, exits: Exits, services: str, *, changes: bool = False) -> Command:
    return Command(tuple(line.split()), exits, frozenset(services.split()), changes)


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
)


def answers_of_aws(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Each command with each answer; `outputs` are the stack's."""
    for command in COMMANDS:
        yield Situation(f"{command.name}: nothing is wrong", command.arguments, command.exits, renews=command.changes)
    yield from _refusals()
    yield from _networks()
    yield from _stacks(outputs)


def _refusals() -> Iterator[Situation]:
    """AWS's own errors, in its own documents."""
    for service, refusals in REFUSALS.items():
        for command in COMMANDS:
            if service != "cloudformation" and service not in command.services:
                continue
            for refusal in refusals:
                fault = Fault(service, refusal.answer(service))
                name = f"{command.name}: {service} answers {refusal.code}"
                yield Situation(name, command.arguments, refusal.exits, (fault,), renews=command.changes)
    launch = COMMANDS[0]
    for refusal in LAUNCH_REFUSALS:
        fault = Fault("ec2", refusal.answer("ec2"), holds="Action=RunInstances")
        name = f"{launch.name}: RunInstances answers {refusal.code}"
        yield Situation(name, launch.arguments, refusal.exits, (fault,), renews=True)
    # What is only a warning keeps its exit code.
    for refusal in REFUSALS["cloudformation"][:2]:
        fault = Fault("sns", refusal.answer("sns"))
        yield Situation(f"verify: sns answers {refusal.code}", ("verify", "--json"), LEFT | MEND, (fault,))


_PATIENT = ("launch --trainer probe --json", "verify --json", "upload config train.yaml --json")


def _networks() -> Iterator[Situation]:
    """What comes back is no answer of AWS."""
    for command in COMMANDS:
        for answer in (*NETWORKS, *((SILENCE,) if command.name in _PATIENT else ())):
            for service in ("cloudformation", *sorted(command.services & {"s3"})):
                if service == "s3" and command.name.startswith("upload agent"):
                    continue
                name = f"{command.name}: {service} gets {answer.name}"
                fault = Fault(service, answer)
                yield Situation(name, command.arguments, NO_SUCCESS, (fault,), renews=command.changes)


_WITHOUT_OUTPUTS = (
    "CREATE_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED",
    "DELETE_IN_PROGRESS", "DELETE_FAILED", "REVIEW_IN_PROGRESS", "CREATE_COMPLETE",
)  # fmt: skip
_WITH_OUTPUTS = (
    "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_FAILED",
    "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED",
)  # fmt: skip


def _stacks(outputs: Mapping[str, str]) -> Iterator[Situation]:
    """Stacks in every state but a good one."""
    deleting = ("teardown",)
    for status in _WITHOUT_OUTPUTS:
        fault = Fault("cloudformation", stack(status, {}))
        for command in COMMANDS:
            if command.arguments[:1] != deleting:
                name = f"{command.name}: the stack is {status}, without outputs"
                yield Situation(name, command.arguments, MEND, (fault,))
    for status in _WITH_OUTPUTS:
        for command in COMMANDS:
            if command.arguments[:1] != deleting:
                exits = MEND if command.arguments[0] == "launch" else command.exits
                name = f"{command.name}: the stack is {status}"
                fault = Fault("cloudformation", stack(status, outputs))
                yield Situation(name, command.arguments, exits, (fault,), renews=command.changes)
