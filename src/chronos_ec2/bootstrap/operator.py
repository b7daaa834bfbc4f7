"""What the command and the client use, with the caller's credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronos_ec2.aws.clients import client, forget_credentials
from chronos_ec2.aws.clocks import S3Clock
from chronos_ec2.aws.cloudformation_deployment import CloudFormationDeployment
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.offers.instance_types import Ec2Catalogue
from chronos_ec2.aws.offers.launch_checks import Ec2LaunchChecks
from chronos_ec2.aws.offers.prices import AwsPrices
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines, SchedulerSweep, SchedulerTimetable
from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.bundled.prices import BundledPrices
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.stack_status import stack_name
from chronos_ec2.model_hub import HuggingFaceHub
from chronos_ec2.ports import (
    Catalogue,
    Clock,
    Deadlines,
    Deployment,
    Fleet,
    LaunchChecks,
    ModelHub,
    ObjectTransfer,
    Prices,
    SetupChecks,
    Stack,
    SweepSchedule,
    Timetable,
)
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.prices import CurrentPrices
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.services.watchdog.reconcile import Reconciler

if TYPE_CHECKING:
    from chronos_ec2.services.launch.prepare import LaunchPreparation

__all__ = ["OperatorWorld", "deployment", "forget_credentials", "operator_world"]


@dataclass(frozen=True, slots=True)
class OperatorWorld:
    """What the CLI uses, with the caller's credentials."""

    stack: Stack
    store: RunStore
    transfer: ObjectTransfer
    fleet: Fleet
    deadlines: Deadlines
    setup_checks: SetupChecks
    launch_checks: LaunchChecks
    deployment: Deployment
    reconciler: Reconciler
    prices: Prices
    hub: ModelHub
    catalogue: Catalogue
    clock: Clock
    limits: Limits
    schedules: Schedules
    groups: Groups
    timetable: Timetable
    sweep: SweepSchedule

    def launch_preparation(self, report: Callable[[str], None], warn: Callable[[str], None]) -> LaunchPreparation:
        """What prepares launches; `report` gets each slow step, `warn` each likely mistake."""
        from chronos_ec2.services.launch.prepare import LaunchPreparation  # noqa: PLC0415 - functions need no pydantic

        return LaunchPreparation(
            self.stack, self.store, self.transfer, self.setup_checks, self.launch_checks, self.prices,
            self.hub, self.catalogue, self.limits, report, warn,
        )  # fmt: skip


def deployment(environment: str, region: str | None = None) -> Deployment:
    """The stack of an environment, whatever its state. Raises NoCredentials, InvalidInput."""
    return CloudFormationDeployment(client("cloudformation", region), stack_name(environment))


def operator_world(environment: str, region: str | None = None, bucket: str | None = None) -> OperatorWorld:
    """What the CLI uses for an environment's stack.

    Raises:
        NotDeployed: the environment has no stack, or none that has come up.
        NoCredentials, InvalidInput: the caller's AWS settings are wrong, or `bucket` is not the stack's bucket. The
            watchdog would not see a run in another.
    """
    cloudformation, s3, ec2, sns, scheduler = (
        client(name, region) for name in ("cloudformation", "s3", "ec2", "sns", "scheduler")
    )
    stack = read_stack(cloudformation, environment)
    if bucket not in (None, "", stack.bucket):
        raise InvalidInput("BUCKET", f"is {bucket}, but stack {stack.name} watches {stack.bucket}", "unset it")
    store = RunStore(S3Objects(s3, stack.bucket))
    fleet = Ec2Fleet(
        ec2,
        stack.project,
        stack.cost_center,
        stack.launch_template_id,
        stack.instance_profile_arn,
        stack.bounds.max_runtime,
    )
    clock = S3Clock(s3, stack.bucket)
    limits = Limits.from_overrides(stack.limit_overrides)
    notifier = SnsNotifier(sns, stack.topic_arn)
    deadlines = SchedulerDeadlines(scheduler, stack.deadline_group, stack.deadline_role_arn)
    place = StackLocation.of(stack.topic_arn, stack.bucket)
    prices = CurrentPrices(AwsPrices(lambda service, where: client(service, where, brief=True)), BundledPrices())
    # The operator may start instances, so no function is asked.
    launcher = Launcher(stack.bucket, stack.subnet_ids, store, fleet, deadlines, clock, stack.bounds)
    schedules = Schedules(environment, store, launcher, notifier, clock, place, stack.stack_id)
    groups = Groups(schedules)
    return OperatorWorld(
        stack=stack,
        store=store,
        transfer=S3Transfer(s3, stack.bucket),
        fleet=fleet,
        deadlines=deadlines,
        setup_checks=StackSetupChecks(
            lambda service: client(service, region),
            stack.bucket,
            (stack.topic_arn, stack.alarm_topic_arn),
            stack.notification_email,
            stack.name,
        ),
        launch_checks=Ec2LaunchChecks(
            lambda service: client(service, region), stack.launch_template_id, stack.subnet_ids
        ),
        deployment=CloudFormationDeployment(cloudformation, stack.name),
        reconciler=Reconciler(environment, store, fleet, deadlines, notifier, groups, clock, limits, place, prices),
        schedules=schedules,
        groups=groups,
        timetable=SchedulerTimetable(
            scheduler, stack.schedule_group, stack.schedule_role_arn, stack.launcher_function_arn
        ),
        sweep=SchedulerSweep(scheduler, stack.name),
        prices=prices,
        hub=HuggingFaceHub(),
        catalogue=Ec2Catalogue(ec2),
        clock=clock,
        limits=limits,
    )
