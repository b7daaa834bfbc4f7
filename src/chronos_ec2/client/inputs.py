"""The data of a job, checked on this machine as an instance checks them: files of the command, frames of the client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.services.publish.data import LocalData, find_files, local_data

if TYPE_CHECKING:
    from types import ModuleType

UNNAMED = "training-data/unnamed/"
"""The path of data that have no place in the bucket yet."""


class Frame(Protocol):
    """A table of pandas, polars or any other library that exports Arrow streams."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The table as an Arrow stream."""


@dataclass(frozen=True, slots=True)
class FrameInputs:
    """A configuration with the data that a launch uploads for it."""

    config: JobConfig
    data: LocalData
    future: LocalData | None


@contextmanager
def frame_inputs(
    config: JobConfig, environment: str, name: str, frame: Frame, future: Frame | None
) -> Iterator[FrameInputs]:
    """The data of a job from frames, as files that last as long as this context.

    Raises:
        InvalidInput: a run would refuse them, or points to forecast lack known covariates.
    """
    checks = data_checks("frame")
    from agent.data.convert import Names, convert_frame  # noqa: PLC0415 - needs the extra `data`

    names = Names(config.data.item_id, config.data.timestamp, config.data.target)
    with TemporaryDirectory(prefix="chronos-ec2-") as temporary:
        past, ahead = Path(temporary, "past"), Path(temporary, "future")
        convert_frame(frame, past, names)
        if future is not None:
            convert_frame(future, ahead, names)
            known = config.data.known_covariates or checks.columns_ahead(find_files(ahead), config.data)
            config = changed(config, future=True, data={"known_covariates": known})
        refuse_bad_data(checks, past, config, ahead if future is not None else None)
        data = local_data(past, name, environment)
        uploaded = local_data(ahead, f"{name}-future", environment) if future is not None else None
        yield FrameInputs(changed(config, data={"path": data.data_path}), data, uploaded)


def data_checks(where: str) -> ModuleType:
    """The module with the checks of an instance. Raises InvalidInput for `where` if its packages are missing."""
    try:
        from agent.data import check  # noqa: PLC0415 - needs the extra `data`
    except ModuleNotFoundError as error:
        remedy = "pip install -e '.[data]', or `chronos-ec2 upload data` without --config"
        raise InvalidInput(where, f"files are checked before a launch, which needs {error.name}", remedy) from error
    return check


def refuse_bad_data(checks: ModuleType, folder: Path, config: JobConfig, ahead: Path | None) -> None:
    """Raise InvalidInput for what an instance would refuse of a job's data and the known covariates ahead of them."""
    look: dict[str, Any] = {} if ahead is None else {"look": checks.future_check(find_files(ahead), config)}
    report = checks.check_data(find_files(folder), config, **look)
    if report.accepted:
        return
    first, *more = [finding for finding in report.findings if not finding.accepted]
    others = f" and {len(more)} more; `chronos-ec2 data check` lists them" if more else ""
    raise InvalidInput(first.where, f"a run would refuse the data: {first.problem}{others}", first.remedy)


def changed(config: JobConfig, data: Mapping[str, Any], **keys: Any) -> JobConfig:
    """A configuration with other values of some keys."""
    document = config.model_dump(mode="json", exclude_unset=True)
    return parse_config(document | keys | {"data": document["data"] | data}, "the options")
