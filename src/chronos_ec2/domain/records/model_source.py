"""What a person names a model by: a model of the hub, an object prefix, a run, or a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN

FORMS = "a hub id such as amazon/chronos-2@REVISION, s3://…, run:RUN_ID, or a folder such as ./model"
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
_HUB = re.compile(rf"(?P<name>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9_./-]{{0,99}}))?")
_S3 = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[0-9A-Za-z._-]{1,100}(?:/[0-9A-Za-z._-]{1,100}){0,8})/?"
)
_PATH = re.compile(r"(?:~|/|\.\.?/|\.\.?\Z|[A-Za-z]:[\\/])")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hugging Face hub. `revision`: a commit, tag or branch, None for the default branch."""

    name: str
    revision: str | None = None

    @property
    def commit(self) -> str | None:
        """The revision if it is a commit."""
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in a bucket; the prefix ends with a slash."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class RunModel:
    """The model that a run has exported."""

    run_id: str


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model in a folder of the machine that launches."""

    path: str


ModelSource = HubModel | StoredModel | RunModel | LocalModel


def parse_reference(text: str) -> ModelSource:
    """The model that a text names. Raises InvalidInput."""
    if text.startswith("run:"):
        run_id = text.removeprefix("run:")
        if not RUN_ID_PATTERN.fullmatch(run_id):
            raise InvalidInput(one_line(text, 80), "run: must be followed by a run id", "`chronos-ec2 runs` lists them")
        return RunModel(run_id)
    if text.startswith("s3:"):
        if (found := _S3.fullmatch(text)) is None:
            raise InvalidInput(one_line(text, 80), "is not a model in S3", "write s3://BUCKET/PREFIX/")
        return StoredModel(found["bucket"], found["prefix"] + "/")
    if _PATH.match(text):
        return LocalModel(text)
    if (found := _HUB.fullmatch(text)) is not None:
        return HubModel(found["name"], found["revision"])
    raise InvalidInput(one_line(text, 80), "does not name a model", f"write {FORMS}")
