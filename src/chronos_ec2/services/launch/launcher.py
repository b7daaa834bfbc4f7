"""Start the instance of a run: request, lock, RunInstances, then the instance id into the lock."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import itemgetter

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
    Superseded,
)
from chronos_ec2.domain.facts import LockHeld, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.limits import LAUNCHER_TIMEOUT, TAKE_OVER_AFTER
from chronos_ec2.domain.records.capacity import Launching, LaunchOption, Waiting
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run, new_run_id
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Clock, Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.attempt import Attempt, NoCapacity, as_stored, may_launch, why_superseded
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.spec import Launched, LaunchSpec, WaitsForCapacity
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors

_COMMIT_ATTEMPTS = 5
_ROUND = LAUNCHER_TIMEOUT - timedelta(seconds=60)
"""How long the launcher function goes on to the next option: the last may take a minute without an answer."""


def launch(
    spec: LaunchSpec, store: RunStore, fleet: Fleet, deadlines: Deadlines, clock: Clock
) -> Launched | WaitsForCapacity:
    """Start one instance for a new run, or leave the run to the watchdog if it may wait for capacity.

    Raises:
        InvalidInput: the data set is missing, or the price cap cannot be kept.
        LaneBusy: another run holds the lane.
        CapacityUnavailable, LaunchRefused, NotAllowed: no instance was started, and the lane is free again.
        Superseded: the run was ended or stopped meanwhile; the watchdog ends whatever was started.
        ServiceUnavailable: AWS did not answer; the watchdog finds and ends whatever was started.
    """
    prices, price = _prices(spec)
    dataset = find_dataset(store, spec.data_path)
    now = as_stored(clock.now())
    deadline, wait = now + spec.limits.max_runtime, spec.wait_for_capacity
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
        deadline=deadline,
        price_per_hour_usd=price,
        max_cost_usd=spec.max_cost_usd,
        preemptions_left=spec.preemptions_left,
        crashes_left=spec.crashes_left,
        phases=((Status.INITIALIZATION, now),),
        prices=tuple(prices.items()),
        launching=Launching(LaunchOption(spec.instance_types[0], spec.subnet_ids[0], spec.market), now),
        waiting=None if wait is None else Waiting(now, min(now + wait, deadline - spec.limits.boot), 0, now),
    )
    request = Request(
        run.run_id, spec.lane, spec.config, spec.instance_types, spec.bundle_sha256, dataset, spec.limits,
        spec.allow_cpu, spec.market, spec.log_group, spec.code_sha256, spec.commit, spec.wait_for_capacity,
        spec.on_demand_after,
    )  # fmt: skip
    attempt = Attempt(_take_lane(run, request, store), request, store, clock, created=True)
    try:
        launched = attempt.ask(fleet, spec.bucket, spec.subnet_ids)
    except NoCapacity as error:
        if wait is not None:
            return WaitsForCapacity(run.run_id, run.attempt, attempt.wait(error))
        _give_up(attempt.held, store, error, Cause.NO_CAPACITY)
        raise CapacityUnavailable(error.problem, "wait for it with --wait-for-capacity 2h") from error
    except (LaunchRefused, NotAllowed) as error:
        _give_up(attempt.held, store, error)
        raise
    except ServiceUnavailable as error:
        if wait is None:
            raise
        return WaitsForCapacity(run.run_id, run.attempt, attempt.wait_for_answer(error))
    return _commit(attempt.held, launched, store, deadlines)


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the instances of attempts that wait for one: the Relauncher of whoever may start instances."""

    bucket: str
    subnet_ids: tuple[str, ...]
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    clock: Clock

    def relaunch(self, run: Run) -> None:
        """Start an instance for the current attempt of a run. Raises ServiceUnavailable.

        What else keeps it from an instance is in the lock.
        """
        with suppress(LaunchRefused, NotAllowed, InvalidDocument, Superseded):
            self.start(run.lane, run.run_id)

    def start(self, lane: Lane, run_id: str) -> Launched | WaitsForCapacity | None:
        """Start the instance of a run's current attempt, or note that EC2 has no capacity for it.

        Returns None if there is nothing to do: the run no longer wants an instance, it is not its time to ask EC2, or
        another launcher is at work.

        Raises:
            InvalidDocument, LaunchRefused, NotAllowed: there will be no instance; the run has its verdict.
            Superseded: the run was ended or stopped meanwhile, or another launcher has taken it over.
            ServiceUnavailable: AWS did not answer; a retry does not start a second instance.
        """
        held, now = self.store.read_lock(lane), self.clock.now()
        if not isinstance(held, LockHeld) or held.run.run_id != run_id or not may_launch(held.run, held.run):
            return None
        run = held.run
        at_work = run.launching and now - held.since(run.launching.since) < TAKE_OVER_AFTER
        if at_work or (run.waiting and not run.waiting.next_try_at <= now < run.waiting.until):
            return None
        try:
            request = self._request(run)
        except InvalidDocument as error:
            self._refuse(held, error)
            raise
        attempt = Attempt(held, request, self.store, self.clock)
        try:
            launched = attempt.ask(self.fleet, self.bucket, self.subnet_ids, _ROUND)
        except NoCapacity as error:
            return WaitsForCapacity(run_id, run.attempt, attempt.wait(error))
        except (LaunchRefused, NotAllowed) as error:
            self._refuse(attempt.held, error)
            raise
        except ServiceUnavailable as error:
            with suppress(ServiceUnavailable, NotAllowed, Superseded):
                attempt.wait_for_answer(error)
            raise
        return _commit(attempt.held, launched, self.store, self.deadlines)

    def _request(self, run: Run) -> Request:
        found = self.store.objects.read(run_key(run.lane.environment, run.run_id, REQUEST), MAX_REQUEST_BYTES)
        if found is None:
            raise InvalidDocument(f"run {run.run_id} has no {REQUEST}")
        return Request.from_json(found.body)

    def _refuse(self, held: LockHeld, error: Exception) -> None:
        """Give the run its verdict: no launcher will do better. The watchdog frees the lane."""
        verdict = Verdict(Outcome.FAILED, Cause.INFRA, str(error), DecidedBy.WATCHDOG)
        with suppress(LostRace):
            self.store.replace_lock(replace(held.run.end(verdict, self.clock.now()), launching=None), held)


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
    prices = list_prices(spec.instance_types)
    if (price := spec.price_per_hour_usd) is not None:
        dearer = {kind: listed for kind, listed in prices.items() if listed > price}
        if dearer and spec.on_demand_after is not None:
            kind, listed = max(dearer.items(), key=itemgetter(1))
            problem = f"{price:g} is less than {listed:g}, the on-demand price of {kind}, which the run may get"
            raise InvalidInput("--price", problem, "leave it out, or leave out --on-demand-after")
        return {}, price
    unknown = [kind for kind in spec.instance_types if kind not in prices]
    if unknown and spec.on_demand_after is not None:
        raise InvalidInput("--on-demand-after", f"the on-demand price of {unknown[0]} is not known", "give --price")
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


def _commit(held: LockHeld, launched: Launched, store: RunStore, deadlines: Deadlines) -> Launched:
    """Arm the deadline and write the instance id into the lock. Raises Superseded if the run does not want it now."""
    # The instance runs and other safeguards already cover it; the next reconcile arms a deadline that failed here.
    with suppress(ServiceUnavailable, NotAllowed), scheduler_errors():
        deadlines.schedule(launched.instance_id, held.run.deadline)
    state: LockRead = held
    for _ in range(_COMMIT_ATTEMPTS):
        if isinstance(state, ReadFailed | Unreadable):
            return launched
        if not isinstance(state, LockHeld) or not _is_of(launched, state.run, held.run):
            raise _surplus(launched, state, held.run)
        step = state.run.current_step if state.run.claimed else LAUNCHING
        run = replace(
            state.run, instance_id=launched.instance_id, instance_type=launched.option.instance_type,
            current_step=step, waiting=None,
        )  # fmt: skip
        try:
            state = store.replace_lock(run, state)
        except LostRace:
            # The agent has claimed the run already, or somebody has stopped it. Their writes stay; only this process
            # can add the instance type, and so the price, if EC2 does not report it.
            state = store.read_lock(run.lane)
        else:
            break
    if isinstance(state, LockHeld) and state.run.stop:
        raise _surplus(launched, state, held.run)
    return launched


def _is_of(launched: Launched, run: Run, of: Run) -> bool:
    same = (run.run_id, run.attempt) == (of.run_id, of.attempt)
    return same and run.verdict is None and run.instance_id in (None, launched.instance_id)


def _surplus(launched: Launched, state: LockRead, run: Run) -> Superseded:
    return Superseded(
        f"run {run.run_id} {why_superseded(state, run)} while {launched.instance_id} was being started",
        "the watchdog ends the instance within minutes; `chronos-ec2 verify` shows what is left",
    )


def _give_up(held: LockHeld, store: RunStore, error: Exception, cause: Cause = Cause.INFRA) -> None:
    """Keep the final record and free the lane: EC2 has confirmed that there is no instance.

    If that fails, the watchdog frees the lane; the caller raises the reason why nothing was started.
    """
    verdict = Verdict(Outcome.FAILED, cause, str(error), DecidedBy.AGENT)
    run = held.run.end(verdict, held.run.created_at)
    with suppress(LostRace, ServiceUnavailable, NotAllowed):
        store.objects.write(run_key(run.lane.environment, run.run_id, "state.json"), run.to_json())
        store.release_lock(run.lane, held.etag)
