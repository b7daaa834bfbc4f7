"""Check that nothing is left: ask EC2 by tag and the bucket by key, instead of trusting our records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, ServiceUnavailable, StackNotReady, UserError
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.stack_status import check_status
from chronos_ec2.ports import Deadlines, Fleet, SetupChecks, Stack, Subscription, SubscriptionState
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.cleanup_receipt import UPLOAD
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is left, its state, and the run that it belongs to, if known."""

    kind: str
    name: str
    state: str
    run_id: str | None = None


def verify(environment: str, store: RunStore, fleet: Fleet, deadlines: Deadlines) -> tuple[Finding, ...]:
    """Everything in an environment that costs money or holds a lane. Empty means that nothing is left.

    Raises:
        ServiceUnavailable: a list is incomplete; nothing is proven.
    """
    listed = fleet.instances(environment)
    instances = [
        Finding("instance", f"{each.instance_id} ({each.instance_type})", each.state, each.run_id)
        for each in listed
        if each.alive
    ]
    leftovers = [Finding(each.kind, each.resource_id, each.state) for each in fleet.leftovers(environment)]
    with scheduler_errors():
        scheduled = sorted(deadlines.scheduled())
    # Instances that lost their tags are not listed; those with a schedule are looked up by id.
    unlisted = fleet.look_up(environment, set(scheduled) - {each.instance_id for each in listed})
    instances += [
        Finding("instance", f"{seen.instance_id} ({'not listed' if seen.ours else 'without our tags'})", seen.state)
        for seen in unlisted
        if seen.state.alive
    ]
    schedules = [Finding("schedule", instance_id, "scheduled") for instance_id in scheduled]
    uploads = [Finding(UPLOAD, upload.key, "unfinished") for upload in store.objects.uploads(f"{environment}/")]
    return (*instances, *leftovers, *schedules, *uploads, *_locks(environment, store))


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


def setup_warnings(stack: Stack, store: RunStore, setup_checks: SetupChecks) -> tuple[str, ...]:
    """What is wrong with the setup: the stack, the sweep, events to the watchdog, notifications to people.

    All guarantees hold without the events and the notifications, none without the sweep. A check that fails is a
    warning too.
    """
    found: list[str] = []
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_status(stack.name, stack.status, stack.environment),
        lambda: check_sweep(setup_checks),
        lambda: check_bucket_region(setup_checks, stack.region),
    )
    for check in checks:
        try:
            check()
        except (UserError, ServiceUnavailable, NotAllowed) as error:
            found.append(str(error))
    try:
        if warning := store.list_lanes(stack.environment).warning:
            found.append(warning)
        if not setup_checks.bucket_sends_events():
            found.append(
                "the bucket sends no events to EventBridge, so the watchdog reacts within a minute instead of seconds; "
                "docs/deploying.md says how to turn them on"
            )
        found += filter(None, map(_subscription_warning, setup_checks.subscriptions()))
    except (ServiceUnavailable, NotAllowed) as error:
        found.append(str(error))
    return tuple(found)


def _subscription_warning(subscription: Subscription) -> str | None:
    """What is wrong with a subscription, and what to do; None if it receives messages."""
    topic = subscription.topic_arn.rpartition(":")[2]
    what = f"{subscription.protocol} {subscription.endpoint} to {topic}"
    again = (
        f"`aws sns subscribe --topic-arn {subscription.topic_arn} --protocol {subscription.protocol} "
        f"--notification-endpoint {subscription.endpoint}` sends a new link"
    )
    match subscription.state:
        case SubscriptionState.PENDING:
            link = "until someone opens the link in its first message, within two days"
            return f"{what} is not confirmed and receives nothing {link}; {again}"
        case SubscriptionState.GONE:
            return f"{what} has no subscription (it was deleted, or not confirmed within two days); {again}"
        case SubscriptionState.CONFIRMED:
            return None


def _locks(environment: str, store: RunStore) -> list[Finding]:
    findings: list[Finding] = []
    for lane in store.lanes(environment):
        match store.read_lock(lane):
            case Absent():
                continue
            case LockHeld(run):
                findings.append(Finding("lock", lane.state_key, run.status, run.run_id))
            case Unreadable(problem) | ReadFailed(problem):
                findings.append(Finding("lock", lane.state_key, f"unreadable: {problem}"))
    return findings
