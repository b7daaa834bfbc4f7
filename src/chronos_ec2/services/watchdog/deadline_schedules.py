"""The schedules of EventBridge, as the other layers use them: their trouble, of whatever kind, is theirs alone.

A group that somebody deleted or an answer that nobody expected says nothing of instances and locks. So every error
here is one after which the caller goes on with all else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import ReadFailed
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.ports import Deadlines


def list_schedules(deadlines: Deadlines) -> Mapping[str, datetime] | ReadFailed:
    """The instances that have a schedule, and when each was made; ReadFailed when they could not be listed."""
    try:
        return deadlines.scheduled()
    except Exception as error:  # noqa: BLE001 - this is one layer of five
        return ReadFailed(one_line(str(error)))


@contextmanager
def asking_scheduler() -> Iterator[None]:
    """Raise ServiceUnavailable for whatever is raised inside, but NotAllowed as it is."""
    try:
        yield
    except (ServiceUnavailable, NotAllowed):
        raise
    except Exception as error:
        raise ServiceUnavailable(one_line(f"{type(error).__name__}: {error}")) from error
