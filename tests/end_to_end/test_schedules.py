"""Schedules on the embedded AWS, by the commands that a user would type, with the deployed launcher function."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.services.run_queries import find_run
from tests.end_to_end.conftest import PROBE, write_waves

pytestmark = pytest.mark.embedded_aws

NAME, LANE, DATA = "nights", "nights", "nights"
CONFIG = f"data: {{path: training-data/{DATA}/}}\nprediction_length: 8\n" + PROBE.format(ending="ok", steps=3)
_LONGEST = 600.0


@dataclass
class Operator:
    """A user at a terminal, and what the launcher function says."""

    aws: LocalAws
    world: OperatorWorld
    folder: Path

    def command(self, *arguments: str) -> Any:
        """Run `chronos-ec2 …`, which must succeed. Returns its JSON."""
        command = [sys.executable, "-m", "chronos_ec2.cli", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.aws.environ(), check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def create(self, *when: str) -> Any:
        """Order the schedule."""
        path = self.folder / "train.yaml"
        path.write_text(CONFIG)
        return self.command("schedule", "create", NAME, *when, "--config", str(path), "--lane", LANE, "--allow-cpu")

    def upload(self, *, changed: bool = True) -> None:
        """Upload the data set, by default with other values than before."""
        path = self.folder / "data" / "waves.parquet"
        if changed:
            table = pq.read_table(path)
            more = pc.add(table["target"], pa.scalar(1.0, pa.float32()))
            pq.write_table(table.set_column(table.schema.get_field_index("target"), "target", more), path)
        self.command("upload", "data", str(path.parent), DATA, "--replace")

    def runs(self) -> list[str]:
        """The runs of the schedule, newest first."""
        return [one["run_id"] for one in self.command("schedule", "show", NAME)["runs"]]

    def says(self, reason: str, since: int) -> None:
        """Wait until the launcher function has given a reason."""
        group = f"/aws/lambda/{self.world.stack.name}-launcher"

        def said() -> bool:
            events = client("logs").filter_log_events(logGroupName=group, startTime=since)["events"]
            return any(reason in event["message"] for event in events)

        wait_for(reason, said)

    def started(self, count: int) -> str:
        """Wait until the schedule has started so many runs, and the newest has succeeded. Returns its id."""
        orders, store = self.world.schedules.orders, self.world.store
        wait_for(f"run {count}", lambda: len(orders.ledger(NAME).ledger.entries) >= count)
        entries = orders.ledger(NAME).ledger.entries
        assert len(entries) == count
        run_id = entries[-1].run_id
        wait_for(f"{run_id} to end", lambda: not find_run(store, self.aws.environment, run_id).active)
        verdict = find_run(store, self.aws.environment, run_id).run.verdict
        assert verdict
        assert verdict.outcome is Outcome.SUCCEEDED
        return run_id

    def time_comes(self) -> dict[str, str]:
        """What Scheduler sends to its target now. The embedded one does not put in the time."""
        group = self.world.stack.schedule_group
        target = client("scheduler").get_schedule(GroupName=group, Name=NAME)["Target"]
        assert target["Arn"] == self.world.stack.launcher_function_arn
        at = format_time(self.world.clock.now())
        event: dict[str, str] = json.loads(target["Input"].replace("<aws.scheduler.scheduled-time>", at))
        self.invoke(event)
        return event

    def invoke(self, event: dict[str, str]) -> None:
        """Invoke the deployed launcher function, as Scheduler does."""
        arn = self.world.stack.launcher_function_arn
        client("lambda").invoke(FunctionName=arn, InvocationType="Event", Payload=json.dumps(event).encode())


def wait_for(what: str, condition: Callable[[], Any]) -> None:
    end = time.monotonic() + _LONGEST
    while not condition():
        assert time.monotonic() < end, f"waited {_LONGEST} s for {what}"
        time.sleep(0.5)


def now() -> int:
    """In milliseconds, as logs have it."""
    return int(time.time() * 1000)


@pytest.fixture
def operator(embedded_aws: LocalAws, tmp_path: Path) -> Iterator[Operator]:
    write_waves(tmp_path / "data")
    with embedded_aws.exported():
        made = Operator(embedded_aws, operator_world(embedded_aws.environment), tmp_path)
        made.upload()
        yield made
        if NAME in made.world.schedules.orders.names():
            made.command("schedule", "delete", NAME, "--yes")
        assert NAME not in made.world.timetable.listed()
        assert made.world.schedules.orders.names() == ()


def test_new_data_start_a_run_unless_the_schedule_is_paused_or_they_have_not_changed(operator: Operator) -> None:
    assert operator.create("--on-data", DATA)["when"] == f"new data in {DATA}"
    assert [one["schedule"] for one in operator.command("schedule", "list")] == [NAME]
    assert operator.command("schedule", "pause", NAME) == {"schedule": NAME, "enabled": False}
    since = now()
    operator.upload()
    operator.says("the schedule is paused", since)
    assert operator.runs() == []
    assert operator.command("schedule", "resume", NAME) == {"schedule": NAME, "enabled": True}
    operator.upload()
    first = operator.started(1)
    since = now()
    operator.upload(changed=False)
    operator.says(f"the data have not changed since run {first}", since)
    assert operator.runs() == [first]


def test_a_time_starts_one_run_however_often_it_is_delivered_and_an_operator_another(operator: Operator) -> None:
    assert operator.create("--cron", "0 3 1 1 ? *")["when"] == "cron(0 3 1 1 ? *)"
    event = operator.time_comes()
    operator.invoke(event)
    first = operator.started(1)
    since = now()
    operator.invoke(event)
    operator.says(f"run {first} is over", since)
    since = now()
    operator.time_comes()
    operator.says(f"the data have not changed since run {first}", since)
    second = operator.command("schedule", "run", NAME)["run_id"]
    assert operator.started(2) == second
    assert operator.runs() == [second, first]
    assert operator.command("schedule", "delete", NAME, "--yes") == {"deleted": NAME}
    assert operator.command("schedule", "list") == []
    left = operator.command("verify")["left"]
    assert [one for one in left if LANE in str(one) or first in str(one) or second in str(one)] == []
