"""Whether the guarantees and the messages of a stack hold: the stack, the sweep, bucket, locks, events, messages."""

from __future__ import annotations

from collections.abc import Iterator

from chronos_ec2.domain.errors import InvalidInput, StackNotReady
from chronos_ec2.domain.parsing.names import counted
from chronos_ec2.domain.stack_status import check_status
from chronos_ec2.ports import SetupChecks, Stack, Subscription, SubscriptionState
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.diagnosis import Diagnosis, Health, asked, checked


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
    yield checked(
        "stack", f"{stack.name} is {stack.status}", lambda: check_status(stack.name, stack.status, stack.environment)
    )
    yield checked("sweep", "runs each minute", lambda: check_sweep(setup_checks))
    yield checked(
        "bucket", f"{stack.bucket} is in {stack.region}", lambda: check_bucket_region(setup_checks, stack.region)
    )
    yield from asked("locks", lambda: _locks(store, stack.environment))
    yield from asked("events", lambda: _events(setup_checks))
    yield from asked("messages", lambda: map(_subscription, setup_checks.subscriptions()))


def _locks(store: RunStore, environment: str) -> Iterator[Diagnosis]:
    found = store.list_lanes(environment)
    yield Diagnosis(
        "locks", Health.WARNING if found.warning else Health.OK, found.warning or counted(len(found.lanes), "lane")
    )


def _events(setup_checks: SetupChecks) -> Iterator[Diagnosis]:
    if setup_checks.bucket_sends_events():
        yield Diagnosis("events", Health.OK, "the bucket sends them to EventBridge")
        return
    text = "the bucket sends no events to EventBridge, so the watchdog reacts within a minute instead of seconds"
    yield Diagnosis("events", Health.WARNING, text, "docs/deploying.md says how to turn them on")


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
