"""The watchdog of the functions that reconcile."""

from __future__ import annotations

import os

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.relauncher import LambdaRelauncher
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.bundled.prices import BundledPrices
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.settings import WatchdogSettings

_PARALLEL_LANES = 32
"""As many as the client has connections. A thousand lanes are then read within a few seconds."""


def watchdog() -> Reconciler:
    """The reconciler of the watchdog's functions, from their environment variables."""
    settings = WatchdogSettings.read(os.environ)
    stack = settings.stack
    s3, ec2, scheduler, sns, functions = (
        client(name, brief=True) for name in ("s3", "ec2", "scheduler", "sns", "lambda")
    )
    return Reconciler(
        environment=stack.environment,
        store=RunStore(S3Objects(s3, stack.bucket)),
        fleet=Ec2Fleet(
            ec2,
            stack.project,
            stack.cost_center,
            profile_arn=stack.instance_profile_arn,
            max_runtime=stack.max_runtime,
        ),
        deadlines=SchedulerDeadlines(scheduler, stack.deadline_group, stack.deadline_role_arn),
        notifier=SnsNotifier(sns, settings.topic_arn),
        relauncher=LambdaRelauncher(functions, settings.launcher_function),
        clock=SystemClock(),
        limits=settings.limits,
        place=StackLocation.of(settings.topic_arn, stack.bucket),
        prices=BundledPrices(),
        parallel_lanes=_PARALLEL_LANES,
    )
