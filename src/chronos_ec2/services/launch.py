"""Start a run: order, then lock, then instance, then the instance's id in the lock."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

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
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, ON_DEMAND, REQUEST, Market, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run, new_run_id
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Clock, Deadlines, Fleet, LaunchOption
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors
from chronos_ec2.user_data import render_user_data

PARQUET = ".parquet"
_RACES = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What to launch. `instance_types` are tried in order, each in every subnet; money is in USD.

    `price_per_hour_usd` is that of any of them, None when each has its list price.
    `log_group` is CloudWatch's, for the logs of agent and trainer; None when the bucket is enough.
    """

    lane: Lane
    config: Mapping[str, Any]
    data_path: str
    instance_types: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    bucket: str
    bundle_sha256: str
    limits: Limits
    price_per_hour_usd: float | None = None
    max_cost_usd: float | None = None
    preemptions_left: int = 0
    crashes_left: int = 0
    allow_cpu: bool = False
    market: Market = ON_DEMAND
    log_group: str | None = None
    code_sha256: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """An attempt of a run that was launched."""

    run_id: str
    attempt: int
    instance_id: str
    option: LaunchOption


def launch(order: Order, store: RunStore, fleet: Fleet, deadlines: Deadlines, clock: Clock) -> Launched:
    """Start one instance for a new run.

    Raises:
        InvalidInput: the data set is not there, or the price cap cannot be kept.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused, NotAllowed: no instance was started, and the lane is free again.
        ServiceUnavailable: AWS did not answer; what was started is found and ended by the watchdog.
    """
    prices, price = _prices(order)
    dataset = find_dataset(store, order.data_path)
    now = clock.now()
    run = Run(
        run_id=new_run_id(now, secrets.token_bytes(3)),
        lane=order.lane,
        status=Status.INITIALIZATION,
        current_step=LAUNCHING,
        attempt=1,
        seq=0,
        nonce="",
        instance_type=max(order.instance_types, key=lambda kind: prices.get(kind, 0.0)),
        created_at=now,
        updated_at=now,
        deadline=now + order.limits.max_runtime,
        price_per_hour_usd=price,
        max_cost_usd=order.max_cost_usd,
        preemptions_left=order.preemptions_left,
        crashes_left=order.crashes_left,
        phases=((Status.INITIALIZATION, now),),
        prices=tuple(prices.items()),
    )
    refuse_if_busy(store, order.lane)
    request = Request(
        run.run_id, order.lane, order.config, order.instance_types, order.bundle_sha256, dataset, order.limits,
        order.allow_cpu, order.market, order.log_group, order.code_sha256, order.commit,
    )  # fmt: skip
    _put_request(store, request)
    try:
        held = store.create_lock(run)
    except LostRace:
        store.objects.remove(run_key(order.lane.environment, run.run_id, REQUEST))
        refuse_if_busy(store, order.lane)
        raise
    return _start_instance(held, order, store, fleet, deadlines)


def _prices(order: Order) -> tuple[dict[str, float], float | None]:
    """What each type costs an hour, and what to reckon with for one that is not among them: the dearest."""
    if order.price_per_hour_usd is not None:
        return {}, order.price_per_hour_usd
    prices = list_prices(order.instance_types)
    unknown = [kind for kind in order.instance_types if kind not in prices]
    if unknown and order.max_cost_usd is not None:
        raise InvalidInput("--max-cost", f"the price of {unknown[0]} is not known", "give --price")
    return prices, None if unknown else max(prices.values())


def _put_request(store: RunStore, request: Request) -> None:
    """Write the order once. A retry inside botocore, after an answer that was lost, finds what it wrote itself."""
    key, body = run_key(request.lane.environment, request.run_id, REQUEST), request.to_json()
    try:
        store.objects.create(key, body)
    except LostRace:
        found = store.objects.read(key, MAX_REQUEST_BYTES)
        if found is None or found.body != body:
            raise


def find_dataset(store: RunStore, data_path: str) -> tuple[tuple[str, int], ...]:
    """(key, bytes) of every Parquet file of a data set. Raises InvalidInput if there is none, or an empty one."""
    prefix = f"{CACHED}/{data_path}"
    found = tuple(
        (key, size)
        for key, size in store.objects.keys(prefix)
        if key.endswith(PARQUET) and (key == prefix or prefix.endswith("/") or key.startswith(prefix + "/"))
    )
    if not found:
        remedy = "`chronos-ec2 upload data FOLDER NAME` puts it there"
        raise InvalidInput("data.path", f"no {PARQUET} files below {prefix} in the bucket", remedy)
    if empty := [key for key, size in found if size == 0]:
        raise InvalidInput("data.path", f"{empty[0]} is empty", "upload it again")
    return found


def refuse_if_busy(store: RunStore, lane: Lane) -> None:
    """Raise LaneBusy, which names the holder, if the lane is not free."""
    match store.read_lock(lane):
        case LockHeld(run):
            raise LaneBusy(run.run_id, str(lane), run.status)
        case Unreadable(problem):
            raise InvalidInput(lane.state_key, f"cannot be read ({problem})", "the watchdog sets it aside, see verify")
        case _:
            return


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the instances of new attempts; a Relauncher for whoever has the right to start instances."""

    bucket: str
    subnet_ids: tuple[str, ...]
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines

    def relaunch(self, run: Run) -> None:
        """Have an instance started for the current attempt of a run. Raises as `start` does."""
        self.start(run.lane, run.run_id)

    def start(self, lane: Lane, run_id: str) -> Launched | None:
        """Start the instance of a run's new attempt.

        None when there is nothing to start: the run does not hold the lane any more, was stopped, or has its instance.

        Raises:
            InvalidDocument: the run's request is not what it should be.
            CapacityUnavailable, LaunchRefused: no instance was started; the watchdog ends the run.
            ServiceUnavailable: AWS did not answer; asking again does not start a second instance.
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
        user_data = render_user_data(self.bucket, held.run, request.limits)
        options = _options(request.instance_types, self.subnet_ids, request.market)
        launched = _first_that_starts(held.run, options, user_data, self.fleet)
        return _commit(held, launched, self.store, self.deadlines)


def _start_instance(held: LockHeld, order: Order, store: RunStore, fleet: Fleet, deadlines: Deadlines) -> Launched:
    """A definite refusal frees the lane at once."""
    user_data = render_user_data(order.bucket, held.run, order.limits)
    try:
        options = _options(order.instance_types, order.subnet_ids, order.market)
        launched = _first_that_starts(held.run, options, user_data, fleet)
    except (CapacityUnavailable, LaunchRefused, NotAllowed) as error:
        _give_up(held, store, error)
        raise
    return _commit(held, launched, store, deadlines)


def _options(instance_types: tuple[str, ...], subnet_ids: tuple[str, ...], market: Market) -> list[LaunchOption]:
    return [LaunchOption(kind, subnet_id, market) for kind in instance_types for subnet_id in subnet_ids]


def _first_that_starts(run: Run, options: list[LaunchOption], user_data: str, fleet: Fleet) -> Launched:
    """Try every option. Raises CapacityUnavailable when none has room, and LaunchRefused, ServiceUnavailable."""
    last: CapacityUnavailable | None = None
    for option in options:
        try:
            return Launched(run.run_id, run.attempt, fleet.launch(run, option, user_data), option)
        except CapacityUnavailable as error:
            last = error
    raise CapacityUnavailable(f"no capacity in {len(options)} places; the last said: {last}")


def _commit(held: LockHeld, launched: Launched, store: RunStore, deadlines: Deadlines) -> Launched:
    # The box is there, and four other layers watch it: the next reconcile arms what could not be armed now.
    with suppress(ServiceUnavailable, NotAllowed), scheduler_errors():
        deadlines.schedule(launched.instance_id, held.run.deadline)
    state: LockRead = held
    for _ in range(_RACES):
        if not isinstance(state, LockHeld) or not _is_of(launched, state.run, held.run.attempt):
            break
        run = replace(state.run, instance_id=launched.instance_id, instance_type=launched.option.instance_type)
        try:
            store.replace_lock(run, state)
        except LostRace:
            # The agent, which was faster and claimed with its own id, or somebody who stopped the run: both know what
            # to do. Which type it is, and so what it costs, only we can say if EC2 does not.
            state = store.read_lock(run.lane)
        else:
            break
    return launched


def _is_of(launched: Launched, run: Run, attempt: int) -> bool:
    return (run.run_id, run.attempt) == (launched.run_id, attempt) and run.instance_id in (None, launched.instance_id)


def _give_up(held: LockHeld, store: RunStore, error: Exception) -> None:
    """Keep the final record and free the lane: EC2 has said that there is no instance.

    If somebody wrote the lock meanwhile, or S3 does not answer, the watchdog frees it: why nothing was started comes
    first.
    """
    verdict = Verdict(Outcome.FAILED, Cause.INFRA, str(error), DecidedBy.AGENT)
    run = held.run.end(verdict, held.run.created_at)
    with suppress(LostRace, ServiceUnavailable, NotAllowed):
        store.objects.write(run_key(run.lane.environment, run.run_id, "state.json"), run.to_json())
        store.release_lock(run.lane, held.etag)


def with_max_runtime(limits: Limits, hours: float | None) -> Limits:
    """The limits with another maximum run time. Raises InvalidInput."""
    if hours is None:
        return limits
    shortest = limits.boot + 2 * limits.grace
    if timedelta(hours=hours) < shortest:
        raise InvalidInput("--max-hours", f"{hours} is too short", f"at least {shortest.total_seconds() / 3600:.2f}")
    return replace(limits, max_runtime=timedelta(hours=hours))
