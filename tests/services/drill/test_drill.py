"""The drill on AWS in memory: each fault has its end, and a watchdog that does not keep a guarantee is found."""

from __future__ import annotations

import ast
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import get_args

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import InvalidInput, NotAllowed
from chronos_ec2.domain.facts import LaneFacts
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Status
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import Ending
from chronos_ec2.services.drill.case import Row
from chronos_ec2.services.drill.drill import Drill
from chronos_ec2.services.drill.faults import FAULTS, Fault, Harm, chosen_faults, hanging_bundle
from chronos_ec2.services.launch import LaunchSpec
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.testing import Environment
from chronos_ec2.testing.agent import AgentBehaviour
from chronos_ec2.testing.deadlines import MemorySweep
from chronos_ec2.testing.environment import BUCKET, DATA

IN_TRAINING = {
    "hang": AgentBehaviour.HUNG, "agent-killed": AgentBehaviour.CRASHED, "agent-frozen": AgentBehaviour.SILENT,
    "past-deadline": AgentBehaviour.DEAF, "past-cap": AgentBehaviour.DEAF, "kill": AgentBehaviour.DEAF,
    "power-off-refused": AgentBehaviour.LINGERING, "sweep-off": AgentBehaviour.SILENT,
}  # fmt: skip
NEVER_CLAIM = ("boot-hangs", "no-record")
CRASHING = [fault for fault in FAULTS if fault.name != "crash" and not fault.opt_in]
"""The agent of the testkit has no trainer that could crash."""


@dataclass
class Stage:
    """An environment with a drill, whose instances are harmed as their faults say."""

    env: Environment
    specs: dict[str, LaunchSpec] = field(default_factory=dict)
    sweep: MemorySweep = field(default_factory=MemorySweep)
    deadlines_fire: bool = False

    def drill(self) -> Drill:
        env = self.env
        return Drill(
            env.name, env.store, env.fleet, env.deadlines, env.watchdog, env.clock, env.limits, self.sweep,
            self.prepare, 4,
        )  # fmt: skip

    def prepare(self, fault: Fault, lane: Lane) -> LaunchSpec:
        spec = LaunchSpec(
            lane, {}, DATA, ("t3.small",), self.env.defaults["subnet_ids"], BUCKET, "1" * 64, self.env.limits,
            price_per_hour_usd=0.05,
        )  # fmt: skip
        self.specs[fault.name] = spec
        return spec

    def pause(self) -> None:
        env = self.env
        env.clock.advance(timedelta(seconds=30))
        for instance in env.alive:
            assert instance.lane is not None
            name = instance.lane.name.removeprefix("drill-")
            if name == "boot-fails":
                env.fleet.move(instance.instance_id, InstanceState.TERMINATED)
            elif name not in NEVER_CLAIM and instance.state is InstanceState.RUNNING:
                agent = env.agent_of(instance)
                agent.live()
                if agent.claimed and agent.session.run.status is Status.TRAINING:
                    agent.behaviour = IN_TRAINING.get(name, agent.behaviour)
        for instance_id, at in [*env.deadlines.schedules.items()]:
            if self.deadlines_fire and env.clock.now() >= at + timedelta(minutes=1):
                env.fleet.terminate(instance_id)
                env.deadlines.cancel(instance_id)
        if self.sweep.on and env.clock.now().second < 30:
            env.watchdog.sweep()

    def rows(self, faults: Sequence[Fault] = CRASHING) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for rows in self.drill().run(faults, self.pause):
            assert len(self.env.alive) <= 4
            found = {row.fault: row for row in rows}
        return found


@pytest.fixture
def stage() -> Stage:
    return Stage(Environment())


def test_every_instance_ends_within_its_guarantee_and_its_record_says_why(stage: Stage) -> None:
    rows = stage.rows()
    assert {name: (row.problem, row.cause, row.kept) for name, row in rows.items() if not row.kept} == {}
    assert rows.keys() == {fault.name for fault in CRASHING}
    assert stage.env.alive == []
    stage.env.sweeps(timedelta(minutes=5))  # for what holds a lane
    assert stage.drill().left() == ()
    assert all(row.usd is not None and 0 < row.usd < 0.1 for row in rows.values())


def test_guarantees_are_those_of_the_limits(stage: Stage) -> None:
    limits = Limits()
    guaranteed = {name: row.guaranteed for name, row in stage.rows(chosen_faults("agent-*,hang,no-record")).items()}
    assert guaranteed == {
        "agent-killed": limits.dead_agent_bound.total_seconds(), "hang": limits.hung_bound.total_seconds(),
        "agent-frozen": limits.dead_agent_bound.total_seconds(), "no-record": limits.orphan_bound.total_seconds(),
    }  # fmt: skip


def test_the_time_counts_from_what_the_guarantee_names(stage: Stage) -> None:
    rows = stage.rows(chosen_faults("agent-frozen,hang,no-record,boot-hangs,past-deadline"))
    limits = stage.env.limits
    for name, least in (
        ("agent-frozen", limits.lease), ("hang", limits.progress), ("no-record", limits.grace),
        ("boot-hangs", limits.boot), ("past-deadline", timedelta(0)),
    ):  # fmt: skip
        seconds = rows[name].seconds
        assert seconds is not None
        assert least.total_seconds() <= seconds <= rows[name].guaranteed, name


def without_termination(for_cause: str = "") -> Callable[..., Decision]:
    """A decision that never ends an instance for this cause, or for any."""

    def defective(facts: LaneFacts, *rest: object) -> Decision:
        found = decide(facts, *rest)  # type: ignore[arg-type]
        kept = tuple(
            each for each in found.actions if not (isinstance(each, Terminate) and for_cause in ("", each.cause))
        )
        return Decision(found.reason, kept)

    return defective


@pytest.mark.parametrize(("fault", "cause"), [("boot-hangs", "infra"), ("no-record", "orphan")])
def test_an_instance_that_only_its_deadline_ends_is_too_late(fault: str, cause: str) -> None:
    stage = Stage(Environment(decide=without_termination(cause)))
    (row,) = stage.rows(chosen_faults(fault)).values()
    assert row.seconds is not None
    assert (row.kept, row.seconds > row.guaranteed) == (False, True)


def test_an_instance_that_does_not_end_is_given_up_and_named_as_left() -> None:
    stage = Stage(Environment(decide=without_termination()))
    (row,) = stage.rows(chosen_faults("no-record")).values()
    assert (row.kept, row.seconds) == (False, None)
    assert row.problem.startswith("the instance is still up after 2026-01-31T1")
    assert [each.kind for each in stage.drill().left()] == ["instance", "schedule"]


def test_a_launch_that_is_refused_is_a_row_that_says_so(stage: Stage) -> None:
    stage.env.faults.fail("fleet.launch", NotAllowed("not allowed"))
    (row,) = stage.rows(chosen_faults("good-end")).values()
    assert (row.kept, row.problem) == (False, "not launched: not allowed")


def test_only_an_order_of_the_drill_names_an_agent_that_never_claims(stage: Stage) -> None:
    stage.rows(chosen_faults("good-end,boot-hangs,boot-fails"))
    hashes = {}
    for key in stage.env.objects.keys("dev/"):
        if key[0].endswith("request.json"):
            found = stage.env.objects.read(key[0], 2**20)
            assert found is not None
            request = json.loads(found.body)
            hashes[request["lane"]] = request["bundle_sha256"]
    assert hashes["drill-good-end"] == "1" * 64
    assert len({*hashes.values()}) == 3
    with tarfile.open(fileobj=io.BytesIO(hanging_bundle())) as tar:
        assert tar.getnames() == ["agent/__init__.py", "agent/__main__.py"]


@pytest.mark.parametrize("ending", [ending for ending in get_args(Ending) if ending != "ok"])
@pytest.mark.parametrize("trainer", ["chronos", "mine:Trainer"])
def test_no_run_but_a_probe_can_be_told_to_come_to_harm(trainer: str, ending: str) -> None:
    asked = {"trainer": trainer, "data": {"path": DATA}, "prediction_length": 1, "probe": {"ending": ending}}
    with pytest.raises(InvalidInput, match=r"probe\.ending is for trainer probe"):
        parse_config(asked, "a test")
    assert parse_config(asked | {"trainer": "probe"}, "a test")


@pytest.mark.parametrize("job", ["forecast", "evaluate"])
def test_no_other_job_knows_endings(job: str) -> None:
    asked = {"job": job, "data": {"path": DATA}, "prediction_length": 1, "probe": {"ending": "hang"}}
    with pytest.raises(InvalidInput, match="probe"):
        parse_config(asked, "a test")


def test_only_the_probe_reads_its_ending() -> None:
    readers = {
        path.relative_to(CHECKOUT).as_posix()
        for root in ("agent", "src", "functions")
        for path in (CHECKOUT / root).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "ending"
    }
    # The drill fills it in, the schema refuses it elsewhere.
    assert readers == {
        "agent/trainer/probe.py", "src/chronos_ec2/cli/commands/account/drill.py",
        "src/chronos_ec2/job_config/schema.py",
    }  # fmt: skip


def test_a_lost_launcher_leaves_the_instance_to_its_agent(stage: Stage) -> None:
    (row,) = stage.rows(chosen_faults("lost-launcher")).values()
    assert (row.kept, row.cause) == (True, "completed")


def test_faults_are_chosen_by_name_and_pattern() -> None:
    assert [fault.name for fault in chosen_faults("agent-*, kill")] == ["agent-killed", "agent-frozen", "kill"]
    assert [fault.name for fault in FAULTS if fault not in chosen_faults(None)] == ["sweep-off"]
    assert "sweep-off" not in [fault.name for fault in chosen_faults("*")]
    assert [fault.name for fault in chosen_faults("sweep-off, kill")] == ["kill", "sweep-off"]
    with pytest.raises(InvalidInput, match=r"--only: no fault is named 'reboot' \(one of good-end, crash"):
        chosen_faults("kill,reboot")


def test_each_harm_has_a_fault_and_each_fault_its_own_name() -> None:
    assert {fault.harm for fault in FAULTS} == {*Harm}
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) == 14


def test_with_the_sweep_off_the_scheduler_ends_an_instance_and_the_sweep_is_on_again(stage: Stage) -> None:
    stage.deadlines_fire = True
    rows = stage.rows(chosen_faults("sweep-off,good-end"))
    assert [*rows] == ["good-end", "sweep-off"]
    row = rows["sweep-off"]
    assert (row.kept, row.since) == (True, "its deadline")
    assert row.seconds is not None
    assert 0 <= row.seconds <= row.guaranteed == 150
    assert (stage.sweep.switched[0], stage.sweep.switched[-1], stage.sweep.on) == (False, True, True)
    assert stage.env.alive == []


def test_with_the_sweep_off_an_instance_that_nothing_ends_is_found_and_the_sweep_is_on_again() -> None:
    stage = Stage(Environment())
    (row,) = stage.rows(chosen_faults("sweep-off")).values()
    assert (row.kept, stage.sweep.on) == (False, True)


def test_a_drill_that_is_interrupted_leaves_the_sweep_on(stage: Stage) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(stage.drill().run(chosen_faults("sweep-off"), interrupt))
    assert stage.sweep.switched == [False, True]


def test_the_sweep_stays_on_while_anybody_elses_run_is_active(stage: Stage) -> None:
    stage.env.launch()
    (row,) = stage.rows(chosen_faults("sweep-off")).values()
    assert (row.kept, "lane main is busy" in row.problem) == (False, True)
    assert False not in stage.sweep.switched


def test_a_wrong_verdict_breaks_the_promise_although_the_instance_ends(stage: Stage) -> None:
    (row,) = stage.rows(chosen_faults("hang")).values()
    assert (row.kept, replace(row, cause="infra").kept, replace(row, cause=None).kept) == (True, False, False)
    assert row.as_document()["kept"] is True
