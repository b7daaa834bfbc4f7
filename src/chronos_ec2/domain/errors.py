"""Every error that chronos-ec2 raises on purpose.

ChronosError
├── UserError                what a person asked for cannot be done; the text is the whole message
│   ├── InvalidInput         a flag, field, file or variable has a wrong value
│   ├── NotDeployed          the stack of this environment is not there
│   ├── NoCredentials        AWS did not accept, or did not get, credentials
│   ├── LaneBusy             another run holds the lane
│   ├── StillInUse           the environment cannot be taken away, because something in it lives
│   └── RunNotFound          no run of that id
├── InvalidDocument               a document in S3 is not what its key promises
├── LostRace                 somebody else wrote first; read again and decide again
├── Fenced                   this agent does not, or no longer, own the run
├── CapacityUnavailable      EC2 has no such instance in this subnet now; another may have
├── LaunchRefused            EC2 will not launch this, wherever it is tried
└── ServiceUnavailable       an AWS call failed, and whether it took effect is not known
"""

from __future__ import annotations


class ChronosError(Exception):
    """Root of the tree above."""


class UserError(ChronosError):
    """What a person asked for cannot be done. The message names what was wrong and what to do."""


class InvalidInput(UserError):
    """A value from outside is wrong. `where` names the flag, field, file or variable."""

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{where}: {problem}" + (f" ({remedy})" if remedy else ""))
        self.where = where
        self.problem = problem


class NotDeployed(UserError):
    """The stack of this environment is not there, or is not one of ours."""


class NoCredentials(UserError):
    """AWS did not get credentials, or did not accept them."""


class LaneBusy(UserError):
    """Another run holds the lane."""

    def __init__(self, holder: str, lane: str, status: str) -> None:
        super().__init__(
            f"run {holder} holds {lane} (status {status}); watch it with `chronos-ec2 monitor {holder}`, "
            f"end it with `chronos-ec2 kill {holder}`, or launch in another lane with --lane NAME"
        )
        self.holder = holder


class StillInUse(UserError):
    """The environment cannot be taken away, because something in it lives."""

    def __init__(self, environment: str, left: list[str]) -> None:
        super().__init__(
            f"environment {environment} is still in use ({', '.join(left)}); let its runs end, or `chronos-ec2 kill` "
            "them, and see `chronos-ec2 verify`"
        )


class RunNotFound(UserError):
    """No run of that id in this environment."""

    def __init__(self, run_id: str, environment: str) -> None:
        super().__init__(f"no run {run_id} in environment {environment}; `chronos-ec2 runs` lists those that exist")


class InvalidDocument(ChronosError):
    """A document in S3 is not what its key promises. Its content is never acted on."""


class NotAllowed(ChronosError):
    """AWS refused a call: for lack of a permission, or because of what it was for. Trying again is of no use."""


class LostRace(ChronosError):
    """A conditional write found that somebody else wrote first."""


class Fenced(ChronosError):
    """This agent does not, or no longer, own the run: it stops and its box goes away."""


class CapacityUnavailable(ChronosError):
    """EC2 has no such instance in this subnet or market now."""


class LaunchRefused(ChronosError):
    """EC2 answered that it will not launch this, wherever it is tried."""


class ServiceUnavailable(ChronosError):
    """An AWS call failed; whether it took effect is not known."""
