"""Composes what an AgentRun works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.boot import systemd
from agent.boot.request import World
from agent.boot.s3_clock import S3Clock
from agent.checkpoint.upload import CheckpointUploader
from agent.data.models import ModelSync
from agent.host.kernel_events import KernelEvents
from agent.host.nvml import UtilisationSampler
from agent.logs.shipper import LogShipper, Send, StreamCopy
from agent.protocol.workdir import Workdir
from agent.results.run_record import RunRecord
from agent.results.upload import Results
from chronos_ec2.domain.records.request import Request
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_session import Identity, RunSession


@dataclass(frozen=True, slots=True)
class RunContext:
    """A claimed run, and everything that its phases use."""

    world: World
    bucket: str
    request: Request
    session: RunSession
    identity: Identity
    workdir: Workdir
    control: Control
    clock: S3Clock
    kernel_events: KernelEvents
    progress: Progress
    record: RunRecord
    models: ModelSync
    results: Results
    checkpoints: CheckpointUploader
    logs: LogShipper
    gpu_utilisation: UtilisationSampler
    lease: LeaseRenewer


def compose(
    world: World,
    bucket: str,
    request: Request,
    session: RunSession,
    identity: Identity,
    workdir: Workdir,
    control: Control,
) -> RunContext:
    """The context of a claimed run. Starts no threads."""
    progress = Progress()
    objects, transfer = world.store.objects, world.transfer
    results = Results(objects, transfer, identity.environment, identity.run_id, progress, attempt=session.run.attempt)
    gpu_utilisation = UtilisationSampler()
    heartbeat = HeartbeatWriter(world.store, world.clock, session, identity, progress, gpu_utilisation.read)
    return RunContext(
        world,
        bucket,
        request,
        session,
        identity,
        workdir,
        control,
        clock=S3Clock(world.store, world.clock, session),
        kernel_events=KernelEvents(),
        progress=progress,
        record=RunRecord(request, progress),
        models=ModelSync(objects, transfer, bucket, progress.synced, control.check),
        results=results,
        checkpoints=CheckpointUploader(objects, transfer, results.key_of, workdir.checkpoints, progress),
        logs=_log_shipper(world, request, session, workdir, results),
        gpu_utilisation=gpu_utilisation,
        lease=LeaseRenewer(heartbeat, session, control, request.limits, ping=systemd.ping_watchdog),
    )


def _log_shipper(world: World, request: Request, session: RunSession, workdir: Workdir, results: Results) -> LogShipper:
    logs = (workdir.agent_log, workdir.trainer_log)
    # The metrics are uploaded with the logs: if the instance is lost, the next attempt continues them.
    routes: list[tuple[Send, tuple[Path, ...]]] = [(results.log, (*logs, workdir.metrics))]
    if request.log_group is not None:
        prefix = f"{session.run.run_id}/{session.run.attempt}/"
        routes.append((StreamCopy(world.log_streams(request.log_group), prefix, world.clock).send, logs))
    return LogShipper(routes, workdir.logs / "redacted")
