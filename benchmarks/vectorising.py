"""How long it takes to turn a class map of a whole Sentinel-2 tile into polygons with areas.

The map is made up: smooth noise cut into objects of the seven classes of Model 3, as large as
mines have them, with single wrong pixels and small patches strewn over it, as predictions have
them; a block of it is repeated over the tile. Time goes from the map in memory to the frame of
polygons, without and with the mean probabilities read from a raster; writing is timed apart. The
peak of resident memory is that of the whole process.

Run: python benchmarks/vectorising.py [--side 10980]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from minseg.data.labels import IGNORE, parse_task
from minseg.data.raster import Grid, RowFile
from minseg.learning.device import peak_memory_mib
from minseg.maps.class_map import ClassMap
from minseg.maps.polygons import vectorise, write_polygons

BLOCK = 2196
"""Side of the block that is repeated, pixels; a tile holds 5 by 5."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_980)
    parser.add_argument("--speckle", type=float, default=0.0005, help="share of single pixels")
    return parser.parse_args()


def block(speckle: float) -> np.ndarray:
    """Make class numbers uint8 (BLOCK, BLOCK), 0 to 7."""
    random = np.random.default_rng(0)

    def noise(sigma: float) -> np.ndarray:
        field = gaussian_filter(random.normal(size=(BLOCK, BLOCK)).astype(np.float32), sigma)
        return field / field.std()

    kinds = np.digitize(noise(25), [-1.2, -0.6, -0.1, 0.4, 0.9, 1.4]) + 1
    large = noise(40) + 0.15 * noise(2) > 1.4  # ragged outlines
    small = noise(3) > 3.2
    dots = random.random((BLOCK, BLOCK)) < speckle
    return np.where(large | small | dots, kinds, 0).astype(np.uint8)


def timed(work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """Return what work gives, and the seconds and processor seconds it took."""
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds = time.perf_counter() - began, time.process_time() - began_cpu
    return result, [round(value, 1) for value in seconds]


def main() -> None:
    given = arguments()
    task = parse_task("model3")
    grid = Grid(
        given.side, given.side, Affine(10, 0, 499_980, 0, -10, 5_000_040), CRS.from_epsg(32633)
    )
    repeats = -(-given.side // BLOCK)
    classes = np.tile(block(given.speckle), (repeats, repeats))[: given.side, : given.side]
    classes[:200, :200] = IGNORE
    class_map = ClassMap(classes, grid, task)
    with tempfile.TemporaryDirectory() as folder:
        probabilities, output = Path(folder) / "probabilities.tif", Path(folder) / "polygons.gpkg"
        rows = RowFile(probabilities, probabilities)
        rows.begin(grid, np.uint16, 65535, task.target_names, scale=1e-4)
        numbers = np.full((task.num_classes, 180, given.side), 1250, np.uint16)
        for row in range(0, given.side, 180):
            rows.keep(row, numbers[:, : given.side - row])
        measured = {}
        _, measured["vectorising_with_areas"] = timed(lambda: vectorise(class_map))
        frame, measured["vectorising_with_areas_and_probabilities"] = timed(
            lambda: vectorise(class_map, probabilities)
        )
        _, measured["writing"] = timed(lambda: write_polygons(frame, output, task))
        written_mib = output.stat().st_size // 2**20
        peak_mib = peak_memory_mib()
    report = {
        "map": f"made up, {given.side}² px, {task.num_classes - 1} classes",
        "cores": os.cpu_count(),
        "polygons": len(frame),
        "mapped_ha": round(float(frame["area_ha"].sum())),
        "seconds_and_cpu_seconds": measured,
        "geopackage_mib": written_mib,
        "peak_memory_mib": peak_mib,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
