"""Work that outlives its program: a hidden folder beside the output, a lock, how far it is."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minseg.atomic import cannot_write, hold, require_writable, write_text
from minseg.errors import MinsegError

LOCK = "lock"
NOTE = "progress.json"


@dataclass(frozen=True)
class WorkFolder:
    """A hidden folder beside the file to be made, which this program alone works in."""

    path: Path

    def progress(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return how far an interrupted program came with a task; start anew if with another.

        Parameters
        ----------
        task : mapping
            All that the result depends on, as JSON holds it.

        Returns
        -------
        dict
            What `note` was last given; empty for work that begins, and then so is the folder.
        """
        try:
            note = json.loads((self.path / NOTE).read_text(encoding="utf-8"))
            if note["task"] == json.loads(json.dumps(task)):
                return note["progress"]
        except (OSError, ValueError, KeyError, TypeError):  # there is no note, or it is damaged
            pass
        self.clear()
        return {}

    def note(self, task: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        """Note how far a task is; what is noted must be on disk already."""
        write_text(self.path / NOTE, json.dumps({"task": task, "progress": progress}, indent=1))

    def clear(self) -> None:
        """Throw away what lies in the folder."""
        for child in self.path.iterdir():
            if child.is_dir():
                shutil.rmtree(child)
            elif child.name != LOCK:
                child.unlink()


@contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """Lock a hidden folder beside a file to be made.

    The folder goes when the block ends well or by a `MinsegError`. It stays for the next program
    if this one is killed, interrupted, or fails in a way that nobody foresaw.

    Parameters
    ----------
    output : Path

    Yields
    ------
    WorkFolder

    Raises
    ------
    MinsegError
        If the place cannot be written to, or another program works on the same file.
    """
    require_writable(output)
    folder = output.with_name(f".{output.name}.partial")
    held = f"{output}: another program is writing it now; wait for it, or name another output"
    try:
        lock = hold(folder / LOCK, held, wait=False)
    except OSError as error:
        raise cannot_write(output, error) from None
    with lock:
        try:
            yield WorkFolder(folder)
        except MinsegError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            shutil.rmtree(folder, ignore_errors=True)
