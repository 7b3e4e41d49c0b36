"""A pack of runs: one file with checksums, which a study is published and shipped as.

It is a tar archive compressed by xz as a whole, since the tables of runs are much alike. Its first
member, ``manifest.json``, lists the others in their order, with sizes and SHA-256.
"""

import hashlib
import io
import json
import lzma
import re
import shutil
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from minseg.atomic import hold, is_about_the_disk, replace_when_done, require_writable
from minseg.errors import MinsegError, first_line
from minseg.progress import progress
from minseg.study.runs import Run, RunStore

FORMAT = 1
"""Changes whenever earlier versions could not read a pack."""

MANIFEST = "manifest.json"

MANIFEST_BYTES = 2**26
"""The most that is read of a manifest: that of half a million files."""

BLOCK_BYTES = 4096
"""What a file takes on a disk beyond its size, at the most."""

_NAMES = re.compile(
    r"[0-9a-f]+/((config|provenance|statistics|network|cost)\.json|(history|counts)\.csv"
    r"|weights\.safetensors|(predictions|scene_maps/[0-9a-f]+)/[^./\\\0-\x1f][^/\\\0-\x1f]*\.tif)"
    r"|tuning/[0-9a-f]+\.journal"
)
"""Files of a run, and the trials of a search: nothing else goes into a store."""


class PackedFile(BaseModel):
    """What a file must be found to be."""

    model_config = ConfigDict(frozen=True)

    size: NonNegativeInt
    sha256: str


class Manifest(BaseModel):
    """The first member of a pack."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    format: int
    """Version of the format."""
    runs: dict[str, dict[str, str | None]]
    """Key of each run to the name (`dataset`) and content (`dataset_hash`) of its dataset."""
    files: dict[str, PackedFile]
    """Path of each file in the run store, in the order of the pack."""


class _DamageError(Exception):
    """A pack is not what its manifest says."""


def pack_runs(
    store: RunStore,
    path: Path,
    weights: Collection[str] = (),
    names: Collection[str] | None = None,
) -> Manifest:
    """Write runs and searches of a store to one file; equal content gives equal bytes.

    `weights` are the keys of runs that keep theirs. Class maps are kept of these runs and of those
    that differ from one of them in their seed only; scores need neither. `names` are keys of runs
    and journals of searches such as ``tuning/….journal``, by default all there are. A run that is
    damaged or missing, or lacks the weights it is to keep, is refused.
    """
    require_writable(path)
    if names is None:
        there = [f"{run.key}/config.json" for run in store]
        there += [f"tuning/{journal.name}" for journal in store.path.glob("tuning/*.journal")]
        names = [_unit(name) for name in there if _NAMES.fullmatch(name)]  # no copy "… (1)"
    searches = {name for name in names if "/" in name}
    runs = {key: run for key in sorted({*names} - searches) if (run := store.find(key))}
    if missing := {*names, *weights} - searches - {*runs}:
        raise MinsegError(f"{store.path}: has no run {min(missing)}; name its store with --runs")
    if not runs:
        raise MinsegError(f"{store.path}: holds no run; name another run store with --runs")
    for key in weights:
        if not (runs[key].path / "weights.safetensors").is_file():
            raise runs[key].lacks("weights")
    # What is alike stands together, so that it takes little room.
    order = sorted(
        [*searches, *_files_of(runs, weights)],
        key=lambda name: (PurePosixPath(name).suffix, PurePosixPath(name).name, name),
    )
    files = {}
    for name in order:
        content = _content(store.path / name)
        files[name] = PackedFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    facts = {
        key: {fact: run.provenance.get(fact) for fact in ("dataset", "dataset_hash")}
        for key, run in runs.items()
    }
    manifest = Manifest(format=FORMAT, runs=facts, files=files)
    with (
        replace_when_done(path) as beside,
        lzma.open(beside, "wb") as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        _add(archive, MANIFEST, manifest.model_dump_json(indent=1).encode())
        for name, file in progress(files.items(), "packing runs"):
            _add(archive, name, _content(store.path / name)[: file.size])
    return manifest


def _files_of(runs: dict[str, Run], weights: Collection[str]) -> Iterator[str]:
    """Yield the names of what is packed of runs."""
    alike = {runs[key].config.replace(seed=0) for key in weights}
    for key, run in runs.items():
        left_out = set() if key in weights else {".safetensors"}
        left_out |= set() if run.config.replace(seed=0) in alike else {".tif"}
        for path in run.path.rglob("*"):
            name = path.relative_to(run.path.parent).as_posix()
            if _NAMES.fullmatch(name) and path.suffix not in left_out:
                yield name


def _content(path: Path) -> bytes:
    """Read a file; of a journal, which may be written on meanwhile, its whole lines."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1] if path.suffix == ".journal" else content


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Write a member without anything that depends on the place and time."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def read_manifest(path: Path) -> Manifest:
    """Read what a pack should hold, once while the file does not change."""
    if not path.is_file():
        raise MinsegError(f"{path}: no such pack of runs")
    state = path.stat()
    return _read_manifest(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read_manifest(path: Path, changed_ns: int, size: int) -> Manifest:
    """Read the manifest of a file in the state that the last two arguments name."""
    with _reading(path) as (archive, _):
        content = json.loads(_next(archive, MANIFEST))
        if content["format"] != FORMAT:
            raise MinsegError(
                f"{path}: is a pack of format {content['format']!r}, and this minseg reads "
                f"{FORMAT}; install the version of minseg that wrote it"
            )
        manifest = Manifest.model_validate(content)
    if foreign := [name for name in manifest.files if not _NAMES.fullmatch(name)]:
        raise MinsegError(f"{path}: holds {foreign[0][:80]!r}, which is no file of a run; refused")
    return manifest


@contextmanager
def _reading(path: Path) -> Iterator[tuple[tarfile.TarFile, lzma.LZMAFile]]:
    """Open a pack, and tell in a line what is wrong with it."""
    try:
        with lzma.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive, stream
    except (
        *(lzma.LZMAError, tarfile.TarError, EOFError, _DamageError, UnicodeDecodeError),
        *(json.JSONDecodeError, ValidationError, KeyError, TypeError),
    ) as error:
        raise MinsegError(
            f"{path}: is no pack of runs, or was damaged or cut off ({first_line(error)[:120]}); "
            "get it again"
        ) from None


def _next(archive: tarfile.TarFile, name: str, size: int | None = None) -> bytes:
    """Read the next member, which must be a file of a name and size."""
    member = archive.next()
    if member is None or not member.isreg() or member.name != name:
        raise _DamageError(f"{name} is missing")
    if member.size > MANIFEST_BYTES if size is None else member.size != size:
        raise _DamageError(f"{name} has another size")
    content = archive.extractfile(member)
    assert content is not None  # of a regular file
    return content.read()


def unpack_runs(path: Path, store: RunStore, keep_other: bool = False) -> tuple[int, int]:
    """Put what a pack holds into a store; return how many runs came, and how many were there.

    All of it is checked before anything is in its place. What the store has stays; a run that lacks
    weights or maps is given them. A pack is refused if something has other content in the store,
    unless `keep_other`, or if the disk has no room for it.
    """
    manifest = read_manifest(path)
    try:
        with hold(store.path / ".unpacking.lock", f"{store.path}: another process unpacks runs"):
            wanted = _wanted(path, manifest, store, keep_other)
            beside = store.path / ".unpacking"
            shutil.rmtree(beside, ignore_errors=True)  # what a kill left
            try:
                _extract(path, manifest, wanted, beside)
                _move(wanted, beside, store.path)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        if not is_about_the_disk(error):
            raise
        raise MinsegError(
            f"{store.path}: runs cannot be unpacked here ({error.strerror}); free some space, or "
            "choose another folder with --runs"
        ) from None
    new = {_unit(name) for name in wanted} & set(manifest.runs)
    return len(new), len(manifest.runs) - len(new)


def _unit(name: str) -> str:
    """Return what comes into a store at once: a run's folder, or a journal."""
    return name if name.endswith(".journal") else name.partition("/")[0]


def _wanted(path: Path, manifest: Manifest, store: RunStore, keep_other: bool) -> set[str]:
    """Return the files that the store lacks, if the disk has room for them."""
    here = {name for name in manifest.files if (store.path / name).is_file()}
    other = {
        _unit(name)
        for name in here
        if hashlib.sha256((store.path / name).read_bytes()).hexdigest()
        != manifest.files[name].sha256
    }
    if other and not keep_other:
        raise MinsegError(
            f"{path}: {len(other)} run(s) or search(es) have other content in {store.path}, such "
            f"as {min(other)}; name another run store with --runs, or move these away"
        )
    wanted = {name for name in manifest.files.keys() - here if _unit(name) not in other}
    needed = sum(manifest.files[name].size + BLOCK_BYTES for name in wanted)
    free = shutil.disk_usage(store.path).free
    if needed > free:
        raise MinsegError(
            f"{store.path}: {path} needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are "
            "free; free some space, or choose another folder with --runs"
        )
    return wanted


def _extract(path: Path, manifest: Manifest, wanted: Collection[str], folder: Path) -> None:
    """Check every file of a pack, and write those that are wanted to a folder."""
    with _reading(path) as (archive, stream):
        _next(archive, MANIFEST)
        for name, file in progress(manifest.files.items(), "unpacking runs"):
            content = _next(archive, name, file.size)
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise _DamageError(f"{name} has another content")
            if name in wanted:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        # Read to its end, so that xz checks it too: zeros fill up a record.
        if archive.next() or stream.read(2 * tarfile.RECORDSIZE).strip(b"\0"):
            raise _DamageError("something follows its last file")


def _move(wanted: Collection[str], folder: Path, store: Path) -> None:
    """Move files into a store; a run that is not there comes whole, by one renaming."""
    new = {_unit(name) for name in wanted if not (store / _unit(name)).exists()}
    for name in {*new, *(name for name in wanted if _unit(name) not in new)}:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(store / name)
