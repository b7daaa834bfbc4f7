"""The trainer's process: `python -m agent.trainer --workdir DIR --parent PID`, supervised by the agent.

Reads `config.json`, appends to `metrics.jsonl`, writes `result.json` (docs/trainer.md). After SIGTERM it saves a
checkpoint and exits 0 with `"stopped_early": true`. Exit code 2: invalid input; 3: the loss is not finite.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import (
    LossNotFinite,
    StoppedEarly,
    StopSignal,
    die_with_parent,
    dump_stacks_on_signal,
    raise_oom_score,
    report_error,
    write_json,
)
from agent.protocol.workdir import Workdir
from agent.trainer import custom, probe
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig, JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import TrainingConfig

Result = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Do the job, and return the exit code."""
    parser = argparse.ArgumentParser(prog="agent.trainer", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process id of the agent, with which this process dies")
    parser.add_argument("--seconds", type=float, default=math.inf, help="until the deadline or price cap ends the run")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with_parent(options.parent)
    raise_oom_score()
    dump_stacks_on_signal()
    stop = StopSignal(time.monotonic() + options.seconds)
    workdir = Workdir(options.workdir)
    metrics = Metrics(workdir.metrics)
    try:
        metrics.event("loading", what="configuration")
        config = parse_config(json.loads(workdir.config.read_text()), workdir.config.name)
        result = _work(workdir, config, metrics, stop)
    except (UserError, LossNotFinite) as error:
        return report_error(error)
    except StoppedEarly:
        result = {"stopped_early": True}
    finally:
        metrics.close()
    write_json(workdir.result, result)
    return 0


def _work(workdir: Workdir, config: JobConfig, metrics: Metrics, stop: StopSignal) -> Result:
    """The job of the configuration, whose code is imported after signals are handled and the first line is written."""
    match config:
        case TrainingConfig():
            return _TRAINERS.get(config.trainer, _custom)(workdir, config, metrics, stop)
        case ForecastConfig():
            from agent.chronos.forecast.job import run as forecast  # noqa: PLC0415

            return forecast(workdir, config, metrics, stop)
        case EvaluateConfig():
            from agent.chronos.comparison.job import run as compare  # noqa: PLC0415

            return compare(workdir, config, metrics, stop)


def _chronos(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> Result:
    # Imported after signals are handled and the first metrics are written: torch loads slowly from a cold disk.
    from agent.chronos.training.run import run  # noqa: PLC0415

    return run(workdir, config, metrics, stop)


def _probe(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> Result:
    return probe.run(workdir, config.probe, metrics, stop)


def _custom(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> Result:
    trainer = custom.load_trainer(config, workdir.code)
    return custom.check_result(trainer.train(workdir, metrics, stop), config.trainer)


_TRAINERS: dict[str, Callable[[Workdir, TrainingConfig, Metrics, StopSignal], Result]] = {
    "chronos": _chronos,
    "probe": _probe,
}

if __name__ == "__main__":
    sys.exit(main())
