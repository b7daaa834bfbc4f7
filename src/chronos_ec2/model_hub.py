"""The Hugging Face hub: the adapter of `ModelHub`. The library is imported when a model is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.ports import HubFiles


class HuggingFaceHub:
    """The hub at HF_ENDPOINT, or huggingface.co, with the caller's token. `timeout` is in seconds."""

    def __init__(self, cache: Path | None = None, timeout: float = 30.0) -> None:
        self._cache = cache
        self._timeout = timeout

    def find(self, name: str, revision: str | None) -> HubFiles:
        """See ModelHub."""
        with _translated(name, revision):
            from huggingface_hub import HfApi  # noqa: PLC0415

            api = HfApi(endpoint=_endpoint())
            found = api.model_info(name, revision=revision, files_metadata=True, timeout=self._timeout)
        files = tuple((one.rfilename, one.size or 0) for one in found.siblings or ())
        return HubFiles(str(found.sha), files)

    def download(self, name: str, commit: str, files: Sequence[str]) -> Path:
        """See ModelHub."""
        with _translated(name, commit):
            from huggingface_hub import HfApi  # noqa: PLC0415

            api = HfApi(endpoint=_endpoint())
            found = [
                api.hf_hub_download(
                    name, file, revision=commit, cache_dir=self._cache or os.environ.get("HF_HUB_CACHE")
                )
                for file in files
            ]
        return Path(found[0]).parent


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _translated(name: str, revision: str | None) -> Iterator[None]:
    """Raise the errors of ModelHub in place of the library's."""
    try:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidInput(
            name, f"is on the Hugging Face hub, which needs {error.name}", "pip install -e '.[hub]'"
        ) from error
    try:
        yield
    except GatedRepoError as error:
        remedy = f"accept its terms at https://huggingface.co/{name}, and set HF_TOKEN"
        raise InvalidInput(
            name, "the hub gives this model only to those who have accepted its terms", remedy
        ) from error
    except RepositoryNotFoundError as error:
        remedy = f"see https://huggingface.co/{name}; for a private model set HF_TOKEN; a folder begins with ./"
        raise InvalidInput(name, "the hub has no such model, or does not show it to you", remedy) from error
    except RevisionNotFoundError as error:
        remedy = f"https://huggingface.co/{name}/commits/main lists its revisions"
        raise InvalidInput(name, f"the hub has no revision {revision} of this model", remedy) from error
    except Exception as error:
        problem = f"the Hugging Face hub did not answer for {name}: {one_line(str(error) or type(error).__name__, 200)}"
        remedy = "try again; a model that was copied once is found without the hub by its commit: NAME@COMMIT"
        raise ServiceUnavailable(problem, remedy) from error
