"""How fast tiled prediction is, beside the bare network and a peer, and how its memory grows.

The bare pass runs the network and nothing else over as many resident tiles, all of full size. Tiled
prediction reads a GeoTIFF, standardises, blends, writes and compresses; its last tiles are narrower
where they can be (`tiled_pixels_of_bare` is the share that goes through its network). Both keep
freed memory (`minseg.learning.device.keep_freed_memory`), which makes the bare pass faster, too.
The peer is `geoai-py` (`geoai.inference.predict_geotiff`) with the same network, weights,
precision, raster, tile size, overlap and linear blending; it runs if it is installed. All run in
this process, in turn. Then rasters of growing size are predicted, each in a fresh process, and the
peak of its resident memory is noted. At last rows of a Sentinel-2 tile are predicted from files on
10, 20 and 60 m grids.

Run: python benchmarks/prediction.py [--side 4096 --memory-sides 2048 4096 10980 --rows 10980]
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from torch import Tensor, nn

from minseg.data.bands import BAND_CONFIGURATIONS, BANDS
from minseg.data.labels import parse_task
from minseg.data.radiometry import ChannelStatistics
from minseg.data.raster import Grid, raster_profile
from minseg.learning.device import keep_freed_memory, peak_memory_mib, resolve_precision
from minseg.learning.inference import Segmenter
from minseg.learning.models import build_model
from minseg.learning.tiling import Tiling, tile_starts
from minseg.maps.prediction import predict_raster

RGB = BAND_CONFIGURATIONS["RGB"]
SENTINEL = BAND_CONFIGURATIONS["M"]
SENTINEL_SIDE = 10_980


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--side", type=int, default=4096, help="of the raster, pixels")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-sides", type=int, nargs="*", default=[2048, 4096, 10980])
    parser.add_argument("--rows", type=int, default=2048, help="of a Sentinel-2 tile; 0 for none")
    parser.add_argument("--only", type=Path, nargs="+", help="predict these files as one, once")
    return parser.parse_args()


def segmenter(given: argparse.Namespace, bands: tuple[str, ...]) -> Segmenter:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task, many = parse_task("model4"), len(bands)
    torch.manual_seed(0)
    network = build_model(given.architecture, given.encoder, bands, task.num_classes, None)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    statistics = ChannelStatistics(bands, (0.1,) * many, (0.05,) * many)
    return Segmenter(network, task, statistics, device, resolve_precision("auto", device.type))


def write_image(path: Path, bands: tuple[str, ...], height: int, width: int, gsd_m: int) -> Path:
    """Write noise with some structure, strip by strip."""
    grid = Grid(height, width, Affine(gsd_m, 0, 300_000, 0, -gsd_m, 5e6), CRS.from_epsg(32633))
    random, many = np.random.default_rng(0), len(bands)
    profile = raster_profile(grid, many, np.dtype(np.uint16), 0) | {"zlevel": 1}
    with rasterio.open(path, "w", num_threads="all_cpus", **profile) as target:
        target.descriptions = bands
        target.scales = (1e-4,) * many
        for row in range(0, height, 256):
            rows = min(256, height - row)
            coarse = random.integers(500, 3000, (many, -(-rows // 32), -(-width // 32)), np.uint16)
            values = coarse.repeat(32, 1).repeat(32, 2)[:, :rows, :width]
            noise = random.integers(0, 200, values.shape, np.uint16)
            target.write(values + noise, window=Window(0, row, width, rows))
    return path


def write_sentinel(folder: Path, rows: int) -> list[Path]:
    """Write the upper rows of a Sentinel-2 tile, one file for each ground sample distance."""
    return [
        write_image(
            folder / f"{gsd_m}m.tif",
            tuple(band for band in SENTINEL if BANDS[band].native_gsd_m == gsd_m),
            -(-rows * 10 // gsd_m),
            SENTINEL_SIDE * 10 // gsd_m,
            gsd_m,
        )
        for gsd_m in (10, 20, 60)
    ]


@dataclass(frozen=True)
class Took:
    """What some work took."""

    wall_s: float
    cpu_s: float
    """Seconds of all processor cores together: what other programs do changes it less."""


def timed(work: Callable[[], object]) -> Took:
    """Do some work and note what it takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def bare_network(model: Segmenter, tiles: int, given: argparse.Namespace) -> None:
    """Run the network alone on as many tiles."""
    batch = torch.randn(given.batch_size, len(RGB), given.tile, given.tile, device=model.device)
    batch = batch.to(memory_format=torch.channels_last)
    reduced = model.precision == "bf16-mixed"
    autocast = torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=reduced)
    with torch.inference_mode(), autocast:
        for _ in range(-(-tiles // given.batch_size)):
            model.network(batch)


class Probabilities(nn.Module):
    """The network with what our side does around it, so that the peer runs it just as fast."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return class probabilities."""
        return self.model.probabilities(inputs)


def predict_by_peer(model: Segmenter, image: Path, output: Path, tiling: Tiling) -> None:
    """Predict the same raster by the peer."""
    from geoai.inference import predict_geotiff

    def standardise(numbers: np.ndarray) -> np.ndarray:
        return model.statistics.standardise(numbers * np.float32(1e-4), (numbers > 0).all(axis=0))

    predict_geotiff(
        Probabilities(model),
        str(image),
        str(output),
        tile_size=tiling.tile,
        overlap=tiling.overlap,
        batch_size=tiling.batch_size,
        num_classes=model.task.num_classes,
        output_dtype="uint8",
        output_nodata=255,
        blend_mode="linear",
        preprocess_fn=standardise,
        postprocess_fn=lambda values: values.argmax(axis=0)[np.newaxis],
        device=model.device.type,
        compress="deflate",
        verbose=False,
    )


def agreement(one: Path, other: Path) -> float:
    """Return the share of pixels with the same class in two maps."""
    with rasterio.open(one) as first, rasterio.open(other) as second:
        return round(float((first.read(1) == second.read(1)).mean()), 5)


def in_fresh_process(paths: list[Path], given: argparse.Namespace) -> dict[str, float]:
    """Predict files as one image in a fresh process; return its seconds and peak of memory."""
    command = [sys.executable, __file__, "--only", *map(str, paths), "--tile", str(given.tile)]
    command += ["--architecture", given.architecture, "--encoder", given.encoder]
    command += ["--batch-size", str(given.batch_size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def predict_only(given: argparse.Namespace) -> None:
    """Predict the files given and print what it took."""
    model = segmenter(given, SENTINEL if len(given.only) > 1 else RGB)
    tiling = Tiling(tile=given.tile, batch_size=given.batch_size)
    started = time.perf_counter()
    predict_raster(model, given.only, given.only[0].with_suffix(".map.tif"), tiling=tiling)
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({"seconds": seconds, "peak_memory_mib": peak_memory_mib()}))


def summary(took: dict[str, list[Took]]) -> dict[str, float]:
    """Return the seconds of each kind of work, and the bare network's share of ours in a round.

    Both of the median and of the fastest rounds: what others do on the machine can only add.
    """
    found: dict[str, float] = {}
    for clock in ("wall_s", "cpu_s"):
        seconds = {
            name: np.array([getattr(each, clock) for each in rounds])
            for name, rounds in took.items()
            if rounds
        }
        for name, each in seconds.items():
            found[f"{name}_{clock}"] = round(float(np.median(each)), 2)
            found[f"fastest_{name}_{clock}"] = round(float(each.min()), 2)
        bare, tiled = seconds["bare"], seconds["tiled"]
        found[f"bare_share_of_tiled_{clock}"] = round(float(np.median(bare / tiled)), 3)
        share = float(bare.min() / tiled.min())
        found[f"fastest_bare_share_of_tiled_{clock}"] = round(share, 3)
    return found


def main() -> None:
    given = arguments()
    if given.only:
        predict_only(given)
        return
    keep_freed_memory()
    model = segmenter(given, RGB)
    tiling = Tiling(tile=given.tile, batch_size=given.batch_size)
    has_peer = importlib.util.find_spec("geoai") is not None
    if not has_peer:
        print("the peer is not installed: pip install geoai-py", file=sys.stderr)
    took: dict[str, list[Took]] = {"bare": [], "tiled": [], "peer": []}
    memory, sentinel, same = {}, {}, None
    with tempfile.TemporaryDirectory() as folder:
        output, peer_output = Path(folder) / "map.tif", Path(folder) / "peer.tif"
        image = write_image(Path(folder) / "image.tif", RGB, given.side, given.side, 10)
        starts = tile_starts(given.side, tiling.tile, tiling.overlap)
        tiles = len(starts) ** 2
        seen = sum(min(tiling.tile, given.side - start) for start in starts)
        works: dict[str, Callable[[], None]] = {
            "bare": lambda: bare_network(model, tiles, given),
            "tiled": lambda: predict_raster(model, image, output, tiling=tiling),
            "peer": lambda: predict_by_peer(model, image, peer_output, tiling),
        }
        if not has_peer:
            del works["peer"]
        bare_network(model, 4, given)  # warm up
        for _ in range(given.rounds):
            for name, work in works.items():
                took[name].append(timed(work))
        if has_peer:
            same = agreement(output, peer_output)
        for side in given.memory_sides:
            raster = write_image(Path(folder) / f"{side}.tif", RGB, side, side, 10)
            memory[side] = in_fresh_process([raster], given)["peak_memory_mib"]
            raster.unlink()
        if given.rows:
            sentinel = in_fresh_process(write_sentinel(Path(folder), given.rows), given)
    cuda = model.device.type == "cuda"
    report = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "precision": model.precision,
        "network": f"{given.architecture}, {given.encoder}",
        "side": given.side,
        "tiles": tiles,
        "tiled_pixels_of_bare": round((seen / len(starts) / given.tile) ** 2, 3),
        **summary(took),
        "same_class_as_peer": same,
        "peak_memory_mib_by_side": memory,
        "sentinel_tile": {"rows": given.rows, "bands": len(SENTINEL), **sentinel},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
