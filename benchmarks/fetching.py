"""How fast a dataset is fetched, beside reading the same windows with bare rasterio.

A catalogue of made-up scenes is served on the loopback interface by another process, which can wait
before each answer as servers far away do. `minseg dataset fetch` then makes a dataset of it: it
searches, reads cloud masks, chooses, reads twelve bands and two radar channels a scene, and writes
the rasters. The comparison opens the same files in as many threads and reads the same windows, and
nothing else. Both go in processes of their own, one after the other, several times; a pass first
warms the disk cache. Peak memory is resident memory of that process; that of the imports alone
stands beside it. With --kills N a fetch is killed at each of N random moments (SIGKILL) and started
again; each time its files must come out the same as those of one that was left alone.

Run: python benchmarks/fetching.py [--mines 3] [--latency-ms 0 50] [--kills 10]
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import rasterio
from rasterio.windows import from_bounds

from minseg.data.dataset import Dataset, open_dataset
from minseg.fetching.annotations import read_annotations
from minseg.fetching.catalogue import require_stac
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import FetchRequest, read_mines
from minseg.fetching.providers import GDAL_OPTIONS, provider_for
from minseg.learning.device import peak_memory_mib
from minseg.synthetic.catalogue import BOX, FIELDS, DemoCatalogue, write_demo_catalogue
from minseg.synthetic.server import CatalogueHandler, serve

YEARS = (2019, 2022)
SIDE = 516
"""Side of a scene, pixels: what the smallest box of `minseg dataset fetch` shows. The boxes here
are laid round the mines, so that windows start anywhere in a file's blocks."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mines", type=int, default=3, help="a second fetch takes four times more")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.0, 50.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the made scenes for the next time")
    parser.add_argument("--kills", type=int, default=0, help="only kill and resume, so many times")
    parser.add_argument("--part", nargs="*", default=[], help=argparse.SUPPRESS)
    return parser.parse_args()


def catalogue_in(folder: Path, num_mines: int) -> DemoCatalogue:
    return write_demo_catalogue(folder / f"catalogue-{num_mines}", num_mines, YEARS, SIDE)


def request_of(catalogue: DemoCatalogue, api: str) -> FetchRequest:
    mines = read_mines(catalogue.mines)
    polygons = read_annotations(catalogue.polygons, mines, FIELDS)
    return FetchRequest(mines, polygons, YEARS, provider_for(api), BOX)


def late(latency_s: float) -> type[CatalogueHandler]:
    """Make a handler of requests that waits before each answer."""

    class Handler(CatalogueHandler):
        def parse_request(self) -> bool:
            time.sleep(latency_s)
            return super().parse_request()

    return Handler


def part_serve(folder: str, latency_ms: str) -> None:
    """Serve until the other end of standard input is closed."""
    with serve(Path(folder), late(float(latency_ms) / 1000)) as api:
        print(api, flush=True)
        sys.stdin.read()


def part_fetch(folder: str, api: str, output: str, workers: str) -> None:
    """Fetch a dataset and print how long it took, imports and the reading of polygons apart."""
    require_stac()
    before_mib = peak_memory_mib()
    catalogue = DemoCatalogue(
        Path(folder), Path(folder) / "mines.csv", Path(folder) / "polygons.gpkg", YEARS
    )
    request = request_of(catalogue, api)
    print("begun", flush=True)
    began, began_cpu = time.perf_counter(), time.process_time()
    fetched = fetch_dataset(Path(output), request, workers=int(workers))
    assert not fetched.failures, fetched.failures
    seconds = time.perf_counter() - began, time.process_time() - began_cpu
    print(json.dumps([*seconds, before_mib, peak_memory_mib()]))


def windows_read(dataset: Dataset, api: str) -> list[list[tuple[str, tuple]]]:
    """List, job by job, the addresses and bounds that a fetch has read: masks, bands, channels."""
    provider, url = provider_for(api), provider_for(api).url
    assert provider.radar is not None
    candidates = pd.read_csv(dataset.path / "candidates.csv")
    records = json.loads((dataset.path / "fetch.json").read_text())["scenes"]
    jobs = []
    for record in records:
        row = record["row"]
        bounds = dataset.grid(dataset.scenes.set_index("scene").loc[row["scene"]]).bounds
        here = (candidates["mine"] == row["mine"]) & (candidates["year"] == row["year"])
        looked_at = candidates.loc[here & candidates["bad_share"].notna(), "item"]
        files = [f"{item}_SCL" for item in looked_at]
        files += [f"{record['optical']['item']}_{band}" for band in provider.optical.bands]
        files += [f"{record['radar']['item']}_{channel}" for channel in ("VV", "VH")]
        jobs.append([(f"{url}/files/{file}.tif", bounds) for file in files])
    return jobs


def part_bare(dataset: str, api: str, workers: str) -> None:
    """Read the same windows with rasterio alone and print how long it took."""
    jobs = windows_read(open_dataset(dataset), api)

    def read(job: list[tuple[str, tuple]]) -> int:
        size = 0
        for address, bounds in job:
            with rasterio.Env(**GDAL_OPTIONS), rasterio.open(f"/vsicurl/{address}") as source:
                window = from_bounds(*bounds, source.transform).round_offsets().round_lengths()
                size += source.read(1, window=window).nbytes
        return size

    began, began_cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(int(workers)) as pool:
        size = sum(pool.map(read, jobs))
    print(json.dumps([time.perf_counter() - began, time.process_time() - began_cpu, size]))


def itself(*part: object) -> list[str]:
    return [sys.executable, __file__, "--part", *map(str, part)]


def measured(*part: object) -> list[float]:
    done = subprocess.run(itself(*part), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def served(catalogue: DemoCatalogue, latency_ms: float) -> Iterator[str]:
    """Serve a catalogue in another process."""
    with subprocess.Popen(
        itself("serve", catalogue.folder, latency_ms),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def compare(folder: Path, num_mines: int, latency_ms: float, given: argparse.Namespace) -> dict:
    """Fetch and read bare, in turn; give the medians and their ratio."""
    catalogue, output = catalogue_in(folder, num_mines), folder / "dataset"
    fetches, bares = [], []
    with served(catalogue, latency_ms) as api:
        for _ in range(given.repeats + 1):
            shutil.rmtree(output, ignore_errors=True)
            fetches.append(measured("fetch", catalogue.folder, api, output, given.workers))
            bares.append(measured("bare", output, api, given.workers))
    fetch, bare = (pd.DataFrame(rows[1:]).median() for rows in (fetches, bares))
    return {
        "mines": num_mines,
        "scenes": num_mines * len(YEARS),
        "latency_ms": latency_ms,
        "megabytes_of_pixels_read": round(bare[2] / 1e6),
        "fetch_seconds_and_cpu_seconds": fetch[[0, 1]].round(2).tolist(),
        "bare_seconds_and_cpu_seconds": bare[[0, 1]].round(2).tolist(),
        "throughput_fetch_to_bare": round(bare[0] / fetch[0], 2),
        "peak_memory_mib": int(fetch[3]),
        "of_which_imports_mib": int(fetch[2]),
    }


def checksums(path: Path) -> dict[str, str]:
    """Of all that a fetch leaves for a user."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def kill_and_resume(folder: Path, given: argparse.Namespace) -> dict:
    """Kill fetches at random moments, let each go on, and compare with one left alone."""
    catalogue, moments = catalogue_in(folder, given.mines), random.Random(0)
    whole, broken = folder / "whole" / "mines", folder / "broken" / "mines"
    kills: list[dict] = []
    with served(catalogue, given.latency_ms[0]) as api:
        shutil.rmtree(whole, ignore_errors=True)
        seconds = measured("fetch", catalogue.folder, api, whole, given.workers)[0]
        while len(kills) < given.kills:
            shutil.rmtree(broken, ignore_errors=True)
            command = itself("fetch", catalogue.folder, api, broken, given.workers)
            after = moments.uniform(0, seconds)
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()  # importing takes longer than what is to be disturbed
                time.sleep(after)
                process.kill()
            if process.returncode == -9:  # else it was faster than the one left alone
                there = len(list(broken.glob("scenes/*/[0-9]*")))
                measured("fetch", catalogue.folder, api, broken, given.workers)
                same = checksums(whole) == checksums(broken) and not list(
                    broken.rglob("*.partial*")
                )
                kills.append({"after_s": round(after, 1), "scenes": there, "same": same})
    return {"undisturbed_seconds": round(seconds, 1), "kills": kills}


def main() -> None:
    given = arguments()
    if given.part:
        name, *rest = given.part
        {"serve": part_serve, "fetch": part_fetch, "bare": part_bare}[name](*rest)
        return
    report: dict[str, object] = {
        "cores": os.cpu_count(),
        "workers": given.workers,
        "load_before": [round(value, 1) for value in os.getloadavg()],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if given.kills:
            report["killed"] = kill_and_resume(folder, given)
        else:
            report["compared"] = [
                compare(folder, num_mines, latency_ms, given)
                for num_mines in (given.mines, 4 * given.mines)
                for latency_ms in given.latency_ms
            ]
    report["load_after"] = [round(value, 1) for value in os.getloadavg()]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
