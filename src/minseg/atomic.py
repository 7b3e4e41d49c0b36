"""Writing so that a killed program leaves the old file or the new one, never half of either.

And so that programs which would write the same at once take turns.
"""

import errno
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from minseg.errors import MinsegError, first_line


class CannotWriteError(MinsegError):
    """A file or folder cannot be written: the place refuses it, or the disk is full."""


_NOT_HERE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG,
}  # fmt: skip
"""Errors that are due to the place, and would come again."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Errors of disks that offer no file locks, as some network mounts."""

TOLD_AFTER_S = 5.0
"""Seconds of waiting for another program that are not worth a word."""


@contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and rename it to `path` if no error comes."""
    path = Path(path)
    beside = path.with_name(f".{path.stem[:50]}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        if not is_about_the_disk(error):
            raise
        raise cannot_write(path, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        with suppress(OSError):  # of which the first says more
            beside.unlink(missing_ok=True)


def is_about_the_disk(error: OSError) -> bool:
    """Whether an error is due to where something is written, or to no room there."""
    return error.errno in _NOT_HERE | {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def write_text(path: Path, text: str) -> None:
    """Write a small text file (UTF-8) whole or not at all."""
    with replace_when_done(path) as beside:
        beside.write_text(text, encoding="utf-8")


def require_writable(path: Path) -> None:
    """Refuse a name that no file can be written to, before any work is done; nothing is made."""
    try:
        if path.is_dir():
            raise IsADirectoryError
        _try_writing_beside(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def require_new_folder(path: Path) -> None:
    """Refuse a name that no new folder can take, before any work is done; nothing is made."""
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise MinsegError(f"{path}: exists and is not an empty folder; name a new one")
        if path.is_symlink() or os.path.ismount(path):
            raise MinsegError(f"{path}: is a link or a disk's root; name a new folder within it")
        if path.resolve() == Path.cwd():
            raise MinsegError(f"{path}: is the folder you work in; name a new one")
        _try_writing_beside(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def _try_writing_beside(path: Path) -> None:
    """Write to the nearest folder above a path and leave no trace."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    tempfile.TemporaryFile(dir=there).close()


def hold(path: Path, held: str, *, wait: bool = True) -> AbstractContextManager[object]:
    """Lock a file against other programs until the context ends; say `held` where one has it.

    The system frees the lock of a killed program. On a disk that offers no locks, a marker beside
    the file names its holder; that of a program killed on another machine stays, and is told of.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _acquire(FileLock(path, fallback_to_soft=False), held, wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    marker = SoftFileLock(f"{path}.held")
    return _acquire(marker, f"{held} (if none is, delete {marker.lock_file})", wait)


def _acquire(lock: BaseFileLock, held: str, wait: bool) -> AbstractContextManager[object]:
    """Lock, and say so where another program makes us wait for long."""
    try:
        return lock.acquire(timeout=TOLD_AFTER_S if wait else 0)
    except Timeout:
        if not wait:
            raise MinsegError(held) from None
        print(f"{held}; waiting", file=sys.stderr)
        return lock.acquire()


def cannot_write(path: Path, error: Exception) -> CannotWriteError:
    """Tell in one line why a file cannot be written."""
    reason = getattr(error, "strerror", None) or first_line(error)
    if os.path.isdir(path):  # noqa: PTH112  (that of Path refuses a name that is too long)
        return CannotWriteError(f"{path}: is a folder; name a file to write")
    if getattr(error, "errno", None) in _NOT_HERE | {errno.ENOENT}:
        return CannotWriteError(
            f"{path}: cannot write here ({reason}); choose a folder you may write to"
        )
    return CannotWriteError(
        f"{path}: cannot be written ({reason}); free some space, or name another folder"
    )
