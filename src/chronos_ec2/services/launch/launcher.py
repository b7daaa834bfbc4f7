"""Start the instance of a run: request, lock, RunInstances, then the instance id into the lock."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidDocument,
    LostRace,
    NotAllowed,
    QuotaExceeded,
    ServiceUnavailable,
)
from chronos_ec2.domain.facts import LockHeld, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request, check_request_size
from chronos_ec2.domain.records.run import LAUNCHING, Run, new_run_id
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Status
from chronos_ec2.ports import Clock, Deadlines, Fleet, LaunchOption
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.lane import FailedLaunch, StartedInstances, StartsInstances, refuse_if_busy, take_lane
from chronos_ec2.services.launch.spec import Launched, LaunchSpec
from chronos_ec2.services.prices import check_cap
from chronos_ec2.services.teardown import refuse_teardown
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors
from chronos_ec2.user_data import render_user_data

_COMMIT_ATTEMPTS = 5


def launch(spec: LaunchSpec, store: RunStore, fleet: Fleet, deadlines: Deadlines, clock: Clock) -> Launched:
    """Start one instance for a new run.

    An error after the lane was taken has a note (`__notes__`) on what may be running and how to end it.

    Raises:
        InvalidInput: the data set is missing or too large, the price cap cannot be kept, or the stack is being deleted.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused, NotAllowed: EC2 starts no instance.
        LostRace: the watchdog has ended the run meanwhile.
        ServiceUnavailable: AWS did not answer.
    """
    prices, price = _prices(spec)
    dataset = find_dataset(store, spec.data_path)
    check_request_size(spec.config, dataset)
    now = clock.now()
    run = Run(
        run_id=new_run_id(now, secrets.token_bytes(3)),
        lane=spec.lane,
        status=Status.INITIALIZATION,
        current_step=LAUNCHING,
        attempt=1,
        seq=0,
        nonce="",
        instance_type=max(spec.instance_types, key=lambda kind: prices.get(kind, 0.0)),
        created_at=now,
        updated_at=now,
        deadline=now + spec.limits.max_runtime,
        price_per_hour_usd=price,
        max_cost_usd=spec.max_cost_usd,
        preemptions_left=spec.preemptions_left,
        crashes_left=spec.crashes_left,
        phases=((Status.INITIALIZATION, now),),
        prices=tuple(prices.items()),
    )
    request = Request(
        run.run_id, spec.lane, spec.config, spec.instance_types, spec.bundle_sha256, dataset, spec.limits,
        spec.allow_cpu, spec.market, spec.log_group, spec.code_sha256, spec.commit,
    )  # fmt: skip
    refuse_if_busy(store, run.lane)
    started, held = StartedInstances(fleet), None
    try:
        held = take_lane(run, request, store)
        refuse_teardown(store, run.lane.environment, spec.stack_id)
        launched = _start_instance(held.run, request, spec.bucket, spec.subnet_ids, started)
        _commit(held, launched, store, deadlines)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        FailedLaunch(run, request, store, started.possible, held is not None).settle(error)
        raise
    return launched


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the instances of later attempts: the Relauncher of whoever has the right to start instances."""

    bucket: str
    subnet_ids: tuple[str, ...]
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines

    def relaunch(self, run: Run) -> None:
        """Start an instance for the current attempt of a run. Raises as `start` does."""
        self.start(run.lane, run.run_id)

    def start(self, lane: Lane, run_id: str) -> Launched | None:
        """Start the instance of a run's new attempt.

        Returns None if there is nothing to start, before or after the call to EC2: the run no longer holds the lane,
        was stopped, or has its instance.

        Raises:
            InvalidDocument: the run's request is missing or damaged.
            CapacityUnavailable, LaunchRefused: no instance was started; the watchdog ends the run.
            ServiceUnavailable: AWS did not answer; a retry does not start a second instance.
        """
        held = self.store.read_lock(lane)
        if not isinstance(held, LockHeld) or held.run.run_id != run_id:
            return None
        if held.run.claimed or held.run.instance_id or held.run.verdict or held.run.stop:
            return None
        found = self.store.objects.read(run_key(lane.environment, run_id, REQUEST), MAX_REQUEST_BYTES)
        if found is None:
            raise InvalidDocument(f"run {run_id} has no {REQUEST}")
        request = Request.from_json(found.body)
        launched = _start_instance(held.run, request, self.bucket, self.subnet_ids, self.fleet)
        try:
            _commit(held, launched, self.store, self.deadlines)
        except LostRace:
            return None
        return launched


def _prices(spec: LaunchSpec) -> tuple[dict[str, float], float | None]:
    """The hourly price of each type, and the one to assume for a type that is not listed: the highest.

    With one unknown price all are unknown: a sum that lacks an attempt would be wrong.
    """
    if spec.price_per_hour_usd is not None:
        return {}, spec.price_per_hour_usd
    check_cap(spec.instance_types, spec.prices, spec.max_cost_usd)
    known = all(kind in spec.prices for kind in spec.instance_types)
    prices = {kind: spec.prices[kind] for kind in spec.instance_types} if known else {}
    return prices, max(prices.values(), default=None)


def _start_instance(
    run: Run, request: Request, bucket: str, subnet_ids: tuple[str, ...], fleet: StartsInstances
) -> Launched:
    """Try every instance type in every subnet. Raises CapacityUnavailable if none has room, and what Fleet raises.

    Of a type that the quota does not allow, no other subnet is tried.
    """
    user_data = render_user_data(bucket, run, request.limits)
    options = [LaunchOption(kind, subnet, request.market) for kind in request.instance_types for subnet in subnet_ids]
    last: CapacityUnavailable | None = None
    beyond_quota: dict[str, QuotaExceeded] = {}
    for option in options:
        if option.instance_type in beyond_quota:
            continue
        try:
            return Launched(run.run_id, run.attempt, fleet.launch(run, option, user_data), option)
        except QuotaExceeded as error:
            beyond_quota[option.instance_type] = error
        except CapacityUnavailable as error:
            last = error
    if last is None and beyond_quota:
        raise next(iter(beyond_quota.values()))
    raise CapacityUnavailable(f"no capacity in {len(options)} places; the last error: {last}")


def _commit(held: LockHeld, launched: Launched, store: RunStore, deadlines: Deadlines) -> None:
    """Arm the deadline and write the instance id into the lock.

    Raises:
        LostRace: the run has ended, so its instance ends too.
        NotAllowed, ServiceUnavailable: the lock was not read or written.
    """
    # The instance runs and other safeguards already cover it; the next reconcile arms a deadline that failed here.
    with suppress(ServiceUnavailable, NotAllowed), scheduler_errors():
        deadlines.schedule(launched.instance_id, held.run.deadline)
    state: LockRead = held
    for _ in range(_COMMIT_ATTEMPTS):
        if isinstance(state, ReadFailed | Unreadable):
            raise ServiceUnavailable(state.problem)
        if not isinstance(state, LockHeld) or not _is_of(launched, state.run, held.run.attempt) or state.run.verdict:
            raise LostRace(f"run {launched.run_id} ended before its lock named instance {launched.instance_id}")
        run = replace(
            state.run,
            instance_id=launched.instance_id,
            instance_type=launched.option.instance_type,
            launched_at=state.run.launched_at or held.run.updated_at,
        )
        try:
            store.replace_lock(run, state)
        except LostRace:
            # The agent has claimed the run already, or somebody has stopped it. Their writes stay; only this process
            # can add the instance type, and so the price, if EC2 does not report it.
            state = store.read_lock(run.lane)
        else:
            return


def _is_of(launched: Launched, run: Run, attempt: int) -> bool:
    return (run.run_id, run.attempt) == (launched.run_id, attempt) and run.instance_id in (None, launched.instance_id)
