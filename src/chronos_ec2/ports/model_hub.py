"""A hub of models: where a model that somebody names is copied from, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HubFiles:
    """A revision of a model: its commit, and its files by name with their sizes in bytes."""

    commit: str
    files: tuple[tuple[str, int], ...]


class ModelHub(Protocol):
    """Models by name, such as amazon/chronos-2.

    Every method raises InvalidInput if the hub has no such model or revision, or does not show it to the caller, and
    ServiceUnavailable if it does not answer.
    """

    def find(self, name: str, revision: str | None) -> HubFiles:
        """A revision of a model: a commit, tag or branch, None for the default branch."""
        ...

    def download(self, name: str, commit: str, files: Sequence[str]) -> Path:
        """Download files of a commit; the folder that has them."""
        ...
