import numpy as np
import pytest
import rasterio

from minseg.data.raster import RowFile, grid_of
from minseg.maps.prediction import work_folder
from tests.conftest import grid_at, names


def test_rows_are_there_as_soon_as_they_are_kept_and_the_others_hold_no_data(tmp_path):
    rows, grid = RowFile(tmp_path / "rows.tif", tmp_path / "map.tif"), grid_at(0)
    rows.begin(grid, np.uint16, 65535, ("a", "b"), tags={"KEY": "value"}, scale=0.01)
    values = np.random.default_rng(0).integers(0, 9, (2, 5, 64)).astype(np.uint16)
    rows.keep(20, values)
    with rasterio.open(rows.path) as source:
        assert grid_of(source).matches(grid)
        assert (source.descriptions, source.scales) == (("a", "b"), (0.01, 0.01))
        assert source.tags()["KEY"] == "value"
        found = source.read()
    expected = np.full((2, 64, 64), 65535)
    expected[:, 20:25] = values
    assert np.array_equal(found, expected)


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
