"""What is known about a part of a setup, and checks whose failure is a diagnosis too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable, UserError


class Health(StrEnum):
    """How a part of a setup is."""

    OK = "ok"
    WARNING = "warning"
    """All guarantees hold, and something is less good than it could be."""
    BROKEN = "broken"
    """A guarantee does not hold, or nothing can be launched."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known about a part of a setup, and what to do about it."""

    part: str
    health: Health
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Text and remedy in a line."""
        return f"{self.text} ({self.remedy})" if self.remedy else self.text


def checked(part: str, text: str, check: Callable[[], None]) -> Diagnosis:
    """Ok with `text` if a check passes."""

    def ask() -> Iterator[Diagnosis]:
        check()
        yield Diagnosis(part, Health.OK, text)

    return next(asked(part, ask))


def asked(part: str, ask: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    """What somebody who asks AWS finds, and that AWS does not say."""
    try:
        yield from ask()
    except (ServiceUnavailable, NotAllowed) as error:
        yield Diagnosis(part, Health.WARNING, error.problem, error.hint)
    except UserError as error:
        yield Diagnosis(part, Health.BROKEN, error.problem, error.hint)
