"""An open MineCam: the three commands of its page from LAMES to a model, and the pages on it.

Against the loopback catalogue, with scenes rendered at the real places from the real polygons.
"""

import shlex

import geopandas as gpd
import pytest

from minseg import open_dataset
from minseg.data.dataset import check_dataset
from minseg.data.labels import parse_task
from minseg.data.raster import read_grid
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.recipes import open_recipe
from minseg.study.runs import RunStore
from minseg.synthetic.server import serve
from tests.conftest import SHARED_DATA, SMALL, run
from tests.fetching.rendered_scenes import write_rendered
from tests.fetching.test_lames import REAL, SITES, write_metadata, write_sectors
from tests.pages import run_page

# Coal and metals, sites of two years, invalid outlines, leaching heaps and stockyards; small ones.
CHOSEN = (
    *("817", "820", "1418", "1541", "1851", "1917", "2040", "2082", "2087", "2089", "2165", "2179"),
    *("2193", "2194", "2197", "2198", "2201", "2218", "2219", "2227", "2354", "2355", "2480"),
)


@pytest.fixture(scope="module")
def real_pair(shared_data, tmp_path_factory):
    """The real metadata, and the real polygons of the chosen sites in a file of their own."""
    polygons, metadata = (shared_data / "lames_chile" / name for name in REAL)
    table = gpd.read_file(polygons)
    path = tmp_path_factory.mktemp("sectors") / "sectors.geojson"
    table[table["site_id"].isin(CHOSEN)].to_file(path)
    return path, metadata


def build(pair, folder):
    """Type the three commands: recipe, what it prints, and a training; return their dataset."""
    recipe, runs = folder / "lames", folder / "runs"
    assert run("dataset", "recipe", "lames", *pair, "-o", recipe) == 0
    command = shlex.split((recipe / "recipe.txt").read_text().splitlines()[-1])
    assert command[:4] == ["minseg", "dataset", "fetch", f"{recipe}-dataset"]
    request, _ = open_recipe(recipe, PROVIDERS["planetary-computer"])
    write_rendered(folder / "catalogue", plan_mines(request)[0], request.annotations)
    with serve(folder / "catalogue") as api:
        assert run(*command[1:], "--api", api) == 0
    settings = (SMALL | {"epochs": 1}).items()
    sets = [word for name, value in settings for word in ("--set", f"{name}={value}")]
    assert run("train", command[3], "--task", "model2", *sets, "--runs", runs) == 0
    assert run("train", command[3], "--task", "model1", *sets, "--runs", runs) == 1
    return open_dataset(command[3])


def require_what_labels_answer(dataset):
    assert check_dataset(dataset.path) == []
    about = dataset.description
    assert "CC BY 4.0, https://doi.org/10.57967/hf/7289" in about.licence
    assert "VV" in about.bands and len(about.class_names) == 5
    for task in ("model2", "model4", "excavation", "infrastructure,tailing storage facility"):
        dataset.require(parse_task(task), ["B02"])


def test_a_made_up_pair_gives_a_dataset(tmp_path):
    sites = {site: SITES[site] for site in ("817", "1418", "2229", "2503")}
    pair = write_sectors(tmp_path, sites), write_metadata(tmp_path, sites=sites)
    require_what_labels_answer(build(pair, tmp_path))


@pytest.fixture(scope="module")
def built(real_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    return build(real_pair, folder), folder / "runs"


@pytest.mark.pages
def test_real_sites_give_a_dataset_with_their_kinds(built):
    dataset, runs = built
    require_what_labels_answer(dataset)
    assert len(dataset.mines) == len(dataset.scenes) == len(CHOSEN) >= 20
    assert {"MO", "CL"} <= set(dataset.mines["raw_material"])
    shares = dataset.class_shares()["train"]
    union = shares.pop("total transformed area")  # parts hardly overlap
    assert (shares > 0).all() and union == pytest.approx(shares.sum(), rel=0.01)
    assert [stored.config.task for stored in RunStore(runs)] == ["model2"]


PAGES = {
    "01": {},
    "03": {"bands": ["RGB"]},
    "04": {"tasks": ["model3"], "bands": {}},
    "08": {"bands": "RGB"},
    "09": {"tasks": ["model1"], "bands": {}},
}


@pytest.mark.pages
@pytest.mark.parametrize("page", PAGES)
def test_a_page_answers_what_the_labels_can_and_tells_what_they_cannot(page, built, tmp_path):
    dataset, runs = built
    few = {"runs": str(runs), "settings": SMALL | {"epochs": 1}, "seeds": [0]}
    few = few if page != "01" else {}
    seen = run_page(page, tmp_path, dataset=str(dataset.path), **few, **PAGES[page])
    assert "Partial labels." in seen and "Model 1 as excavation" in seen
    assert "nobody annotated" not in seen or page == "08"
    if page == "01":
        assert "CC BY 4.0, https://doi.org/10.57967/hf/7289" in seen
    if page == "09":
        assert "no test mine has scenes of two years" in seen
    if page == "03":
        tasks = {"excavation", "model2", "infrastructure,tailing storage facility", "model4"}
        assert {stored.config.task for stored in RunStore(runs)} == tasks


@pytest.mark.pages
def test_the_real_chip_is_mapped_pixel_by_pixel_or_refused_in_one_line(built, tmp_path, capsys):
    folder = SHARED_DATA / "lames_chile"
    network = next(
        one for one in RunStore(built[1]) if (one.path / "weights.safetensors").is_file()
    )
    chip, classes = folder / "s2_tci_patch.tif", tmp_path / "map.tif"
    assert read_grid(chip).pixel_size_m == pytest.approx((10, 10), rel=1e-3)  # 16.6 m on the map
    assert run("predict", network.path, chip, "-o", classes) == 1
    assert run("predict", network.path, f"B04,B03,B02,-={chip}", "-o", classes) == 1
    told = capsys.readouterr().err.splitlines()
    assert "4 bands carry no names" in told[0] and "8-bit numbers without a scale" in told[-1]
    words = (f"B04,B03,B02,-={chip}", "--scale", 0.3558 / 255, "-o", classes)
    assert run("predict", network.path, *words) == 0
    assert read_grid(classes).matches(read_grid(folder / "s2_msk_patch.tif"))
    table = tmp_path / "table.csv"
    table.write_text("key,site\ntci,821\n")
    given = ("--images", folder / "s2_*_patch.tif", "--masks", folder / "s2_*_patch.tif")
    given = (*given, "--table", table, "--classes", "1=dam")
    assert run("dataset", "import", tmp_path / "d", *given) == 1
    assert "1 separate mine(s)" in capsys.readouterr().err
