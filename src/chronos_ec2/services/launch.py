"""Start a run: order, then lock, then instance, then the instance's id in the lock."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from chronos_ec2.boot import render_user_data
from chronos_ec2.domain.errors import CapacityUnavailable, InvalidInput, LaneBusy, LaunchRefused, LostRace
from chronos_ec2.domain.facts import Broken, Held
from chronos_ec2.domain.lane import CACHED, Lane, run_key
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.request import REQUEST, Request
from chronos_ec2.domain.run import LAUNCHING, Cause, Judge, Outcome, Run, Status, Verdict, new_run_id
from chronos_ec2.ports import Clock, Fleet, LaunchOption
from chronos_ec2.services.run_store import RunStore

PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class Order:
    """What to launch. `instance_types` are tried in order, each in every subnet; money is in USD."""

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
    allow_cpu: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """A run that was launched."""

    run_id: str
    instance_id: str
    option: LaunchOption


def launch(order: Order, store: RunStore, fleet: Fleet, clock: Clock) -> Launched:
    """Start one instance for a new run.

    Raises:
        InvalidInput: the data set is not there, or the price cap cannot be kept.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused: no instance was started, and the lane is free again.
        ServiceUnavailable: AWS did not answer; what was started is found and ended by the watchdog.
    """
    if order.max_cost_usd is not None and order.price_per_hour_usd is None:
        raise InvalidInput("--max-cost", f"the price of {order.instance_types[0]} is not known", "give --price")
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
        instance_type=order.instance_types[0],
        created_at=now,
        updated_at=now,
        deadline=now + order.limits.max_runtime,
        price_per_hour_usd=order.price_per_hour_usd,
        max_cost_usd=order.max_cost_usd,
        phases=((Status.INITIALIZATION, now),),
    )
    refuse_if_busy(store, order.lane)
    request = Request(
        run.run_id, order.lane, order.config, order.instance_types, order.bundle_sha256, dataset, order.limits,
        order.allow_cpu,
    )  # fmt: skip
    store.objects.create(run_key(order.lane.environment, run.run_id, REQUEST), request.to_json())
    try:
        held = store.create_lock(run)
    except LostRace:
        store.objects.remove(run_key(order.lane.environment, run.run_id, REQUEST))
        refuse_if_busy(store, order.lane)
        raise
    return _start_instance(held, order, store, fleet)


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
        case Held(run):
            raise LaneBusy(run.run_id, str(lane), run.status)
        case Broken(problem):
            raise InvalidInput(lane.state_key, f"cannot be read ({problem})", "the watchdog sets it aside, see verify")
        case _:
            return


def _start_instance(held: Held, order: Order, store: RunStore, fleet: Fleet) -> Launched:
    """Try every option; the record says which instance it became. A definite refusal frees the lane at once."""
    run = held.run
    user_data = render_user_data(order.bucket, run, order.limits)
    refusals: list[CapacityUnavailable | LaunchRefused] = []
    for instance_type in order.instance_types:
        for subnet_id in order.subnet_ids:
            option = LaunchOption(instance_type, subnet_id)
            try:
                instance_id = fleet.launch(run, option, user_data)
            except CapacityUnavailable as error:
                refusals.append(error)
                continue
            except LaunchRefused as error:
                _give_up(held, store, error)
                raise
            _commit(held, replace(run, instance_id=instance_id, instance_type=instance_type), store)
            return Launched(run.run_id, instance_id, option)
    problem = CapacityUnavailable(f"no capacity in {len(refusals)} places; the last said: {refusals[-1]}")
    _give_up(held, store, problem)
    raise problem


def _commit(held: Held, run: Run, store: RunStore) -> None:
    try:
        store.replace_lock(run, held)
    except LostRace:
        # The agent was faster and claimed with its own id, or somebody stopped the run: both know what to do.
        return


def _give_up(held: Held, store: RunStore, error: Exception) -> None:
    """Keep the final record and free the lane: EC2 has said that there is no instance."""
    verdict = Verdict(Outcome.FAILED, Cause.INFRA, str(error), Judge.AGENT)
    run = held.run.end(verdict, held.run.created_at)
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
