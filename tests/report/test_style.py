import math
from types import SimpleNamespace

import nbformat
import pytest
from affine import Affine
from matplotlib.figure import Figure
from nbclient import NotebookClient
from rasterio.crs import CRS

from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.report import style

UTM = Grid(100, 200, Affine(10, 0, 500_000, 0, -10, 5_000_000), CRS.from_epsg(32633))
# At 60 degrees north a degree of longitude is half as long as one of latitude.
DEGREES = Grid(100, 200, Affine(0.0002, 0, 20, 0, -0.0001, 60.005), CRS.from_epsg(4326))


def drawn_bar(grid: Grid) -> tuple[float, str] | None:
    """Length of the bar as a share of the panel's width, and its text."""
    axes = Figure().add_subplot()
    style.add_scale_bar(axes, grid)
    bars = [line for line in axes.lines if line.get_label() == "scale bar"]
    if not bars:
        return None
    start, end = bars[0].get_xdata()
    return end - start, axes.texts[0].get_text()


@pytest.mark.parametrize(
    ("extent_m", "length_m"),
    [(1000, 200), (1666, 200), (1667, 500), (3333, 500), (3334, 1000), (10_000, 2000), (10, 2)],
)
def test_scale_bar_takes_the_longest_round_length(extent_m, length_m):
    assert style.scale_bar_length_m(extent_m) == pytest.approx(length_m)


# 0.04 degrees of longitude at 60 degrees north, on a sphere of the Earth's mean radius
DEGREES_M = 0.04 * math.radians(6_371_009) / 2


@pytest.mark.parametrize(
    ("grid", "width_m", "length_m", "written"),
    [
        (UTM, 2000, 500, "500 m"),
        (DEGREES, DEGREES_M, 500, "500 m"),
        (Grid(1000, 1000, UTM.transform, UTM.crs), 10_000, 2000, "2 km"),
    ],
)
def test_scale_bar_is_true(grid, width_m, length_m, written):
    share, text = drawn_bar(grid)
    assert text == written
    assert share * width_m == pytest.approx(length_m, rel=0.005)
    assert drawn_bar(Grid(10, 10, Affine.identity(), None)) is None  # it is nowhere


def test_a_notebook_shows_a_figure_once_with_or_without_pyplot():
    make = "subset_figure()"
    sources = [
        "from minseg.report.ledger import subset_figure",
        make,
        "import matplotlib.pyplot as plt\nplt.plot([1]);",
        make,
        "figure = subset_figure()",
        "display(figure)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    NotebookClient(notebook, timeout=None, startup_timeout=3600).execute()
    shown = [sum("image/png" in o.get("data", {}) for o in cell.outputs) for cell in notebook.cells]
    assert shown == [0, 1, 1, 1, 0, 1]


def test_a_page_says_once_whether_its_mines_are_made(monkeypatch):
    words = []
    for made in (False, True):
        style.open_page(SimpleNamespace(synthetic=made))
        words.append((style.page_figure(4, 2).get_suptitle(), style.kind(), style.made()))
    assert words == [("", "", ""), ("SYNTHETIC", "synthetic", " on synthetic mines")]
    monkeypatch.setattr(style, "_page", {})
    with pytest.raises(MinsegError, match="say whose mines are shown"):
        style.page_figure(4, 2)
