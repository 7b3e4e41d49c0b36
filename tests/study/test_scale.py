"""The lines of the book's page on mapping a country, on two workers of which one dies."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from minseg.data.bands import parse_bands
from minseg.data.raster import write_geotiff
from minseg.data.writing import REFLECTANCE_SCALE
from minseg.maps.prediction import predict_raster
from minseg.study.execution import open_segmenter, run
from minseg.study.runs import RunStore
from tests.conftest import TINY, grid_at, names
from tests.study.cluster import wait_until

BANDS = parse_bands("RGB")
PAGE = Path(__file__).parents[2] / "book" / "scale.md"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        random = np.random.default_rng(seed)
        write_geotiff(
            folder / f"{seed}.tif",
            random.integers(200, 4000, (len(BANDS), 1536, 1536), np.uint16),
            grid_at(0, 1536),
            nodata=0,
            descriptions=BANDS,
            scale=REFLECTANCE_SCALE,
        )
    return folder


def mapping(pid, folder):
    """Whether a process is amid a tile: it holds the lock, and rows are noted as done."""
    try:
        opened = {Path(file.path) for file in psutil.Process(pid).open_files()}
    except psutil.Error:
        return False
    return any(note.with_name("lock") in opened for note in folder.glob(".*.partial/progress.json"))


@pytest.mark.clusters
def test_a_worker_that_dies_amid_a_tile_leaves_the_same_maps(
    cluster, worker_processes, dataset, images, tmp_path, capsys
):
    made = run(TINY.replace(bands="RGB"), dataset, RunStore(tmp_path / "runs"))
    (tmp_path / "alone").mkdir()
    for image in images.iterdir():
        predict_raster(open_segmenter(made), image, tmp_path / "alone" / image.name)
    folder = tmp_path / "maps"
    folder.mkdir()
    lines = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    mapped, waiting = lines.split("for done in")
    values = {"ADDRESS": cluster.address, "RUN": made.path, "IMAGES": images, "MAPS": folder}
    exec(mapped, values)
    victim = wait_until(lambda: next((p for p in worker_processes() if mapping(p, folder)), None))
    os.kill(victim, signal.SIGKILL)
    exec(f"for done in{waiting}", values)
    values["client"].close()
    assert sorted(capsys.readouterr().out.split()) == [str(folder / f"{n}.tif") for n in range(3)]
    assert names(folder) == names(tmp_path / "alone")
    for image in images.iterdir():
        one, other = ((tmp_path / where / image.name).read_bytes() for where in ("alone", "maps"))
        assert one == other
    wait_until(lambda: len(worker_processes()) == 2)
