import subprocess
import sys

import pytest

from minseg import MinsegError
from minseg.maps.unfinished import work_folder
from tests.conftest import names

TASK = {"images": [("a.tif", 3)], "tiles": 512}


def interrupted(output, task=TASK, rows=7):
    """Leave work unfinished as Ctrl-C does."""
    with pytest.raises(KeyboardInterrupt), work_folder(output) as work:
        assert work.progress(task) == {}
        (work.path / "rows.tif").touch()
        (work.path / "more").mkdir()
        work.note(task, {"rows": rows})
        raise KeyboardInterrupt


def test_interrupted_work_is_found_again_and_gone_at_the_end(tmp_path):
    output = tmp_path / "new" / "map.tif"
    interrupted(output)
    assert names(output.parent) == [".map.tif.partial"]
    with work_folder(output) as work:
        assert work.progress(TASK) == {"rows": 7}
        assert (work.path / "rows.tif").exists()
    assert names(output.parent) == []


@pytest.mark.parametrize("damage", [None, "", "{", "[]", '{"task": 1}'])
def test_work_on_something_else_is_thrown_away(tmp_path, damage):
    output = tmp_path / "map.tif"
    interrupted(output)
    task = TASK | {"tiles": 256} if damage is None else TASK
    if damage is not None:
        (tmp_path / ".map.tif.partial" / "progress.json").write_text(damage)
    with work_folder(output) as work:
        assert work.progress(task) == {}
        assert names(work.path) == ["lock"]


def test_a_refusal_leaves_nothing(tmp_path):
    with pytest.raises(MinsegError, match="no data"), work_folder(tmp_path / "map.tif") as work:
        work.note(TASK, {"rows": 1})
        raise MinsegError("no data")
    assert names(tmp_path) == []


def test_a_second_program_is_told(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from minseg.maps.unfinished import work_folder\n"
        "from minseg.errors import MinsegError\n"
        "try:\n"
        "    with work_folder(Path(sys.argv[1])): print('mine')\n"
        "except MinsegError as error: print(error)\n"
    )

    def second():
        command = [sys.executable, "-c", program, str(tmp_path / "map.tif")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with work_folder(tmp_path / "map.tif"):
        told = second()
        assert "map.tif: another program is writing it now" in told
        assert "\n" not in told
    assert second() == "mine"
