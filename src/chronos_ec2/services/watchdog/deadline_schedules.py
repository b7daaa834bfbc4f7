"""The deadline schedules as the rest of the watchdog uses them: a broken Scheduler must not stop other work.

A deleted schedule group or an unexpected answer says nothing about instances and locks. So every error here becomes one
after which the caller continues.
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
    """Instances that have a schedule and when each schedule was created; ReadFailed if they could not be listed."""
    try:
        return deadlines.scheduled()
    except Exception as error:  # noqa: BLE001 - this is one kill layer of five
        return ReadFailed(one_line(str(error)))


@contextmanager
def scheduler_errors() -> Iterator[None]:
    """Raise any error inside as ServiceUnavailable, except NotAllowed."""
    try:
        yield
    except (ServiceUnavailable, NotAllowed):
        raise
    except Exception as error:
        raise ServiceUnavailable(one_line(f"{type(error).__name__}: {error}")) from error
