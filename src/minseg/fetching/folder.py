"""The folder that a fetch works in: its own, alone, and for one set of arguments."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from minseg.atomic import hold, write_text
from minseg.errors import MinsegError
from minseg.fetching.records import MANIFEST


@contextmanager
def own_folder(path: Path, arguments: Mapping[str, object]) -> Iterator[None]:
    """Lock a folder that is new or was begun with the same arguments; clear what a kill left.

    Where nothing was chosen in the block, all that it wrote is taken back.

    Parameters
    ----------
    path : Path
    arguments : mapping
        Of `minseg.fetching.plan.FetchRequest`; written to the manifest of a new folder.

    Raises
    ------
    MinsegError
        If the folder is another's, locked, damaged, or cannot be written to.
    """
    manifest = path / MANIFEST
    if path.exists() and not manifest.is_file() and _visible(path):
        raise MinsegError(
            f"{path}: exists and was not begun by `minseg dataset fetch`; name a new folder"
        )
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    held = f"{path}: another program is fetching into it now; wait for it"
    try:
        lock = hold(path / ".fetch.lock", held, wait=False)
    except OSError as error:
        raise MinsegError(
            f"{path}: cannot write here ({error.strerror}); choose a folder you may write to"
        ) from None
    with lock:
        try:
            if _anything_chosen(path):
                _require_same(manifest, arguments)
            else:
                write_text(manifest, json.dumps({"arguments": arguments}, indent=1) + "\n")
            for left in [*path.glob(".*.partial*"), *path.glob("*/.*.partial*")]:
                left.unlink()
            for left in path.glob("scenes/*/.*.partial"):
                shutil.rmtree(left)
            yield
        finally:
            if not _anything_chosen(path):
                _leave_nothing(path, new)


def _leave_nothing(path: Path, new: Sequence[Path]) -> None:
    """Take back what a run that chose nothing wrote, so that another command may begin anew."""
    with suppress(OSError):  # what somebody else put there stays
        for name in (MANIFEST, ".fetch.lock"):
            (path / name).unlink(missing_ok=True)
        for folder in (path / "choices", *new):
            if folder.is_dir():
                folder.rmdir()


def _anything_chosen(path: Path) -> bool:
    """Whether a folder holds more of an earlier run than its arguments."""
    return any(any(path.glob(found)) for found in ("choices/*.json", "scenes/*/*/scene.json"))


def _visible(path: Path) -> bool:
    """Whether a path is a file, or a folder with something in it that is not hidden."""
    return not path.is_dir() or any(not inner.name.startswith(".") for inner in path.iterdir())


def _require_same(manifest: Path, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that would mix two datasets in one folder."""
    try:
        begun = dict(json.loads(manifest.read_text(encoding="utf-8"))["arguments"])
    except (ValueError, KeyError, TypeError):
        raise MinsegError(
            f"{manifest}: is damaged, and nothing else tells what the folder was begun with; "
            f"remove the whole folder {manifest.parent}, or name a new one"
        ) from None
    changed = [name for name, value in arguments.items() if begun.get(name) != value]
    if changed:
        raise MinsegError(
            f"{manifest.parent}: was begun with other {', '.join(changed)}; give the same ones to "
            "go on, or name a new folder"
        )
