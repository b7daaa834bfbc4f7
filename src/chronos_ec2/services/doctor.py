"""Whether a setup is as it should be: the stack, the sweep, events, messages, quotas, the clock of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, ServiceUnavailable, StackNotReady, UserError
from chronos_ec2.domain.parsing.names import split_instance_types
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.planning.instance_type import check_usable
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.stack_status import check_status
from chronos_ec2.ports import Catalogue, Prices, SetupChecks, Stack, Subscription, SubscriptionState
from chronos_ec2.run_store import RunStore

_CLOCK_TOLERANCE, _CLOCK_LIMIT = timedelta(seconds=30), timedelta(minutes=5)
"""AWS refuses a signature that is off by more than the second."""


class Health(StrEnum):
    """How a part of a setup is."""

    OK = "ok"
    WARNING = "warning"
    """All guarantees hold, and something is less good than it could be."""
    BROKEN = "broken"
    """A guarantee does not hold, or nothing can be launched."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known about a part of a setup, and what to do about it."""

    part: str
    health: Health
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Text and remedy in a line."""
        return f"{self.text} ({self.remedy})" if self.remedy else self.text


def check_bucket_region(setup_checks: SetupChecks, region: str) -> None:
    """Raise InvalidInput for a bucket in another region: it sends no events here, and transfer costs money."""
    if (found := setup_checks.bucket_region()) not in (None, region):
        raise InvalidInput("bucket", f"is in {found}, the stack in {region}", "use a bucket in the region of the stack")


def check_sweep(setup_checks: SetupChecks) -> None:
    """Raise StackNotReady if the sweep does not run: no guarantee holds without it."""
    if not setup_checks.sweep_is_scheduled():
        raise StackNotReady(
            "the sweep's schedule is switched off or deleted, so nothing ends a run that fails",
            "switch it on under EventBridge Scheduler in the AWS console; if it is gone, deploy the stack again",
        )


def diagnose_setup(stack: Stack, store: RunStore, setup_checks: SetupChecks) -> Iterator[Diagnosis]:
    """What the guarantees and the messages depend on. A check that fails is a warning too."""
    yield _checked(
        "stack", f"{stack.name} is {stack.status}", lambda: check_status(stack.name, stack.status, stack.environment)
    )
    yield _checked("sweep", "runs each minute", lambda: check_sweep(setup_checks))
    yield _checked(
        "bucket", f"{stack.bucket} is in {stack.region}", lambda: check_bucket_region(setup_checks, stack.region)
    )
    yield from _asked("locks", lambda: _locks(store, stack.environment))
    yield from _asked("events", lambda: _events(setup_checks))
    yield from _asked("messages", lambda: map(_subscription, setup_checks.subscriptions()))


def diagnose(
    stack: Stack,
    store: RunStore,
    setup_checks: SetupChecks,
    catalogue: Catalogue,
    prices: Prices,
    aws_time: datetime,
    own_time: datetime,
) -> Iterator[Diagnosis]:
    """Everything that keeps a launch from success or a person from knowing of it.

    Args:
        stack: of the environment.
        store: in its bucket.
        setup_checks: of its account.
        catalogue: of its region.
        prices: those that a launch would take.
        aws_time: S3's.
        own_time: of this machine, at the same moment.
    """
    yield from diagnose_setup(stack, store, setup_checks)
    yield from _asked("messages", lambda: _nobody(setup_checks))
    yield from _asked("quotas", lambda: _quotas(stack, setup_checks))
    yield from _asked("types", lambda: _types(stack, catalogue))
    yield from _asked("prices", lambda: _prices(stack, prices, aws_time))
    yield _clock(own_time - aws_time)


def _checked(part: str, text: str, check: Callable[[], None]) -> Diagnosis:
    try:
        check()
    except UserError as error:
        return Diagnosis(part, Health.BROKEN, error.problem, error.hint)
    except (ServiceUnavailable, NotAllowed) as error:
        return Diagnosis(part, Health.WARNING, error.problem, error.hint)
    return Diagnosis(part, Health.OK, text)


def _asked(part: str, ask: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    try:
        yield from ask()
    except (ServiceUnavailable, NotAllowed) as error:
        yield Diagnosis(part, Health.WARNING, error.problem, error.hint)
    except UserError as error:
        yield Diagnosis(part, Health.BROKEN, error.problem, error.hint)


def _locks(store: RunStore, environment: str) -> Iterator[Diagnosis]:
    found = store.list_lanes(environment)
    yield Diagnosis(
        "locks", Health.WARNING if found.warning else Health.OK, found.warning or f"{len(found.lanes)} lanes"
    )


def _events(setup_checks: SetupChecks) -> Iterator[Diagnosis]:
    if setup_checks.bucket_sends_events():
        yield Diagnosis("events", Health.OK, "the bucket sends them to EventBridge")
        return
    text = "the bucket sends no events to EventBridge, so the watchdog reacts within a minute instead of seconds"
    yield Diagnosis("events", Health.WARNING, text, "docs/deploying.md says how to turn them on")


def _nobody(setup_checks: SetupChecks) -> Iterator[Diagnosis]:
    if not setup_checks.subscriptions():
        text = "no subscription, so nobody is told when a run ends"
        yield Diagnosis("messages", Health.WARNING, text, "docs/messages.md has mail, chat and queue")


def _quotas(stack: Stack, setup_checks: SetupChecks) -> Iterator[Diagnosis]:
    types = split_instance_types(stack.instance_type)
    found = [(market, each) for market in (ON_DEMAND, SPOT) for each in setup_checks.vcpu_quotas(types, market)]
    none_left = all(each.problem for _, each in found)
    for market, each in found:
        name = f"{market} {each.instance_type}"
        if each.problem:
            health = Health.BROKEN if none_left else Health.WARNING
            yield Diagnosis("quotas", health, f"{market}: {each.problem}", each.quota.remedy)
        else:
            yield Diagnosis("quotas", Health.OK, f"{name} needs {each.vcpus} of {each.limit - each.used:g} vCPUs left")


def _types(stack: Stack, catalogue: Catalogue) -> Iterator[Diagnosis]:
    for kind in catalogue.find(split_instance_types(stack.instance_type)).values():
        try:
            check_usable(kind, allow_cpu=False)
        except InvalidInput as error:
            yield Diagnosis("types", Health.WARNING, error.detail, error.hint)
        else:
            yield Diagnosis("types", Health.OK, f"{kind.name}: {kind}")


def _prices(stack: Stack, prices: Prices, now: datetime) -> Iterator[Diagnosis]:
    for name in split_instance_types(stack.instance_type):
        found = prices.on_demand(stack.region, name)
        if found is None:
            text = f"that of {name} in {stack.region} is not known, so no run on it can have a cap"
            yield Diagnosis("prices", Health.WARNING, text, "allow pricing:GetProducts, or launch with --price")
        elif not found.live:
            age = human_span(now - datetime(found.as_of.year, found.as_of.month, found.as_of.day, tzinfo=UTC))
            text = f"{name} ${found.usd:.3f} an hour, from this release's list, {age} old: AWS does not tell"
            yield Diagnosis("prices", Health.WARNING, text, "allow pricing:GetProducts to whoever launches")
        else:
            yield Diagnosis("prices", Health.OK, f"{name} ${found.usd:.3f} an hour, as AWS lists it now")


def _clock(off: timedelta) -> Diagnosis:
    distance = human_span(abs(off))
    if abs(off) < _CLOCK_TOLERANCE:
        return Diagnosis("clock", Health.OK, "this machine's agrees with AWS's")
    health = Health.BROKEN if abs(off) >= _CLOCK_LIMIT else Health.WARNING
    direction = "ahead of" if off > timedelta(0) else "behind"
    return Diagnosis("clock", health, f"this machine's is {distance} {direction} AWS's", "`timedatectl set-ntp true`")


def _subscription(subscription: Subscription) -> Diagnosis:
    topic = subscription.topic_arn.rpartition(":")[2]
    what = f"{subscription.protocol} {subscription.endpoint} to {topic}"
    again = (
        f"`aws sns subscribe --topic-arn {subscription.topic_arn} --protocol {subscription.protocol} "
        f"--notification-endpoint {subscription.endpoint}` sends a new link"
    )
    match subscription.state:
        case SubscriptionState.PENDING:
            link = "until someone opens the link in its first message, within two days"
            return Diagnosis("messages", Health.WARNING, f"{what} is not confirmed and receives nothing {link}", again)
        case SubscriptionState.GONE:
            gone = f"{what} has no subscription, because it was deleted, or not confirmed within two days"
            return Diagnosis("messages", Health.WARNING, gone, again)
        case SubscriptionState.CONFIRMED:
            return Diagnosis("messages", Health.OK, what)
