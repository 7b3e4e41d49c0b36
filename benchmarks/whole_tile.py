"""What a whole Sentinel-2 tile takes, by the commands a user types, killed in between and resumed.

The tile is a patchwork of the synthetic dataset's scenes in two years: 10,980² pixels and 15
channels in four files, Sentinel-2 on 10, 20 and 60 m and Sentinel-1 on 10 m. A small network for
all channels is trained for one epoch, unless --run names a run with bands M+S. Then, each in a
process of its own: `minseg predict` on the first year; the same killed (SIGKILL) half-way and
started again, which must end in the same bytes; `minseg predict --polygons` on the second year; and
`minseg change` between them. Of each the seconds and the peak of resident memory are noted.

Run: python benchmarks/whole_tile.py [--rows 10980] [--run RUN] [--folder FOLDER]
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from minseg import open_dataset
from minseg.data.bands import BAND_CONFIGURATIONS, BANDS, RADAR_BANDS
from minseg.data.dataset import Dataset
from minseg.data.raster import Grid, raster_profile

SIDE = 10_980
PATCH = 120
"""Side of the part of a scene that is used, pixels: whole pixels of 60 m, and 20 whole rows."""

YEARS = (2019, 2021)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=SIDE, help="fewer for a try")
    parser.add_argument("--run", type=Path, help="of bands M+S; else one is trained")
    parser.add_argument("--folder", type=Path, help="keeps what is made")
    return parser.parse_args()


def minseg(*words: object) -> list[str]:
    program = (
        "import atexit; from minseg.cli import main;"
        "from minseg.learning.device import peak_memory_mib;"
        "atexit.register(lambda: print('peak', peak_memory_mib())); main()"
    )
    return [sys.executable, "-c", program, *map(str, words)]


def measured(command: list[str]) -> dict[str, float]:
    """Run a command to its end; return its seconds and the peak of its resident memory."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_memory_mib": int(done.stdout.split()[-1]),
    }


def scenes_of(dataset: Dataset, year: int) -> dict[str, np.ndarray]:
    """Read all scenes of a year: channel to numbers (scenes, PATCH, PATCH)."""
    layers: dict[str, list[np.ndarray]] = {}
    for _, scene in dataset.scenes[dataset.scenes["year"] == year].iterrows():
        for kind in ("optical", "radar"):
            with rasterio.open(dataset.path / scene[kind]) as source:
                window = Window(0, 0, PATCH, PATCH)
                values = source.read(window=window)
                for name, layer in zip(source.descriptions, values, strict=True):
                    layers.setdefault(name, []).append(layer)
    return {name: np.stack(several) for name, several in layers.items()}


def write_tile(folder: Path, dataset: Dataset, year: int, rows: int) -> list[Path]:
    """Write a tile of one year, a file for each ground sample distance and one for the radar."""
    scenes = scenes_of(dataset, year)
    groups = {f"{gsd_m}m": gsd_m for gsd_m in (10, 20, 60)} | {"radar": 10}
    paths = []
    for name, gsd_m in groups.items():
        paths.append(folder / f"{year}_{name}.tif")
        is_radar = name == "radar"
        bands = [
            band
            for band in BAND_CONFIGURATIONS["M+S"]
            if (BANDS[band] in RADAR_BANDS) == is_radar
            and (is_radar or BANDS[band].native_gsd_m == gsd_m)
        ]
        if not paths[-1].exists():
            write_patchwork(paths[-1], {band: scenes[band] for band in bands}, gsd_m, rows)
    return paths


def write_patchwork(path: Path, scenes: dict[str, np.ndarray], gsd_m: int, rows: int) -> None:
    """Lay scenes side by side, always in the same order, and write them strip by strip."""
    step, many = gsd_m // 10, len(next(iter(scenes.values())))
    side, height, width = PATCH // step, -(-rows // step), SIDE // step
    kind = next(iter(scenes.values())).dtype
    grid = Grid(
        height, width, Affine(gsd_m, 0, 300_000, 0, -gsd_m, 5_000_040), CRS.from_epsg(32633)
    )
    nodata = np.nan if kind.kind == "f" else 0
    profile = raster_profile(grid, len(scenes), kind, nodata) | {"zlevel": 1}
    order = np.random.default_rng(0)
    with rasterio.open(path, "w", num_threads="all_cpus", **profile) as target:
        target.descriptions = tuple(scenes)
        target.scales = (1.0 if kind.kind == "f" else 1e-4,) * len(scenes)
        for row in range(0, height, side):
            chosen = order.integers(0, many, -(-width // side))
            strip = np.stack(
                [np.hstack(layer[chosen, ::step, ::step]) for layer in scenes.values()]
            )
            used = min(side, height - row)
            target.write(strip[:, :used, :width], window=Window(0, row, width, used))


def killed_half_way(command: list[str], seconds: float) -> bool:
    """Start a command and kill it after half its time; tell whether it was still at work."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds / 2)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trained(folder: Path, dataset: Path) -> Path:
    """Train one epoch and return the run's folder."""
    command = minseg("train", dataset, "--task", "model1", "--bands", "M+S", "--runs", folder)
    done = subprocess.run(
        [*command, "--set", "epochs=1"], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.splitlines()[0])


def measure(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    mines = folder / "mines"
    if not mines.exists():
        years = ",".join(map(str, YEARS))
        measured(minseg("dataset", "synth", mines, "--mines", 30, "--years", years))
    run = given.run or trained(folder / "runs", mines)
    before, after = (write_tile(folder, open_dataset(mines), year, given.rows) for year in YEARS)
    maps = [folder / f"{year}.tif" for year in YEARS]
    predict = minseg("predict", run, *before, "-o", maps[0])
    report: dict[str, object] = {"predict": (first := measured(predict))}
    alone = digest(maps[0])
    maps[0].unlink()
    assert killed_half_way(predict, first["seconds"])
    report["predict_resumed_after_a_kill"] = measured(predict)
    report["same_bytes_after_the_kill"] = digest(maps[0]) == alone
    polygons = folder / "polygons.gpkg"
    with_polygons = minseg("predict", run, *after, "-o", maps[1], "--polygons", polygons)
    report["predict_with_polygons"] = measured(with_polygons)
    report["polygons"] = pyogrio.read_info(polygons)["features"]
    change = folder / "change.gpkg"
    report["change"] = measured(minseg("change", *maps, "-o", change))
    report["polygons_of_change"] = pyogrio.read_info(change)["features"]
    return report


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "tile": f"{given.rows} × {SIDE} px, 15 channels in 4 files, made of synthetic scenes",
            "cores": os.cpu_count(),
            "load_before": [round(value, 1) for value in os.getloadavg()],
        }
        print(json.dumps(about | measure(folder, given), indent=2))


if __name__ == "__main__":
    main()
