"""The training engine beside stock chronos-forecasting: `python -m benchmarks.training [NAME …]`.

Both run in this environment, in turn, on one thread (which is what the trainer takes on two cores); ratios are medians
over the rounds of stock's time by ours, above 1 where ours is faster. Models are random: weights change no speed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from chronos import Chronos2Pipeline
from chronos.chronos2 import Chronos2CoreConfig, Chronos2Dataset, Chronos2Model
from chronos.chronos2.dataset import DatasetMode
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

from agent.data.ingest import read_panel
from agent.data.panel import Columns, Panel, PanelWriter, open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.training.batching.sampler import Sampler, TrainingWindows
from agent.training.loop.engine import TrainingJob, fit
from agent.training.model import block_attention
from agent.training.model.families import Chronos2Family
from benchmarks.aims import aims
from benchmarks.publish import publish
from chronos_ec2.training_config.schema import Data, Training
from verification.agent.figures import note

ROUNDS = 5
HORIZON = 24


def main() -> int:
    """Measure what is named, or everything; non-zero if a training that was resumed ends with other weights."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    exact = True
    for name in sys.argv[1:] or list(_SECTIONS):
        print(f"{name} …", flush=True)
        title, figures, text = _SECTIONS[name]()
        named = {name: figures} if name in _BELOW_THEIR_NAME else figures
        publish(named, title, f"`python -m benchmarks.training {name}`\n\n{text}")
        print(text, flush=True)
        exact = exact and figures.get("bit_exact", True)
    return 0 if exact else 1


# --- steps -------------------------------------------------------------------------------------------------------

# name: (d_model, d_kv, d_ff, layers, heads, patch, dropout, context, rows a batch, steps that are timed).
# Dropout is that of amazon/chronos-2, and for M3 the example's own.
_SHAPES = {
    "d64, batch 256": (64, 16, 256, 2, 4, 16, 0.1, 512, 256, 12),
    "d64, batch 64 (M3)": (64, 16, 256, 3, 4, 12, 0.0, 144, 64, 60),
    "120 M width, 2 of 12 layers, batch 256": (768, 64, 3072, 2, 12, 16, 0.1, 512, 256, 3),
}


def steps() -> tuple[str, Any, str]:
    """Steps a second of `Chronos2Pipeline.fit` and of the engine."""
    figures, lines = {}, ["| model | stock, steps/s | ours, steps/s | ratio |", "|---|---:|---:|---:|"]
    for name, (*shape, context, rows, timed) in _SHAPES.items():
        pairs = [(_stock_rate(shape, context, rows, timed), _our_rate(shape, context, rows, timed)) for _ in _rounds()]
        figures[name] = _ratio([1 / stock for stock, _ in pairs], [1 / ours for _, ours in pairs])
        stock, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        lines.append(f"| {name} | {stock:.3f} | {ours:.3f} | {figures[name]['ratio']:.2f} |")
    return "Training steps", {"train_steps_ratio": figures}, "\n".join(lines)


def _pipeline(shape: Sequence[float], context: int) -> Chronos2Pipeline:
    *sizes, dropout = shape
    d_model, d_kv, d_ff, layers, heads, patch = map(int, sizes)
    torch.manual_seed(0)
    config = Chronos2CoreConfig(
        d_model=d_model, d_kv=d_kv, d_ff=d_ff, num_layers=layers, num_heads=heads, dropout_rate=dropout,
        initializer_factor=0.05,
        chronos_config={
            "context_length": context, "input_patch_size": patch, "input_patch_stride": patch,
            "output_patch_size": patch, "max_output_patches": -(-HORIZON // patch),
            "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "use_arcsinh": True, "use_reg_token": True,
            "time_encoding_scale": context,
        },
    )  # fmt: skip
    return Chronos2Pipeline(Chronos2Model(config))


def _series(context: int) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(size=context + 200).astype(np.float32) for _ in range(200)]


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.times.append(time.perf_counter())

    @property
    def rate(self) -> float:
        """Steps a second after the first, which warms up."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


def _stock_rate(shape: Sequence[float], context: int, rows: int, timed: int) -> float:
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        _pipeline(shape, context).fit(
            _series(context), prediction_length=HORIZON, context_length=context, batch_size=rows, num_steps=timed + 1,
            output_dir=folder, callbacks=[clock], remove_printer_callback=True, disable_tqdm=True, min_past=HORIZON,
        )  # fmt: skip
    return clock.rate


def _our_rate(shape: Sequence[float], context: int, rows: int, timed: int) -> float:
    family = Chronos2Family(_pipeline(shape, context), context, HORIZON)
    with tempfile.TemporaryDirectory() as folder:
        panel = _panel(Path(folder) / "panel", _series(context))
        sampler = Sampler(TrainingWindows(panel, panel.lengths, context, HORIZON, HORIZON), rows, "series", 0)
        assert block_attention.agrees(family.model, family.batch(panel, sampler.draw(0)))
        settings = Training(steps=timed + 1, batch_size=rows, checkpoint_steps=10**6)
        batch = lambda number, part, parts: family.batch(panel, sampler.draw(number).part(part, parts))  # noqa: E731
        clock = _ClockMetrics(Path(folder) / "metrics.jsonl")
        work = TrainingJob(family.model, batch, None, settings, "fp32", family.label, {}, rows)
        fit(work, Path(folder), clock, StopSignal())
        clock.close()
    return clock.clock.rate


class _ClockMetrics(Metrics):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.clock = _Clock()

    def step(
        self, step: int, total_steps: int, loss: float | None = None, lr: float | None = None, **gauges: float
    ) -> None:
        if loss is None:
            self.clock.on_step_end(None, None, None)
        super().step(step, total_steps, loss, lr, **gauges)


def _panel(folder: Path, series: list[Any]) -> Panel:
    lengths = [len(one) for one in series]
    writer = PanelWriter(folder, Columns(1), sum(lengths))
    np.concatenate(series, out=writer.row(0))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = [str(index) for index in range(len(series))]
    return writer.finish(names, offsets, np.arange(sum(lengths)), pa.int64())


# --- batches -----------------------------------------------------------------------------------------------------

# (series, their length, context)
_LENGTHS = ((100, 1_000, 512), (100, 100_000, 2_048), (10, 1_000_000, 2_048))


def batches() -> tuple[str, Any, str]:
    """Milliseconds to build a batch of 256 rows."""
    figures, lines = {}, ["| series x length, context | stock, ms | ours, ms | ratio |", "|---|---:|---:|---:|"]
    for count, length, context in _LENGTHS:
        random = np.random.default_rng(0)
        series = [random.normal(size=length).astype(np.float32) for _ in range(count)]
        stock = iter(Chronos2Dataset(series, context, HORIZON, 256, 16, HORIZON, DatasetMode.TRAIN))
        with tempfile.TemporaryDirectory() as folder:
            panel = _panel(Path(folder) / "panel", series)
            family = Chronos2Family(_pipeline([16, 8, 32, 1, 2, 16, 0.1], context), context, HORIZON)
            sampler = Sampler(TrainingWindows(panel, panel.lengths, context, HORIZON, HORIZON), 256, "series", 0)
            ours = iter(family.batch(panel, sampler.draw(number)) for number in range(10**6))
            pairs = [(_each(stock), _each(ours)) for _ in _rounds()]
        figures[f"{length}"] = found = _ratio(*zip(*pairs, strict=True))
        lines.append(
            f"| {count} x {length:,}, {context} | {1e3 * found['stock']:.2f} | {1e3 * found['ours']:.2f} "
            f"| {found['ratio']:.0f} |"
        )
    return "Building batches", {"batch_build_ratio": figures}, "\n".join(lines)


def _each(batches: Any, count: int = 5) -> float:
    next(batches)
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return (time.perf_counter() - began) / count


# --- Parquet -----------------------------------------------------------------------------------------------------

_ROWS, _LENGTH = 10_000_000, 1_000


def parquet() -> tuple[str, Any, str]:
    """From a Parquet file of ten million rows to what training reads: time, and memory beyond that of the imports."""
    figures: dict[str, Any] = {}
    lines = [
        "| rows | pandas, s | ours, s | ratio | pandas, MB | ours, MB | share |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for order in ("sorted", "shuffled"):
            path = Path(folder) / f"{order}.parquet"
            _write_parquet(path, order == "shuffled")
            pairs = [(_child("pandas", path), _child("ours", path)) for _ in _rounds()]
            found = _ratio([one["seconds"] for one, _ in pairs], [two["seconds"] for _, two in pairs])
            memory = [statistics.median(one[side]["megabytes"] for one in pairs) for side in (0, 1)]
            figures[order] = found | {"megabytes": memory, "memory_share": round(memory[1] / memory[0], 3)}
            lines.append(
                f"| {order} | {found['stock']:.1f} | {found['ours']:.1f} | {found['ratio']:.2f} | {memory[0]:.0f} "
                f"| {memory[1]:.0f} | {memory[1] / memory[0]:.2f} |"
            )
        again = {}
        for what in ("reopen", "second_start"):
            taken = [_child(what, path)["seconds"] for _ in _rounds()]
            again[f"{what}_ms"] = round(1e3 * statistics.median(taken), 2)
        size = path.stat().st_size / 1e6
    lines.append(
        f"\nOpening the panel again takes {again['reopen_ms']} ms. A second start on the same instance, which first "
        f"hashes the file ({size:.0f} MB, SHA-256), takes {again['second_start_ms']} ms."
    )
    text = "10,000 series of 1,000 points with three known covariates, one of them text. pandas is `read_parquet` "
    text += "and `chronos.chronos2.preprocess.from_data_frame`. Each runs in its own process.\n\n" + "\n".join(lines)
    return "Parquet to training", {"parquet_to_ready": figures, **again}, text


def _write_parquet(path: Path, shuffled: bool) -> None:
    random = np.random.default_rng(0)
    count = _ROWS // _LENGTH
    order = random.permutation(_ROWS) if shuffled else slice(None)
    table = {
        "item_id": pa.array(np.repeat([f"item_{index:05d}" for index in range(count)], _LENGTH)[order]),
        "timestamp": np.tile(np.datetime64("2020-01-01", "ms") + np.arange(_LENGTH) * np.timedelta64(1, "D"), count)[
            order
        ],
        "target": random.normal(size=_ROWS).astype(np.float32)[order],
        "price": random.normal(size=_ROWS).astype(np.float32)[order],
        "heat": random.normal(size=_ROWS).astype(np.float32)[order],
        "kind": pa.array(np.array(["a", "b", "c"])[random.integers(3, size=_ROWS)][order]),
    }
    pq.write_table(pa.table(table), path, compression="zstd")


def _child(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", "--child", what, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(what: str, path: Path) -> None:
    """One reading, in a process of its own; prints seconds and megabytes."""
    folder = path.with_suffix(".panel")
    data = Data.model_validate({"path": "x", "known_covariates": ["price", "heat", "kind"]})
    start = _second_start(path, data) if what == "second_start" else None
    if what == "pandas":
        import pandas as pd  # noqa: PLC0415
        from chronos.chronos2 import preprocess  # noqa: PLC0415
    # From here on: importing needs more memory for a moment than stays with it.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kb()
    began = time.perf_counter()
    if what == "pandas":
        frame = pd.read_parquet(path)
        found: Any = preprocess.from_data_frame(
            frame,
            target_columns=["target"],
            prediction_length=HORIZON,
            known_covariates_names=["price", "heat", "kind"],
        )
    elif what == "ours":
        found = read_panel([path], data, 2 * HORIZON, folder)
    elif start is not None:
        found = start()
    else:
        found = open_panel(folder)
    seconds = time.perf_counter() - began
    assert len(found) == _ROWS // _LENGTH
    after = _peak_kb()
    print(json.dumps({"seconds": seconds, "megabytes": (after - before) / 1024}))


def _second_start(path: Path, data: Data) -> Callable[[], Any]:
    """What the trainer does with a data set that was read on this box before."""
    from agent.protocol.workdir import Workdir  # noqa: PLC0415
    from agent.training.run import load_panel  # noqa: PLC0415
    from chronos_ec2.training_config.schema import TrainingConfig  # noqa: PLC0415

    workdir = Workdir(path.with_suffix(".box"))
    config = TrainingConfig(data=data, prediction_length=HORIZON)
    if not workdir.data.exists():
        workdir.create()
        (workdir.data / path.name).symlink_to(path)
    metrics = Metrics(workdir.metrics)
    load_panel(workdir, config, metrics)
    return lambda: load_panel(workdir, config, metrics)[1]


def _peak_kb() -> int:
    """The most memory that this process had; `getrusage` begins with what its parent had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])


# --- scaling and arithmetic ----------------------------------------------------------------------------------------


def scaling() -> tuple[str, Any, str]:
    """Milliseconds to open a data set and to build a batch, by the number of series of 60 points."""
    figures, lines = {}, ["| series | open, ms | batch of 256, ms |", "|---:|---:|---:|"]
    for count in (1, 10_000, 1_000_000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "panel"
            writer = PanelWriter(folder, Columns(1), count * 60)
            writer.row(0)[:] = np.random.default_rng(0).normal(size=count * 60)
            names = [str(index) for index in range(count)]
            writer.finish(names, np.arange(count + 1) * 60, np.arange(count * 60), pa.int64())
            opened, built = [], []
            for _ in _rounds():
                began = time.perf_counter()
                panel = open_panel(folder)
                opened.append(time.perf_counter() - began)
                family = Chronos2Family(_pipeline([16, 8, 32, 1, 2, 16, 0.1], 32), 32, HORIZON)
                sampler = Sampler(TrainingWindows(panel, panel.lengths, 32, HORIZON, HORIZON), 256, "series", 0)
                built.append(_each(iter(family.batch(panel, sampler.draw(number)) for number in range(99))))
        found = [round(1e3 * statistics.median(taken), 2) for taken in (opened, built)]
        figures[str(count)] = {"open_ms": found[0], "batch_ms": found[1]}
        lines.append(f"| {count:,} | {found[0]} | {found[1]} |")
    return "Number of series", {"scaling": figures}, "\n".join(lines)


def arithmetic() -> tuple[str, Any, str]:
    """Operations a second of training at the 120 M width as a share of this machine's matrix multiplication."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    *shape, context, rows, timed = _SHAPES["120 M width, 2 of 12 layers, batch 256"]
    family = Chronos2Family(_pipeline(shape, context), context, HORIZON)
    block_attention.install(family.model)
    with tempfile.TemporaryDirectory() as folder:
        panel = _panel(Path(folder) / "panel", _series(context))
        sampler = Sampler(TrainingWindows(panel, panel.lengths, context, HORIZON, HORIZON), rows, "series", 0)
        batch = family.batch(panel, sampler.draw(0))
    with FlopCounterMode(display=False) as counter:
        family.model(**batch).loss.backward()
    per_step = counter.get_total_flops()
    square = torch.randn(2048, 2048)
    shares, peaks = [], []
    for _ in _rounds():
        began = time.perf_counter()
        for _ in range(4):
            square @ square
        peak = 4 * 2 * 2048**3 / (time.perf_counter() - began)
        peaks.append(peak)
        shares.append(per_step * _our_rate(shape, context, rows, timed) / peak)
    share, peak = statistics.median(shares), statistics.median(peaks)
    text = f"{100 * share:.1f} % of the {peak / 1e9:.1f} GFLOP/s that multiplying 2,048 x 2,048 matrices reaches on "
    text += "one thread. Operations are counted by torch; steps include the optimiser."
    return "Arithmetic", {"flops_share": round(share, 4), "matmul_gflops": round(peak / 1e9, 1)}, text


# --- resume ------------------------------------------------------------------------------------------------------


def resume() -> tuple[str, Any, str]:
    """Every case of the tests of exact resume, counted."""
    report = Path("build/resume.xml")
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/agent/training/loop/test_engine.py",
        f"--junit-xml={report}",
    ]
    done = subprocess.run(command, check=False, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found = exactness(report, done.returncode)
    text = f"{found['exact_cases']} of {found['cases']} cases end with the same weights, bit for bit: three "
    text += "families, full and LoRA, fp32 and fp16 autocast with a scaler, 0 and 2 workers, accumulation, early "
    text += "stopping, a killed process."
    note("resume", found)
    return "Resume", found, text


def exactness(report: Path, code: int) -> dict[str, Any]:
    """What a report of pytest, which ended with this code, says of exact resume; without a report, that it is not."""
    from xml.etree import ElementTree  # noqa: PLC0415 - of our own test run

    wanted = ("bit_for_bit", "who_makes_the_batches", "gone_on_from", "best_weights", "real_process", "two_processes")
    every = ElementTree.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314
    cases = [one for one in every if any(part in str(one.get("name")) for part in wanted)]
    exact = sum(1 for one in cases if not list(one))
    return {"bit_exact": code == 0 and 0 < exact == len(cases), "cases": len(cases), "exact_cases": exact}


def ddp() -> tuple[str, Any, str]:
    """Two processes over gloo beside one that has the batches of both."""
    from tests.agent.training.loop.two_ranks import compare  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder))
    figures = {"batches": found.batches, "distinct_batches": found.distinct_batches, "loss_gap": found.loss_gap}
    text = f"{found.distinct_batches} of {found.batches} batches of two processes differ. The loss of a step equals "
    text += f"that of one process with both batches, within {found.loss_gap:.1e}, relative. On a CPU, over gloo."
    return "Two processes", figures, text


# --- the whole agent ---------------------------------------------------------------------------------------------


_AIM_PERCENT = 0.5


def agent() -> tuple[str, Any, str]:
    """Training seconds of M3 under the whole agent, which beats, watches and ships logs, beside the bare trainer."""
    supervised, bare = [], []
    with tempfile.TemporaryDirectory() as name:
        data = _m3(Path(name) / "data")
        config = _m3_config({"steps": 600, "checkpoint_steps": 10**6})
        for number in _rounds():
            # Each goes first in turn: a machine that grows slower would be taken for the fault of the other.
            for train, taken in ((_supervised, supervised), (_bare, bare))[:: -1 if number % 2 else 1]:
                taken.append(train(Path(name) / f"{train.__name__}-{number}", data, config))
    percent = 100 * (statistics.median(one / two for one, two in zip(supervised, bare, strict=True)) - 1)
    under, alone = statistics.median(supervised), statistics.median(bare)
    text = f"{percent:+.2f} % training time (median of pairs); the target is less than {_AIM_PERCENT} %. 600 steps of "
    text += f"M3 monthly take {under:.2f} s under the agent and {alone:.2f} s without it (medians; S3 in memory). "
    text += "A negative figure is noise."
    note("beat_overhead_percent", round(percent, 2))
    return "Agent overhead", {"agent_overhead_percent": round(percent, 2)}, text


def _supervised(folder: Path, data: Path, config: dict[str, Any]) -> float:
    from agent.lifecycle import run_agent  # noqa: PLC0415
    from agent.protocol.workdir import Workdir  # noqa: PLC0415
    from chronos_ec2.domain.limits import Limits  # noqa: PLC0415
    from chronos_ec2.domain.records.s3_keys import run_key  # noqa: PLC0415
    from chronos_ec2.worker.control import Control  # noqa: PLC0415
    from tests.agent.builders import DATA_KEY, RUN_ID, World, an_identity, launch  # noqa: PLC0415

    world = World()
    world.memory.objects.write(DATA_KEY, data.read_bytes())
    launch(world, config, Limits())
    workdir = Workdir(folder)
    workdir.create()
    assert run_agent(world, "bucket", an_identity(), workdir, Control()) == 0
    summary = json.loads(world.memory.objects.body(run_key("dev", RUN_ID, "training.json")))
    return float(summary["training_seconds"]["training"])


def _bare(folder: Path, data: Path, config: dict[str, Any]) -> float:
    from agent.protocol.workdir import Workdir  # noqa: PLC0415

    workdir = Workdir(folder)
    workdir.create()
    (workdir.data / data.name).write_bytes(data.read_bytes())
    workdir.config.write_text(json.dumps(config))
    command = [sys.executable, "-m", "agent.trainer", "--workdir", str(workdir.root)]
    subprocess.run(command, check=True, capture_output=True)
    return float(json.loads(workdir.result.read_text())["seconds"]["training"])


def _m3(folder: Path) -> Path:
    subprocess.run([sys.executable, str(_M3 / "prepare.py"), str(folder)], check=True, capture_output=True)
    return folder / "m3-monthly.parquet"


_M3 = Path(__file__).resolve().parents[1] / "examples" / "m3_monthly"


def _m3_config(training: dict[str, Any]) -> dict[str, Any]:
    from chronos_ec2.training_config.parse import load_config  # noqa: PLC0415

    found = load_config(_M3 / "demo.yaml").model_dump(mode="json")
    found["training"] |= training
    return found


def m3() -> tuple[str, Any, str]:
    """The example, once, with its own seed: the official 18 months that it has not seen."""
    from agent.protocol.workdir import Workdir  # noqa: PLC0415
    from agent.training.run import run  # noqa: PLC0415
    from chronos_ec2.training_config.parse import load_config  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        workdir = Workdir(Path(name) / "box")
        workdir.create()
        _m3(workdir.data)
        metrics = Metrics(workdir.metrics)
        result = run(workdir, load_config(_M3 / "train.yaml"), metrics, StopSignal())
        metrics.close()
        table = (workdir.evaluation / "report.md").read_text().partition("| points ahead")[0].partition("\n\n")[2]
    figures = result["metrics"] | {
        "seconds": result["seconds"]["training"],
        "baselines": result["evaluation"]["baselines"],
    }
    text = f"`examples/m3_monthly`, trained from scratch in {figures['seconds']:.0f} s on one thread, one seed."
    text += f"\n\n{table.strip()}"
    return "M3 monthly", {"m3_monthly": figures}, text


def _rounds() -> range:
    return range(ROUNDS)


def _ratio(stock: Any, ours: Any) -> dict[str, float]:
    """Medians, and the median of the ratios of each round."""
    ratio = statistics.median(one / two for one, two in zip(stock, ours, strict=True))
    return {"stock": statistics.median(stock), "ours": statistics.median(ours), "ratio": round(ratio, 3)}


_SECTIONS: dict[str, Callable[[], tuple[str, Any, str]]] = {
    "steps": steps,
    "batches": batches,
    "parquet": parquet,
    "scaling": scaling,
    "arithmetic": arithmetic,
    "resume": resume,
    "ddp": ddp,
    "agent": agent,
    "m3": m3,
    "aims": aims,
}
_BELOW_THEIR_NAME = ("resume", "ddp")
"""Sections whose figures have no names of their own in build/bench.json."""

if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
