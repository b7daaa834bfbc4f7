"""The demo: a training, a forecast, a hung run and a short drill on the embedded AWS, with a user's own commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.errors import UserError
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_prefix
from chronos_ec2.local.lifecycle import LocalAws, local_aws
from chronos_ec2.local.state_dir import StateDir, last_lines
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.run_queries import find_run

EXAMPLE = CHECKOUT / "examples" / "m3_monthly"
DRILL = "drill.json"
HANG = CHECKOUT / "examples" / "hang" / "train.yaml"
HORIZON, SEASON, DATA_SET = "18", "12", "m3-monthly"
M3 = "N*"
"""The items of M3; the data set has others to learn from."""
FAULTS = "agent-killed,boot-fails,kill"
"""What the drill does in the demo: faults that end soon."""
_MAX_RUN_SECONDS = 1800
_CLI = [sys.executable, "-m", "chronos_ec2.cli"]

Say = Callable[[str], None]


class DemoFailed(UserError):
    """A step of the demo failed, or had another result than it should."""

    usual_hint = "`chronos-ec2 local down`, then try again; the logs say what was wrong"

    def __init__(self, problem: str) -> None:
        super().__init__(problem, self.usual_hint)


def run_demo(state_dir: Path, output: Path, say: Say) -> dict[str, Any]:
    """Train on M3 monthly, forecast, let the watchdog end a hung run, and drill. Returns the summary, and writes it.

    Raises:
        DemoFailed: a step failed; the message says why.
        LocalAwsFailed: the embedded AWS could not be started.
    """
    start = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with local_aws(state_dir, say=say) as aws, aws.exported():
        world = operator_world(aws.environment)
        say(f"deployed stack {world.stack.name} with bucket {world.stack.bucket} to {aws.endpoint}")
        demo = _Training(aws, world, output, say)
        trained = demo.train()
        jobs = {"forecast": demo.forecast(trained["run_id"]), "evaluate": demo.evaluate(trained["run_id"])}
        hung = demo.hang()
        drilled = demo.drill()
        residue = demo.residue()
        summary = (
            trained
            | jobs
            | {
                "messages": demo.messages,
                "hung_run": hung,
                "drill": drilled,
                "residue": residue,
                "seconds": round(time.monotonic() - start, 1),
            }
        )
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


class Demo:
    """What every demo does: commands that a user would type, and messages read from a queue."""

    def __init__(self, aws: LocalAws, world: OperatorWorld, output: Path, say: Say) -> None:
        self._aws = aws
        self._world = world
        self._output = output
        self._say = say
        self._queue = self._subscribe()
        self.messages: list[dict[str, str]] = []
        self._untold: list[dict[str, str]] = []

    def residue(self) -> list[dict[str, Any]]:
        """Check with `chronos-ec2 verify` that nothing is left."""
        found = self._command("verify")["left"]
        self._expect(found, [])
        self._say("nothing is left")
        return list(found)

    def _monitor(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield each change of a run's record that `chronos-ec2 monitor` prints, until its instance is gone."""
        command = [*_CLI, "monitor", run_id, "--json", "--interval", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._aws.environ()) as monitor:
            end = time.monotonic() + _MAX_RUN_SECONDS
            printed = 0
            for line in monitor.stdout or ():
                snapshot = json.loads(line)
                for phase in snapshot["timestamps"][printed:]:
                    self._say(f"  {parse_time(phase['at']):%H:%M:%S}  {phase['status']}")
                printed = len(snapshot["timestamps"])
                yield snapshot
                if time.monotonic() > end:
                    monitor.terminate()
                    raise DemoFailed(f"run {run_id} did not end within {_MAX_RUN_SECONDS} s")

    def _run(self, run_id: str) -> Run:
        return find_run(self._world.store, self._aws.environment, run_id).run

    def _subscribe(self) -> str:
        """Subscribe a queue to the topic. Returns its URL."""
        sqs, sns = client("sqs"), client("sns")
        queue: str = sqs.create_queue(QueueName="chronos-ec2-demo")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self._world.stack.topic_arn, Protocol="sqs", Endpoint=arn)
        return queue

    def _receive_messages(self, run_id: str) -> None:
        """Receive the messages about a run, and tell them. All of them were sent before its lock was released.

        Those about another run are kept until that one is told of.
        """
        sqs = client("sqs")
        while True:
            found = sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=2)
            if not (received := found.get("Messages", [])):
                break
            for message in received:
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                body = json.loads(message["Body"])
                document = json.loads(body["Message"])
                about = {"run_id": document["run_id"] or run_id, "subject": body["Subject"]}
                self._untold.append({"kind": document["kind"], **about, "text": document["text"]})
        told = [one for one in self._untold if one["run_id"] == run_id]
        self._untold = [one for one in self._untold if one["run_id"] != run_id]
        self.messages += told
        for one in told:
            self._say(f"  SNS message: {one['subject']}")

    def _command(self, *arguments: str) -> Any:
        """Run `chronos-ec2 …`. Returns its JSON."""
        self._say(f"$ chronos-ec2 {' '.join(arguments)}")
        return json.loads(self._execute([*_CLI, *arguments, "--json"]))

    def _python(self, *arguments: str) -> str:
        return self._execute([sys.executable, *arguments])

    def _execute(self, command: list[str]) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._aws.environ(), cwd=CHECKOUT, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-15:]
            raise DemoFailed("\n".join([f"`{' '.join(command[1:4])}` ended with exit code {done.returncode}:", *last]))
        return done.stdout

    def _expect(self, found: object, wanted: object) -> None:
        if found != wanted:
            state = StateDir(self._aws.state_dir)
            raise DemoFailed(f"expected {wanted!r}, found {found!r}; logs are in {state.root}{newest_logs(state)}")


class _Training(Demo):
    """A training run and its forecasts, and a run that hangs."""

    def train(self) -> dict[str, Any]:
        """Prepare and upload the data, launch, follow the run, download the results, forecast with the model."""
        folder = self._output / "data"
        self._say("preparing M3 monthly as Parquet")
        self._say("  " + self._python(str(EXAMPLE / "prepare.py"), str(folder)).strip())
        self._command("upload", "data", str(folder), DATA_SET)
        run_id = self._command("launch", "--config", str(EXAMPLE / "demo.yaml"), "--allow-cpu")["run_id"]
        statuses: list[str] = []
        for snapshot in self._monitor(run_id):
            statuses = [phase["status"] for phase in snapshot["timestamps"]]
        self._receive_messages(run_id)
        verdict = self._run(run_id).verdict
        self._expect(verdict and str(verdict.outcome), "succeeded")
        results = self._results(run_id, "train")
        metrics = json.loads((results / "training.json").read_text())["metrics"]
        for name in ("mase", "wql"):
            score, baseline = metrics[name], metrics[f"{name}_seasonal_naive"]
            self._say(f"held-out {name.upper()}: {score:.4f} (seasonal naive: {baseline:.4f})")
        model_uri = f"s3://{self._world.stack.bucket}/{run_prefix(self._aws.environment, run_id)}models/"
        self._forecast(model_uri, folder / "m3-monthly.parquet")
        return {
            "run_id": run_id,
            "statuses": statuses,
            "mase": metrics["mase"],
            "mase_seasonal_naive": metrics["mase_seasonal_naive"],
            "wql": metrics["wql"],
            "wql_seasonal_naive": metrics["wql_seasonal_naive"],
            "model_uri": model_uri,
        }

    def forecast(self, trained: str) -> dict[str, Any]:
        """Forecast the future of M3 with the model just trained, by a command without a file."""
        self._say("forecasting what comes after M3 with the model just trained")
        started = time.monotonic()
        run_id = self._finished("forecast", "--model", f"run:{trained}", "--horizon", HORIZON)
        folder = self._results(run_id, "forecast")
        manifest: dict[str, Any] = json.loads((folder / "forecasts" / "manifest.json").read_text())
        self._expect(manifest["quantiles_cross"], 0)
        self._say(f"  {manifest['rows']} rows for {manifest['items']} series from {manifest['first_timestamp']} on")
        kept = {name: manifest[name] for name in ("rows", "items", "first_timestamp", "quantiles_cross")}
        return {"run_id": run_id, **kept, "seconds": round(time.monotonic() - started, 1)}

    def evaluate(self, trained: str) -> dict[str, Any]:
        """Compare the model just trained on the last points of each series, again by a command without a file."""
        models = [f"run:{trained}"]
        self._say("evaluating it on the last points of each series")
        run_id = self._finished("evaluate", "--models", ",".join(models), "--horizon", HORIZON, "--season", SEASON)
        verdict = self._run(run_id).verdict
        self._say(f"  {verdict and verdict.message}")
        return {"run_id": run_id, "models": models, "verdict": verdict and verdict.message}

    def _finished(self, *job: str) -> str:
        """Launch a job on M3 and wait until it has succeeded; its run id."""
        run_id: str = self._command(*job, "--data", DATA_SET, "--series", M3, "--allow-cpu")["run_id"]
        for _ in self._monitor(run_id):
            pass
        self._receive_messages(run_id)
        verdict = self._run(run_id).verdict
        self._expect(verdict and str(verdict.outcome), "succeeded")
        return run_id

    def hang(self) -> dict[str, Any]:
        """Launch a trainer that hangs while its agent sends heartbeats, and wait until the watchdog ends the run."""
        self._say("launching a trainer that will hang while its heartbeat continues")
        launched = self._command("launch", "--config", str(HANG), "--allow-cpu")
        run_id, instance_id = launched["run_id"], launched["instance_id"]
        last_progress = self._world.clock.now()
        for _ in self._monitor(run_id):
            heartbeat = find_run(self._world.store, self._aws.environment, run_id).heartbeat
            if isinstance(heartbeat, HeartbeatReceived):
                last_progress = heartbeat.received_at - heartbeat.heartbeat.stalled_for
        self._receive_messages(run_id)
        run = self._run(run_id)
        instance = self._world.fleet.find(self._aws.environment, instance_id)
        self._expect(run.verdict and str(run.verdict.cause), "hung")
        self._expect(instance and str(instance.state), "terminated")
        seconds = _seconds_to_verdict(run, last_progress)
        self._say(f"the watchdog ended it {seconds:.0f} s after its last step: {run.verdict and run.verdict.message}")
        return {
            "run_id": run_id,
            "cause": run.verdict and run.verdict.cause,
            "reason": run.verdict and run.verdict.message,
            "seconds_to_terminate": seconds,
        }

    def drill(self) -> list[dict[str, Any]]:
        """Harm three probe runs, and measure how long their instances live on."""
        self._say("harming probe runs")
        found = self._command("drill", "--only", FAULTS, "--interval", "1", "--output", str(self._output / DRILL))
        for row in found["rows"]:
            self._say(f"  {row['what']}: its instance ended {max(row['seconds'], 0):.0f} s after {row['since']}")
        return [{name: row[name] for name in ("fault", "seconds", "guaranteed", "kept")} for row in found["rows"]]

    def _results(self, run_id: str, name: str) -> Path:
        """Download the results of a run in place of those of an earlier demo; their folder."""
        folder = self._output / name
        shutil.rmtree(folder, ignore_errors=True)
        self._command("results", run_id, "--to", str(folder))
        return folder

    def _forecast(self, model_uri: str, data: Path) -> None:
        self._say(f"forecasting with BaseChronosPipeline.from_pretrained({model_uri!r})")
        picture = self._output / "forecast-from-s3.png"
        self._python(
            "-m", "agent.chronos.evaluate.forecast_plot", "--model", model_uri, "--data", str(data),
            "--prediction-length", HORIZON, "--season-length", SEASON, "--output", str(picture),
        )  # fmt: skip
        for name in ("train/plots/loss.png", "train/plots/forecast.png", picture.name):
            self._say(f"  {self._output / name}")


def _seconds_to_verdict(run: Run, since: datetime) -> float:
    """Seconds until the verdict was written; the instance is terminated right after it."""
    return round((run.phases[-1][1] - since).total_seconds(), 1)


def newest_logs(state: StateDir) -> str:
    """The last lines of the newest instance's boot and trainer logs; without an instance, of the EC2 simulator's."""
    instances = sorted(state.instances.glob("*"), key=lambda instance: instance.stat().st_mtime)
    logs = [state.log("ec2")]
    if instances:
        logs = [instances[-1] / "boot.log", instances[-1] / "work" / "logs" / "trainer.log"]
    return "".join(f"\n\n{log}:\n{text}" for log in logs if (text := last_lines(log)))
