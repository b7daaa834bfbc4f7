"""The main job on the embedded AWS, step by step, with the commands that a person would type."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap import OperatorWorld, operator_world
from chronos_ec2.domain.errors import UserError
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.records.s3_keys import run_prefix
from chronos_ec2.local.lifecycle import LocalAws, local_aws
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.run_queries import find_run

EXAMPLE = CHECKOUT / "examples" / "m3_monthly"
HANG = CHECKOUT / "examples" / "hang" / "train.yaml"
HORIZON, SEASON = "18", "12"
_LONGEST_RUN_SECONDS = 1800
_KEPT = (
    "training.json", "eval/report.md", "plots/loss.png", "plots/forecast.png", "cleanup_status.json", "state.json"
)  # fmt: skip

Say = Callable[[str], None]


class DemoFailed(UserError):
    """A step of the demo did not do what it should."""


@dataclass
class _Facts:
    """What the demo has seen so far; becomes summary.json."""

    statuses: list[str] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)


def run_demo(state_dir: Path, output: Path, say: Say) -> dict[str, Any]:
    """Train M3 monthly through the whole system, then let the watchdog end a hung run. Returns and writes the summary.

    Raises:
        DemoFailed: something was not as it should be; the message says what.
        LocalAwsFailed: the embedded AWS did not start.
    """
    start = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with local_aws(state_dir, say=say) as aws, aws.exported():
        world = operator_world(aws.environment)
        say(f"stack {world.stack.name} deployed on {aws.endpoint}, bucket {world.stack.bucket}")
        demo = _Demo(aws, world, output, say)
        queue = demo.subscribe()
        trained = demo.train(queue)
        hung = demo.hang(queue)
        residue = demo.residue()
        summary = trained | {
            "messages": demo.facts.messages,
            "hung_run": hung,
            "residue": residue,
            "seconds": round(time.monotonic() - start, 1),
        }
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


class _Demo:
    def __init__(self, aws: LocalAws, world: OperatorWorld, output: Path, say: Say) -> None:
        self._aws = aws
        self._world = world
        self._output = output
        self._say = say
        self.facts = _Facts()

    # --- the two runs ------------------------------------------------------------------------------------------

    def train(self, queue: str) -> dict[str, Any]:
        """The success path: data, launch, every status, results, a forecast from the uploaded model."""
        folder = self._output / "data"
        self._say("M3 monthly to Parquet")
        self._say("  " + self._python(str(EXAMPLE / "prepare.py"), str(folder)).strip())
        self._command("upload", "data", str(folder), "m3-monthly")
        launched = self._command("launch", "--config", str(EXAMPLE / "demo.yaml"), "--allow-cpu")
        run_id = launched["run_id"]
        for snapshot in self._watch(run_id):
            self.facts.statuses = [phase["status"] for phase in snapshot["timestamps"]]
        self._hear(queue, run_id)
        self._expect(self._outcome(run_id), "succeeded")
        self._keep(run_id)
        metrics = json.loads((self._output / "training.json").read_text())["metrics"]
        model_uri = f"s3://{self._world.stack.bucket}/{run_prefix(self._aws.environment, run_id)}models/"
        self._say(
            f"MASE {metrics['mase']:.4f} on the held-out points, seasonal naive {metrics['mase_seasonal_naive']:.4f}"
        )
        self._say(
            f"WQL  {metrics['wql']:.4f} on the held-out points, seasonal naive {metrics['wql_seasonal_naive']:.4f}"
        )
        self._say(f"BaseChronosPipeline.from_pretrained({model_uri!r})")
        picture = self._output / "forecast-from-s3.png"
        self._python(
            "-m", "agent.training.evaluate.forecast_plot", "--model", model_uri, "--data", str(folder / "m3-monthly.parquet"),
            "--prediction-length", HORIZON, "--season-length", SEASON, "--output", str(picture),
        )  # fmt: skip
        for name in ("plots/loss.png", "plots/forecast.png", picture.name):
            self._say(f"  {self._output / name}")
        return {
            "run_id": run_id,
            "statuses": self.facts.statuses,
            "mase": metrics["mase"],
            "mase_seasonal_naive": metrics["mase_seasonal_naive"],
            "wql": metrics["wql"],
            "wql_seasonal_naive": metrics["wql_seasonal_naive"],
            "model_uri": model_uri,
        }

    def hang(self, queue: str) -> dict[str, Any]:
        """A trainer that hangs with its heartbeat alive: the deployed watchdog sees it and ends it."""
        self._say("now a trainer that hangs, its heartbeat alive")
        launched = self._command("launch", "--config", str(HANG), "--allow-cpu")
        run_id, instance_id = launched["run_id"], launched["instance_id"]
        stood_still_at = self._world.clock.now()
        for _ in self._watch(run_id):
            beat = find_run(self._world.store, self._aws.environment, run_id).heartbeat
            if isinstance(beat, HeartbeatReceived):
                stood_still_at = beat.received_at - beat.heartbeat.stalled_for
        self._hear(queue, run_id)
        run = find_run(self._world.store, self._aws.environment, run_id).run
        box = self._world.fleet.find(self._aws.environment, instance_id)
        self._expect(run.verdict and str(run.verdict.cause), "hung")
        self._expect(box and str(box.state), "terminated")
        seconds = self._terminated_after(run_id, stood_still_at)
        self._say(f"the watchdog ended it {seconds:.0f} s after its last step: {run.verdict and run.verdict.message}")
        return {
            "run_id": run_id,
            "cause": run.verdict and run.verdict.cause,
            "reason": run.verdict and run.verdict.message,
            "seconds_to_terminate": seconds,
        }

    def residue(self) -> list[dict[str, Any]]:
        """What `chronos-ec2 verify` still finds."""
        found = self._command("verify")["left"]
        self._expect(found, [])
        self._say("verify: nothing is left")
        return list(found)

    # --- what it is made of ------------------------------------------------------------------------------------

    def _watch(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Every change of a run's record, as `chronos-ec2 monitor` tells it, until its instance is gone."""
        command = [*_CLI, "monitor", run_id, "--json", "--interval", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._aws.environ()) as monitor:
            end = time.monotonic() + _LONGEST_RUN_SECONDS
            told = 0
            for line in monitor.stdout or ():
                snapshot = json.loads(line)
                for phase in snapshot["timestamps"][told:]:
                    self._say(f"  {parse_time(phase['at']):%H:%M:%S}  {phase['status']}")
                told = len(snapshot["timestamps"])
                yield snapshot
                if time.monotonic() > end:
                    monitor.terminate()
                    raise DemoFailed(f"run {run_id} did not end within {_LONGEST_RUN_SECONDS} s")

    def _terminated_after(self, run_id: str, since: datetime) -> float:
        """Seconds from the last sign of work to the verdict, with which the termination is asked for."""
        run = find_run(self._world.store, self._aws.environment, run_id).run
        return round((run.phases[-1][1] - since).total_seconds(), 1)

    def _outcome(self, run_id: str) -> str | None:
        verdict = find_run(self._world.store, self._aws.environment, run_id).run.verdict
        return str(verdict.outcome) if verdict else None

    def subscribe(self) -> str:
        """A queue that hears every message of the topic: what is told here has really arrived."""
        sqs, sns = client("sqs"), client("sns")
        queue: str = sqs.create_queue(QueueName="chronos-ec2-demo")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self._world.stack.topic_arn, Protocol="sqs", Endpoint=arn)
        return queue

    def _hear(self, queue: str, run_id: str) -> None:
        """Read the messages about a run that have arrived; the last of them precedes the release of the lock."""
        while True:
            found = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2)
            if not (arrived := found.get("Messages", [])):
                break
            for message in arrived:
                client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                body = json.loads(message["Body"])
                self.facts.messages.append(
                    {"kind": body["MessageAttributes"]["kind"]["Value"], "run_id": run_id, "subject": body["Subject"]}
                )
                self._say(f"  message from SNS: {body['Subject']}")

    def _keep(self, run_id: str) -> None:
        prefix = run_prefix(self._aws.environment, run_id)
        for name in _KEPT:
            path = self._output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._world.transfer.download(prefix + name, path, lambda _: None)

    def _command(self, *arguments: str) -> Any:
        """Run `chronos-ec2 …` as a person would, and read its JSON."""
        self._say(f"$ chronos-ec2 {' '.join(arguments)}")
        return json.loads(self._run([*_CLI, *arguments, "--json"]))

    def _python(self, *arguments: str) -> str:
        return self._run([sys.executable, *arguments])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._aws.environ(), cwd=CHECKOUT, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise DemoFailed(f"{' '.join(command[1:4])} ended with {done.returncode}: {''.join(last)}")
        return done.stdout

    def _expect(self, found: object, wanted: object) -> None:
        if found != wanted:
            log = self._aws.state_dir
            raise DemoFailed(f"expected {wanted!r}, found {found!r}; the logs are in {log}")


_CLI = [sys.executable, "-m", "chronos_ec2.cli"]
