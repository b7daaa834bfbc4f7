"""`python -m verification.agent.forecast_resume [TRIALS]`: forecasts that are interrupted.

The trainer's process gets SIGKILL, or SIGTERM as after a spot notice, after each of its first parts. In the other
trials an upload is cut off at a random byte.

A forecast job writes parts; the agent's own code uploads them, each before the checkpoint that names it, and the
instance is lost in the middle. The next instance restores, compares the parts with their hashes, and goes on. The
union of the parts must be that of an uninterrupted forecast, byte for byte. Of what was cut off the store keeps the
beginning, which S3 does not.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.checkpoint.restore import restore
from agent.checkpoint.upload import store_checkpoint
from agent.chronos.forecast.job import run
from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from agent.protocol.forecast_parts import latest_parts
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.results.forecast_output import ForecastOutput
from agent.results.upload import Results
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, FORECASTS
from chronos_ec2.job_config.jobs import ForecastConfig
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.testing import Crash, MemoryAws, MemoryObjects, MemoryTransfer
from chronos_ec2.worker.progress import Progress
from verification.agent.figures import note

TRIALS = 20
SIGNALS = tuple((number, after) for number in (signal.SIGKILL, signal.SIGTERM) for after in (0, 1, 3))
_RUN_ID, _MODEL, _SERIES = "20260131T120000Z-1a2b3c", "amazon/chronos-2", 24
_CONFIG = {
    "job": "forecast", "data": {"path": "data"}, "prediction_length": 6, "context_length": 24, "model": _MODEL,
    "output": {"series_per_part": 4},
}  # fmt: skip
Parts = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class ForecastResume:
    """Of the forecasts that were `cut` short, how many ended `equal` to an uninterrupted one."""

    cut: int
    equal: int


class _CutUploads(MemoryTransfer):
    """Uploads that crash after `left` bytes, and leave what they have sent."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self.objects, self.left = objects, sys.maxsize

    def upload(
        self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False, sha256: str | None = None
    ) -> None:
        size = path.stat().st_size
        if self.left < size:
            self.objects.write(key, path.read_bytes()[: self.left])
            raise Crash
        self.left -= size
        super().upload(path, key, on_bytes, expires=expires, sha256=sha256)


class Instance:
    """A disk with the data and the model, and the agent's parts that upload and restore."""

    def __init__(self, folder: Path, objects: MemoryObjects) -> None:
        self.workdir, self.objects = Workdir(folder), objects
        self.workdir.create()
        self.transfer = _CutUploads(objects)
        self.results = Results(objects, self.transfer, "dev", _RUN_ID, Progress(), sleep=lambda _seconds: None)
        self.output = ForecastOutput(self.results, self.workdir)

    def forecast(self, model: Path, data: Path) -> None:
        """Run the job on what is on the disk."""
        self.prepare(model, data)
        config = ForecastConfig.model_validate(_CONFIG)
        with closing(Metrics(self.workdir.metrics)) as metrics:
            run(self.workdir, config, metrics, StopSignal())

    def prepare(self, model: Path, data: Path) -> None:
        """Put model and data on the disk."""
        for target, source in ((self.workdir.reference(_MODEL), model), (self.workdir.data / "data.parquet", data)):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)

    def forecast_in_process(self, after: int = 0, number: signal.Signals | None = None) -> int:
        """Run the trainer's process, and send it a signal once it has done `after` parts; returns its exit code."""
        self.workdir.config.write_text(json.dumps(_CONFIG))
        command = [sys.executable, "-m", "agent.trainer", "--workdir", str(self.workdir.root)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trainer:
            while number is not None and trainer.poll() is None:
                if len(latest_parts(self.workdir.checkpoints).parts) >= after:
                    trainer.send_signal(number)
                    break
            return trainer.wait()

    def upload(self) -> None:
        """Upload part by part, each before the checkpoint that names it, as the agent of a running job does."""
        folder, prefix = self.workdir.checkpoints, self.results.key_of(CHECKPOINTS)
        done = latest_parts(folder)
        for count in range(1, len(done.parts) + 1):
            shutil.rmtree(folder)
            folder.mkdir()
            step = done.first(count).save(folder)
            self.output.upload()
            store_checkpoint(self.objects, self.transfer, prefix, folder, step, lambda _bytes: None)

    def restore(self) -> int | None:
        """The series that are forecast already."""
        folder, prefix = self.workdir.checkpoints, self.results.key_of(CHECKPOINTS)
        if restore(self.objects, self.transfer, prefix, folder, lambda _bytes: None, lambda: None) is None:
            return None
        return self.output.resume(self.objects, self.transfer, lambda _bytes: None, lambda: None)

    def parts(self) -> Parts:
        """The parts in S3 by name."""
        prefix = self.results.key_of(FORECASTS)
        return {key.removeprefix(prefix): self.objects.body(key) for key, _ in self.objects.keys(prefix)}


def trial(seed: int, model: Path, data: Path, whole: Parts, scratch: Path) -> bool:
    """Whether the union equals the uninterrupted parts."""
    objects, random_ = MemoryAws().objects, random.Random(seed)
    lost = Instance(scratch / "lost", objects)
    lost.forecast(model, data)
    lost.transfer.left = random_.randrange(sum(map(len, whole.values())))
    with suppress(Crash):
        lost.upload()
    following = Instance(scratch / "following", objects)
    following.restore()
    following.forecast(model, data)
    following.upload()
    return dict(following.parts()) == dict(whole)


def signal_trial(number: signal.Signals, after: int, model: Path, data: Path, whole: Parts, scratch: Path) -> bool:
    """Whether a process that gets a signal after some parts, and one that follows it, write the same parts."""
    instance = Instance(scratch / "signalled", MemoryAws().objects)
    instance.prepare(model, data)
    instance.forecast_in_process(after, number)
    if instance.forecast_in_process():
        return False
    found = {path.name: path.read_bytes() for path in instance.workdir.forecast_parts.glob("part-*")}
    return found == dict(whole)


def measure(trials: int, scratch: Path, signals: Sequence[tuple[signal.Signals, int]] = SIGNALS) -> ForecastResume:
    """Run the trials with signals, and those with seeds from 0, against one uninterrupted forecast."""
    model, data = scratch / "model", scratch / "data.parquet"
    shape = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6)
    family_of(new_pipeline(shape, 24, 6), 24, 6).save(model)
    times = np.datetime64("2024-01-01", "ms") + np.arange(40) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(size=(_SERIES, 40)).ravel()
    names = np.repeat([f"item-{index:02d}" for index in range(_SERIES)], 40)
    pq.write_table(pa.table({"item_id": names, "timestamp": np.tile(times, _SERIES), "target": values}), data)
    uninterrupted = Instance(scratch / "whole", MemoryAws().objects)
    uninterrupted.forecast(model, data)
    uninterrupted.upload()
    whole = uninterrupted.parts()
    equal = 0
    for number, after in signals:
        with TemporaryDirectory(dir=scratch) as folder:
            equal += signal_trial(number, after, model, data, whole, Path(folder))
    for seed in range(trials):
        with TemporaryDirectory(dir=scratch) as folder:
            equal += trial(seed, model, data, whole, Path(folder))
    return ForecastResume(trials + len(signals), equal)


if __name__ == "__main__":
    logging.getLogger("agent").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS, Path(folder))
    note("forecast_resume", asdict(found))
    sys.stdout.write(f"{found}\n")
    sys.exit(found.equal < found.cut)
