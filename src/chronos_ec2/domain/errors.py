"""All errors that chronos-ec2 raises on purpose.

ChronosError
├── UserError                a request that cannot be met; its text is the whole message to the user
│   ├── InvalidInput         a flag, field, file or variable has a wrong value
│   ├── NotDeployed          this environment has no stack
│   ├── StackNotReady        its stack is changing, a change has failed, or its watchdog is switched off
│   ├── NoCredentials        credentials are missing, or AWS does not accept them
│   ├── LaneBusy             another run holds the lane
│   ├── StillInUse           the environment cannot be torn down, because it is in use
│   └── RunNotFound          no run has that id
├── RunUnsuccessful          a run that was waited for has ended without success
├── InvalidDocument          a document in S3 does not have the expected form
├── NotAllowed               AWS refused a call; retrying does not help
│   └── TerminationProtected the instance cannot be terminated until its protection is lifted
├── LostRace                 another writer was first; read again and decide again
│   └── Superseded           a launcher must not go on: its run is over, or has another launcher
├── Fenced                   this agent does not own the run, or not any more
├── CapacityUnavailable      EC2 has no such instance in this subnet now; another subnet may have one
├── LaunchRefused            EC2 will not launch this in any subnet
│   └── QuotaExceeded        the account's quota does not allow it; another instance type or market may have its own
└── ServiceUnavailable       an AWS call failed; it may have taken effect
"""

from __future__ import annotations

from typing import ClassVar


class ChronosError(Exception):
    """Root of the tree above. `problem` says what is wrong, `hint` what to do about it.

    The text of the error has the hint only if it was given: the usual one of its kind is for the end of a command.
    """

    usual_hint: ClassVar[str] = ""

    def __init__(self, problem: str = "", hint: str = "") -> None:
        super().__init__(f"{problem} ({hint})" if hint else problem)
        self.problem = problem
        self.hint = hint or self.usual_hint


class UserError(ChronosError):
    """A request that cannot be met. The message says what is wrong and what to do."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)


class InvalidInput(UserError):
    """A value from outside is wrong. `where` names the flag, field, file or variable; `detail` says what is wrong."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}", remedy)
        self.where = where
        self.detail = problem


class NotDeployed(UserError):
    """This environment has no stack, or one that is not ours."""


class StackNotReady(UserError):
    """Nothing may be launched in this stack now: it is changing, a change has failed, or its watchdog is off."""


class NoCredentials(UserError):
    """Credentials are missing, or AWS does not accept them."""

    usual_hint = "set AWS_PROFILE, or run `aws configure`, `aws login` or `aws sso login`"

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)


class LaneBusy(UserError):
    """Another run holds the lane."""

    def __init__(self, holder: str, lane: str, status: str) -> None:
        super().__init__(
            f"run {holder} holds {lane} (status {status})",
            f"watch it with `chronos-ec2 monitor {holder}`, end it with `chronos-ec2 kill {holder}`, or launch in "
            "another lane with --lane NAME",
        )
        self.holder = holder


class StillInUse(UserError):
    """The environment cannot be torn down, because it is in use."""

    def __init__(self, environment: str, left: list[str]) -> None:
        super().__init__(
            f"environment {environment} is still in use ({', '.join(left)})",
            "let its runs end or `chronos-ec2 kill` them, `chronos-ec2 schedule delete` its schedules; then "
            "check with `chronos-ec2 verify`",
        )


class RunNotFound(UserError):
    """No run in this environment has that id."""

    def __init__(self, run_id: str, environment: str, near: str = "") -> None:
        hint = f"{near} `chronos-ec2 runs` lists the runs".lstrip()
        super().__init__(f"no run {run_id} in environment {environment}", hint)


class RunUnsuccessful(ChronosError):
    """A run or a group that was waited for has ended without success."""

    def __init__(self, name: str, how: str, what: str = "run") -> None:
        super().__init__(f"{what} {name} has not succeeded: {how}", f"`chronos-ec2 report {name}` has all of it")


class InvalidDocument(ChronosError):
    """A document in S3 does not have the expected form. Its content is never acted on."""

    usual_hint = "`chronos-ec2 verify` shows how the environment stands; the watchdog sets a damaged lock aside"


class NotAllowed(ChronosError):
    """AWS refused a call: a permission is missing, or the target forbids it. Retrying does not help."""

    usual_hint = "docs/deploying.md has the permissions of an operator; ask whoever manages the AWS account"


class TerminationProtected(NotAllowed):
    """EC2 does not terminate an instance whose attribute DisableApiTermination is set."""

    usual_hint = "the watchdog lifts the protection within a minute; `chronos-ec2 verify` shows what is left"


class LostRace(ChronosError):
    """The condition of a conditional write did not hold: another writer was first."""

    usual_hint = "give the command again"


class Superseded(LostRace):
    """A launcher must not go on: the run has ended, was stopped, or has another launcher or instance."""

    usual_hint = "`chronos-ec2 runs` shows how it stands"


class Fenced(ChronosError):
    """This agent does not own the run, or not any more. It stops, and its instance powers off."""

    usual_hint = "nothing is to be done: another instance has the run"


class CapacityUnavailable(ChronosError):
    """EC2 has no such instance in this subnet or market now. `code` and `words` are EC2's."""

    usual_hint = "wait for it with --wait-for-capacity, such as 2h, or name other types with --instance-type a,b"

    def __init__(self, problem: str = "", hint: str = "", *, code: str = "", words: str = "") -> None:
        super().__init__(problem, hint)
        self.code = code
        self.words = words or problem


class LaunchRefused(ChronosError):
    """EC2 will not launch this in any subnet."""

    usual_hint = "`chronos-ec2 doctor` checks AMI, zones, quotas and volumes; then launch again"


class QuotaExceeded(LaunchRefused, UserError):
    """The account's quota does not allow it, in any subnet. Waiting does not help, unlike with capacity."""


class ServiceUnavailable(ChronosError):
    """An AWS call failed; it may have taken effect."""

    usual_hint = "try again; https://health.aws.amazon.com shows whether AWS has a problem"
