"""Start the instance of a run: request, lock, RunInstances, then the instance id into the lock."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace

from chronos_ec2.domain.cost import list_prices
from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidDocument,
    InvalidInput,
    LaneBusy,
    LaunchRefused,
    LostRace,
    NotAllowed,
    ServiceUnavailable,
)
from chronos_ec2.domain.facts import LockHeld, LockRead, Unreadable
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run, new_run_id
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Clock, Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.spec import Launched, LaunchSpec
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors
from chronos_ec2.user_data import render_user_data

_COMMIT_ATTEMPTS = 5


def launch(spec: LaunchSpec, store: RunStore, fleet: Fleet, deadlines: Deadlines, clock: Clock) -> Launched:
    """Start one instance for a new run.

    Raises:
        InvalidInput: the data set is missing, or the price cap cannot be kept.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused, NotAllowed: no instance was started, and the lane is free again.
        ServiceUnavailable: AWS did not answer; the watchdog finds and ends whatever was started.
    """
    prices, price = _prices(spec)
    dataset = find_dataset(store, spec.data_path)
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
    held = _take_lane(run, request, store)
    try:
        launched = _start_instance(held.run, request, spec.bucket, spec.subnet_ids, fleet)
    except (CapacityUnavailable, LaunchRefused, NotAllowed) as error:
        _give_up(held, store, error)
        raise
    return _commit(held, launched, store, deadlines)


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

        Returns None if there is nothing to start: the run no longer holds the lane, was stopped, or has its instance.

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
        return _commit(held, launched, self.store, self.deadlines)


def refuse_if_busy(store: RunStore, lane: Lane) -> None:
    """Raise LaneBusy, which names the holder, if the lane is not free."""
    match store.read_lock(lane):
        case LockHeld(run):
            raise LaneBusy(run.run_id, str(lane), run.status)
        case Unreadable(problem):
            remedy = "the watchdog sets it aside; see `chronos-ec2 verify`"
            raise InvalidInput(lane.state_key, f"cannot be read ({problem})", remedy)
        case _:
            return


def _prices(spec: LaunchSpec) -> tuple[dict[str, float], float | None]:
    """The hourly price of each type, and the one to assume for a type that is not listed: the highest."""
    if spec.price_per_hour_usd is not None:
        return {}, spec.price_per_hour_usd
    prices = list_prices(spec.instance_types)
    unknown = [kind for kind in spec.instance_types if kind not in prices]
    if unknown and spec.max_cost_usd is not None:
        raise InvalidInput("--max-cost", f"the price of {unknown[0]} is not known", "give --price")
    return prices, None if unknown else max(prices.values())


def _take_lane(run: Run, request: Request, store: RunStore) -> LockHeld:
    """Write the request, then the lock. A launch that loses the lane withdraws its request."""
    refuse_if_busy(store, run.lane)
    _put_request(store, request)
    try:
        return store.create_lock(run)
    except LostRace:
        store.objects.remove(run_key(run.lane.environment, run.run_id, REQUEST))
        refuse_if_busy(store, run.lane)
        raise


def _put_request(store: RunStore, request: Request) -> None:
    """Write the request once. When botocore retries after a lost response, it finds its own first write."""
    key, body = run_key(request.lane.environment, request.run_id, REQUEST), request.to_json()
    try:
        store.objects.create(key, body)
    except LostRace:
        found = store.objects.read(key, MAX_REQUEST_BYTES)
        if found is None or found.body != body:
            raise


def _start_instance(run: Run, request: Request, bucket: str, subnet_ids: tuple[str, ...], fleet: Fleet) -> Launched:
    """Try every instance type in every subnet. Raises CapacityUnavailable if none has room, and what Fleet raises."""
    user_data = render_user_data(bucket, run, request.limits)
    options = [LaunchOption(kind, subnet, request.market) for kind in request.instance_types for subnet in subnet_ids]
    last: CapacityUnavailable | None = None
    for option in options:
        try:
            return Launched(run.run_id, run.attempt, fleet.launch(run, option, user_data), option)
        except CapacityUnavailable as error:
            last = error
    raise CapacityUnavailable(f"no capacity in {len(options)} places; the last error: {last}")


def _commit(held: LockHeld, launched: Launched, store: RunStore, deadlines: Deadlines) -> Launched:
    """Arm the deadline and write the instance id into the lock."""
    # The instance runs and other safeguards already cover it; the next reconcile arms a deadline that failed here.
    with suppress(ServiceUnavailable, NotAllowed), scheduler_errors():
        deadlines.schedule(launched.instance_id, held.run.deadline)
    state: LockRead = held
    for _ in range(_COMMIT_ATTEMPTS):
        if not isinstance(state, LockHeld) or not _is_of(launched, state.run, held.run.attempt):
            break
        run = replace(state.run, instance_id=launched.instance_id, instance_type=launched.option.instance_type)
        try:
            store.replace_lock(run, state)
        except LostRace:
            # The agent has claimed the run already, or somebody has stopped it. Their writes stay; only this process
            # can add the instance type, and so the price, if EC2 does not report it.
            state = store.read_lock(run.lane)
        else:
            break
    return launched


def _is_of(launched: Launched, run: Run, attempt: int) -> bool:
    return (run.run_id, run.attempt) == (launched.run_id, attempt) and run.instance_id in (None, launched.instance_id)


def _give_up(held: LockHeld, store: RunStore, error: Exception) -> None:
    """Keep the final record and free the lane: EC2 has confirmed that there is no instance.

    If that fails, the watchdog frees the lane; the caller raises the reason why nothing was started.
    """
    verdict = Verdict(Outcome.FAILED, Cause.INFRA, str(error), DecidedBy.AGENT)
    run = held.run.end(verdict, held.run.created_at)
    with suppress(LostRace, ServiceUnavailable, NotAllowed):
        store.objects.write(run_key(run.lane.environment, run.run_id, "state.json"), run.to_json())
        store.release_lock(run.lane, held.etag)
