"""Files of this machine that people name: read within a limit, and refused with what to do about them."""

from __future__ import annotations

from pathlib import Path, PurePath
from stat import S_ISDIR, S_ISREG

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line

_LFS = b"version https://git-lfs.github.com/spec/"


def read_input(path: Path, most: int, *, option: str = "", remedy: str = "") -> bytes:
    """The content of a file.

    Args:
        path: of the file, as it was named.
        most: how many bytes it may have.
        option: what the error begins with, before the path.
        remedy: what to do if there is no such file, or it is too large.

    Raises:
        InvalidInput: it cannot be read, is larger, no regular file, or a git-LFS pointer.
    """
    where = ": ".join(filter(None, (option, shown(path))))
    check_input(path, where, remedy)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise unreadable(where, error, remedy) from error
    if len(content) > most:
        size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most} bytes"
        raise InvalidInput(where, f"is larger than {size}", remedy or "shorten it")
    return content


def check_input(path: Path, where: str = "", remedy: str = "") -> None:
    """Raise InvalidInput for what is not the file that its name promises: reading it would never end, or be in vain."""
    where = where or shown(path)
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            raise InvalidInput(where, "is a folder", "name a file")
        if not S_ISREG(mode):
            raise InvalidInput(where, "is not a regular file", "write its content into one, and name that")
        with path.open("rb") as file:
            start = file.read(len(_LFS))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            raise InvalidInput(where, "is a link to none", "remove it, or bring back what it names") from error
        raise unreadable(where, error, remedy) from error
    if start == _LFS:
        raise InvalidInput(where, "is a git-LFS pointer, not the file itself", "run `git lfs pull`")


def unreadable(where: str, error: Exception, remedy: str = "") -> InvalidInput:
    """The error of a file that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidInput(where, f"cannot be read: {reason}", remedy or "check the path and its permissions")


def shown(path: PurePath) -> str:
    """A path on one line, whatever bytes its names have."""
    return one_line(str(path).encode(errors="backslashreplace").decode(), 300)
