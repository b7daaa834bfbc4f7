"""A bucket in memory whose client crashes in the middle of an upload."""

from __future__ import annotations

import math

from chronos_ec2.testing import Crash, MemoryClock, MemoryObjects


class CutOffObjects(MemoryObjects):
    """Writes that crash their client after `left` bytes. S3 keeps nothing of such a write; this bucket may."""

    def __init__(self, *, keeps_beginnings: bool) -> None:
        super().__init__(MemoryClock())
        self.keeps_beginnings = keeps_beginnings
        self.left = math.inf

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object, or its beginning."""
        if self.left < len(body):
            if self.keeps_beginnings and self.left:
                super().write(key, body[: int(self.left)])
            raise Crash
        self.left -= len(body)
        super().write(key, body, content_type)
