"""Fixtures with known truth, made on the spot."""

import resource
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.crs import CRS
from rasterio.rio.main import main_group

from minseg import MinsegError
from minseg.cli import main
from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE_BITS, encode_bits
from minseg.data.mines import MINE_TABLE
from minseg.data.radiometry import radar_channels
from minseg.data.raster import Grid
from minseg.data.writing import SceneRasters, write_dataset
from minseg.study.config import RunConfig
from minseg.synthetic.catalogue import write_demo_catalogue

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
OPTICAL = ("B02", "B03", "B04", "B08")
SIDE = 64

TINY = RunConfig(
    task="model1",
    bands="B02,B04,VV",
    architecture="linknet",
    encoder="tu-mobilenetv3_small_050",
    weights=None,
    crop=32,
    test_crop=0,
    batch_size=4,
    epochs=2,
    learning_rate=1e-3,
    schedule="cosine",
    precision="32-true",
)
"""The cheapest training that goes the whole way."""

SMALL = {
    "encoder": "tu-mobilenetv3_small_100",
    "crop": 64,
    "test_crop": 64,
    "epochs": 2,
    "batch_size": 4,
}
"""Of a profile's settings those that make it as cheap, and all its own loss and schedule."""


NASTY = (
    *("{{7*7}}", "{#3", "{% raw %}", "{{ [].append.__self__ }}", "${7*7}`x`", "<b>&lt;</script>"),
    *("<script>alert('1')</script>", "$A^^", "$3M north, $4M south", "=1+1", "a_b*c*", "| `q` |"),
    *('1. "quoted"', "[x](http://x)", "_hidden_"),
)
"""Names that are code, markup or mathematics to one program or another."""


def in_one_line(error: MinsegError, message: str) -> None:
    """Begin a refusal, as every test wants it."""
    assert "\n" not in message, message
    Exception.__init__(error, message)


MinsegError.__init__ = in_one_line


def run(*arguments: object) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["minseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
    return stop.value.code or 0


@pytest.fixture
def minseg(capsys):
    """Run the command line in this process; return exit status, output and errors."""
    return lambda *arguments: (run(*arguments), *capsys.readouterr())


@pytest.fixture
def refused(minseg):
    """Run a command that is refused in one line, and return it."""

    def call(*arguments):
        status, out, err = minseg(*arguments)
        assert (status, out, len(err.splitlines())) == (1, "", 1)
        assert err.startswith("minseg: ")
        return err

    return call


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED_DATA.is_dir():
        pytest.skip("real imagery for checks is not here (../shared/data)")
    return SHARED_DATA


def grid_at(k: int, side: int = SIDE) -> Grid:
    """Grids of different k lie far apart."""
    return Grid(
        side, side, Affine(10, 0, 400_000 + 20_000 * k, 0, -10, 5_000_000), CRS.from_epsg(32633)
    )


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden things too."""
    return sorted(path.name for path in folder.iterdir())


def follow_advice(said: str, **stand_ins: object) -> None:
    """Run the command of rasterio in a message."""
    program, *words = shlex.split(said.partition("`")[2].partition("`")[0])
    assert program == "rio"
    done = CliRunner().invoke(main_group, [str(stand_ins.get(word, word)) for word in words])
    assert done.exit_code == 0, done.output


def mine_rows(count: int, **columns: object) -> pd.DataFrame:
    rows = pd.DataFrame({"mine": [f"mine-{k}" for k in range(count)]})
    defaults = dict.fromkeys(MINE_TABLE.columns, "") | {"longitude": np.nan, "latitude": np.nan}
    for column in list(MINE_TABLE.columns)[1:]:
        rows[column] = columns.get(column, defaults[column])
    return rows


def scene_of(k: int, year: int = 2020, side: int = SIDE, radar: bool = True) -> SceneRasters:
    """A bright square pit with a strip beside it, on dark ground; the last column is unlabelled."""
    random = np.random.default_rng((k, year))
    top, left = random.integers(4, side // 2 - 4, 2)
    pit = np.zeros((side, side), bool)
    pit[top : top + side // 2, left : left + side // 3] = True
    strip = np.zeros((side, side), bool)
    strip[top : top + side // 2, left + side // 3 : left + side // 3 + 4] = True
    optical = random.normal(900, 60, (len(OPTICAL), side, side))
    optical[:, pit] += 1500
    optical[:, strip] += 700
    labels = encode_bits({"excavation": pit, "preparatory work area": strip})
    labels[:, -1] = IGNORE_BITS
    vv = random.normal(-12, 1, (side, side))
    return SceneRasters(
        scene=f"mine-{k}-{year}",
        mine=f"mine-{k}",
        year=year,
        date=f"{year}-06-01",
        grid=grid_at(k, side),
        optical=optical.clip(1, 65535).astype(np.uint16),
        optical_bands=OPTICAL,
        radar=radar_channels(vv, vv - 6) if radar else None,
        labels=labels,
    )


def write_scenes(path: Path, mines: pd.DataFrame, scenes, **about: object) -> Dataset:
    made = {"provenance": "made by a test", "licence": "none needed", "synthetic": True}
    made |= {"name": path.name, "class_names": ("excavation", "preparatory work area")}
    return write_dataset(path, mines=mines, scenes=iter(scenes), **made | about)


def write_small_dataset(
    path: Path, count: int = 8, years=(2019, 2020), side: int = SIDE, **columns: object
) -> Dataset:
    """Squares of one raw material and mine type, unless `columns` of the mine table say more."""
    mines = mine_rows(count, **{"raw_material": "RR", "mine_type": "OP"} | columns)
    scenes = (scene_of(k, year, side) for k in range(count) for year in years)
    return write_scenes(path, mines, scenes, name="squares")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    """Eight mines with two years each; tests do not change it."""
    return write_small_dataset(tmp_path_factory.mktemp("small") / "squares")


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Dataset:
    """Fourteen, two of them in the test part; tests do not change it."""
    return write_small_dataset(tmp_path_factory.mktemp("many") / "squares", 14)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A catalogue of three mines; `write_demo_catalogue` tells of what."""
    folder = tmp_path_factory.mktemp("catalogue") / "made"
    return write_demo_catalogue(folder, num_mines=3, years=(2019, 2022), size=96)


@pytest.fixture
def own_dataset(tmp_path) -> Dataset:
    """A small dataset that a test may break."""
    return write_small_dataset(tmp_path / "own", count=4, years=(2020,))


@pytest.fixture
def write_tif(tmp_path):
    """Write a plain GeoTIFF as other people do, without our own writer."""

    def write(name, array, grid=None, nodata=None, descriptions=None, scales=None):
        grid = grid or grid_at(0, array.shape[1])
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "dtype": array.dtype, "nodata": nodata}
        profile |= zip(("count", "height", "width"), array.shape, strict=True)
        with rasterio.open(path, "w", crs=grid.crs, transform=grid.transform, **profile) as target:
            target.write(array)
            if descriptions:
                target.descriptions = descriptions
            if scales:
                target.scales = scales
        return path

    return write


@pytest.fixture
def file_limit():
    """Let no file grow beyond a size, bytes: as if the disk were full."""

    @contextmanager
    def limited(size):
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    return limited
