"""`chronos-ec2 hold` and `chronos-ec2 release`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunId, Region, connect, on_interrupt
from chronos_ec2.cli.output import console, dollars, print_json, styled
from chronos_ec2.domain.limits import HOLD_NOTICE, MAX_LIMIT
from chronos_ec2.domain.parsing.times import check_span, format_time, short_span
from chronos_ec2.services.kill import hold as hold_run
from chronos_ec2.services.kill import release as release_run

_LEAST = timedelta(minutes=1)


def hold(
    run_id: OptionalRunId = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="How long, such as 90m or 2h. Default: as long as the instance lives.")
    ] = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Keep an instance that hangs or is silent, to look at it.

    The watchdog does not end it for that, and you pay on. Its deadline, its cap and `kill --now` still end it, and it
    powers itself off when its work is done.
    """
    span = None if for_ is None else check_span(for_, "--for", _LEAST, MAX_LIMIT)
    world = connect(environment, region, bucket)
    with on_interrupt("it may be on hold; `chronos-ec2 release` lets go of it"):
        kept = hold_run(run_id, environment, world.store, world.fleet, world.limits, world.clock.now(), span)
    run, ids = kept.run, [one.instance_id for one in kept.instances]
    if json:
        until = kept.until and format_time(kept.until)
        print_json(
            {"run_id": run.run_id, "instances": ids, "until": until, "usd_per_hour": kept.usd_per_hour,
             "gone_by": format_time(kept.gone_by)}
        )  # fmt: skip
        return
    over = "until you release it" if kept.until is None else f"until {kept.until:%Y-%m-%d %H:%M} UTC"
    console.print("run ", styled(run.run_id, "bold"), f": {', '.join(ids)} is on hold {over}")
    console.print(f"  costs     {dollars(kept.usd_per_hour)} an hour; after {short_span(HOLD_NOTICE)} people are told")
    console.print(f"  ends      by {kept.gone_by:%Y-%m-%d %H:%M} UTC, its deadline or cap; when its work is done")
    console.print(f"  next      chronos-ec2 release {run.run_id} --environment {environment}")


def release(
    run_id: OptionalRunId = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Let go of an instance that `hold` keeps. The watchdog decides about it again as about any other."""
    world = connect(environment, region, bucket)
    run, instances = release_run(run_id, environment, world.store, world.fleet)
    ids = [one.instance_id for one in instances]
    if json:
        print_json({"run_id": run.run_id, "instances": ids})
        return
    console.print("run ", styled(run.run_id, "bold"), f": {', '.join(ids)} is not on hold")
    console.print(f"  next      chronos-ec2 monitor {run.run_id} --environment {environment}")
