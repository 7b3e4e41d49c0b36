"""What models trained on synthetic mines make of a real picture: the Sentinel-2 chip of LAMES.

An 8-bit true-colour chip of 256×256 pixels (site 821, EPSG:3857), its binary mask and polygons:
GitHub chenzhaiyu/mineseg, commit 078fee68; LAMES, CC BY 4.0, doi 10.57967/hf/7289. The models are
those of the book, on its synthetic mines by three bands; runs that are not stored are made.

Run: python benchmarks/lames_chip.py FOLDER [--runs RUNS --results results/lames_chip.csv]
"""

import argparse
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import rasterize

import minseg
from minseg.data.images import ImageReading
from minseg.data.labels import parse_task
from minseg.data.raster import read_grid
from minseg.data.stack import ImageFile
from minseg.fetching.recipes import SOURCES
from minseg.maps.class_map import read_class_map
from minseg.maps.prediction import predict_raster
from minseg.study.execution import open_segmenter

TRUE_COLOUR_SCALE = 0.3558 / 255
"""Reflectance of one number of ESA's true-colour images, which are full at 0.3558."""

TASKS = ("model1", "model2", "model4")


def truth(folder: Path, name: str) -> np.ndarray:
    """Burn the polygons of a class, or all of them, on the chip's grid."""
    with rasterio.open(folder / "s2_tci_patch.tif") as chip:
        table = gpd.read_file(folder / "Chile_LSM_sectors.geojson").to_crs(chip.crs)
        classes = table["class"].astype(str).map(SOURCES["lames"].classes)
        chosen = table if name == "total transformed area" else table[classes == name]
        return rasterize(chosen.geometry, chip.shape, transform=chip.transform).astype(bool)


def row(name: str, model: str, predicted: np.ndarray, true: np.ndarray) -> dict[str, object]:
    """Score one prediction."""
    hit = np.count_nonzero(predicted & true)
    return {
        "class": name,
        "model": model,
        "iou": hit / np.count_nonzero(predicted | true),
        "recall": hit / np.count_nonzero(true),
        "precision": hit / predicted.sum() if predicted.any() else np.nan,
        "share_predicted": predicted.mean(),
        "share_true": true.mean(),
    }


def main() -> None:
    """Predict the chip with each model and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results/lames_chip.csv"))
    given = parser.parse_args()
    chip, rows = given.folder / "s2_tci_patch.tif", []
    print("pixels on the ground, m:", read_grid(chip).pixel_size_m)
    image = ImageFile(chip, ("B04", "B03", "B02", "-"))
    study = minseg.open_study("demo", runs=given.runs)
    with tempfile.TemporaryDirectory() as work:
        for task in TASKS:
            model = open_segmenter(study.run(study.config(task=task, bands="RGB")))
            found = Path(work) / f"{task}.tif"
            predict_raster(model, [image], found, reading=ImageReading(scale=TRUE_COLOUR_SCALE))
            classes = read_class_map(found).classes
            for value, name in enumerate(parse_task(task).target_names[1:], start=1):
                true = truth(given.folder, name)
                if true.any():  # nobody drew preparatory work areas
                    everywhere = np.ones_like(true)
                    rows.append(
                        row(name, f"{study.config().title}, synthetic", classes == value, true)
                    )
                    rows.append(row(name, "the class everywhere", everywhere, true))
    pd.DataFrame(rows).round(4).to_csv(given.results, index=False)


if __name__ == "__main__":
    main()
