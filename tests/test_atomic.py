import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

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
    with replace_when_done(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_when_done(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_half_written_folder_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), replace_when_done(tmp_path / "folder") as beside:
        beside.mkdir()
        (beside / "file").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MinsegError, match="cannot write here"):
        write_text(tmp_path / "a.txt", "text")


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MinsegError, match="cannot write here"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_a_folder_in_place_of_the_file_is_one_clear_line(tmp_path):
    (tmp_path / "a.txt").mkdir()
    for write in (lambda path: write_text(path, "text"), require_writable):
        with pytest.raises(MinsegError, match=r"a\.txt: is a folder; name a file") as caught:
            write(tmp_path / "a.txt")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_clear_line(tmp_path, file_limit):
    with file_limit(10), pytest.raises(MinsegError, match=r"a\.csv: cannot be written .*free some"):
        write_text(tmp_path / "a.csv", "more than ten letters")
    assert names(tmp_path) == []


def test_a_long_name_is_written_or_refused_in_one_line(tmp_path):
    write_text(tmp_path / ("a" * 250), "text")
    for refuse in (lambda path: write_text(path, "text"), require_writable, require_new_folder):
        with pytest.raises(MinsegError, match=r"cannot write here .File name too long"):
            refuse(tmp_path / ("a" * 260) / "b")


def test_where_no_new_folder_can_be_is_found_out_without_a_trace(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    require_new_folder(tmp_path / "new" / "folder")
    require_new_folder(tmp_path / "empty")
    for taken in ("file", "."):
        with pytest.raises(MinsegError, match="exists and is not an empty folder"):
            require_new_folder(tmp_path / taken)
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(MinsegError, match="is the folder you work in"):
        require_new_folder(Path())
    assert names(tmp_path) == ["empty", "file"]


def test_whether_a_file_can_be_written_is_found_out_without_a_trace(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt", "new/folders/new.txt"):
        require_writable(tmp_path / name)
    for name in ("old.txt/new.txt", "old.txt/new/new.txt"):
        with pytest.raises(MinsegError, match="cannot write here") as caught:
            require_writable(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert names(tmp_path) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folders_are_found_out_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MinsegError, match=r"cannot write here \(Permission denied\)"):
        require_writable(tmp_path / "new" / "a.txt")


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
