"""The launcher function, which starts the next attempt of a run, and the runs of schedules and groups."""

from __future__ import annotations

import os

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.settings import LauncherSettings


def schedules() -> Schedules:
    """The schedules, and the launcher, of the launcher function, from its environment variables."""
    settings = LauncherSettings.read(os.environ)
    place = StackLocation.of(settings.topic_arn, settings.stack.bucket)
    notifier = SnsNotifier(client("sns"), settings.topic_arn)
    launcher = _launcher(settings)
    environment = settings.stack.environment
    return Schedules(environment, launcher.store, launcher, notifier, launcher.clock, place, settings.stack_id)


def _launcher(settings: LauncherSettings) -> Launcher:
    stack = settings.stack
    return Launcher(
        bucket=stack.bucket,
        subnet_ids=settings.subnet_ids,
        store=RunStore(S3Objects(client("s3"), stack.bucket)),
        fleet=Ec2Fleet(
            client("ec2"),
            stack.project,
            stack.cost_center,
            settings.launch_template_id,
            stack.instance_profile_arn,
            stack.max_runtime,
        ),
        deadlines=SchedulerDeadlines(client("scheduler"), stack.deadline_group, stack.deadline_role_arn),
        clock=SystemClock(),
        bounds=settings.bounds,
    )
