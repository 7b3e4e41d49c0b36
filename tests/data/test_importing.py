from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.dataset import check_dataset
from minseg.data.images import ImageReading
from minseg.data.importing import ImageFolders, import_dataset
from minseg.data.labels import class_bit
from minseg.data.raster import Grid
from minseg.data.stack import ImageFile, open_stack


def scene_grid(k):
    return Grid(40, 50, Affine(1e-4, 0, 10 + 0.1 * k, 0, -1e-4, 45), CRS.from_epsg(4326))


@pytest.fixture
def folders(tmp_path, write_tif):
    """Five images in degrees, bands out of order, of four sites; site b has two."""
    random = np.random.default_rng(0)
    for k in range(5):
        image = random.integers(500, 4000, (3, 40, 50)).astype(np.uint16)
        image[:, 0, 0] = 7  # what this user's missing pixels look like
        write_tif(f"images/img_{k}.tif", image, scene_grid(k), descriptions=["B4", "B2", "B3"])
        mask = random.integers(0, 3, (1, 40, 50)).astype(np.uint8)
        write_tif(f"masks/mask_{k}.tif", mask, scene_grid(k))
    rows = pd.DataFrame({"chip": range(5), "site": ["a", "b", "b", "c d", "e"], "year": 2021})
    rows.to_csv(tmp_path / "chips.csv", index=False)
    return ImageFolders(
        images=str(tmp_path / "images" / "img_*.tif"),
        masks=str(tmp_path / "masks" / "mask_*.tif"),
        classes={1: "dam", 2: "excavation"},
        reading=ImageReading(("B02", "B03", "B04"), scale=1e-4, nodata=7),
    )


@pytest.fixture
def imported(tmp_path, folders):
    """Import the folders, changed, by a table that is written as a text here, or by their own."""

    def run(text=None, folders=folders, **options):
        table = tmp_path / "chips.csv"
        if text:
            table = tmp_path / "list.csv"
            table.write_text(text)
        return import_dataset(tmp_path / "new", folders, table, **options)

    return run


def changed(folders, reading=None, **changes):
    return replace(folders, reading=replace(folders.reading, **(reading or {})), **changes)


def test_imported_scene_equals_its_files(tmp_path, imported):
    dataset = imported()
    assert check_dataset(dataset.path) == []
    assert list(dataset.mines["mine"]) == ["a", "b", "c-d", "e"]
    assert list(dataset.scenes["mine"]) == ["a", "b", "b", "c-d", "e"]
    assert dataset.split["mine"].is_unique
    assert dataset.description.class_names == ("excavation", "dam")
    assert not dataset.synthetic
    scene = dataset.scenes.iloc[2]
    assert scene["year"] == 2021
    inputs, valid = dataset.read_inputs(scene, ("B04", "B02"))
    with rasterio.open(tmp_path / "images" / "img_2.tif") as source:
        original = source.read([1, 2])
        assert dataset.grid(scene).transform == source.transform
    assert not valid[0, 0]
    assert valid.sum() == 40 * 50 - 1
    assert inputs[:, valid] == pytest.approx(original[:, valid] * 1e-4)
    with rasterio.open(tmp_path / "masks" / "mask_2.tif") as source:
        mask = source.read(1)
    assert ((dataset.read_labels(scene) == class_bit("dam")) == (mask == 1)).all()
    assert "case" not in dataset.mines


def all_missing(image):
    image.write(np.full((3, 40, 50), 7, np.uint16))


def nowhere(image):
    image.crs, image.transform = CRS(), Affine.translation(7, 7)


@pytest.mark.parametrize(
    ("changes", "edit", "message"),
    [
        ({"reading": {"scale": None}}, None, "--scale"),
        ({"reading": {"scale": 1.0}}, None, "--scale"),
        ({"images": "nothing/here.tif"}, None, "exactly one"),
        ({"images": "none/*.tif"}, None, "image of scene '0' not found"),
        ({"classes": {1: "pit"}}, None, "unknown class of mask value 1 'pit'"),
        ({"classes": {1: "ignore"}}, None, "no class mapped"),
        ({}, all_missing, r"img_0\.tif: no valid pixel"),
        ({}, nowhere, "no coordinate reference system"),
    ],
)
def test_wrong_meaning_is_one_clear_line(tmp_path, folders, imported, changes, edit, message):
    for path in (tmp_path / "images").iterdir() if edit else ():
        with rasterio.open(path, "r+") as image:
            edit(image)
    with pytest.raises(MinsegError, match=message):
        imported(folders=changed(folders, **changes))


@pytest.mark.parametrize("column", ["Mine", " mine", "SITE", "Site "])
def test_the_column_of_the_mine_is_found_in_any_spelling(imported, column, capsys):
    dataset = imported(f"chip;{column}\n0;a\n1;b\n2;b\n3;c\n")
    assert list(dataset.mines["mine"]) == ["a", "b", "c"]
    told = capsys.readouterr().err
    assert "no column mine" not in told
    assert "several scenes of the latest date, or without one, of mine b:" in told
    assert "1 image(s) have no row in the table and are left out: 4" in told


@pytest.mark.parametrize("key", ["chip", "mine", "site", "key", "name"])
def test_the_key_may_have_any_name_and_what_is_taken_for_granted_is_told(imported, capsys, key):
    assert len(imported(f"{key},mine id,year\n0,a,2019\n1,b,2019\n2,b,2019\n").mines) == 3
    *first, second, _ = capsys.readouterr().err.splitlines()
    assert "not used: column mine id; used are mine, name" in second
    if key not in ("mine", "site"):
        assert "no column mine or site: each scene is taken for a mine of its own" in first[0]


def test_what_a_mines_scenes_say_together_is_kept_and_the_latest_is_so_by_date(imported):
    dataset = imported(
        "chip,mine,date,raw_material,longitude,case\n0,a,2021-08-01,,,snow\n"
        "1,a,2019-06-01,CL,10.1,\n2,a,2021-07-01,,,\n3,b,,MO,,\n4,c,,,,flood\n"
    )
    assert check_dataset(dataset.path) == []
    assert list(dataset.mines["raw_material"]) == ["CL", "MO", ""]
    assert list(dataset.mines["case"]) == ["snow", "", "flood"]
    assert dataset.mines["longitude"][0] == 10.1
    assert list(dataset.scenes["year"])[:3] == [2021, 2019, 2021]
    dataset.split["part"] = ["test", "train", "validation"]
    assert list(dataset.scenes_of("test")["date"]) == ["2021-08-01"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chip,mine\n0,A/B\n1,A B\n2,c\n", "mines 'A/B' and 'A B' would share the folder 'A-B'"),
        ("chip,mine\n0,7\n1,007\n2,c\n", "mines '7' and '007' would share the folder 'mine-007'"),
        ("chip,mine\n0,???\n1,b\n2,c\n", r"mine '\?\?\?' cannot name a folder; begin it with"),
        (f"chip,mine\n{'b' * 260},a\n1,b\n2,c\n", "has too long a name with its mine"),
        ("chip,site\n0,\n1,b\n2,c\n", "row 2 column 'site': an empty cell cannot stand here"),
        ("chip,mine\n,a\n1,b\n2,c\n", "row 2 column 'chip': an empty cell cannot stand here"),
        ("chip,mine\n0 1,a\n0-1,a\n2,c\n", "scenes '0 1' and '0-1' would have one name"),
        (
            "chip,year\n0,2019-07-31\n1,n/a\n2,1066\n",
            "row 2 column 'year': '2019-07-31'.*row 3 column 'year': 'n/a'.*row 4 column 'year'",
        ),
        ("chip,date\n0,31.7.2019\n1,\n2,\n", "give a date such as 2019-07-31"),
        ("chip,year,date\n0,2018,2019-07-31\n1,,\n2,,\n", "scene '0' is of 2018 and its date is"),
        ("chip,raw_material\n0,gold\n1,\n2,\n", "'gold' cannot stand here; give one of RR, MO"),
        ("chip;longitude\n0;22,1\n1;\n2;\n", "'22,1' cannot stand .* with a decimal point"),
        ("chip,mine,mine_type\n0,a,OC\n1,a,OP\n2,b,\n", "mine 'a' has mine_type 'OC' and 'OP'"),
        (",chip,mine\n0,0,a\n1,1,b\n", "column 1 has no name"),
        ("chip,site\n", "the table is empty"),
        ("chip,site\n1,a\n1,b\n", "row 3 column 'chip': '1' stands in row 2 already"),
        ("chip,mine\n0,a\n1,b\n2,a\n", "2 separate mine.s.: a split by mine needs at least 3"),
    ],
)
def test_a_table_is_refused_before_any_raster_is_read(folders, imported, text, message):
    with pytest.raises(MinsegError, match=rf"{message}"):
        imported(text, changed(folders, images="none/*.tif"))


@pytest.mark.parametrize("place", ["45,10", "0,0", "-170,45", "-170,", ",10"])
def test_a_position_far_from_its_image_is_refused(imported, place):
    text = f"chip,mine,longitude,latitude\n0,a,,\n1,b,{place}\n2,c,10.2,45\n"
    with pytest.raises(MinsegError, match=r"scene '1' lies at longitude .* but its image at 10.10"):
        imported(text)


def test_a_negative_seed_and_a_file_in_the_way_are_refused_before_the_work(tmp_path, folders):
    nowhere, table = changed(folders, images="none/*.tif"), tmp_path / "chips.csv"
    with pytest.raises(MinsegError, match="seed -1: give a whole number from 0"):
        import_dataset(tmp_path / "new", nowhere, table, split_seed=-1)
    for there in (table, tmp_path):
        with pytest.raises(MinsegError, match="exists and is not an empty folder"):
            import_dataset(there, nowhere, table)


def test_real_tailings_chips(tmp_path, shared_data):
    """79 real chips of 39 sites; two of the sites share ground and must stay together."""
    folder = shared_data / "tailings_brazil"
    folders = ImageFolders(
        images=str(folder / "images" / "img_*.tif"),
        masks=str(folder / "masks" / "mask_*.tif"),
        classes={1: "tailing storage facility"},
        reading=ImageReading(("B02", "B03", "B04"), scale=1e-4),
    )
    dataset = import_dataset(tmp_path / "tailings", folders, folder / "chips.csv")
    assert check_dataset(dataset.path) == []
    assert (len(dataset.scenes), len(dataset.mines)) == (79, 39)
    part = dataset.split.set_index("mine")["part"]
    assert part["site-046"] == part["site-047"]
    chips = pd.read_csv(folder / "chips.csv")
    labels = dataset.read_labels(dataset.scenes.iloc[0])
    assert (labels > 0).mean() == pytest.approx(chips["tsf_fraction"][0], abs=1e-4)


def test_images_of_one_import_have_the_same_bands(tmp_path, folders, imported):
    with rasterio.open(tmp_path / "images" / "img_3.tif", "r+") as source:
        source.descriptions = ["B4", "B2", "cloud"]
    with pytest.raises(MinsegError, match=r"has band B03, which .*img_3.*--bands B02,B04$"):
        imported(folders=changed(folders, {"bands": None}))
    assert not (tmp_path / "new").exists()
    told = changed(folders, {"bands": ("B02", "B04")})
    assert check_dataset(imported(folders=told).path) == []


def test_brackets_in_a_folder_are_no_pattern(tmp_path, folders, imported):
    odd = tmp_path / "tiles [2021] {a}?"
    (tmp_path / "images").rename(odd)
    assert len(imported(folders=changed(folders, images=str(odd / "img_*.tif"))).scenes) == 5


def test_fill_without_a_tag_is_missing_in_a_dataset_as_in_a_prediction(
    tmp_path, write_tif, folders, imported, capsys
):
    random, names = np.random.default_rng(0), ("B02", "B03", "B04")
    for k in range(5):
        image = random.uniform(-0.05, 1, (3, 40, 50)).astype(np.float32)
        image[0, 5, 5], image[1, 6, 6], image[:, 7, 7:] = -9999, -3.4e38, np.inf
        write_tif(f"images/img_{k}.tif", image, scene_grid(k), None, names)
    dataset = imported(folders=changed(folders, {"scale": None, "nodata": None}))
    assert "2 of 1957 pixels hold -3.4e+38 or another number that is no" in capsys.readouterr().err
    inputs, valid = dataset.read_inputs(dataset.scenes.iloc[0], names)
    with open_stack([ImageFile(tmp_path / "images" / "img_0.tif")], names) as stack:
        values, found = stack.read()
    assert np.array_equal(found, valid)
    assert valid.sum() == 40 * 50 - 2 - 43
    assert inputs[:, valid] == pytest.approx(values[:, valid], abs=5.1e-5)  # as stored
