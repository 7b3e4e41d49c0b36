import errno
import fcntl
import os
import subprocess
import sys

import pytest

from minseg import MinsegError
from minseg.atomic import (
    hold,
    replace_when_done,
    require_new_folder,
    require_writable,
    write_text,
)
from minseg.study.runs import RunStore
from tests.conftest import names


def test_new_content_appears_at_the_end_and_nothing_else_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_when_done(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), replace_when_done(tmp_path / "folder") as beside:
        beside.mkdir()
        (beside / "file").write_text("half")
        raise ZeroDivisionError
    with replace_when_done(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]
    write_text(tmp_path / ("a" * 250), "text")


def test_a_full_disk_is_one_clear_line(tmp_path, file_limit):
    with file_limit(10), pytest.raises(MinsegError, match=r"a\.csv: cannot be written .*free some"):
        write_text(tmp_path / "a.csv", "more than ten letters")
    assert names(tmp_path) == []


def write(path):
    write_text(path, "text")


FOLDER = "is a folder; name a file"
LONG = "a" * 260
HERE = "cannot write here"


@pytest.mark.parametrize(
    ("attempt", "name", "message"),
    [
        (write, "file/a.txt", HERE),
        (write, "folder", FOLDER),
        (write, f"{LONG}/b", r"cannot write here .File name too long"),
        (require_writable, "file/new.txt", HERE),
        (require_writable, "file/new/new.txt", HERE),
        (require_writable, "folder", FOLDER),
        (require_writable, f"{LONG}/b", r"cannot write here .File name too long"),
        (require_new_folder, f"{LONG}/b", r"cannot write here .File name too long"),
        (require_new_folder, "file", "exists and is not an empty folder"),
        (require_new_folder, ".", "exists and is not an empty folder"),
        (require_new_folder, "folder", "is the folder you work in"),
        (require_new_folder, "link", "is a link or a disk's root; name a new folder within"),
        (require_new_folder, "lost", "is a link or a disk's root; name a new folder within"),
        *((attempt, "barred/new/a.txt", HERE) for attempt in (write, require_writable)),
    ],
)
def test_where_nothing_can_be_written_is_found_out_without_a_trace(
    tmp_path, monkeypatch, attempt, name, message
):
    (tmp_path / "file").write_text("old")
    for folder, mode in (("folder", 0o700), ("barred", 0o500)):
        (tmp_path / folder).mkdir(mode)
    (tmp_path / "link").symlink_to(tmp_path / "barred")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "folder")
    if name.startswith("barred") and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    for allowed in ("file", "new.txt", "new/folders/new.txt"):
        require_writable(tmp_path / allowed)
    for allowed in ("new/folder", "barred"):
        require_new_folder(tmp_path / allowed)
    with pytest.raises(MinsegError, match=message) as caught:
        attempt(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert names(tmp_path) == ["barred", "file", "folder", "link", "lost"]
    assert (tmp_path / "file").read_text() == "old"


HOLD = """
import fcntl, os, sys
from pathlib import Path
from minseg.atomic import hold
def flock(*_):
    raise OSError(int(sys.argv[2]), "no locks here")
if int(sys.argv[2]):
    fcntl.flock = flock
held = hold(Path(sys.argv[1]), "held")
os._exit(0)  # as a kill: nothing is cleared up
"""


@pytest.mark.parametrize("number", [0, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_lock_on_disks_that_offer_locks_and_that_offer_none(tmp_path, monkeypatch, number):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "new" / "lock"
    subprocess.run([sys.executable, "-c", HOLD, str(path), str(number)], check=True)
    if number:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    for _ in range(2):  # what a killed program left bars nobody, nor what the last one left
        with hold(path, "held", wait=False):
            with pytest.raises(MinsegError, match="held") as caught:
                hold(path, "held", wait=False)
            assert (f"delete {path}.held" in str(caught.value)) == bool(number)
    with RunStore(tmp_path / "runs").claim("abc") as folder:
        assert folder.is_dir()
        (folder / "config.json").write_text("")
    assert names(tmp_path / "runs") == [".abc.lock", "abc"]


def test_lock_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        hold(tmp_path / "file" / "new" / "lock", "held")
