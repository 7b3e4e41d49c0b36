"""The main job on real imagery: tailings facilities at sites the model has not seen.

Imports the 79 Sentinel-2 chips of 39 Brazilian sites (GitHub IsasGithub/tailings_seg, commit
baa01c65; no licence stated, so they are not part of this project), splits them by site with several
seeds, trains a network from a random start and the per-pixel baseline, and scores both on the same
test pixels. The labels are incomplete (facilities nobody drew are background), so precision is
underestimated.

Run: python benchmarks/tailings_brazil.py FOLDER [--work WORK --results results/tailings_brazil.csv]
"""

import argparse
from pathlib import Path

import pandas as pd

from minseg import open_dataset
from minseg.data.dataset import Dataset
from minseg.data.images import ImageReading
from minseg.data.importing import ImageFolders, import_dataset
from minseg.data.labels import Task
from minseg.data.writing import resplit
from minseg.scoring.intervals import bootstrap, interval
from minseg.study.runs import Run, RunStore, counted_mines, counts_array
from minseg.study.study import Study

# What differs from the paper. The last epoch is kept because six validation sites are too few to
# choose an epoch by, or a setting: both settings that were run on all splits are reported.
COMMON = {
    "architecture": "unet",
    "encoder": "resnet18",
    "weights": None,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "optimiser": "adamw",
    "loss": "jaccard",
    "schedule": "cosine",
    "task": "tailing storage facility",
    "bands": "RGB",
    "test_crop": 448,
    "checkpoint": "last",
}
SETTINGS = {
    "crops of 224 px": {"crop": 224, "crops_per_scene": 4, "epochs": 25},
    "crops of 416 px": {"crop": 416, "batch_size": 4, "epochs": 15},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with images/, masks/ and chips.csv")
    parser.add_argument("--work", type=Path, default=Path("build/tailings_brazil"))
    parser.add_argument("--results", type=Path, default=Path("results/tailings_brazil.csv"))
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


def iou_interval(rows: pd.DataFrame, task: Task) -> tuple[float, float]:
    """Return the 95 % interval over sites of the IoU of counted scenes."""
    resampled = bootstrap(counts_array(rows, task), counted_mines(rows), "standard")
    return interval(resampled[:, 0])


def describe(run: Run, split_seed: int, setting: str) -> dict:
    """Return one row of the results."""
    test = run.counts_of("test")
    low, high = iou_interval(test, run.task)
    found = run.scores()
    return {
        "split_seed": split_seed,
        "model": run.config.title,
        "setting": setting,
        "test_sites": test["mine"].nunique(),
        "iou": round(found["iou"], 3),
        "iou_low": round(low, 3),
        "iou_high": round(high, 3),
        "recall": round(found["recall"], 3),
        "precision": round(found["precision"], 3),
        "validation_iou": round(run.scores("validation")["iou"], 3),
        "minutes": round(run.provenance["wall_time_s"] / 60, 1),
        "device": f"{run.provenance['device']}, {run.provenance['cpu_cores']} cores",
        "run": run.key,
        "code": run.provenance["git_commit"],
    }


def open_split(folder: Path, work: Path, split_seed: int) -> Dataset:
    """Import the chips, once, and split them by site."""
    data = work / "dataset"
    if not data.exists():
        folders = ImageFolders(
            images=str(folder / "images" / "img_*.tif"),
            masks=str(folder / "masks" / "mask_*.tif"),
            classes={1: "tailing storage facility"},
            reading=ImageReading(("B02", "B03", "B04"), scale=1e-4),
        )
        import_dataset(data, folders, folder / "chips.csv", name="tailings_brazil")
    return resplit(open_dataset(data), split_seed)


def main() -> None:
    given = arguments()
    rows = []
    for split_seed in given.splits:
        dataset = open_split(given.folder, given.work, split_seed)
        study = Study("paper", dataset, (0,), RunStore(given.work / "runs"))
        for setting, changes in SETTINGS.items():
            run = study.run(study.config(**COMMON, **changes))
            rows.append(describe(run, split_seed, setting))
        baseline = study.run(study.config(**COMMON).baseline())
        rows.append(describe(baseline, split_seed, "none"))
        print(pd.DataFrame(rows[-3:]).to_string(), flush=True)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.results, index=False)


if __name__ == "__main__":
    main()
