"""A worker process for one more GPU, started by rank 0 (`agent.chronos.training.distributed`).

It opens the data set that rank 0 has read, trains, and makes its share of the forecasts of the evaluation. It writes
nothing, and leaves signals to rank 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from agent.chronos.batching.load import panel_folder
from agent.chronos.evaluate.evaluate import forecast_models
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.evaluate.reference_models import reference_models
from agent.chronos.model.load import for_forecasts
from agent.chronos.training import distributed
from agent.chronos.training.distributed import Process
from agent.chronos.training.engine import fit
from agent.chronos.training.run import prepare
from agent.data.panel import open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import (
    LossNotFinite,
    StopSignal,
    die_with_parent,
    dump_stacks_on_signal,
    raise_oom_score,
    report_error,
)
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.parse import parse_training


def main() -> int:
    """Train with rank 0, and return the exit code."""
    parser = argparse.ArgumentParser(prog="agent.chronos.training.rank_worker", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data", required=True, help="hash of the data set, as rank 0 computed it")
    parser.add_argument("--attention", required=True, help="the attention that rank 0 chose")
    parser.add_argument("--parent", type=int, required=True, help="process id of rank 0")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    raise_oom_score()
    dump_stacks_on_signal()
    # Catches the signals, and is not read: rank 0 decides for all.
    stop = StopSignal()
    process = Process(options.rank, options.processes)
    workdir = Workdir(options.workdir)
    distributed.limit_threads(process.world_size)
    try:
        with distributed.worker_group(process, options.port):
            config = parse_training(json.loads(workdir.config.read_text()), workdir.config.name)
            panel = open_panel(panel_folder(workdir, options.data))
            device = "cuda" if torch.cuda.is_available() else "cpu"
            family, split, job = prepare(config, panel, options.data, device, process, workdir)
            family.use_attention(options.attention, panel.columns)
            metrics = Metrics(Path(os.devnull))
            if fit(job, workdir.checkpoints, metrics, stop).complete:
                for_forecasts(family)
                forecaster = Forecaster(panel, metrics, stop, ranks=distributed.ranks())
                for _ in forecast_models(family, reference_models(config, workdir), split, forecaster):
                    pass
    except (UserError, LossNotFinite) as error:
        return report_error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
