"""`chronos-ec2 sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.commands.jobs import job_flags as flags
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions, with_launch_options
from chronos_ec2.cli.commands.jobs.start import Work, start
from chronos_ec2.client.group import PARALLEL, Grouping
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.job_config.defaults import resolve
from chronos_ec2.job_config.sweep import Sweep, load_sweep
from chronos_ec2.services.groups.create import Variant
from chronos_ec2.services.launch.prepare import Prepared


@with_launch_options
def sweep(
    options: LaunchOptions,
    grid: Annotated[Path, typer.Argument(help="A base configuration, and the values of keys to try (YAML).")],
    data: flags.Data = None,
    parallel: flags.Parallel = None,
    name: flags.GroupName = None,
) -> None:
    """Train with several configurations, and compare them. Each is a run; --max-cost is for all of them.

    They are compared on windows before those of the test. The test windows are for the best one alone: scores that were
    chosen by look better than they are.
    """
    found = load_sweep(grid)
    if options.max_cost is None:
        raise InvalidInput("--max-cost", "is missing", "say what all runs may cost together, such as --max-cost 20")

    def variants(prepared: Prepared) -> list[Variant]:
        return [_variant(found, prepared, index) for index in range(len(found.changes))]

    at_a_time = PARALLEL if parallel is None else parallel
    first, *others = map(found.config, found.changes)
    group = Grouping(name, Purpose.SWEEP, len(found.changes), at_a_time, variants, tuple(others))
    start(Work(first, found.path, data=data, group=group), options)


def _variant(sweep: Sweep, prepared: Prepared, index: int) -> Variant:
    """A configuration with the data of the launch, and the defaults of its instance type."""
    config = sweep.config(sweep.changes[index]).model_copy(update={"data": prepared.config.data})
    kind = None if prepared.spec.allow_cpu else prepared.offers[0].kind
    return resolve(config, kind).config.model_dump(mode="json"), sweep.changes[index]
