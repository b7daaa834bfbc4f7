"""Where the agent and its trainer keep what on the box. Both processes know the layout from here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workdir:
    """The agent's folder. It creates what is named here, and removes nothing else."""

    root: Path

    @property
    def claimed(self) -> Path:
        """There from the claim on, to the end of the box: the boot timer in the user data spares a box that has it."""
        return self.logs / "claimed"

    @property
    def data(self) -> Path:
        """The data set's Parquet files."""
        return self.root / "data"

    @property
    def panels(self) -> Path:
        """The data set as memory maps."""
        return self.root / "panels"

    @property
    def evaluation(self) -> Path:
        """What the trainer found out about its model."""
        return self.root / "eval"

    @property
    def model(self) -> Path:
        """The trained model, as `save_pretrained` writes it."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """The trainer's `checkpoint-N` folders."""
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        """What libraries fetch, for instance the weights of a base model."""
        return self.root / "cache"

    @property
    def plots(self) -> Path:
        """Pictures for people."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files, when they are wanted."""
        return self.root / "tensorboard"

    @property
    def logs(self) -> Path:
        """The logs; they stay until the box goes."""
        return self.root / "logs"

    @property
    def agent_log(self) -> Path:
        """What the agent says."""
        return self.logs / "agent.log"

    @property
    def trainer_log(self) -> Path:
        """What the trainer prints, stdout and stderr."""
        return self.logs / "trainer.log"

    @property
    def config(self) -> Path:
        """The training configuration, written by the agent for the trainer."""
        return self.root / "config.json"

    @property
    def code(self) -> Path:
        """The module of a trainer of the user's own."""
        return self.root / "code"

    @property
    def metrics(self) -> Path:
        """One JSON line per sign of work, appended by the trainer while it runs."""
        return self.root / "metrics.jsonl"

    @property
    def facts(self) -> Path:
        """What the trainer knows before its first step, for run.json."""
        return self.root / "facts.json"

    @property
    def result(self) -> Path:
        """What the trainer has to say at its end."""
        return self.root / "result.json"

    @property
    def forecasts(self) -> Path:
        """Every held-out point and its forecasts."""
        return self.root / "forecasts.parquet"

    @property
    def disposable(self) -> tuple[Path, ...]:
        """Everything but the logs."""
        judged = (self.evaluation, self.plots, self.tensorboard)
        folders = (self.data, self.code, self.panels, self.model, self.checkpoints, self.cache, *judged)
        return (*folders, self.config, self.facts, self.metrics, self.result, self.forecasts)

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.data, self.checkpoints, self.cache, self.plots, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
