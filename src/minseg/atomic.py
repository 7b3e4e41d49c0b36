"""Writing so that a killed program leaves the old file or the new one, never half of either."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minseg.errors import MinsegError


@contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and rename it to `path` if no error comes.

    Parameters
    ----------
    path : Path
        The file or folder to appear. A file that is there is replaced; a folder is not.

    Yields
    ------
    Path
        Hidden name in the same folder, with the same ending, that does not exist yet.

    Raises
    ------
    MinsegError
        If the folder cannot be written to.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise MinsegError(
            f"{path}: cannot write here ({error.strerror}); choose a folder you may write to"
        ) from None
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        elif beside.exists():
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a small text file (UTF-8) whole or not at all."""
    with replace_when_done(path) as beside:
        beside.write_text(text, encoding="utf-8")
