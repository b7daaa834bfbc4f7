"""Values for tests: each builder makes a healthy one; a test names only what differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from chronos_ec2.domain.facts import Absent, HeartbeatReceived, LaneFacts, LockHeld
from chronos_ec2.domain.groups.order import Group, Member, Purpose
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits, StackBounds
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Budget, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Job, Status
from chronos_ec2.domain.schedules.order import UNNAMED_RUN, Planned, Schedule
from chronos_ec2.ports import Stack

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LANE = Lane("dev")
RUN_ID = "20260131T110000Z-1a2b3c"
INSTANCE_ID = "i-0123456789abcdef0"
LIMITS = Limits()
SUBNETS = ("subnet-a", "subnet-b", "subnet-c")


def seconds(value: float) -> timedelta:
    """A timedelta of so many seconds."""
    return timedelta(seconds=value)


def a_run(**changes: Any) -> Run:
    """A run in training that its agent claimed an hour ago."""
    run = Run(
        run_id=RUN_ID,
        lane=LANE,
        status=Status.TRAINING,
        current_step="training",
        attempt=1,
        seq=7,
        nonce="00ff",
        instance_type="g4dn.2xlarge",
        created_at=NOW - timedelta(hours=1),
        updated_at=NOW - timedelta(minutes=50),
        deadline=NOW + timedelta(hours=11),
        instance_id=INSTANCE_ID,
        claimed_at=NOW - timedelta(minutes=58),
        price_per_hour_usd=0.752,
        phases=((Status.INITIALIZATION, NOW - timedelta(hours=1)), (Status.TRAINING, NOW - timedelta(minutes=50))),
    )
    return replace(run, **changes)


BOUNDS = StackBounds(("g4dn.*", "g5.*", "g6.*", "g6e.*", "t3.*", "p5e.*"), 10, timedelta(hours=168))


def a_stack(**changes: Any) -> Stack:
    """The deployed stack of environment dev."""
    stack = Stack(
        name="chronos-ec2-dev",
        status="CREATE_COMPLETE",
        stack_id="arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1",
        region="us-east-1",
        environment="dev",
        bucket="chronos-ec2-dev-bucket",
        project="Chronos-Training",
        cost_center="train",
        instance_type="g4dn.2xlarge",
        volume_gib=100,
        bounds=BOUNDS,
        packages_in_image=False,
        agent_log_group=None,
        subnet_ids=SUBNETS,
        launch_template_id="lt-0123456789abcdef0",
        instance_profile_arn="arn:aws:iam::123456789012:instance-profile/chronos-ec2-dev-instanceprofile",
        topic_arn="arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev",
        alarm_topic_arn="arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev-alarms",
        deadline_group="chronos-ec2-dev-deadlines",
        deadline_role_arn="arn:aws:iam::123456789012:role/chronos-ec2-dev-deadlinerole",
        schedule_group="chronos-ec2-dev-runs",
        schedule_role_arn="arn:aws:iam::123456789012:role/chronos-ec2-dev-runschedulerole",
        launcher_function_arn="arn:aws:lambda:us-east-1:123456789012:function:chronos-ec2-dev-launcher",
        limit_overrides={},
        version=version("chronos-ec2"),
    )
    return replace(stack, **changes)


def launching(**changes: Any) -> Run:
    """A run that no agent has claimed."""
    fresh: dict[str, Any] = {
        "status": Status.INITIALIZATION, "current_step": "launching", "instance_id": None, "claimed_at": None,
        "created_at": NOW, "updated_at": NOW, "phases": ((Status.INITIALIZATION, NOW),),
    }  # fmt: skip
    return a_run(**(fresh | changes))


def an_instance(**changes: Any) -> Instance:
    """The running instance of `a_run`, an hour old."""
    instance = Instance(
        instance_id=INSTANCE_ID,
        state=InstanceState.RUNNING,
        launched_at=NOW - timedelta(hours=1),
        instance_type="g4dn.2xlarge",
        lane=LANE,
        run_id=RUN_ID,
        attempt=1,
        deadline=NOW + timedelta(hours=11),
    )
    return replace(instance, **changes)


def a_heartbeat(**changes: Any) -> Heartbeat:
    """A heartbeat of `a_run`'s agent: step 120, making progress."""
    heartbeat = Heartbeat(
        run_id=RUN_ID,
        attempt=1,
        instance_id=INSTANCE_ID,
        boot_id="boot-1",
        status=Status.TRAINING,
        counter=120,
        stalled_for=seconds(1),
        step=120,
        total_steps=1000,
    )
    return replace(heartbeat, **changes)


def a_beat(age: timedelta = timedelta(seconds=5), **changes: Any) -> HeartbeatReceived:
    """A heartbeat that S3 received `age` ago."""
    return HeartbeatReceived(a_heartbeat(**changes), '"beat"', NOW - age)


def held(run: Run | None = None, written_at: datetime = NOW - timedelta(minutes=50)) -> LockHeld:
    """The lock of a run as the store reads it."""
    return LockHeld(run or a_run(), '"etag"', written_at)


def some_facts(**changes: Any) -> LaneFacts:
    """A healthy lane: the run, its instance, a fresh heartbeat; by default every living instance has a schedule."""
    facts = LaneFacts(LANE, (an_instance(),), NOW, held(), a_beat())
    facts = replace(facts, **changes)
    scheduled = frozenset(instance.instance_id for instance in facts.instances if instance.alive)
    return replace(facts, scheduled=changes.get("scheduled", scheduled))


def a_planned(job: Job = Job.TRAIN, lane: Lane = LANE, max_cost_usd: float | None = None) -> Planned:
    """What a run of a schedule is like."""
    config = {"job": str(job), "data": {"path": "training-data/sales/"}}
    request = Request(
        UNNAMED_RUN, lane, config, ("g4dn.2xlarge",), "0" * 64, (), LIMITS,
        wait_for_capacity=timedelta(hours=2), job=job,
        budget=Budget(NOW, max_cost_usd, 0.752),
    )  # fmt: skip
    return Planned(request)


def a_schedule(
    name: str = "nightly",
    *,
    data_set: str | None = None,
    lane: Lane = LANE,
    then: Job | None = None,
    max_cost_usd: float | None = None,
    max_cost_per_month_usd: float | None = None,
) -> Schedule:
    """A schedule that trains each night, or on new data of a data set."""
    after = None if then is None else a_planned(then, Lane("dev", f"{name}-then"), max_cost_usd)
    expression = None if data_set else "cron(0 3 * * ? *)"
    run = a_planned(lane=lane, max_cost_usd=max_cost_usd)
    return Schedule(name, expression, data_set, run, after, max_cost_per_month_usd)


def a_group(
    name: str = "sales",
    members: int = 3,
    *,
    parallel: int = 2,
    purpose: Purpose = Purpose.SHARDS,
    max_cost_usd: float | None = 9.0,
) -> Group:
    """A group of forecasts or trainings, at $0.752 an hour each."""
    job = Job.FORECAST if purpose is Purpose.SHARDS else Job.TRAIN
    request = a_planned(job).request
    request = replace(request, budget=Budget(NOW + timedelta(days=2), max_cost_usd, 0.752))
    runs = tuple(Member(dict(request.config) | {"number": index}, (), {"number": index}) for index in range(members))
    return Group(name, purpose, NOW, request, runs, parallel)


NO_FACTS = LaneFacts(LANE, (), NOW, Absent())
