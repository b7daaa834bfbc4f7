"""The Python packages of trainer and reports, installed after the claim, beside preflight checks and data sync."""

from __future__ import annotations

import hashlib
import importlib
import logging
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.background import Background
from agent.errors import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.s3_keys import python_env_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import ObjectTransfer

_log = logging.getLogger(__name__)
_DELAYS = (2, 5, 10)
_CHECK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Packages:
    """The archive of wheels to install into `folder`, as `requirements` lists them."""

    sha256: str
    requirements: Path
    folder: Path

    @classmethod
    def of_bundle(cls, sha256: str | None, bundle: Path) -> Packages | None:
        """The packages of a bundle, into the folder on PYTHONPATH beside it; None if the image has them."""
        return cls(sha256, bundle / "agent" / "requirements.txt", bundle.parent / "packages") if sha256 else None


class PackageInstallation(Background):
    """Installs the packages for the duration of a context; `wait` before the first import of one."""

    def __init__(
        self,
        packages: Packages | None,
        transfer: ObjectTransfer,
        on_bytes: Callable[[int], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__("packages", join_seconds=0)
        self._packages = packages
        self._transfer = transfer
        self._on_bytes = on_bytes
        self._sleep = sleep
        self._done = threading.Event()
        self._problem: str | None = None

    def wait(self, check: Callable[[], None]) -> None:
        """Wait until they are installed. `check` is called meanwhile, and ends the wait by raising.

        Raises RunFailed if they cannot be installed.
        """
        while not self._done.wait(_CHECK_SECONDS):
            check()
        if self._problem is not None:
            raise RunFailed(Cause.INFRA, f"the trainer's packages: {self._problem}", elsewhere=True)
        # The folder did not exist when the interpreter looked last.
        importlib.invalidate_caches()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            if self._packages is not None:
                self._install(self._packages)
                _log.info("packages installed within %.1f s", time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not go on without the packages
            output = getattr(error, "stderr", None) or str(error)
            self._problem = one_line(output.strip().splitlines()[-1] if output.strip() else repr(error), 300)
            _log.exception("packages not installed")
        finally:
            self._done.set()

    def _install(self, packages: Packages) -> None:
        archive, wheels = packages.folder.with_suffix(".tar"), packages.folder.with_suffix(".wheels")
        self._download(python_env_key(packages.sha256), archive)
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != packages.sha256:
            raise ValueError(f"their archive has the SHA-256 {found}, expected {packages.sha256}")
        _unpack(archive, wheels)
        archive.unlink()
        # Renamed once complete: a process that starts meanwhile sees all of them or none.
        target = packages.folder.with_suffix(".new")
        subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
                "--find-links", str(wheels), "--require-hashes", "--no-deps", "--no-compile",
                "--target", str(target), "-r", str(packages.requirements),
            ],
            check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        target.rename(packages.folder)

    def _download(self, key: str, path: Path) -> None:
        delays = iter(_DELAYS)
        while True:
            try:
                return self._transfer.download(key, path, self._on_bytes)
            except ServiceUnavailable as error:
                if (delay := next(delays, None)) is None:
                    raise
                _log.warning("%s; retrying in %s s", error, delay)
                self._sleep(delay)


def _unpack(archive: Path, folder: Path) -> None:
    """Extract an archive of files without folders. `extractall(filter=)` needs Python 3.11.4."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or Path(member.name).name != member.name:
                raise ValueError(f"{member.name} in their archive is not a file beside the others")
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)
