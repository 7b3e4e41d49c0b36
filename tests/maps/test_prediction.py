import resource
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from scipy.special import expit
from torch import nn

from minseg import MinsegError
from minseg.data.labels import TASKS, parse_task
from minseg.data.radiometry import ChannelStatistics
from minseg.data.raster import Grid, grid_of, read_grid
from minseg.learning.inference import Segmenter, predict_scene
from minseg.learning.models import build_model
from minseg.learning.tiling import Tiling
from minseg.maps import prediction
from minseg.maps.cleaning import Cleaning, clean
from minseg.maps.prediction import ImageFile, ImageReading, predict_raster, work_folder
from tests.conftest import grid_at, names
from tests.fetching.loopback import serving
from tests.maps.conftest import speckled

MODEL1 = TASKS["model1"]
STATISTICS = ChannelStatistics(("B02", "B08"), (0.1, 0.1), (0.1, 0.1))
REFLECTANCE = np.array([[0.05, 0.05], [0.3, 0.05], [0.05, 0.3]])
"""Blue and near infrared of the three classes."""
SMALL_TILES = Tiling(64, 32, 2)


def exact_network():
    """A network that tells the classes by their bands: pit where blue, preparation where NIR."""
    network = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
        network.weight[1, 0] = network.weight[2, 1] = 2
    return network


def segmenter_of(network=None, statistics=STATISTICS):
    return Segmenter(network or exact_network(), MODEL1, statistics, torch.device("cpu"), "32-true")


def class_map(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 3, (height, width))


def numbers_of(classes):
    """Digital numbers uint16 (2, height, width) of B02 and B08, in ten-thousandths."""
    return np.moveaxis(REFLECTANCE[classes] * 1e4, -1, 0).round().astype(np.uint16)


@pytest.fixture
def write_image(write_tif):
    """Write an image of B02 and B08 as this program's users have it: named, scaled, 0 = nodata."""

    def write(numbers, name="image.tif", **tags):
        tags = {"nodata": 0, "descriptions": ["B02", "B08"], "scales": (1e-4,) * 2} | tags
        return write_tif(name, numbers, **tags)

    return write


def read(path):
    with rasterio.open(path) as source:
        return source.read()


OBLONG = Grid(0, 0, Affine(10, 0, 5e5, 0, -20, 4e6), CRS.from_epsg(32733))
GRIDS = {
    "metres": (grid_at(0), 130, 90, SMALL_TILES),
    "degrees": (Grid(0, 0, Affine(1e-4, 0, 15, 0, -1e-4, 50), CRS.from_epsg(4326)), 130, 90, None),
    "oblong pixels": (OBLONG, 130, 90, SMALL_TILES),
    "one pixel": (grid_at(0), 1, 1, SMALL_TILES),
    "a strip": (OBLONG, 3, 200, SMALL_TILES),
    "a tile and a bit": (grid_at(0), 65, 129, SMALL_TILES),
}


@pytest.mark.parametrize("case", GRIDS)
def test_map_has_the_classes_on_the_exact_grid_of_the_image(write_image, tmp_path, case):
    grid, height, width, tiling = GRIDS[case]
    classes = class_map(height, width)
    numbers = numbers_of(classes)
    numbers[:, 20:30, 5:70] = 0
    numbers[0, 33:34, 77:78] = 0  # one band alone is missing
    image, output = write_image(numbers, grid=grid), tmp_path / "new" / "map.tif"
    predict_raster(segmenter_of(), image, output, tiling=tiling)
    missing = (numbers == 0).any(axis=0)
    with rasterio.open(image) as source, rasterio.open(output) as found:
        assert grid_of(found).matches(grid_of(source))
        assert found.transform.almost_equals(source.transform, 1e-12)
        assert found.dtypes == ("uint8",)
        assert found.nodata == 255
        assert found.descriptions == ("class",)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert np.array_equal(found.read(1), np.where(missing, 255, classes))
        colours = found.colormap(1)
    shown = [(0xFF, 0xFF, 0xFF), (0xCC, 0x66, 0x77), (0x99, 0x99, 0x33)]
    assert [colours[k][:3] for k in range(3)] == shown
    assert names(output.parent) == ["map.qml", "map.tif", "map.tif.aux.xml"]
    sidecar = ElementTree.parse(f"{output}.aux.xml")
    assert tuple(one.text for one in sidecar.iter("Category")) == MODEL1.target_names


def test_probabilities_are_the_softmax_and_their_largest_is_the_class(write_image, tmp_path):
    classes = class_map(130, 90)
    numbers = numbers_of(classes)
    numbers[:, :7] = 0
    image, output = write_image(numbers), tmp_path / "map.tif"
    probabilities = tmp_path / "p" / "probabilities.tif"
    probabilities.parent.mkdir()
    Path(f"{probabilities}.aux.xml").touch()  # of an older file, with its statistics
    predict_raster(segmenter_of(), image, output, probabilities=probabilities, tiling=SMALL_TILES)
    assert names(probabilities.parent) == ["probabilities.tif"]
    with rasterio.open(probabilities) as source:
        assert source.dtypes == ("uint16",) * 3
        assert source.nodata == 65535
        assert source.scales == (1e-4,) * 3
        assert source.descriptions == MODEL1.target_names
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert grid_of(source).matches(read_grid(image))
        stored = source.read()
    assert (stored[:, :7] == 65535).all()
    stored = stored[:, 7:].astype(float) * 1e-4
    assert stored.sum(axis=0) == pytest.approx(1, abs=2e-4)
    assert np.array_equal(stored.argmax(axis=0), read(output)[0, 7:])
    standard = (REFLECTANCE - 0.1) / 0.1  # (class, band)
    logits = np.stack([np.zeros(3), 2 * standard[:, 0], 2 * standard[:, 1]], axis=1)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.moveaxis(softmax[classes[7:]], -1, 0)
    assert stored == pytest.approx(expected, abs=6e-5)


OVERLAPPING = parse_task("excavation+dam")


class Bright(nn.Module):
    """Sees excavation where blue is bright, a dam where infrared is; no number for what glares."""

    def forward(self, inputs):
        return 2 * inputs + torch.where(inputs[:, :1] > 30, torch.inf, 0)


def test_overlapping_classes_are_mapped_as_bits_with_polygons_of_each(write_image, tmp_path):
    masks = [speckled(130, 90, seed, 1) == 1 for seed in range(2)]
    numbers = np.where(masks, 3000, 500).astype(np.uint16)  # (band, height, width)
    numbers[:, :7], numbers[:, 8] = 0, 60_000
    image, output = write_image(numbers), tmp_path / "out" / "map.tif"
    segmenter = replace(segmenter_of(Bright()), task=OVERLAPPING)
    products = {"probabilities": tmp_path / "p.tif", "polygons": tmp_path / "out" / "map.gpkg"}
    output.parent.mkdir()
    Path(f"{output}.aux.xml").touch()  # of an older map, with names that bits have not
    made = predict_raster(segmenter, image, output, tiling=SMALL_TILES, **products)
    expected = masks[0] * 1 + masks[1] * 256
    expected[:7], expected[8] = 65535, 65535
    with rasterio.open(output) as found:
        assert (found.dtypes, found.nodata) == (("uint16",), 65535)
        assert found.tags()["BIT_0"] == "excavation"
        assert np.array_equal(found.read(1), expected)
    assert names(output.parent) == ["map.gpkg", "map.qml", "map.tif"]
    assert np.array_equal(made.class_map.classes, expected)
    for name, mask in zip(OVERLAPPING.class_names, masks, strict=True):
        own = made.polygons[made.polygons["class"] == name]
        burnt = rasterize(own.geometry, expected.shape, transform=made.class_map.grid.transform)
        assert np.array_equal(burnt == 1, mask & (expected != 65535))
        assert own["mean_probability"].to_numpy() == pytest.approx(expit(4), abs=1e-4)
    with rasterio.open(products["probabilities"]) as found:
        assert found.descriptions == OVERLAPPING.class_names
        assert np.array_equal((found.read() == 65535).all(axis=0), expected == 65535)
    style = ElementTree.parse(output.with_suffix(".qml"))
    labels = {one.get("value"): one.get("label") for one in style.iter("paletteEntry")}
    told = ("background", "excavation", "dam", "excavation + dam")
    assert labels == dict(zip(("0", "1", "256", "257"), told, strict=True))
    again = tmp_path / "again.tif"
    with pytest.raises(RuntimeError, match="out of memory"):
        segmenter_failing = replace(segmenter, network=Failing(4, network=Bright()))
        predict_raster(segmenter_failing, image, again, tiling=SMALL_TILES)
    predict_raster(segmenter, image, again, tiling=SMALL_TILES)
    assert np.array_equal(read(again)[0], expected)


def test_large_maps_are_tiled_and_have_overviews_of_whole_classes(write_image, tmp_path):
    classes = class_map(1100, 530)
    numbers = numbers_of(classes)
    numbers[:, :300] = 0
    predict_raster(segmenter_of(), write_image(numbers), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.profile["tiled"]
        assert source.overviews(1)
        assert (source.read(1)[300:] == classes[300:]).all()
        small = source.read(1, out_shape=(275, 132))
    assert set(np.unique(small)) == {0, 1, 2, 255}


def test_reading_says_what_the_file_does_not(write_tif, tmp_path):
    classes = class_map(64, 64)
    numbers = numbers_of(classes) + 1000  # as Sentinel-2 since 2022
    numbers[:, :5] = 9
    reading = ImageReading(bands=("B08", "B02"), scale=1e-4, offset=-0.1, nodata=9)
    image = write_tif("plain.tif", numbers[::-1])
    predict_raster(segmenter_of(), image, tmp_path / "map.tif", reading=reading)
    assert np.array_equal(read(tmp_path / "map.tif")[0], np.where(numbers[0] == 9, 255, classes))


def test_a_real_network_maps_as_it_is_evaluated(write_image, tmp_path):
    torch.manual_seed(0)
    segmenter = segmenter_of(build_model("unet", "resnet18", STATISTICS.bands, 3))
    numbers = np.random.default_rng(0).integers(300, 3000, (2, 100, 81)).astype(np.uint16)
    predict_raster(segmenter, write_image(numbers), tmp_path / "map.tif", tiling=SMALL_TILES)
    inputs = torch.from_numpy((numbers.astype(np.float32) * 1e-4 - 0.1) / 0.1)
    found, expected = read(tmp_path / "map.tif")[0], predict_scene(segmenter, inputs, SMALL_TILES)
    assert (found == expected).mean() > 0.999  # up to ties in the last digit
    assert len(np.unique(found)) > 1


def fill_memory():
    raise RuntimeError("out of memory")


def fill_disk(size):
    """Let no file grow beyond a size."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Failing(nn.Module):
    """Works for some tiles, and then something is full."""

    def __init__(self, tiles, fill=fill_memory, network=None):
        super().__init__()
        self.left, self.fill, self.network = tiles, fill, network or exact_network()

    def forward(self, inputs):
        self.left -= len(inputs)
        if self.left < 0:
            self.fill()
        return self.network(inputs)


NEVER = 999
"""More tiles than any image has."""

CHANGES = {
    "tiling": {"tiling": Tiling(64, 33, 2)},
    "reading": {"reading": ImageReading(offset=0.01)},
    "weights": {"network": nn.Sequential(exact_network())},
    "probabilities": {"probabilities": "p.tif"},
}


@pytest.mark.parametrize("change", [*CHANGES, "image"])
def test_unfinished_work_on_something_else_is_begun_anew(write_image, tmp_path, change):
    image = write_image(numbers_of(class_map(200, 200)), "in/image.tif")
    output, fresh, told = tmp_path / "out" / "map.tif", tmp_path / "fresh" / "map.tif", []
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_raster(segmenter_of(Failing(10)), image, output, tiling=SMALL_TILES)
    assert names(output.parent) == [".map.tif.partial"]
    changed = {"tiling": SMALL_TILES} | CHANGES.get(change, {})
    network = changed.pop("network", Failing(36))
    if change == "image":
        write_image(numbers_of(class_map(200, 200, seed=1)), "in/image.tif")
    for path, net in ((output, network), (fresh, None)):
        if "probabilities" in changed:
            changed["probabilities"] = path.with_name("p.tif")
        predict_raster(segmenter_of(net), image, path, tell=told.append, **changed)
    assert told == []
    assert output.read_bytes() == fresh.read_bytes()


def test_an_image_that_holds_nothing_is_refused_and_leaves_nothing(write_image, tmp_path):
    image = write_image(np.full((2, 64, 64), 7, np.uint16), "in/image.tif", nodata=None)
    with pytest.raises(MinsegError, match=f"{image}: no valid pixel"):
        reading = ImageReading(nodata=7)
        predict_raster(segmenter_of(), image, tmp_path / "out" / "map.tif", reading=reading)
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


@pytest.mark.parametrize("form", [Path, str, ImageFile, lambda path: ImageFile(str(path))])
def test_a_map_never_replaces_its_image(write_image, form):
    image = write_image(numbers_of(class_map(64, 64)))
    before = image.read_bytes()
    with pytest.raises(MinsegError, match="need a file each; name another output"):
        predict_raster(segmenter_of(), form(image), image)
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "others"),
    [
        ("image.tiff", {}),
        ("map.tif", {"polygons": "image.gpkg"}),
        ("map.tif", {"probabilities": "map.tiff"}),
        ("map.tif", {"probabilities": "p.tif", "polygons": "p.gpkg"}),
    ],
)
def test_no_style_of_a_map_is_that_of_another_raster(write_image, tmp_path, output, others):
    image, style = write_image(numbers_of(class_map(64, 64))), tmp_path / "image.qml"
    style.write_text("<qgis>what the user sees of the image</qgis>")
    others = {name: tmp_path / other for name, other in others.items()}
    with pytest.raises(MinsegError, match=r"its style \w+.qml would be that of \w+.tiff? too"):
        predict_raster(segmenter_of(), image, tmp_path / output, **others)
    assert names(tmp_path) == ["image.qml", "image.tif"]
    assert "what the user sees" in style.read_text()


def test_files_on_different_grids_are_mapped_as_one_image(write_tif, tmp_path):
    classes, place = class_map(40, 40), grid_at(0)
    fine = np.kron(classes, np.ones((2, 2), int))
    coarse = Grid(40, 40, place.transform @ Affine.scale(2), place.crs)
    infrared = write_tif("B08.tif", numbers_of(classes)[1:], coarse, nodata=0)
    blue = write_tif("B02.tif", numbers_of(fine)[:1], grid_at(0, 80), nodata=0)
    images = [ImageFile(infrared, ("B08",)), ImageFile(blue, ("B02",))]
    predict_raster(segmenter_of(), images, tmp_path / "map.tif", reading=ImageReading(scale=1e-4))
    assert read_grid(tmp_path / "map.tif").matches(grid_at(0, 80))
    assert np.array_equal(read(tmp_path / "map.tif")[0], fine)


ELSEWHERE = {
    "{url}/in/image.tif": "404",
    "B02,B08={url}/in/image.tif?signature=a=b": "403",
    "/vsicurl/{url}/in/image.tif": "404",
    "/vsizip/{folder}/image.zip/image.tif": "does not exist",
    "zip://{folder}/image.zip!/image.tif": "does not exist",
    "s3://in/image.tif": "Invalid AWS response",
}
"""Names of images, and what is said of others beside them."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of the folder, which is S3, too."""
    with serving(tmp_path) as state:
        s3 = {"AWS_S3_ENDPOINT": state.url.removeprefix("http://"), "AWS_HTTPS": "NO"}
        s3 |= {"AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES"}
        for name, value in (s3 | {"GDAL_HTTP_MAX_RETRY": "0"}).items():
            monkeypatch.setenv(name, value)
        yield state


@pytest.mark.parametrize("name", ELSEWHERE)
def test_images_elsewhere_are_read_where_they_are(write_image, tmp_path, server, name):
    classes = class_map(130, 90)
    image = write_image(numbers_of(classes), "in/image.tif")
    with ZipFile(tmp_path / "image.zip", "w") as archive:
        archive.write(image, "image.tif")
    place = name.format(url=server.url, folder=tmp_path)
    predict_raster(segmenter_of(), ImageFile.parse(place), tmp_path / "map.tif")
    assert np.array_equal(read(tmp_path / "map.tif")[0], classes)

    server.refuse = lambda address, headers: 403 if "signature" in address else 0
    lost, said = ImageFile.parse(place.replace("image.tif", "lost.tif")), ELSEWHERE[name]
    with pytest.raises(MinsegError, match=rf"lost.tif.*: .*\(.*{said}.*\); check the address"):
        predict_raster(segmenter_of(), lost, tmp_path / "lost.tif")


def test_work_goes_on_where_a_connection_failed(write_image, tmp_path, server):
    classes = class_map(1100, 700)
    write_image(numbers_of(classes), "in/image.tif")
    output, image, told = tmp_path / "out" / "map.tif", f"{server.url}/in/image.tif", []
    more = {"tiling": Tiling(128), "tell": told.append}
    cut = partial(setattr, server, "refuse", lambda address, headers: 403)
    with pytest.raises(MinsegError, match=f"{image}: cannot be read on .*; if the conn"):
        predict_raster(segmenter_of(Failing(20, cut)), image, output, **more)
    assert (names(output.parent), told) == ([".map.tif.partial"], [])
    server.refuse = lambda address, headers: 0
    predict_raster(segmenter_of(Failing(NEVER)), image, output, **more)
    assert len(told) == 1
    assert np.array_equal(read(output)[0], classes)


@pytest.mark.parametrize(
    ("tiles", "size", "with_probabilities"),
    [
        # Of 200 × 200 pixels, classes take 40 000 bytes and probabilities 240 000 as they are made.
        pytest.param(0, 20_000, False, id="before the work"),
        pytest.param(0, 60_000, True, id="before the work, for probabilities"),
        pytest.param(8, 20_000, False, id="at rows"),
        pytest.param(35, 39_000, False, id="at the last rows"),
        pytest.param(35, 60_000, True, id="at the last rows of probabilities"),
        pytest.param(NEVER, 20_000, False, id="at cleaned rows"),
        pytest.param(NEVER, 3_000, False, id="at the cleaned map"),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_leaves_the_older_map(
    write_image, tmp_path, monkeypatch, capfd, file_limit, tiles, size, with_probabilities
):
    image, output = write_image(numbers_of(class_map(200, 200))), tmp_path / "map.tif"
    products = {"probabilities": output.with_name("p.tif")} if with_probabilities else {}
    predict_raster(segmenter_of(), image, output, **products)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fill = partial(fill_disk, size)
    monkeypatch.setattr(prediction, "clean", lambda *given: fill() or clean(*given))
    how = {"tiling": SMALL_TILES, "cleaning": Cleaning(1) if tiles == NEVER else None}
    raised = pytest.raises(MinsegError, match="cannot be written")
    with raised as caught, file_limit(resource.RLIM_INFINITY):
        if tiles == 0:
            fill()
        predict_raster(segmenter_of(Failing(tiles, fill)), image, output, **how, **products)
    assert str(caught.value).partition(": ")[0] in map(str, (output, *products.values()))
    assert "partial" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


TASK = {"images": [("a.tif", 3)], "tiles": 512}


@pytest.mark.parametrize("note", [None, "another task", "", "{", "[]", '{"task": 1}'])
def test_unfinished_work_is_found_again_unless_it_is_something_else(tmp_path, note):
    output = tmp_path / "new" / "map.tif"
    with pytest.raises(KeyboardInterrupt), work_folder(output) as work:
        assert work.progress(TASK) == {}
        (work.path / "rows.tif").touch()
        work.note(TASK, {"rows": 7})
        raise KeyboardInterrupt
    assert names(output.parent) == [".map.tif.partial"]
    if note not in (None, "another task"):
        (output.parent / ".map.tif.partial" / "progress.json").write_text(note)
    with work_folder(output) as work:
        found = work.progress(TASK | ({"tiles": 256} if note == "another task" else {}))
        assert found == ({"rows": 7} if note is None else {})
        assert (names(work.path) == ["lock"]) == (note is not None)
    assert names(output.parent) == []
