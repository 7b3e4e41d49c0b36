import os

import pytest

from minseg import MinsegError
from minseg.atomic import replace_when_done, write_text
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
