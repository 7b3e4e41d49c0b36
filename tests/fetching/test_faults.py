"""A whole fetch from a catalogue in which every mine's items have another of the known faults."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from minseg.data.dataset import check_dataset
from minseg.fetching import pixels as assets
from minseg.fetching import providers as access
from minseg.fetching.dataset import Fetched, fetch_dataset
from minseg.synthetic.catalogue import write_demo_catalogue
from minseg.synthetic.server import serve
from tests.fetching.test_dataset import request_of

YEARS = (2019,)
SOUND, TWICE, COPIED, LACKING, CUT, CLOUD, SNOW = (f"synthetic-00{k}" for k in range(1, 8))


@dataclass
class Catalogue:
    """A made catalogue to spoil; its items are written when it is served."""

    folder: Path
    mines: Path
    polygons: Path
    items: dict[str, dict]

    def item(self, mine: str, name: str) -> dict:
        """The optical item of a mine whose id ends so."""
        (found,) = [
            item
            for key, item in self.items.items()
            if key.startswith(f"S2_{mine}_") and key.endswith(f"_{name}")
        ]
        return found

    def file(self, item: dict, key: str) -> Path:
        return self.folder / "files" / item["assets"][key]["href"]

    def save(self):
        (self.folder / "items.json").write_text(json.dumps(list(self.items.values())))


def made_catalogue(folder: Path, mines: int) -> Catalogue:
    made = write_demo_catalogue(folder, num_mines=mines, years=YEARS, size=96)
    items = json.loads((folder / "items.json").read_text())
    return Catalogue(folder, made.mines, made.polygons, {item["id"]: item for item in items})


def fill(path: Path, value: int):
    with rasterio.open(path, "r+") as target:
        target.write(np.full_like(target.read(), value))


def subtract_twice(catalogue):
    # The numbers are reflectance already; the item says that 1000 is in them.
    catalogue.item(TWICE, "clear")["properties"]["s2:processing_baseline"] = "04.00"


def copy_items(catalogue):
    clear = catalogue.item(COPIED, "clear")
    for suffix, baseline in (("again", "02.12"), ("older", "02.06")):
        properties = clear["properties"] | {"s2:processing_baseline": baseline}
        properties["s2:mgrs_tile"] = "33TWM"
        copy = clear | {"id": f"{clear['id']}-{suffix}", "properties": properties}
        catalogue.items[copy["id"]] = copy
    clear["properties"]["s2:mgrs_tile"] = "33TWM"


def take_band(catalogue):
    del catalogue.item(LACKING, "clear")["assets"]["B11"]


def cut_file(catalogue):
    path = catalogue.file(catalogue.item(CUT, "clear"), "B04")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def cover_with_cloud(catalogue):
    for name in ("clear", "cloudy", "half"):
        fill(catalogue.file(catalogue.item(CLOUD, name), "SCL"), 9)


def cover_with_snow(catalogue):
    fill(catalogue.file(catalogue.item(SNOW, "clear"), "SCL"), 11)
    fill(catalogue.file(catalogue.item(SNOW, "cloudy"), "SCL"), 4)


@pytest.fixture(scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "PAUSE_S", 0.0)
        options = {"GDAL_HTTP_RETRY_DELAY": "0.01", "GDAL_HTTP_MAX_RETRY": "1"}
        patch.setattr(access, "GDAL_OPTIONS", access.GDAL_OPTIONS | options)
        yield


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    made = made_catalogue(tmp_path_factory.mktemp("catalogue") / "made", mines=7)
    for spoil in (
        subtract_twice,
        copy_items,
        take_band,
        cut_file,
        cover_with_cloud,
        cover_with_snow,
    ):
        spoil(made)
    made.save()
    return made


@pytest.fixture(scope="module")
def fetched(catalogue, tmp_path_factory, quick) -> Fetched:
    with serve(catalogue.folder) as api:
        path = tmp_path_factory.mktemp("fetched") / "mines"
        return fetch_dataset(path, request_of(catalogue, api, YEARS))


def failure_of(fetched, mine):
    (failure,) = [text for text in fetched.failures if text.startswith(f"{mine} 2019: ")]
    return failure


def candidates(fetched, mine):
    table = pd.read_csv(fetched.dataset.path / "candidates.csv")
    return table[(table["mine"] == mine) & (table["kind"] == "optical")].set_index("item")


def test_what_can_be_had_is_a_sound_dataset_and_the_rest_is_reported(fetched):
    assert check_dataset(fetched.dataset.path) == []
    assert sorted(fetched.dataset.scenes["mine"]) == [SOUND, TWICE, COPIED, SNOW]
    assert len(fetched.failures) == 3
    assert all("\n" not in text for text in (*fetched.failures, *fetched.notes))
    manifest = json.loads((fetched.dataset.path / "fetch.json").read_text())
    assert manifest["failures"] == list(fetched.failures)


def test_an_offset_subtracted_twice_is_reported_and_only_there(fetched):
    notes = [note for note in fetched.notes if "subtracted" in note]
    assert len(notes) == 1 and notes[0].startswith(f"{TWICE}-2019: ")
    assert "seems to be subtracted twice" in notes[0]


def test_of_copies_of_one_day_one_is_taken_and_older_ones_are_left_out(fetched):
    table = candidates(fetched, COPIED)
    (taken,) = table.index[table["chosen"]]
    assert taken.endswith("_clear")
    assert table["reason"].filter(regex="-again$").tolist() == [f"{taken} ranks before it"]
    assert table["reason"].filter(regex="-older$").tolist() == [f"processed again as {taken}"]


def test_a_missing_band_and_a_cut_file_are_named_with_their_item(catalogue, fetched):
    lacking, cut = catalogue.item(LACKING, "clear"), catalogue.item(CUT, "clear")
    assert f"{lacking['id']}: has no asset B11; choose another" in failure_of(fetched, LACKING)
    assert f"{cut['id']}: asset B04 cannot be read: " in failure_of(fetched, CUT)
    assert not list((fetched.dataset.path / "scenes").glob(f"*/{LACKING}*"))
    assert not (fetched.dataset.path / "scenes" / CUT / "2019").exists()


def test_cloud_everywhere_gives_no_scene_and_says_so(fetched):
    said = "no usable scene among 3; the best, "
    assert said in failure_of(fetched, CLOUD)
    assert "100% of the box hidden (cloud 100%" in failure_of(fetched, CLOUD)
    assert not candidates(fetched, CLOUD)["chosen"].any()


def test_under_snow_another_scene_is_taken(fetched):
    table = candidates(fetched, SNOW)
    (taken,) = table.index[table["chosen"]]
    assert taken.endswith("_cloudy")
    assert "snow 100%" in table["reason"].filter(regex="_clear$").item()
