"""The agent's code as one immutable archive, named by its hash: the bundle.

The file `agent/python-env` in the bundle names the archive of Python packages to install. Without that file, the
machine has the packages. Both the boot script and the local EC2 simulator follow this rule.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePath

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.s3_keys import bundle_key
from chronos_ec2.ports import ObjectTransfer
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.wheels import REFERENCE, publish_python_env

CHECKOUT = Path(__file__).resolve().parents[4]
# The agent imports none of these.
_EXCLUDED = frozenset({"cli", "client", "local", "testing", "__pycache__"})


def publish_agent(
    packages_in_image: bool, store: RunStore, transfer: ObjectTransfer, say: Callable[[str], None]
) -> tuple[str, int]:
    """Upload what an instance runs, unless the bucket has it. Returns the bundle's SHA-256 and size in bytes.

    The packages go first: where there is a bundle, there is what it names. Raises UserError, ServiceUnavailable.
    """
    bundle = build_bundle(packages_in_image)
    if not packages_in_image:
        publish_python_env(CHECKOUT, store, transfer, say)
    return publish_bundle(store, bundle), len(bundle)


def build_bundle(packages_in_image: bool, checkout: Path = CHECKOUT) -> bytes:
    """Build a tar.gz with `agent/` and `chronos_ec2/` at its root; the same files give the same bytes.

    Raises:
        InvalidInput: this is not a checkout of the project.
    """
    agent, library = checkout / "agent", checkout / "src" / "chronos_ec2"
    if not (agent / "__main__.py").is_file():
        raise InvalidInput(
            str(checkout), "has no agent/", "run chronos-ec2 from a checkout installed with pip install -e"
        )
    excluded = {checkout / REFERENCE} if packages_in_image else set()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for root in (agent, library):
            for path in sorted(set(root.rglob("*")) - excluded, key=PurePath.as_posix):
                inside = path.relative_to(root.parent)
                if path.is_file() and not _EXCLUDED & set(inside.parts) and path.suffix != ".pyc":
                    entry = tarfile.TarInfo(inside.as_posix())
                    entry.size, entry.mode = path.stat().st_size, 0o644
                    tar.addfile(entry, io.BytesIO(path.read_bytes()))
    return gzip.compress(archive.getvalue(), mtime=0)


def publish_bundle(store: RunStore, bundle: bytes) -> str:
    """Upload a bundle unless the bucket has it. Returns its SHA-256."""
    sha256 = hashlib.sha256(bundle).hexdigest()
    key = bundle_key(sha256)
    if key not in dict(store.objects.keys(key)):
        store.objects.write(key, bundle, "application/gzip")
    return sha256


def commit_of(checkout: Path) -> str | None:
    """Return the commit of a checkout, with `-dirty` if files differ from it; None if there is no git repository."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
