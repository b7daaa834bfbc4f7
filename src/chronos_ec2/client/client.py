"""The runs of an environment, from Python."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.client.group import GroupHandle, Grouping, begin, sharded
from chronos_ec2.client.inputs import UNNAMED, Frame, frame_inputs
from chronos_ec2.client.options import LaunchOptions, launch_request
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.client.run import RunHandle
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import load_config, parse_config
from chronos_ec2.services.launch import launch
from chronos_ec2.services.launch.spec import LaunchRequest
from chronos_ec2.services.publish.data import Uploaded, upload_data
from chronos_ec2.services.run_queries import RunView, UnreadRun, list_runs
from chronos_ec2.services.verify import Finding, verify

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0
Config = JobConfig | Mapping[str, Any] | Path | str
"""A configuration: the parsed one, its keys, or a YAML file."""


class Client:
    """An environment: launch, follow and end its runs.

    Args:
        environment: `dev`, `stage`, `prod` or another one that is deployed.
        region: the AWS region, by default the profile's.
        bucket: must be the stack's bucket if given.

    Raises:
        InvalidInput, NoCredentials: a name is not valid, or AWS knows no credentials.
        NotDeployed: the environment has no stack.
    """

    def __init__(self, environment: str = "dev", *, region: str | None = None, bucket: str | None = None) -> None:
        self.environment = check_name(environment, "environment")
        self._reader = PatientReader(lambda: operator_world(environment, region, bucket), _PAUSE_SECONDS)

    def __repr__(self) -> str:
        return f"Client({self.environment!r})"

    def launch(
        self,
        config: Config | None = None,
        *,
        data: Frame | None = None,
        future: Frame | None = None,
        name: str = "frame",
        **options: Unpack[LaunchOptions],
    ) -> RunHandle:
        """Start a run on a new instance. The options are those of `chronos-ec2 launch`.

        Args:
            config: its configuration; without one that in the bucket, `configs/train.yaml`.
            data: a frame in place of the configuration's data set, see `upload`; it is checked before anything is paid.
            future: with `data`, a frame with the known covariates of the points to forecast.
            name: what the name of the uploaded data set begins with.
            options: see `LaunchOptions`, such as `max_cost=5, spot=True`.

        Raises:
            InvalidInput, LaneBusy, StackNotReady, QuotaExceeded: nothing was started.
            CapacityUnavailable, LaunchRefused: EC2 has none of the instance types now, or refuses them.
        """
        with self._request(config, data, future, name, options) as request:
            return self._launched(request)

    @contextmanager
    def _request(
        self, config: Config | None, data: Frame | None, future: Frame | None, name: str, options: LaunchOptions
    ) -> Iterator[LaunchRequest]:
        """What a launch asks for, with the files of its frames, which last as long as this context."""
        if future is not None and data is None:
            raise InvalidInput("future", "is for data", "give the data that it goes on from too")
        parsed, path = _parsed(config), Path(config) if isinstance(config, Path | str) else None
        request = launch_request(self.environment, parsed, path, options)
        if data is None:
            yield request
            return
        if parsed is None:
            raise InvalidInput("data", "needs a configuration", "give one with at least prediction_length")
        with frame_inputs(parsed, self.environment, name, data, future) as found:
            yield replace(request, config=found.config, data=found.data, future=found.future)

    def _launched(self, request: LaunchRequest) -> RunHandle:
        world = self._world
        preparation = world.launch_preparation(_log.info, _log.warning)
        spec = preparation.publish(request, preparation.plan(request))
        return self.run(launch(spec, world.store, world.fleet, world.deadlines, world.clock).run_id)

    def _grouped(self, grouping: Grouping, request: LaunchRequest) -> GroupHandle:
        world = self._world
        preparation = world.launch_preparation(_log.info, _log.warning)
        name, request = grouping.first(request, world)
        prepared = preparation.plan(request)
        variants = grouping.variants(prepared)
        begin(grouping.order(name, preparation.publish(request, prepared), variants, world), world)
        return self.group(name)

    def upload(self, frame: Frame, name: str | None = None, *, replace: bool = True) -> Uploaded:
        """Upload a frame as a data set.

        Args:
            frame: long, with the columns `item_id`, `timestamp` and `target` or those that the configuration names;
                or wide, with times and a column per series.
            name: its name, by default one made of its content.
            replace: remove the files of an earlier upload of that name.
        """
        from agent.data.convert import convert_frame  # noqa: PLC0415 - needs the extra `data`

        with TemporaryDirectory(prefix="chronos-ec2-") as temporary:
            folder = Path(temporary)
            path = convert_frame(frame, folder).path
            if name is None:
                name = f"frame-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
            world = self._world
            return upload_data(
                folder, name, self.environment, world.store, world.transfer, lambda _count: None, replace=replace
            )

    def fit(
        self, frame: Frame, horizon: int, *, config: Mapping[str, Any] | None = None, **options: Unpack[LaunchOptions]
    ) -> RunHandle:
        """Train on a frame: check it, launch a run, upload it.

        Args:
            frame: see `upload`.
            horizon: how many points to forecast, `prediction_length`.
            config: further keys of the configuration, such as `{"training": {"steps": 500}}`.
            options: see `LaunchOptions`.

        Raises:
            InvalidInput: the frame, a key or an option is wrong; whatever `launch` raises.
        """
        return self.launch(_described(config, prediction_length=horizon), data=frame, **options)

    def forecast(
        self,
        frame: Frame,
        horizon: int,
        *,
        future: Frame | None = None,
        model: str | None = None,
        config: Mapping[str, Any] | None = None,
        shards: int | None = None,
        parallel: int | None = None,
        group: str | None = None,
        interval: float = 15.0,
        **options: Unpack[LaunchOptions],
    ) -> Any:
        """Forecast the points after the end of each series of a frame, on an instance that is gone afterwards.

        Args:
            frame: see `upload`.
            horizon: how many points to forecast.
            future: a frame with the known covariates of these points.
            model: by default `amazon/chronos-2`; or `run:RUN_ID`, `champion`, another hub id, a folder.
            config: further keys of the configuration, such as `{"quantile_levels": [0.1, 0.5, 0.9]}`.
            shards: split the series among so many runs; `max_cost` is for all of them.
            parallel: with `shards`, how many of them are active at a time, by default 4.
            group: with `shards`, the name of the group, for `group(name)`.
            interval: seconds between two looks at the run.
            options: see `LaunchOptions`.

        Returns:
            A row for each series and point, with a column for each quantile: a frame of pandas for one of pandas, else
            a `pyarrow.Table`, which `polars.from_arrow` takes.

        Raises:
            RunUnsuccessful: the run has ended without success.
            InvalidInput: the frame, a key or an option is wrong; whatever `launch` raises.
        """
        chosen = {} if model is None else {"model": model}
        document = _described(config, job="forecast", prediction_length=horizon, **chosen)
        if shards is None and not (parallel is None and group is None):
            raise InvalidInput("parallel" if group is None else "group", "is for shards", "give shards too")
        with self._request(document, frame, future, "frame", options) as request:
            started = (
                self._launched(request) if shards is None else self._grouped(sharded(shards, parallel, group), request)
            )
        done = started.succeeded(interval=interval)
        with TemporaryDirectory(prefix="chronos-ec2-") as folder:
            return _like(frame, done.forecasts(folder))

    def evaluate(
        self,
        frame: Frame,
        horizon: int,
        models: Sequence[str] = ("amazon/chronos-2",),
        *,
        config: Mapping[str, Any] | None = None,
        interval: float = 15.0,
        **options: Unpack[LaunchOptions],
    ) -> Mapping[str, Mapping[str, float]]:
        """Compare models on the last points of each series of a frame, without training.

        Args:
            frame: see `upload`.
            horizon: how many points to forecast.
            models: named like the model of `forecast`.
            config: further keys of the configuration, such as `{"evaluation": {"windows": 3}}`.
            interval: seconds between two looks at the run.
            options: see `LaunchOptions`.

        Returns:
            The scores of each model, baselines too, by metric; lower is better. The best model is the first.

        Raises:
            RunUnsuccessful: the run has ended without success.
            InvalidInput: the frame, a key or an option is wrong; whatever `launch` raises.
        """
        document = _described(config, job="evaluate", prediction_length=horizon, models=list(models))
        return self.launch(document, data=frame, **options).succeeded(interval=interval).leaderboard

    def run(self, run_id: str) -> RunHandle:
        """A run by its id, active or past. It is read when it is asked something."""
        return RunHandle(run_id, self.environment, self._reader)

    def group(self, name: str) -> GroupHandle:
        """A group by its name: of a forecast in shards, or of a sweep. It is read when it is asked something."""
        return GroupHandle(name, self.environment, self._reader)

    def runs(self, limit: int | None = 20) -> tuple[RunView | UnreadRun, ...]:
        """The runs of the environment, newest first. Raises ServiceUnavailable, NotAllowed."""
        return list_runs(self._world.store, self.environment, limit)

    def kill(self, run_id: str, *, now: bool = False, reason: str = "requested by the operator") -> None:
        """End a run after it has saved its work, or `now`. Raises InvalidInput if it has ended."""
        self.run(run_id).kill(now=now, reason=reason)

    def verify(self) -> tuple[Finding, ...]:
        """Everything that is left and costs money or holds a lane; empty means that nothing is."""
        world = self._world
        return verify(self.environment, world.store, world.fleet, world.deadlines)

    @property
    def _world(self) -> OperatorWorld:
        return self._reader.world


def _parsed(config: Config | None) -> JobConfig | None:
    match config:
        case None:
            return None
        case Path() | str():
            return load_config(Path(config))
        case Mapping():
            return parse_config(dict(config), "config")
    return config


def _described(config: Mapping[str, Any] | None, **keys: Any) -> dict[str, Any]:
    """The document of a configuration whose data are a frame."""
    document = dict(config or {})
    return document | keys | {"data": {"path": UNNAMED} | dict(document.get("data", {}))}


def _like(frame: Frame, table: Any) -> Any:
    """An Arrow table as a frame of pandas if another frame is one."""
    return table.to_pandas() if type(frame).__module__.partition(".")[0] == "pandas" else table
