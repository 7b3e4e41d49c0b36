"""How much of the bare forward pass's speed tiled prediction keeps, and how its memory grows.

The bare pass runs the network and nothing else over as many resident tiles of the same size. Tiled
prediction reads a GeoTIFF, standardises, blends, writes and compresses. Both run in this process,
in turn. Then rasters of growing size are predicted, each in a fresh process, and the peak of its
resident memory is noted.

Run: python benchmarks/prediction.py [--side 4096 --memory-sides 2048 4096 10980]
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from minseg.data.labels import parse_task
from minseg.data.radiometry import ChannelStatistics
from minseg.data.raster import Grid, raster_profile
from minseg.learning.inference import Segmenter
from minseg.learning.mapping import predict_raster
from minseg.learning.models import build_model
from minseg.learning.tiling import Tiling, tile_starts

BANDS = ("B04", "B03", "B02")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--side", type=int, default=4096, help="of the raster, pixels")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-sides", type=int, nargs="*", default=[2048, 4096, 10980])
    parser.add_argument("--only", type=Path, help="predict this raster once (used for memory)")
    return parser.parse_args()


def segmenter(given: argparse.Namespace) -> Segmenter:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = parse_task("model4")
    network = build_model(given.architecture, given.encoder, BANDS, task.num_classes, None)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    return Segmenter(network, task, ChannelStatistics(BANDS, (0.1,) * 3, (0.05,) * 3), device)


def write_image(path: Path, side: int) -> None:
    """Write noise with some structure, strip by strip."""
    grid = Grid(side, side, Affine(10, 0, 300_000, 0, -10, 5_000_000), CRS.from_epsg(32633))
    random = np.random.default_rng(0)
    with rasterio.open(path, "w", **raster_profile(grid, 3, np.dtype(np.uint16), 0)) as target:
        target.descriptions = BANDS
        target.scales = (1e-4,) * 3
        for row in range(0, side, 256):
            rows = min(256, side - row)
            coarse = random.integers(500, 3000, (3, -(-rows // 32), -(-side // 32)))
            values = np.kron(coarse, np.ones((1, 32, 32), int))[:, :rows, :side]
            noise = random.integers(0, 200, values.shape)
            target.write((values + noise).astype(np.uint16), window=Window(0, row, side, rows))


def bare_seconds(model: Segmenter, tiles: int, given: argparse.Namespace) -> float:
    """Time the network alone on as many tiles."""
    batch = torch.randn(given.batch_size, 3, given.tile, given.tile, device=model.device)
    batch = batch.to(memory_format=torch.channels_last)
    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast(model.device.type, dtype=torch.bfloat16):
        for _ in range(-(-tiles // given.batch_size)):
            model.network(batch)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_memory_mib(path: Path, given: argparse.Namespace) -> int:
    """Predict a raster in a fresh process and return the peak of its resident memory."""
    command = [sys.executable, __file__, "--only", str(path), "--tile", str(given.tile)]
    command += ["--architecture", given.architecture, "--encoder", given.encoder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["peak_memory_mib"]


def main() -> None:
    given = arguments()
    model, tiling = segmenter(given), Tiling(tile=given.tile, batch_size=given.batch_size)
    if given.only:
        predict_raster(model, given.only, given.only.with_suffix(".map.tif"), tiling=tiling)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"peak_memory_mib": peak}))
        return
    with tempfile.TemporaryDirectory() as folder:
        image, output = Path(folder) / "image.tif", Path(folder) / "map.tif"
        write_image(image, given.side)
        tiles = len(tile_starts(given.side, tiling.tile, tiling.overlap)) ** 2
        bare_seconds(model, 4, given)  # warm up
        rounds = []
        for _ in range(given.rounds):
            bare = bare_seconds(model, tiles, given)
            started = time.perf_counter()
            predict_raster(model, image, output, tiling=tiling)
            rounds.append((bare, time.perf_counter() - started))
        memory = {}
        for side in given.memory_sides:
            raster = Path(folder) / f"{side}.tif"
            write_image(raster, side)
            memory[side] = peak_memory_mib(raster, given)
            raster.unlink()
    cuda = model.device.type == "cuda"
    report = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "network": f"{given.architecture}, {given.encoder}",
        "side": given.side,
        "tiles": tiles,
        "bare_s": round(statistics.median(bare for bare, _ in rounds), 2),
        "tiled_s": round(statistics.median(tiled for _, tiled in rounds), 2),
        "ratio": round(statistics.median(bare / tiled for bare, tiled in rounds), 3),
        "peak_memory_mib_by_side": memory,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
