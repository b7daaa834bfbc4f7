"""The layout of the working directory that the agent and its trainer share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workdir:
    """The working directory. The agent creates and deletes only the paths defined here."""

    root: Path

    @property
    def claimed(self) -> Path:
        """Exists once the run is claimed, and then never goes: the boot timer of the user data checks for it."""
        return self.logs / "claimed"

    @property
    def data(self) -> Path:
        """The data set's Parquet files."""
        return self.root / "data"

    @property
    def data_hashes(self) -> Path:
        """The SHA-256 of each data file by its path, which the download has computed."""
        return self.root / "data.json"

    @property
    def panels(self) -> Path:
        """The data set as memory maps."""
        return self.root / "panels"

    @property
    def evaluation(self) -> Path:
        """The trainer's evaluation of its model."""
        return self.root / "eval"

    @property
    def model(self) -> Path:
        """The trained model, as `save_pretrained` writes it."""
        return self.root / "model"

    @property
    def references(self) -> Path:
        """The models that the run begins with, compares with or forecasts with, each in a folder of its own."""
        return self.root / "references"

    def reference(self, given: str) -> Path:
        """The folder of the model that the configuration names so."""
        return self.references / hashlib.sha256(given.encode()).hexdigest()[:16]

    def model_source(self, given: str) -> str:
        """Where the trainer loads a model from: what the agent has downloaded and compared, if it has."""
        folder = self.reference(given)
        return str(folder) if folder.exists() else given

    @property
    def checkpoints(self) -> Path:
        """The trainer's `checkpoint-N` folders."""
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        """The download cache of libraries, for example for the weights of a base model."""
        return self.root / "cache"

    @property
    def plots(self) -> Path:
        """The plots."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files, if enabled."""
        return self.root / "tensorboard"

    @property
    def logs(self) -> Path:
        """The logs, kept until the instance terminates."""
        return self.root / "logs"

    @property
    def agent_log(self) -> Path:
        """The log of the agent."""
        return self.logs / "agent.log"

    @property
    def trainer_log(self) -> Path:
        """The stdout and stderr of the trainer."""
        return self.logs / "trainer.log"

    @property
    def config(self) -> Path:
        """The training configuration, which the agent writes for the trainer."""
        return self.root / "config.json"

    @property
    def code(self) -> Path:
        """The module of a custom trainer."""
        return self.root / "code"

    @property
    def metrics(self) -> Path:
        """The trainer's progress, one JSON object a line (`agent.protocol.metrics_log`)."""
        return self.root / "metrics.jsonl"

    @property
    def facts(self) -> Path:
        """What the trainer reports before its first step, for run.json."""
        return self.root / "facts.json"

    @property
    def result(self) -> Path:
        """The result of the trainer."""
        return self.root / "result.json"

    @property
    def forecasts(self) -> Path:
        """All held-out points and their forecasts."""
        return self.root / "forecasts.parquet"

    @property
    def disposable(self) -> tuple[Path, ...]:
        """Everything but the logs."""
        reports = (self.evaluation, self.plots, self.tensorboard)
        models = (self.model, self.references)
        folders = (self.data, self.code, self.panels, *models, self.checkpoints, self.cache, *reports)
        return (*folders, self.data_hashes, self.config, self.facts, self.metrics, self.result, self.forecasts)

    def create(self) -> None:
        """Create the folders."""
        for folder in (self.data, self.checkpoints, self.cache, self.plots, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
