"""The faults of the drill: what each does to a probe run, how long its instance may live after that, and how it ends.

A run is harmed in three ways only: by the ending of its own `probe` trainer, which no other trainer reads; by an
agent that never claims, which only the request of a drill's own run names by its hash; and by what the drill itself
does to its own lane. So none of them can reach a run of another kind.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from fnmatch import fnmatchcase

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.job_config.schema import Ending

MISSING_BUNDLE = "0" * 64
"""The hash of a bundle that no bucket has."""
_NEVER_CLAIMS = (
    '"""The agent of a drill: it boots, and never claims its run."""\nimport threading\nthreading.Event().wait()\n'
)
_SHORT, _LONG = 0.1, 120.0
_SCHEDULER = timedelta(seconds=150)
"""EventBridge Scheduler calls EC2 in the first whole minute after a deadline, at any second of it."""


class Since(Enum):
    """What the time until the end of an instance counts from."""

    LAUNCH = "its launch"
    HEARTBEAT = "its last heartbeat"
    PROGRESS = "its last progress"
    END = "the end of its run"
    STOP = "the request to stop"
    DEADLINE = "its deadline"
    CAP = "the moment its cap is spent"


class Harm(Enum):
    """What the drill itself does, beside the probe's ending."""

    NONE = "nothing"
    BUNDLE_MISSING = "the request names a bundle that does not exist"
    BUNDLE_HANGS = "the request names an agent that never claims"
    NO_RECORD = "the same, and the lock is deleted"
    LAUNCHER_LOST = "the launcher is gone once EC2 has started the instance"
    KILL = "the run is killed"
    SHORT_DEADLINE = "the deadline is before the end of the work"
    SMALL_CAP = "the cap is spent before the end of the work"
    SWEEP_OFF = "the sweep is switched off until the instance has ended, and the deadline is soon"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. `causes` are those that the verdict may have, none for an instance without a record.

    `opt_in`: only who names it gets it.
    """

    name: str
    what: str
    since: Since
    guaranteed: Callable[[Limits], timedelta]
    causes: tuple[Cause, ...]
    ending: Ending = "ok"
    minutes: float = _SHORT
    harm: Harm = Harm.NONE
    opt_in: bool = False


FAULTS: tuple[Fault, ...] = (
    Fault("good-end", "nothing: the run completes", Since.END, lambda it: it.ended_bound, (Cause.COMPLETED,)),
    Fault("crash", "the trainer crashes", Since.END, lambda it: it.ended_bound, (Cause.USER_CODE,), "crash"),
    Fault("hang", "the trainer hangs", Since.PROGRESS, lambda it: it.hung_bound, (Cause.HUNG,), "hang"),
    Fault(
        "agent-killed", "SIGKILL to the agent", Since.HEARTBEAT, lambda it: it.dead_agent_bound, (Cause.INFRA,),
        "kill-agent",
    ),
    Fault(
        "agent-frozen", "SIGSTOP to the agent", Since.HEARTBEAT, lambda it: it.dead_agent_bound,
        (Cause.INFRA, Cause.HUNG), "freeze-agent",
    ),
    Fault(
        "boot-fails", "the agent's code is missing", Since.LAUNCH, lambda it: it.boot_bound, (Cause.INFRA,),
        harm=Harm.BUNDLE_MISSING,
    ),
    Fault(
        "boot-hangs", "the agent never claims", Since.LAUNCH, lambda it: it.boot_bound, (Cause.INFRA,),
        harm=Harm.BUNDLE_HANGS,
    ),
    Fault(
        "power-off-refused", "the instance does not power off", Since.END, lambda it: it.ended_bound,
        (Cause.COMPLETED,), "keep-power",
    ),
    Fault(
        "no-record", "nothing records the instance", Since.LAUNCH, lambda it: it.orphan_bound, (),
        harm=Harm.NO_RECORD,
    ),
    Fault(
        "past-deadline", "the work outlasts the deadline", Since.DEADLINE, lambda it: it.deadline_bound,
        (Cause.OVER_DEADLINE,), minutes=_LONG, harm=Harm.SHORT_DEADLINE,
    ),
    Fault(
        "past-cap", "the work outlasts the cap", Since.CAP, lambda it: it.deadline_bound, (Cause.OVER_BUDGET,),
        minutes=_LONG, harm=Harm.SMALL_CAP,
    ),
    Fault(
        "kill", "an operator ends the run", Since.STOP, lambda it: it.ended_bound, (Cause.REQUESTED,), minutes=_LONG,
        harm=Harm.KILL,
    ),
    Fault(
        "lost-launcher", "the launcher dies after RunInstances", Since.END, lambda it: it.ended_bound,
        (Cause.COMPLETED,), harm=Harm.LAUNCHER_LOST,
    ),
    Fault(
        "sweep-off", "the sweep is off, the agent frozen", Since.DEADLINE, lambda _it: _SCHEDULER,
        (Cause.INFRA, Cause.HUNG, Cause.OVER_DEADLINE), "freeze-agent", harm=Harm.SWEEP_OFF, opt_in=True,
    ),
)  # fmt: skip


def chosen_faults(only: str | None) -> Sequence[Fault]:
    """The faults that a comma-separated list of names or patterns asks for, opt-in ones last and only by their names.

    Raises:
        InvalidInput: there is no such fault.
    """
    if only is None:
        return [fault for fault in FAULTS if not fault.opt_in]
    patterns = [each.strip() for each in only.split(",")]
    names = [fault.name for fault in FAULTS]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidInput("--only", f"no fault is named {pattern[:40]!r}", f"one of {', '.join(names)}")
    return [
        fault
        for fault in FAULTS
        if fault.name in patterns or (not fault.opt_in and any(fnmatchcase(fault.name, each) for each in patterns))
    ]


def hanging_bundle() -> bytes:
    """A bundle with an agent that boots and never claims its run."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in (("agent/__init__.py", ""), ("agent/__main__.py", _NEVER_CLAIMS)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(archive.getvalue(), mtime=0)
