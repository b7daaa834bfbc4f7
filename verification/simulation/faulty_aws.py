"""What goes wrong between AWS and its callers: lost answers, outages, pauses, crashes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

from chronos_ec2.domain.errors import LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.testing import Crash, VirtualTime
from chronos_ec2.testing.clock import VirtualProcess
from chronos_ec2.testing.faults import AWS_CALLS
from verification.simulation.scenario import Scenario

_BEAT_SECONDS = 20.0
"""A heartbeat and its second try."""


@dataclass(eq=False, slots=True)
class Caller:
    """Who makes calls: a function, a launcher, or an agent."""

    in_function: bool = False
    in_launch: bool = False
    calls_to_crash: int | None = None
    """It crashes after so many more fault points, two a call."""
    tick: float | None = None
    """When the tick came in which it works."""
    began: float = 0.0
    process: VirtualProcess | None = None
    failed: bool = False
    """Whether a call of it failed, or it crashed, by chance or in an outage."""
    failed_by_chance: bool = False
    """The same without outages other than EC2's."""
    blind: bool = False
    """Whether it could not see EC2 or S3, or nobody knows what it could see."""

    @property
    def alive(self) -> bool:
        """Whether its process still works."""
        return self.process is not None and not self.process.ended


NOBODY = Caller()


@dataclass(eq=False, slots=True)
class Noise:
    """What goes wrong with each call, given who makes it and what the scenario says."""

    _scenario: Scenario
    _random: Random
    _time: VirtualTime
    caller: Caller = field(default_factory=Caller)
    cut_off: bool = False
    """Whether the current caller cannot reach AWS."""
    conditional: bool = False
    """Whether the call is a conditional write, whose retry may find that the condition does not hold."""
    muted: bool = False
    on_publish: Callable[[], None] = field(default=lambda: None)
    disturbed: list[float] = field(default_factory=list)
    """The times of ticks that were lost, or in which a call failed."""
    disturbed_by_chance: list[float] = field(default_factory=list)
    """The same without those that only an outage other than EC2's disturbed."""
    blinded: list[float] = field(default_factory=list)
    """The same without those that only an outage of SNS or Scheduler disturbed."""
    _callers: list[Caller] = field(default_factory=list)

    def run_as(self, caller: Caller, call: Callable[[], object], timeout: float | None = None) -> None:
        """Let a caller begin, as a process if it may be held up; killed after `timeout` seconds."""
        caller.began = self._time.seconds

        def begin() -> None:
            self.caller = caller
            try:
                call()
            finally:
                self.caller = NOBODY

        if not (self._scenario.pauses or (caller.in_launch and self._scenario.option_seconds)):
            with suppress(Crash):
                begin()
            return
        caller.process = VirtualProcess(self._time, begin)
        self._callers.append(caller)
        if timeout is not None:
            self._time.after(timeout, lambda: self.kill(caller))
        caller.process.start()

    def kill(self, caller: Caller) -> None:
        """Its process crashes where it is, if it still runs."""
        if caller.process is not None and caller.alive:
            caller.failed = caller.failed_by_chance = True
            caller.process.kill()

    def kill_all(self) -> None:
        """Nobody calls any more."""
        for caller in self._callers:
            self.kill(caller)

    def hold_up(self, seconds: float) -> None:
        """The current caller waits, while everybody else continues."""
        caller, conditional = self.caller, self.conditional
        if caller.process is None or seconds <= 0:
            return
        self.caller, self.conditional = NOBODY, False
        caller.process.sleep(seconds)
        self.caller, self.conditional = caller, conditional

    @contextmanager
    def used_by_agent(self, *, cut_off: bool) -> Iterator[None]:
        """Be the network of an agent."""
        before = self.cut_off, self.caller
        self.cut_off, self.caller = cut_off, NOBODY
        try:
            yield
        finally:
            self.cut_off, self.caller = before

    def disturbs(self, tick: float, *, by_chance: bool = True, blind: bool = True) -> None:
        """Note that a tick may have been of no use."""
        ticks = ((self.disturbed, True), (self.disturbed_by_chance, by_chance), (self.blinded, blind or by_chance))
        for noted, applies in ticks:
            if applies and tick not in noted:
                insort(noted, tick)

    @property
    def can_fail(self) -> bool:
        """Whether a call may fail, by chance or in an outage."""
        return bool(self._scenario.call_errors or self._scenario.outages) and not self.muted

    @property
    def out(self) -> set[str]:
        """The services that are out now: a tick that did not call one may still depend on it."""
        return {outage.service for outage in self._scenario.outages if outage.covers(self._time.seconds)}

    def excuse(self, last_beat: float) -> float:
        """Since when an agent is silent by its own fault, which an outage of S3 is not."""
        for outage in self._scenario.outages:
            began_well = outage.after - _BEAT_SECONDS < last_beat < outage.until
            if outage.service == "s3" and not outage.refuses and began_well and self._time.seconds > outage.after:
                # A heartbeat that failed is tried again after some seconds.
                return min(self._time.seconds, outage.until + _BEAT_SECONDS)
        return last_beat

    def before(self, operation: str, _target: str) -> None:
        """The request may be lost, and its sender may die."""
        if self.cut_off:
            raise ServiceUnavailable(f"{operation}: no route")
        self._in_an_outage(operation)
        self._maybe(operation)
        self._takes_its_time(operation)

    def after(self, operation: str, _target: str) -> None:
        """The answer may be lost, and its receiver may die."""
        if operation == "notifier.publish":
            self.on_publish()
        self._takes_its_time(operation)
        errors = self._scenario.call_errors
        if self.conditional and errors and not self.muted and self._random.random() < errors / 8:
            # botocore retried after a lost answer, and met its own write.
            self._count()
            raise LostRace(f"{operation}: 412")
        self._maybe(operation)
        if self._scenario.pauses and not self.muted:
            self._may_pause()

    def _takes_its_time(self, operation: str) -> None:
        """RunInstances is slow, before its effect and after it."""
        if operation == "fleet.launch" and self._scenario.option_seconds:
            self.hold_up(self._random.uniform(0.0, self._scenario.option_seconds))

    def _may_pause(self) -> None:
        """The caller is held up while everybody else continues."""
        caller = self.caller
        if not caller.alive or self._random.random() >= self._scenario.pauses:
            return
        seconds = self._random.uniform(0.1, 20.0)
        if caller.in_launch and not caller.in_function and self._random.random() < 0.2:
            seconds = self._random.uniform(20.0, 2000.0)  # somebody closes a laptop
        self._count()
        if caller.tick is not None:
            self.disturbs(caller.tick)
        self.hold_up(seconds)

    def _in_an_outage(self, operation: str) -> None:
        call, caller = AWS_CALLS[operation], self.caller
        for outage in self._scenario.outages if not self.muted else ():
            strikes = call.startswith(outage.service) and outage.covers(self._time.seconds)
            if strikes and (caller.in_function or not outage.refuses):
                caller.failed = True
                caller.failed_by_chance |= outage.service == "ec2"
                caller.blind |= outage.service == "s3"
                raise (NotAllowed if outage.refuses else ServiceUnavailable)(f"{call}: an outage")

    def _maybe(self, operation: str) -> None:
        """At each of the two fault points of a call, half of each rate applies."""
        caller, scenario = self.caller, self._scenario
        if caller.calls_to_crash is not None:
            caller.calls_to_crash -= 1
            if caller.calls_to_crash <= 0:
                raise Crash
        if self.muted:
            return
        if scenario.call_errors and self._random.random() < scenario.call_errors / 2:
            self._count()
            raise ServiceUnavailable(f"{operation}: 503 SlowDown")
        if scenario.function_crashes and caller.in_function and self._random.random() < scenario.function_crashes / 2:
            self._count()
            raise Crash

    def _count(self) -> None:
        self.caller.failed = self.caller.failed_by_chance = True
