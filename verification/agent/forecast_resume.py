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
import math
import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.checkpoint.restore import restore
from agent.checkpoint.upload import store_checkpoint
from agent.chronos.forecast.job import run
from agent.protocol.forecast_parts import latest_parts
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.results.forecast_output import ForecastOutput
from agent.results.upload import Results
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, FORECASTS
from chronos_ec2.job_config.jobs import ForecastConfig
from chronos_ec2.testing import Crash, MemoryTransfer
from chronos_ec2.worker.progress import Progress
from verification.agent.cut_off import CutOffObjects
from verification.agent.figures import note
from verification.agent.forecast_inputs import SETTINGS, write_inputs

TRIALS = 20
_SIGNALS = tuple((number, after) for number in (signal.SIGKILL, signal.SIGTERM) for after in (0, 1, 3))
_MODEL = "amazon/chronos-2"
_CONFIG = {**SETTINGS, "data": {"path": "data"}, "model": _MODEL, "output": {"series_per_part": 4}}
Parts = dict[str, bytes]
"""The parts of a forecast by name."""


@dataclass(frozen=True, slots=True)
class ForecastResume:
    """Of the forecasts that were `cut` short, how many ended `equal` to an uninterrupted one."""

    cut: int
    equal: int


class Instance:
    """A disk with the data and the model of `inputs`, and the agent's parts that upload and restore."""

    def __init__(self, disk: Path, inputs: Path, objects: CutOffObjects) -> None:
        self.workdir, self.objects, self.transfer = Workdir(disk), objects, MemoryTransfer(objects)
        self.workdir.create()
        self.workdir.config.write_text(json.dumps(_CONFIG))
        self.workdir.references.mkdir()
        self.workdir.reference(_MODEL).symlink_to(inputs / "model")
        (self.workdir.data / "data.parquet").symlink_to(inputs / "data.parquet")
        results = Results(objects, self.transfer, "dev", "20260131T120000Z-1a2b3c", Progress(), lambda _seconds: None)
        self.checkpoints, self.forecasts = results.key_of(CHECKPOINTS), results.key_of(FORECASTS)
        self.output = ForecastOutput(results, self.workdir)

    def forecast(self) -> None:
        """Run the job on what is on the disk."""
        with closing(Metrics(self.workdir.metrics)) as metrics:
            run(self.workdir, ForecastConfig.model_validate(_CONFIG), metrics, StopSignal())

    def forecast_in_process(self, number: signal.Signals | None = None, after: int = 0) -> int:
        """Run the trainer's process, and send it a signal once it has done `after` parts; returns its exit code."""
        command = [sys.executable, "-m", "agent.trainer", "--workdir", str(self.workdir.root)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trainer:
            while number is not None and trainer.poll() is None:
                if len(latest_parts(self.workdir.checkpoints).parts) >= after:
                    trainer.send_signal(number)
                    break
            return trainer.wait()

    def upload(self) -> None:
        """Upload part by part, each before the checkpoint that names it, as the agent of a running job does."""
        folder = self.workdir.checkpoints
        done = latest_parts(folder)
        for count in range(1, len(done.parts) + 1):
            shutil.rmtree(folder)
            folder.mkdir()
            step = done.first(count).save(folder)
            self.output.upload()
            store_checkpoint(self.objects, self.transfer, self.checkpoints, folder, step, lambda _bytes: None)

    def restore(self) -> None:
        """Go on from what is in S3."""
        ports = self.objects, self.transfer
        step = restore(*ports, self.checkpoints, self.workdir.checkpoints, lambda _bytes: None, lambda: None)
        if step is not None:
            self.output.resume(*ports, lambda _bytes: None, lambda: None)

    def parts_in_s3(self) -> Parts:
        """The parts in S3."""
        keys = [key for key, _ in self.objects.keys(self.forecasts)]
        return {key.removeprefix(self.forecasts): self.objects.body(key) for key in keys}

    def parts_on_disk(self) -> Parts:
        """The parts that are not uploaded."""
        return {path.name: path.read_bytes() for path in self.workdir.forecast_parts.glob("part-*")}


def after_cut(seed: int, scratch: Path, size: int) -> Parts:
    """The parts of an instance whose upload is cut off within so many bytes, and of one that follows it."""
    objects = CutOffObjects(keeps_beginnings=True)
    lost = Instance(scratch / f"lost-{seed}", scratch, objects)
    lost.forecast()
    objects.left = random.Random(seed).randrange(size)
    with suppress(Crash):
        lost.upload()
    objects.left = math.inf
    following = Instance(scratch / f"following-{seed}", scratch, objects)
    following.restore()
    following.forecast()
    following.upload()
    return following.parts_in_s3()


def after_signal(number: signal.Signals, after: int, scratch: Path) -> Parts:
    """The parts of a process that gets a signal after some parts, and of one that follows it; none if that fails."""
    instance = Instance(scratch / f"{number.name}-{after}", scratch, CutOffObjects(keeps_beginnings=True))
    instance.forecast_in_process(number, after)
    return {} if instance.forecast_in_process() else instance.parts_on_disk()


def measure(trials: int, scratch: Path) -> ForecastResume:
    """Run the trials with signals, and those with seeds from 0, against one uninterrupted forecast."""
    write_inputs(scratch / "model", scratch / "data.parquet", series=24)
    uninterrupted = Instance(scratch / "whole", scratch, CutOffObjects(keeps_beginnings=True))
    uninterrupted.forecast()
    uninterrupted.upload()
    whole = uninterrupted.parts_in_s3()
    found = [after_signal(number, after, scratch) for number, after in _SIGNALS]
    found += [after_cut(seed, scratch, sum(map(len, whole.values()))) for seed in range(trials)]
    return ForecastResume(len(found), found.count(whole))


if __name__ == "__main__":
    logging.getLogger("agent").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS, Path(folder))
    note("forecast_resume", asdict(found))
    print(found)
    sys.exit(found.equal < found.cut)
