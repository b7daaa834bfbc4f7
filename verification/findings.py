"""What a history showed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Findings:
    """What a history showed: each list says what went wrong, and the other fields are counts."""

    @classmethod
    def violations(cls) -> tuple[str, ...]:
        """The names of the lists."""
        return tuple(one.name for one in fields(cls) if one.default_factory is list)

    @property
    def failed(self) -> list[str]:
        """Everything that went wrong."""
        return [text for name in self.violations() for text in getattr(self, name)]

    @property
    def counts(self) -> dict[str, int]:
        """How often each thing went wrong, and the other counts."""
        return {name: len(value) if isinstance(value, list) else value for name, value in asdict(self).items()}
