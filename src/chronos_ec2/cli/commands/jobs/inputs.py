"""The data of a job: data sets in the bucket, or files of this machine, checked before a launch uploads them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.convert import as_parquet
from chronos_ec2.cli.output import console, print_warning
from chronos_ec2.client.inputs import changed, data_checks, refuse_bad_data
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import counted, is_name, one_line
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.job_config.jobs import ForecastConfig, JobConfig
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.publish.data import LocalData, find_files, local_data

READ_BYTES = 1 << 30
"""How much is read to check data that the instance checks as well."""
_DATA, _FUTURE = "--data", "--future"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The configuration of a job whose data have a path, and the data that have to be uploaded.

    `future` is the path of a data set in the bucket, or what has to be uploaded.
    """

    config: JobConfig
    data: LocalData | None = None
    future: LocalData | str | None = None


@dataclass(frozen=True, slots=True)
class InputFinder:
    """Finds and checks the data that a command names. Files that it makes live as long as `temporary`."""

    world: OperatorWorld
    temporary: ExitStack
    timestamp_format: str | None = None

    def find(self, config: JobConfig, data: str | None, future: str | None) -> Inputs:
        """The inputs of a job; its configuration names the data set if `data` does not.

        Raises:
            InvalidInput: there are no such data, a run would refuse them, or points to forecast lack known covariates.
        """
        if future is None and isinstance(config, ForecastConfig) and config.future:
            problem = "the configuration has future: true, so the run needs the covariates of the points to forecast"
            raise InvalidInput(_FUTURE, problem, "name the data set that has them")
        here, ahead_here = self._folder(_DATA, data, config), self._folder(_FUTURE, future, config)
        if data is not None and here is None:
            config = changed(config, data={"path": self._path(_DATA, data)})
        if future is None:
            if here is not None:
                self._check(here, config, None)
            return self._inputs(config, data, here, None)
        path = None if ahead_here else self._path(_FUTURE, future)
        ahead = ahead_here or downloaded(self.world, self.temporary, path or "", _FUTURE)
        config = self._with_known(config, ahead)
        past = here or downloaded(self.world, self.temporary, config.data.path, "data.path")
        if past and ahead:
            self._check(past, config, ahead)
        else:
            print_warning("the known covariates are too large to be checked here: the instance does so")
        uploaded = local_data(ahead_here, Path(future).stem, self._environment) if ahead_here else path
        return self._inputs(config, data, here, uploaded)

    @property
    def _environment(self) -> str:
        return self.world.stack.environment

    def _inputs(self, config: JobConfig, data: str | None, here: Path | None, future: LocalData | str | None) -> Inputs:
        if here is None or data is None:
            return Inputs(config, None, future)
        uploaded = local_data(here, Path(data).stem, self._environment)
        return Inputs(changed(config, data={"path": uploaded.data_path}), uploaded, future)

    def _folder(self, option: str, text: str | None, config: JobConfig) -> Path | None:
        """A folder with the files of this machine as Parquet; None for a data set in the bucket."""
        if text is None or is_name(text) or text.startswith("training-data/"):
            return None
        path = Path(text).expanduser()
        if not path.exists():
            remedy = "name a data set of the bucket, such as sales, or a folder or file, such as ./sales"
            raise InvalidInput(option, f"there is no {one_line(text, 200)}", remedy)
        folder, converted = self.temporary.enter_context(as_parquet(path, config.data, self.timestamp_format))
        if converted and not console.json:
            rows = sum(one.rows for one in converted)
            series = sum(len(one.series) for one in converted)
            wide = f"; {series} columns are series" if series else ""
            console.print(
                f"converted {counted(len(converted), 'file')} of {one_line(text, 200)} to Parquet, {rows} rows{wide}"
            )
        return folder

    def _path(self, option: str, text: str) -> str:
        """The path of a data set in the bucket. Raises InvalidInput for a folder of that name instead."""
        path = text if "/" in text else f"training-data/{text}/"
        there = any(True for _ in self.world.store.objects.keys(shared_key(self._environment, path)))
        if not there and Path(text).exists():
            remedy = f"`{option} ./{text}` uploads the one on this machine"
            raise InvalidInput(option, f"the bucket has no data set {text}", remedy)
        return path

    def _with_known(self, config: JobConfig, ahead: Path | None) -> JobConfig:
        """The configuration with its known covariates: those of the second data set if it names none."""
        known = config.data.known_covariates
        if not known:
            if ahead is None:
                raise InvalidInput(_FUTURE, "is too large to read its columns here", "name them with --known")
            known = data_checks(_FUTURE).columns_ahead(find_files(ahead), config.data)
        return changed(config, future=True, data={"known_covariates": known})

    def _check(self, folder: Path, config: JobConfig, ahead: Path | None) -> None:
        """Check data as an instance does, and with them the known covariates of the points to forecast."""
        checks = data_checks(_DATA if ahead is None else _FUTURE)
        with console.status("checking the data"):
            refuse_bad_data(checks, folder, config, ahead)


def downloaded(world: OperatorWorld, temporary: ExitStack, path: str, where: str) -> Path | None:
    """A folder with a data set of the bucket, as long as `temporary` lives; None if it is too large for that.

    Raises:
        InvalidInput: there is none; `where` names the option.
    """
    files = find_dataset(world.store, world.stack.environment, path, where)
    size = sum(one.size for one in files)
    if size > READ_BYTES:
        return None
    folder = Path(temporary.enter_context(TemporaryDirectory(prefix="chronos-ec2-")))
    with console.progress(f"reading {path}", size) as on_bytes:
        for index, one in enumerate(files):
            key = PurePosixPath(one.key)
            columns = [part for part in key.parts[:-1] if "=" in part]
            target = folder.joinpath(f"{index:05d}", *columns, key.name)
            target.parent.mkdir(parents=True)
            world.transfer.download(one.key, target, on_bytes)
    return folder
