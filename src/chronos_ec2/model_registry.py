"""The model registry of an environment: champions by conditional writes, with an append-only history.

The version that a write replaces is put into the history first, and so is each new version after it: whoever finds the
pointer changed can look up by whom. verification/model/registry.pml is the protocol.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from chronos_ec2.domain.errors import InvalidInput, LostRace
from chronos_ec2.domain.records.champion import Champion, How, Judgement, Promotion
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import champion_key, champion_version_key, judgement_key, models_prefix
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.domain.rules.promotion import judge
from chronos_ec2.ports import ObjectStore

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Concluded:
    """What the registry has made of a run that has succeeded: whether its model is, or was, the champion, and why."""

    promoted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A champion pointer as it was read, and its ETag; None and None if there is no champion."""

    champion: Champion | None
    etag: str | None

    @property
    def seq(self) -> int:
        return self.champion.seq if self.champion else 0


@dataclass(frozen=True, slots=True)
class Registry:
    """The champions of one environment. Every method raises ServiceUnavailable and NotAllowed; all may be repeated."""

    environment: str
    objects: ObjectStore

    def models(self) -> tuple[str, ...]:
        """The names of all models that have, or are about to have, a champion."""
        return self.objects.children(models_prefix(self.environment))

    def champion(self, model: str) -> Champion | None:
        """The champion of a model. Raises InvalidDocument if the pointer cannot be read."""
        return self._read(model).champion

    def history(self, model: str) -> tuple[Champion, ...]:
        """The versions of a champion pointer, newest first. Raises InvalidDocument."""
        current = self.champion(model)
        former = (self._version(model, seq) for seq in range((current.seq if current else 0) - 1, 0, -1))
        return tuple(one for one in (current, *former) if one)

    def conclude(self, run: Run, promotion: Promotion, comparison: Comparison | None, now: datetime) -> Concluded:
        """Make the model of a run that has succeeded the champion, if it is to be. `run` has the hashes of its model.

        Raises:
            LostRace: the pointer changes faster than it can be written.
            InvalidDocument: the pointer or the judgement cannot be read.
        """
        model = promotion.model
        judgement = self._judgement(run, promotion, comparison)
        if not judgement.promote:
            return Concluded(False, judgement.reason)
        for _ in range(_TRIES):
            read = self._read(model)
            if read.seq == judgement.replaces:
                made = Champion(model, read.seq + 1, run.run_id, run.models, How.CONCLUSION, judgement.reason, now)
                with suppress(LostRace):
                    self._replace(read, made)
                continue  # look at what is there now: the answer may be lost, or another was faster
            if read.champion:
                self._append(read.champion)
            version = self._version(model, judgement.replaces + 1)
            if version is None or version.run_id != run.run_id:
                return Concluded(False, "the champion was replaced by another while the run ended")
            return Concluded(True, judgement.reason)
        raise LostRace(f"the champion of model {model} changes too fast")

    def promote(self, model: str, run: Run, reason: str, now: datetime) -> Champion:
        """Make the model of a run the champion, because an operator says so.

        Raises:
            InvalidInput: the run has not succeeded, or has no model.
            LostRace: somebody else has changed the champion meanwhile.
        """
        if not run.verdict or run.verdict.outcome is not Outcome.SUCCEEDED:
            raise InvalidInput("run id", f"run {run.run_id} has not succeeded", "`chronos-ec2 runs` lists all runs")
        if not run.models:
            raise InvalidInput("run id", f"run {run.run_id} has left no model", "choose a run that has trained one")
        read = self._read(model)
        made = Champion(model, read.seq + 1, run.run_id, run.models, How.PROMOTED, reason, now)
        return self._replace(read, made)

    def roll_back(self, model: str, now: datetime) -> Champion:
        """Make the champion before the present one the champion again.

        Raises:
            InvalidInput: there is none.
            LostRace: somebody else has changed the champion meanwhile.
        """
        read, before = self._read(model), self._before(model)
        if read.champion is None or before is None:
            raise InvalidInput("model", f"model {model} has no earlier champion", "`chronos-ec2 models list` shows all")
        reason = f"in place of run {read.champion.run_id}"
        return self._replace(read, replace(before, seq=read.seq + 1, how=How.ROLLED_BACK, reason=reason, since=now))

    def _before(self, model: str) -> Champion | None:
        """The champion before the present one. A rollback takes one back, so the next goes further."""
        stack: list[Champion] = []
        for version in reversed(self.history(model)):
            if version.how is How.ROLLED_BACK:
                stack[-1:] = []
            else:
                stack.append(version)
        return stack[-2] if len(stack) > 1 else None

    def _judgement(self, run: Run, promotion: Promotion, comparison: Comparison | None) -> Judgement:
        key = judgement_key(self.environment, promotion.model, run.run_id)
        found = self.objects.read(key)
        if found is None:
            made = judge(run, promotion, comparison, self.champion(promotion.model))
            with suppress(LostRace):
                self.objects.create(key, made.to_json())
                return made
            found = self.objects.read(key)
        if found is None:
            raise LostRace(f"{key} was deleted")
        return Judgement.from_json(found.body)

    def _read(self, model: str) -> _Read:
        found = self.objects.read(champion_key(self.environment, model))
        return _Read(Champion.from_json(found.body, model), found.etag) if found else _Read(None, None)

    def _version(self, model: str, seq: int) -> Champion | None:
        found = self.objects.read(champion_version_key(self.environment, model, seq))
        return Champion.from_json(found.body, model) if found else None

    def _replace(self, read: _Read, made: Champion) -> Champion:
        """Write the next version, on condition that the pointer is still as read; both are in the history after it."""
        key = champion_key(self.environment, made.model)
        if read.champion:
            self._append(read.champion)
        try:
            if read.etag is None:
                self.objects.create(key, made.to_json())
            else:
                self.objects.replace(key, made.to_json(), read.etag)
        except LostRace:
            if self._read(made.model).champion != made:  # a retry finds its own write
                raise
        self._append(made)
        return made

    def _append(self, version: Champion) -> None:
        key = champion_version_key(self.environment, version.model, version.seq)
        with suppress(LostRace):  # it is there
            self.objects.create(key, version.to_json())
