"""Another process of a training on several GPUs, started and led by the trainer: `agent.training.loop.distributed`.

It reads what the leader has read, and trains. It writes nothing, and leaves signals to the leader.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

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
from agent.training.loop import distributed
from agent.training.loop.distributed import Place
from agent.training.loop.engine import fit
from agent.training.model import block_attention
from agent.training.run import BLOCK, panel_folder, ready
from chronos_ec2.domain.errors import UserError
from chronos_ec2.training_config.parse import parse_config


def main() -> int:
    """Train along, and return the exit code."""
    parser = argparse.ArgumentParser(prog="agent.training.rank_worker", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data", required=True, help="the hash of the data set that the leader has opened")
    parser.add_argument("--attention", required=True, help="the one that the leader found to be right")
    parser.add_argument("--parent", type=int, required=True, help="the leader's process id")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    raise_oom_score()
    dump_stacks_on_signal()
    # Catches the signals and is never asked: the leader decides, and tells.
    stop = StopSignal()
    place = Place(options.rank, options.processes)
    workdir = Workdir(options.workdir)
    distributed.share_cores(place.count)
    try:
        with distributed.following(place, options.port):
            config = parse_config(json.loads(workdir.config.read_text()), workdir.config.name)
            panel = open_panel(panel_folder(workdir, options.data))
            device = "cuda" if torch.cuda.is_available() else "cpu"
            family, _, work = ready(config, panel, options.data, device, place)
            if options.attention == BLOCK:
                block_attention.install(family.base_model)
            fit(work, workdir.checkpoints, Metrics(Path(os.devnull)), stop)
    except (UserError, LossNotFinite) as error:
        return report_error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
