"""Invocations of schedules: at a time, by new data, by an operator, after a run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput, LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import ReadFailed
from chronos_ec2.domain.message_kinds import Kind
from chronos_ec2.domain.messages import Incident, StackLocation, compose
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key, incident_key, success_key
from chronos_ec2.domain.records.status import Job, Outcome
from chronos_ec2.domain.schedules.decide import Nothing, Situation, Start, decide
from chronos_ec2.domain.schedules.ledger import Entry, Ledger
from chronos_ec2.domain.schedules.order import Planned, Schedule, data_sha256, run_id_of
from chronos_ec2.model_registry import Registry
from chronos_ec2.ports import Clock, Notifier
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.launcher import Launcher
from chronos_ec2.services.run_queries import final_record
from chronos_ec2.services.schedules.begin import begin, write_once
from chronos_ec2.services.schedules.store import ScheduleStore
from chronos_ec2.services.teardown import refuse_teardown
from chronos_ec2.services.watchdog.outbox import Outbox

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Started:
    """A run of a schedule that has its lane: by this invocation, or by another for the same time."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Invocation:
    """A run that a schedule is to start: what it is like, which one it is, and for when."""

    schedule: Schedule
    planned: Planned
    run_id: str
    at: datetime
    asked: bool


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of an environment, as whoever may start runs sees them. All may be repeated.

    Every method raises ServiceUnavailable, NotAllowed.
    """

    environment: str
    store: RunStore
    launcher: Launcher
    notifier: Notifier
    clock: Clock
    place: StackLocation
    stack_id: str

    @property
    def orders(self) -> ScheduleStore:
        """Their orders and ledgers."""
        return ScheduleStore(self.environment, self.store.objects)

    def invoke(self, name: str, at: datetime, *, asked: bool = False) -> Started | Nothing:
        """Start the run of a schedule for a time, or tell why not. `asked`: an operator wants it now."""
        schedule = self.orders.order(name)
        if schedule is None:
            return Nothing(f"there is no schedule {name}")
        run_id = run_id_of(self.environment, name, at)
        return self._start(_Invocation(schedule, schedule.run, run_id, at, asked))

    def data_arrived(self, data_set: str, at: datetime) -> dict[str, Started | Nothing]:
        """Invoke each schedule that waits for new data of a data set; by its name, what became of it."""
        found = ((name, self.orders.order(name)) for name in self.orders.names())
        return {name: self.invoke(name, at) for name, order in found if order and order.data_set == data_set}

    def after(self, name: str, run_id: str) -> Started | Nothing:
        """Start the job after a run of a schedule, and note for the watchdog what became of it."""
        if self.store.objects.read(followed_key(self.environment, run_id)) is not None:
            return Nothing(f"run {run_id} was followed already")
        final = final_record(self.store, self.environment, run_id)
        if final is None or final.ended_at is None or not _succeeded(final):
            return Nothing(f"run {run_id} has not succeeded")
        schedule = self.orders.order(name)
        if schedule is None or schedule.then is None:
            done: Started | Nothing = Nothing(f"schedule {name} has nothing to do after a run")
        else:
            at = final.ended_at
            done = self._start(
                _Invocation(schedule, schedule.then, run_id_of(self.environment, name, at, run_id), at, asked=True)
            )
        note = {"after": run_id, "run_id": done.run_id if isinstance(done, Started) else None, "reason": done.reason}
        with suppress(LostRace):
            self.store.objects.create(followed_key(self.environment, run_id), dump_json(note))
        return done

    def _start(self, invocation: _Invocation) -> Started | Nothing:
        try:
            refuse_teardown(self.store, self.environment, self.stack_id)
            done = self._reserve_and_launch(invocation)
        except (InvalidInput, InvalidDocument) as error:
            done = Nothing(str(error), str(error)[:120])
        if isinstance(done, Nothing) and done.about:
            self._tell(invocation.schedule, done)
        return done

    def _reserve_and_launch(self, invocation: _Invocation) -> Started | Nothing:
        for _ in range(_TRIES):
            read = self.orders.ledger(invocation.schedule.name)
            lock = self.store.read_lock(invocation.planned.request.lane)
            if isinstance(lock, ReadFailed):
                raise ServiceUnavailable(lock.problem)
            ledger = self.with_ends(read.ledger)
            marked = self._marked(invocation)
            request, existing = self._request(invocation)
            now = self.clock.now()
            budget = request.budget
            entry = Entry(
                request.run_id, request.job, invocation.at, now, data_sha256(request.dataset_keys),
                budget.max_cost_usd if budget else None,
            )  # fmt: skip
            decision = decide(
                Situation(
                    entry, ledger, lock, now, invocation.schedule.max_cost_per_month_usd,
                    enabled=invocation.schedule.enabled, asked=invocation.asked,
                    # The same mark before and after the files were listed: none of them is of another upload.
                    complete=marked is not None and marked == self._marked(invocation),
                )
            )  # fmt: skip
            if isinstance(decision, Nothing):
                return decision
            if not existing and write_once(self.store, request) != request:
                continue  # another delivery was faster, and its request counts
            if decision.enter:
                after = ledger.without_old(now).with_entry(decision.entry)
                try:
                    self.orders.replace_ledger(invocation.schedule.name, after, read)
                except LostRace:
                    continue
            return self._launch(request, decision)
        raise ServiceUnavailable(f"the ledger of schedule {invocation.schedule.name} kept changing")

    def _launch(self, request: Request, decision: Start) -> Started | Nothing:
        """Take the lane and ask for the instance. The watchdog goes on with what has its lane."""
        now = self.clock.now()
        if not decision.entry.may_start(now):
            return Nothing(f"the start of run {request.run_id} was held up for too long")
        if holder := begin(request, self.store, self.launcher, now):
            return Nothing(f"run {holder} holds {request.lane}", f"busy {holder}")
        return Started(request.run_id, "its time has come" if request.job is Job.TRAIN else "a run has succeeded")

    def _request(self, invocation: _Invocation) -> tuple[Request, bool]:
        """The request of the run, and whether it is written already: then that one counts."""
        written = self.store.read_request(self.environment, invocation.run_id)
        if written is not None:
            return written, True
        planned = invocation.planned
        files = find_dataset(self.store, self.environment, planned.data_path)
        future = find_dataset(self.store, self.environment, planned.future, "future") if planned.future else ()
        champion = None
        if planned.champion:
            found = Registry(self.environment, self.store.objects).champion(planned.champion)
            champion = (found, self.launcher.bucket) if found else None
        request = planned.at(invocation.run_id, self.clock.now(), files, future, champion)
        follows = invocation.schedule.then if planned is invocation.schedule.run else None
        return replace(request, schedule=invocation.schedule.name if follows else None), False

    def with_ends(self, ledger: Ledger) -> Ledger:
        """A ledger with the end of each run that has ended since."""
        ended = (one if one.succeeded is not None else self._with_end(one) for one in ledger.entries)
        return replace(ledger, entries=tuple(ended))

    def _with_end(self, entry: Entry) -> Entry:
        final = final_record(self.store, self.environment, entry.run_id)
        return entry if final is None else entry.ended(final)

    def _marked(self, invocation: _Invocation) -> datetime | None:
        """When the data set was whole, None if it is not now."""
        found = self.store.objects.read(success_key(self.environment, invocation.planned.data_path))
        return found.written_at if found else None

    def _tell(self, schedule: Schedule, nothing: Nothing) -> None:
        name, now, lane = f"schedule-{schedule.name}", self.clock.now(), schedule.run.request.lane
        incident = Incident(Kind.SKIPPED, lane, f"schedule {schedule.name}", nothing.reason)
        marker = incident_key(self.environment, name, Kind.SKIPPED, None)
        outbox = Outbox(self.store.objects, self.notifier)
        if not outbox.send(marker, lambda: compose(incident, self.place, now), now, about=nothing.about):
            raise ServiceUnavailable("people are being told by another invocation, or it has died in doing so")


def _succeeded(run: Run) -> bool:
    return run.verdict is not None and run.verdict.outcome is Outcome.SUCCEEDED
