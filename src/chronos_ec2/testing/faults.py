"""Faults by operation name: a call fails, its caller dies, its answer is lost, or something else happens meanwhile.

An operation is named after port and method, like `objects.create`, or after AWS's call, like `s3:PutObject`; both take
wildcards. Its target is a key, an instance id or a lane, empty where there is none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Protocol

from chronos_ec2.domain.errors import ServiceUnavailable

AWS_CALLS = {
    "objects.read": "s3:GetObject",
    "objects.tail": "s3:GetObject",
    "objects.piece": "s3:GetObject",
    "objects.write": "s3:PutObject",
    "objects.create": "s3:PutObject",
    "objects.replace": "s3:PutObject",
    "objects.remove": "s3:DeleteObject",
    "objects.keys": "s3:ListBucket",
    "objects.listed": "s3:ListBucket",
    "objects.children": "s3:ListBucket",
    "objects.uploads": "s3:ListBucketMultipartUploads",
    "objects.abort": "s3:AbortMultipartUpload",
    "fleet.instances": "ec2:DescribeInstances",
    "fleet.look_up": "ec2:DescribeInstances",
    "fleet.launch": "ec2:RunInstances",
    "fleet.terminate": "ec2:TerminateInstances",
    "fleet.lift_protection": "ec2:ModifyInstanceAttribute",
    "fleet.hold": "ec2:CreateTags",
    "fleet.release": "ec2:DeleteTags",
    "fleet.leftovers": "ec2:DescribeVolumes",
    "fleet.delete": "ec2:DeleteVolume",
    "deadlines.schedule": "scheduler:CreateSchedule",
    "deadlines.scheduled": "scheduler:ListSchedules",
    "deadlines.cancel": "scheduler:DeleteSchedule",
    "timetable.put": "scheduler:CreateSchedule",
    "timetable.remove": "scheduler:DeleteSchedule",
    "timetable.listed": "scheduler:ListSchedules",
    "notifier.publish": "sns:Publish",
    "streams.append": "logs:PutLogEvents",
    "catalogue.find": "ec2:DescribeInstanceTypes",
    "prices.on_demand": "pricing:GetProducts",
    "prices.gib_month": "pricing:GetProducts",
    "prices.public_ipv4": "pricing:GetProducts",
    "prices.spot": "ec2:DescribeSpotPriceHistory",
    "setup_checks.bucket_sends_events": "s3:GetBucketNotification",
    "setup_checks.bucket_region": "s3:HeadBucket",
    "setup_checks.subscriptions": "sns:ListSubscriptionsByTopic",
    "setup_checks.vcpu_quotas": "servicequotas:GetServiceQuota",
    "setup_checks.sweep_is_scheduled": "scheduler:GetSchedule",
    "setup_checks.alarms": "cloudwatch:DescribeAlarms",
    "launch_checks.image": "ec2:DescribeImages",
    "launch_checks.zones": "ec2:DescribeInstanceTypeOfferings",
    "launch_checks.volume_encryption": "ec2:GetEbsEncryptionByDefault",
}
"""The call of AWS behind each operation."""


class Crash(BaseException):
    """The calling process is gone. Not an Exception: no handler of the code under test may survive it."""


class Interceptor(Protocol):
    """Sees each call of the memory adapters.

    Both methods may raise what a real adapter raises (ServiceUnavailable, LostRace, CapacityUnavailable), or `Crash`.
    """

    def before(self, operation: str, target: str) -> None:
        """The request has not reached AWS; raising means that it never does."""
        ...

    def after(self, operation: str, target: str) -> None:
        """The call has had its effect; raising means that the caller does not learn of it."""
        ...


class Network(Protocol):
    """What is between an agent in virtual time and AWS."""

    @property
    def can_fail(self) -> bool:
        """Whether a call may fail: then no heartbeat is skipped."""
        ...

    def used_by_agent(self, *, cut_off: bool) -> AbstractContextManager[None]:
        """The agent makes the calls within; cut off, all of them fail."""
        ...


@dataclass(slots=True)
class _Fault:
    operation: str
    on: str
    after: bool
    action: Callable[[str, str], None]
    skip: int
    times: float
    seen: int = 0

    def matches(self, operation: str, target: str) -> bool:
        named = self.operation in ("*", operation) or any(
            fnmatchcase(name, self.operation) for name in (operation, AWS_CALLS[operation])
        )
        return named and (self.on == "*" or fnmatchcase(target, self.on))

    @property
    def due(self) -> bool:
        return self.skip < self.seen <= self.skip + self.times


class Faults:
    """Faults to inject. Without any, everything works. `calls` records (operation, target) of every call.

    Each fault strikes the matching calls whose target matches `on`, after the first `skip`, so many `times`.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.struck = 0
        """How often a fault has struck."""
        self._faults: list[_Fault] = []
        self._suspensions = threading.local()

    @property
    def _suspended(self) -> bool:
        """Whether this thread's calls are neither recorded nor disturbed."""
        return getattr(self._suspensions, "on", False)

    def fail(
        self,
        operation: str,
        error: BaseException | type[BaseException] = ServiceUnavailable,
        *,
        on: str = "*",
        skip: int = 0,
        times: float = inf,
    ) -> None:
        """Raise `error` before the call has an effect."""
        self._add(operation, _raising(error), on, skip, times)

    def lose_answer(
        self,
        operation: str,
        error: BaseException | type[BaseException] = ServiceUnavailable,
        *,
        on: str = "*",
        skip: int = 0,
        times: float = inf,
    ) -> None:
        """Raise `error` after the call has had its effect."""
        self._add(operation, _raising(error), on, skip, times, after=True)

    def crash_before(self, operation: str, *, on: str = "*", skip: int = 0) -> None:
        """The caller dies before the call has an effect, once."""
        self._add(operation, _raising(Crash), on, skip, 1)

    def crash_after(self, operation: str, *, on: str = "*", skip: int = 0) -> None:
        """The caller dies after the call has had its effect, once."""
        self._add(operation, _raising(Crash), on, skip, 1, after=True)

    def hook(
        self,
        operation: str,
        action: Callable[[str], object],
        *,
        after: bool = False,
        on: str = "*",
        skip: int = 0,
        times: float = inf,
    ) -> None:
        """Run `action` with the call's target, before its effect or after it. What the action calls meets no fault."""

        def run(_operation: str, target: str) -> None:
            with self.suspended():
                action(target)

        self._add(operation, run, on, skip, times, after=after)

    def clear(self) -> None:
        """Remove every fault."""
        self._faults.clear()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """This thread's calls within are neither recorded nor disturbed."""
        before, self._suspensions.on = self._suspended, True
        try:
            yield
        finally:
            self._suspensions.on = before

    def before(self, operation: str, target: str) -> None:
        """Be the Interceptor."""
        if self._suspended:
            return
        self.calls.append((operation, target))
        matching = [fault for fault in self._faults if fault.matches(operation, target)]
        for fault in matching:
            fault.seen += 1
        self._strike([fault for fault in matching if not fault.after], operation, target)

    def after(self, operation: str, target: str) -> None:
        """Be the Interceptor."""
        if not self._suspended:
            matching = [fault for fault in self._faults if fault.after and fault.matches(operation, target)]
            self._strike(matching, operation, target)

    def _add(
        self,
        operation: str,
        action: Callable[[str, str], None],
        on: str,
        skip: int,
        times: float,
        *,
        after: bool = False,
    ) -> None:
        self._faults.append(_Fault(operation, on, after, action, skip, times))

    def _strike(self, faults: list[_Fault], operation: str, target: str) -> None:
        for fault in faults:
            if fault.due:
                self.struck += 1
                fault.action(operation, target)


def _raising(error: BaseException | type[BaseException]) -> Callable[[str, str], None]:
    def raise_it(operation: str, _target: str) -> None:
        raise error if isinstance(error, BaseException) else error(f"{AWS_CALLS[operation]} is refused")

    return raise_it
