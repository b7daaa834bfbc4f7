"""`chronos-ec2 results`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, RunOrGroup, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, print_warning
from chronos_ec2.client.group import group_results
from chronos_ec2.domain.parsing.names import counted
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.results import ResultFile, fetch_result, list_results, missing_files
from chronos_ec2.services.run_queries import find_run


def results(
    run_id: RunOrGroup,
    to: Annotated[Path | None, typer.Option(help="The folder to write to. Default: one named like the run.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="The checkpoints too.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Download what a run has left: model, scores, forecasts, logs.

    Of a group of shards: all of their forecasts; of a sweep: the results of the best run. Files that are there already
    are kept, so that an interrupted download goes on where it was.
    """
    world = connect(environment, region, bucket)
    if group := find_group(world.store, environment, run_id):
        download(world, f"group {run_id}", group_results(world, group), Path(run_id) if to is None else to, json=json)
        return
    if find_run(world.store, environment, run_id).active:
        print_warning(f"run {run_id} is still active, so more may come", f"`chronos-ec2 monitor {run_id}` follows it")
    download_results(world, environment, run_id, Path(run_id) if to is None else to, checkpoints=checkpoints, json=json)


def download_results(
    world: OperatorWorld,
    environment: str,
    run_id: str,
    folder: Path,
    *,
    checkpoints: bool = False,
    json: bool = False,
) -> None:
    """Download what a folder does not have of the results of a run."""
    files = list_results(world.store.objects, environment, run_id, checkpoints=checkpoints)
    download(world, f"run {run_id}", files, folder, json=json)


def download(world: OperatorWorld, what: str, files: tuple[ResultFile, ...], folder: Path, *, json: bool) -> None:
    """Download the files that a folder does not have."""
    wanted = missing_files(files, folder)
    with (
        on_interrupt(f"whole files stay in {folder}; the same command goes on"),
        console.progress(what, sum(file.size for file in wanted)) as on_bytes,
    ):
        for file in wanted:
            fetch_result(file, folder, world.transfer, on_bytes)
    size = sum(file.size for file in files)
    if json:
        names = [file.name for file in files]
        print_json({"folder": str(folder), "files": names, "bytes": size, "downloaded": len(wanted)})
        return
    kept = f", {len(files) - len(wanted)} of them were there already" if len(wanted) < len(files) else ""
    console.print(f"{counted(len(files), 'file')}, {size / 1e6:.1f} MB in {folder}{kept}")
