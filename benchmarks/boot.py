"""From the start of boot.sh to the claim, by step, in an instance container: `python -m benchmarks.boot [COMMIT]`.

COMMIT is measured in turn with this checkout, as `before`. The container has systemd, cloud-init, the AWS CLI and the
metadata service of an instance, and fetches the agent and its packages from moto over the network. Its disk is warm
and its torch empty, so a real instance takes longer for the same steps.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.publish import ROOT, publish
from chronos_ec2.local import LocalAwsFailed
from chronos_ec2.local.docker_relay import relay
from chronos_ec2.local.ec2.instance_container import InstanceContainer, ensure_image
from chronos_ec2.testing.aws_server import s3_server

ROUNDS = 5
_BUCKET = "benchmark"
_SHOWN_SECONDS = 0.1
_IMPORT = "imports"
# Runs in the checkout to measure, and prints the instance's user data.
_LAUNCH = """
import sys
from pathlib import Path
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launched, LaunchSpec, launch
from chronos_ec2.services.publish.agent import publish_agent
from chronos_ec2.testing import MemoryDeadlines, MemoryFleet
bucket, environment = sys.argv[1:]
store, transfer, clock = RunStore(S3Objects(client("s3"), bucket)), S3Transfer(client("s3"), bucket), SystemClock()
data, fleet = "training-data/any/", MemoryFleet(clock)
store.objects.write(f"cached-datasets/{environment}/{data}part.parquet", b"any", "application/octet-stream")
config = {"trainer": "probe", "data": {"path": data}, "prediction_length": 2, "context_length": 4}
config["probe"] = {"steps": 600, "step_seconds": 1.0}
bundle, _ = publish_agent(False, store, transfer, lambda line: None)
spec = LaunchSpec(
    Lane(environment), config, data, ("g4dn.2xlarge",), ("subnet-0",), bucket, bundle, Limits(), allow_cpu=True
)
launched = launch(spec, store, fleet, MemoryDeadlines(clock), clock)
assert isinstance(launched, Launched), launched
print(launched.instance_id)
print(fleet.user_data[launched.instance_id])
"""
_WATCH = "tail --sleep-interval=0.05 --follow=name --retry --lines=+1 /var/log/cloud-init-output.log 2> /dev/null"
# The agent has left byte code of its imports, which an instance does not find: only what boot.sh compiles stays.
_IMPORTS = """
set -a; . /etc/chronos-ec2/instance; cd /opt/chronos-ec2
export PYTHONPATH=$PWD/bundle:$PWD/claim-packages:$PWD/packages
find bundle *packages -name __pycache__ -prune -exec rm -rf {} +
eval "$(grep compileall boot.sh)"; wait
$PYTHON -c 'import time; began = time.process_time(); import agent.__main__; print(time.process_time() - began)'
"""

Steps = dict[str, float]


def main(arguments: list[str]) -> int:
    """Measure, publish, and print; nothing where Docker cannot run an instance."""
    try:
        ensure_image()
    except LocalAwsFailed as reason:
        print(f"boot not measured: {reason}")
        return 0
    found: dict[str, list[Steps]] = {"before": [], "after": []}
    with (
        tempfile.TemporaryDirectory() as scratch,
        s3_server(_BUCKET) as local,
        relay(local) as endpoint,
        _checkout(arguments[0] if arguments else None, Path(scratch)) as before,
    ):
        for number in range(ROUNDS):
            for name, checkout in {"before": before, "after": ROOT}.items():
                if checkout is not None:
                    found[name].append(_boot(checkout, f"{name}-{number}", endpoint))
                    print(name, found[name][-1], flush=True)
    figures = _figures(found["after"])
    if found["before"]:
        figures["before"] = _figures(found["before"])
    publish({"boot_to_claim": figures}, "Boot to claim", _text(figures))
    print(_text(figures))
    return 0


@contextmanager
def _checkout(commit: str | None, scratch: Path) -> Iterator[Path | None]:
    if commit is None:
        yield None
        return
    folder = scratch / "before"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def _boot(checkout: Path, environment: str, endpoint: str) -> Steps:
    """Seconds of each step."""
    variables = os.environ | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}"}
    command = [sys.executable, "-c", _LAUNCH, _BUCKET, environment]
    done = subprocess.run(command, env=variables, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    instance_id, _, user_data = done.stdout.partition("\n")
    instance = InstanceContainer.create(instance_id, user_data, endpoint, "test", packages_in_image=False)
    try:
        instance.start()
        steps = _steps(_lines(instance))
        return steps | {_IMPORT: float(instance.run(_IMPORTS))}
    finally:
        instance.remove()


def _lines(instance: InstanceContainer) -> Iterator[tuple[float, str]]:
    """The lines of the boot log and when each was written."""
    command = ["docker", "exec", instance.name, "sh", "-c", _WATCH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        for line in reader.stdout:
            yield time.monotonic(), line.strip()
            if line.startswith(("run claimed", "boot failed")):
                break
        reader.kill()


def _steps(lines: Iterator[tuple[float, str]]) -> Steps:
    """Seconds from the line that announces a step to the next one."""
    found: Steps = {}
    step, began = "", 0.0
    for at, line in lines:
        if step and line.startswith(("boot: ", "run claimed")):
            found[step] = found.get(step, 0.0) + at - began
        if line.startswith("boot: "):
            step, began = _short(line.removeprefix("boot: ")), at
    return found


def _short(step: str) -> str:
    """A step without hashes, hints and names of the run."""
    return re.sub(r"s3://\S*?(request\.json|agent|python-env)\b.*", r"\1", step).partition(" (")[0]


def _figures(runs: list[Steps]) -> dict[str, Any]:
    """Medians of the runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    medians = {name: round(statistics.median(run.get(name, 0.0) for run in runs), 2) for name in names}
    imports = medians.pop(_IMPORT)
    totals = [sum(seconds for name, seconds in run.items() if name != _IMPORT) for run in runs]
    return {"seconds": round(statistics.median(totals), 2), "steps": medians, "imports_cpu_seconds": imports}


def _text(figures: dict[str, Any]) -> str:
    before = figures.get("before", {"steps": {}})
    names = dict.fromkeys([*before["steps"], *figures["steps"]])
    rows = [
        f"| {name} | {before['steps'].get(name, '')} | {figures['steps'].get(name, '')} |"
        for name in names
        if max(before["steps"].get(name, 0), figures["steps"].get(name, 0)) >= _SHOWN_SECONDS
    ]
    rows.append(f"| **in all** | **{before.get('seconds', '')}** | **{figures['seconds']}** |")
    rows.append(f"| imports before the claim, of processor time | {before.get('imports_cpu_seconds', '')} | "
                f"{figures['imports_cpu_seconds']} |")  # fmt: skip
    table = "\n".join(["| step | before, s | now, s |", "|---|---:|---:|", *rows])
    return f"""`python -m benchmarks.boot [COMMIT]`, as root, with Docker

{table}

From the start of boot.sh in an instance container (systemd, cloud-init, the real user data; the packages come from moto
over the network) to the claim: medians of {ROUNDS} boots each, made in turn on two cores with other work beside them.
Before: the packages of the trainer were downloaded and installed first; now the agent installs them after the claim,
beside preflight checks and data sync. The disk is warm; on a fresh volume reading and writing take longer.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
