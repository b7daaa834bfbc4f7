"""The manifest of a checkpoint in S3: its files. Written last, so a checkpoint without a manifest is incomplete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json

MANIFEST = "manifest.json"
_SCHEMA_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_NAME = 512


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a checkpoint: its path below the checkpoint's folder, its size in bytes, and its hash."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of the checkpoint of one step."""

    step: int
    parts: tuple[Part, ...]

    def to_json(self) -> bytes:
        """The manifest as JSON."""
        parts = [{"name": part.name, "bytes": part.size, "sha256": part.sha256} for part in self.parts]
        return dump_json({"schema_version": _SCHEMA_VERSION, "step": self.step, "parts": parts})

    @classmethod
    def from_json(cls, raw: bytes, step: int) -> Manifest:
        """Parse the manifest of `step`. Raises InvalidDocument, also for a name that leads out of the folder."""
        fields = Fields(load_json(raw, MANIFEST), MANIFEST)
        if (version := fields.count("schema_version")) != _SCHEMA_VERSION:
            raise InvalidDocument(f"{MANIFEST}: schema_version {version}, this release reads {_SCHEMA_VERSION}")
        if fields.count("step") != step:
            raise InvalidDocument(f"{MANIFEST}: belongs to another step")
        parts = tuple(_part(part) for part in fields.children("parts"))
        if not parts or len({part.name for part in parts}) != len(parts):
            raise InvalidDocument(f"{MANIFEST}: no parts, or duplicate parts")
        return cls(step, parts)


def _part(fields: Fields) -> Part:
    name = fields.text("name", _MAX_NAME)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name != path.as_posix() or name in (".", MANIFEST):
        raise InvalidDocument(f"{MANIFEST}: {name!r} is not a valid name of a part")
    return Part(name, fields.count("bytes"), fields.matching("sha256", _SHA256))
