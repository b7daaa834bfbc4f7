"""The agent's data sync against `aws s3 sync` and s5cmd: `python -m benchmarks.data_sync`.

Many small objects and a few large ones, five rounds; the tools alternate. Each tool is timed as a process from start to
end; medians. On an instance the agent's process is already running when the data sync starts, so for the agent the sync
alone counts, from listing the objects to the last hash; its whole process is shown too. The server is moto in a process
of its own, on the same cores, so the figures compare the tools with each other and say nothing about S3.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.publish import AGENT_FIGURES, ROOT, record
from chronos_ec2.aws.clients import client
from chronos_ec2.local.tool_venv import isolated_python
from chronos_ec2.testing.aws_server import s3_server

BUCKET = "benchmark"
ROUNDS = 5
SLOWEST = 1.1
"""Maximum time of the agent relative to the fastest other tool, in every case."""
_AGENT, _PROCESS = "agent", "agent, whole process"
_SCRIPT = """
import sys, time
from pathlib import Path
from agent.data.dataset import download
from chronos_ec2.bootstrap.agent import agent_world
from chronos_ec2.domain.records.request import DataObject
bucket, prefix, folder = sys.argv[1:]
world = agent_world(bucket)
begin = time.perf_counter()
keys = tuple(DataObject(one.key, one.size, one.etag) for one in world.store.objects.listed(prefix))
download(world.transfer, keys, Path(folder), lambda _count: None, lambda: None)
print(time.perf_counter() - begin)
"""

Tool = Callable[[str, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """`files` objects of `size` bytes each below a prefix."""

    prefix: str
    files: int
    size: int


CASES = (
    Case("many/", 2_000, 20_000),
    Case("large/", 4, 100_000_000),
    Case("larger/", 4, 500_000_000),
    Case("one/", 1, 1_000_000_000),
)


def main() -> int:
    """Measure, print a table, and record the figures in build/agent.json; non-zero if the agent is too slow."""
    peers = isolated_python("download tools", (ROOT / "benchmarks" / "sync-peers.txt").read_text(), print)
    with TemporaryDirectory() as scratch, s3_server(BUCKET) as endpoint:
        tools = _tools(peers.parent, endpoint)
        found = {case.prefix: _measure(case, tools, Path(scratch)) for case in CASES}
    columns = list(found[CASES[0].prefix])
    print("| objects | bytes each | " + " | ".join(columns) + " | agent / fastest other |")
    print("|---:" * (len(columns) + 3) + "|")
    ratios = []
    for case in CASES:
        seconds = found[case.prefix]
        ratios.append(seconds[_AGENT] / min(seconds[name] for name in tools if name != _AGENT))
        cells = " | ".join(f"{value:.2f} s" for value in seconds.values())
        print(f"| {case.files:,} | {case.size:,} | {cells} | {ratios[-1]:.2f} |")
    cases = [
        {"files": case.files, "bytes": case.files * case.size, "seconds": found[case.prefix], "ratio_vs_fastest": ratio}
        for case, ratio in zip(CASES, ratios, strict=True)
    ]
    total = {"files": sum(case.files for case in CASES), "bytes": sum(case.files * case.size for case in CASES)}
    record({"sync": total | {"ratio_vs_fastest": round(max(ratios), 3), "cases": cases}}, ROOT / AGENT_FIGURES)
    if max(ratios) > SLOWEST:
        print(f"the agent takes {max(ratios):.2f} times as long as the fastest tool; the limit is {SLOWEST}")
        return 1
    return 0


def _tools(binaries: Path, endpoint: str) -> dict[str, Tool]:
    python = str(binaries / "python")
    return {
        _AGENT: lambda prefix, folder: [sys.executable, "-c", _SCRIPT, BUCKET, prefix, str(folder)],
        "aws s3 sync": lambda prefix, folder: [
            python, "-m", "awscli", "s3", "sync", f"s3://{BUCKET}/{prefix}", str(folder), "--quiet",
            "--endpoint-url", endpoint,
        ],
        "s5cmd sync": lambda prefix, folder: [
            str(binaries / "s5cmd"), "--log", "error", "--endpoint-url", endpoint,
            "sync", f"s3://{BUCKET}/{prefix}*", f"{folder}/",
        ],
    }  # fmt: skip


def _measure(case: Case, tools: dict[str, Tool], scratch: Path) -> dict[str, float]:
    """Median seconds of each tool, and of the agent's whole process."""
    s3, generator = client("s3"), np.random.default_rng(7)
    for index in range(case.files):
        body = generator.bytes(case.size)
        s3.put_object(Bucket=BUCKET, Key=f"{case.prefix}{index:05d}.parquet", Body=body)
    seconds: dict[str, list[float]] = {name: [] for name in (_PROCESS, *tools)}
    for turn in range(ROUNDS):
        for name, command in tools.items():
            folder = scratch / "target"
            folder.mkdir()
            begin = time.perf_counter()
            done = subprocess.run(command(case.prefix, folder), cwd=ROOT, check=True, stdout=subprocess.PIPE)
            took = time.perf_counter() - begin
            if name == _AGENT:
                seconds[_PROCESS].append(took)
                took = float(done.stdout)
            seconds[name].append(took)
            assert sum(path.stat().st_size for path in folder.iterdir()) == case.files * case.size, name
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        print(
            f"{case.prefix} round {turn + 1}: "
            + ", ".join(f"{name} {all_rounds[-1]:.2f} s" for name, all_rounds in seconds.items())
        )
    return {name: round(statistics.median(all_rounds), 3) for name, all_rounds in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
