"""Loads the panel of a run. Without torch: a custom trainer may not need it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from agent.data.hashing import sha256_of
from agent.data.ingest.read import read_panel
from agent.data.panel import Panel, open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.held_out import min_series_length
from chronos_ec2.job_config.jobs import JobConfig


def load_panel(workdir: Workdir, config: JobConfig, metrics: Metrics) -> tuple[str, Panel]:
    """The SHA-256 of the data set, and its panel; read only once per instance.

    Files are hashed here only if the download has not done it. Reports progress after each file and each chunk.
    """

    def progress(done: int, total: int) -> None:
        metrics.event("loading", what="data", done=done, total=total)

    files = sorted(workdir.data.rglob("*.parquet"))
    known = json.loads(workdir.data_hashes.read_text()) if workdir.data_hashes.exists() else {}
    min_length = min_series_length(config)
    settings = {"data": config.data.model_dump(), "min_length": min_length}
    hashes = []
    for path in files:
        columns = [part for part in path.relative_to(workdir.data).parts[:-1] if "=" in part]
        hashes.append([known.get(str(path)) or sha256_of(path), *columns])
        metrics.event("loading", what=f"data: {len(hashes)} of {len(files)} files hashed")
    data_sha256 = hashlib.sha256(json.dumps([settings, hashes], sort_keys=True).encode()).hexdigest()
    folder = panel_folder(workdir, data_sha256)
    try:
        panel = open_panel(folder)
    except FileNotFoundError:
        panel = read_panel(files, config.data, min_length, folder, progress)
    for finding in panel.findings:
        metrics.event("loading", what=f"data: {finding['problem']}")
    return data_sha256, panel


def panel_folder(workdir: Workdir, data_sha256: str) -> Path:
    """The folder with the panel of a data set."""
    return workdir.panels / data_sha256[:16]
