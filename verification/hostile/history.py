"""One history with a hostile instance: when it turns, and what it does then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.testing.virtual.faulty_agent import FaultyAgent
from verification.hostile.oracle import HostileFindings, HostileOracle
from verification.hostile.plan import HOSTILE_LANE, Plan
from verification.hostile.rights import Right, right_to_write
from verification.hostile.writing import Target, Writer, Writing
from verification.simulation.guarantees import PRICED
from verification.simulation.parts import REAL_PARTS, Parts
from verification.simulation.runner import History
from verification.simulation.system import System

_ATTEMPTS = (1, 1, 1, 2, 2, 3, 4)
"""Of which it writes: its own, earlier ones, and those to come."""
_COPIED = ("request.json", "claims/1.json", "status.json", "outcomes/1.json", "heartbeat.json", "state.json")


class HostileHistory(History):
    """A history whose first lane has an instance that turns hostile."""

    _oracle: HostileOracle

    def __init__(self, plan: Plan, log: Callable[[str], None] | None = None, parts: Parts = REAL_PARTS) -> None:
        system = System(plan.scenario, Limits(), log, parts)
        super().__init__(system, HostileOracle(system))
        self._plan, self._left = plan, plan.acts
        self._random = Random(plan.scenario.seed ^ 0xBAD)
        self._own: set[str] = set()
        self._writes = False
        self._writer = Writer(self._random, self._ids, self._others)

    def judged(self) -> HostileFindings:
        """Let it happen, and return what the oracles found."""
        self.run()
        return self._oracle.findings()

    # --- when it turns -----------------------------------------------------------------------------------------

    def _start(self, instance_id: str, agent: FaultyAgent) -> None:
        """Start an agent of ours, which turns later, or what was hostile from the beginning."""
        of_lane = self._system.lane_of(instance_id) == self._system.lanes[HOSTILE_LANE]
        turns = of_lane and (not self._own or self._random.random() < self._plan.again)
        if turns and not self._plan.turns:
            self._turn(instance_id)
            return
        super()._start(instance_id, agent)
        if turns:
            self._time.after(self._plan.turns, partial(self._turn, instance_id))

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        super()._instance_changed(instance_id, state)
        if state is InstanceState.PENDING:
            self._oracle.instance_launched(instance_id)

    def _turn(self, instance_id: str) -> None:
        if not self._runs(instance_id):
            return
        self._system.tell(f"! {instance_id} turns hostile")
        agent = self._system.agents[instance_id]
        agent.catch_up()
        agent.die()
        self._own.add(instance_id)
        self._oracle.turned(instance_id)
        self._time.after(self._random.uniform(0.0, self._plan.rhythm), partial(self._acts, instance_id))

    def _past_its_price(self, instance_id: str) -> None:
        if instance_id not in self._own:
            super()._past_its_price(instance_id)
        elif self._runs(instance_id):
            self._oracle.fails(instance_id, PRICED)

    def _runs(self, instance_id: str) -> bool:
        return self._system.fleet.state(instance_id) is InstanceState.RUNNING

    # --- what it does ------------------------------------------------------------------------------------------

    def _acts(self, instance_id: str) -> None:
        if self._act(instance_id):
            self._time.after(self._random.expovariate(1 / self._plan.rhythm), partial(self._acts, instance_id))

    def _act(self, instance_id: str) -> bool:
        """Write something, if it still lives and is not done."""
        lives = self._system.fleet.state(instance_id) in (InstanceState.RUNNING, InstanceState.SHUTTING_DOWN)
        if self._writes or self._left <= 0 or not lives:
            return False
        self._left -= 1
        target = self._of(instance_id)
        if self._random.random() < 0.4:
            target = Target(target.run_id, self._random.choice(_ATTEMPTS))
        if self._plan.attacks and self._random.random() < 0.5:
            runs = sorted(self._system.ledger.accounts)
            target = Target(self._random.choice(runs), self._random.choice(_ATTEMPTS))
        if self._random.random() < 0.05:
            self._system.objects.begin(run_key("dev", target.run_id, f"models/{self._left}"))
        self._write(instance_id, target.run_id, self._writer.writing(target))
        return True

    def _write(self, instance_id: str, run_id: str, writing: Writing) -> None:
        key, objects = run_key("dev", run_id, writing.name), self._system.objects
        right = right_to_write(key, "dev")
        assert right, key
        if right is Right.CREATE and objects.holds(key):
            return
        if run_id != self._of(instance_id).run_id:
            self._oracle.attacked(run_id)
        withheld = ", which S3 gives to nobody" if writing.withheld else ""
        self._system.tell(f"! {instance_id} writes {key}{withheld}: {writing.body[:300]!r}")
        self._writes = True
        try:
            (objects.withhold if writing.withheld else objects.overwrite)(key, writing.body)
        finally:
            self._writes = False

    def _of(self, instance_id: str) -> Target:
        """The attempt that an instance was launched for."""
        one = self._system.fleet.bill[instance_id]
        return Target(one.run_id, one.attempt)

    def _ids(self) -> list[str]:
        """Instances that it may name: of its run most often."""
        own = sorted(self._own) * 4
        return [*own, *sorted(self._system.fleet.ours), self._system.foreign, "i-0123456789abcdef0"]

    def _others(self) -> list[bytes]:
        """Documents of the environment: it may read them all."""
        system = self._system
        keys = [lane.state_key for lane in system.lanes]
        keys += [run_key("dev", run_id, name) for run_id in system.ledger.accounts for name in _COPIED]
        return [system.objects.body(key) for key in keys if system.objects.holds(key)]

    # --- at any moment -----------------------------------------------------------------------------------------

    def _lock_is_written(self, key: str) -> None:
        super()._lock_is_written(key)
        self._act_meanwhile()

    def _heartbeat_is_read(self, key: str) -> None:
        super()._heartbeat_is_read(key)
        self._act_meanwhile()
        for instance_id in self._own if self._plan.beats else ():
            target = self._of(instance_id)
            if target.run_id in key and self._runs(instance_id):
                self._write(instance_id, target.run_id, self._writer.beat(target, instance_id))

    def _act_meanwhile(self) -> None:
        for instance_id in sorted(self._own) if self._plan.meanwhile else ():
            if self._random.random() < self._plan.meanwhile:
                self._act(instance_id)
