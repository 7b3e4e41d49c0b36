"""Real imagery held to a higher bar: pretrained starts and ways of training, on the same splits.

Beside `tailings_brazil.py`, whose data, splits by site and test pixels it shares: random and
pretrained encoders, frozen and not, then one change after the other on top of the best start.
Every arm that was run is written, whether it helped or not. What is kept is chosen by the
validation sites of the three splits, pooled, since six sites alone choose nothing.

Needs the extra `weights`. Run on one core, about an hour; it goes on where it was interrupted:

    OMP_NUM_THREADS=1 python benchmarks/tailings_starts.py FOLDER
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from tailings_brazil import COMMON, iou_interval, open_split

from minseg.data.dataset import Dataset
from minseg.data.labels import Task
from minseg.data.radiometry import ChannelStatistics
from minseg.learning.inference import counts_table, load_scenes
from minseg.learning.weights import describe_inputs, pretrained_file
from minseg.scoring.intervals import bootstrap, interval
from minseg.study.config import RunConfig
from minseg.study.execution import open_segmenter
from minseg.study.runs import COUNT_COLUMNS, Run, RunStore, run_key
from minseg.study.study import Study

FOREST, REFERENCE = "pixel forest", "ResNet-18, random"
TUNED, FROZEN = "Lite0, ImageNet, encoder's rate 0.3", "Lite0, ImageNet, frozen"
LITE0, B4 = "tu-tf_efficientnet_lite0", "efficientnet-b4"
SETTINGS = COMMON | {"crop": 384, "coarsen": 2, "epochs": 12, "orientations": 8}
IMAGENET = {"encoder": LITE0, "weights": "imagenet-lite0"}
GENTLE = IMAGENET | {"encoder_rate": 0.3}
SENTINEL = {"encoder": B4, "weights": "sentinel2-b4", "epochs": 6}  # twice as long an epoch

ARMS: dict[str, dict] = {
    FOREST: {},
    REFERENCE: {},
    "Lite0, random": {"encoder": LITE0},
    TUNED: GENTLE,
    FROZEN: IMAGENET | {"encoder_rate": 0},
    "B4, Sentinel-2": SENTINEL,
    "B4, Sentinel-2, its normalisation": SENTINEL | {"standardise": "start"},
    f"{TUNED}, seed 1": GENTLE | {"seed": 1},
    f"{TUNED}, seed 2": GENTLE | {"seed": 2},
    "B4, Sentinel-2, frozen": SENTINEL | {"encoder_rate": 0},
    "B4, Sentinel-2, frozen, its normalisation": SENTINEL
    | {"encoder_rate": 0, "standardise": "start"},
    "Lite0, ImageNet, rate 0.3, colour 0.3": GENTLE | {"colour": 0.3},
    "Lite0, ImageNet": IMAGENET,
    "Lite0, ImageNet, rate 0.3, its normalisation": GENTLE
    | {"weights": "its own file", "standardise": "start"},
    "Lite0, ImageNet, rate 0.3, Tversky": GENTLE | {"loss": "tversky"},
    "Lite0, ImageNet, rate 0.3, pixels of 40 m": GENTLE | {"coarsen": 4},
    "Lite0, ImageNet, rate 0.3, pixels of 10 m": GENTLE | {"coarsen": 1, "crop": 224},
}
"""Arm to what differs from `SETTINGS`."""

DERIVED: dict[str, tuple[tuple[str, ...], int]] = {
    f"{TUNED}, one orientation": ((TUNED,), 1),
    "mean of Lite0, ImageNet, rate 0.3 and frozen": ((TUNED, FROZEN), 8),
    "mean of ResNet-18, random and Lite0, ImageNet, rate 0.3 and frozen": (
        (REFERENCE, TUNED, FROZEN),
        8,
    ),
    f"mean of three seeds of {TUNED}": ((TUNED, f"{TUNED}, seed 1", f"{TUNED}, seed 2"), 8),
}
"""Arm to the arms whose probabilities it averages, and in how many orientations."""

WHITE = 0.3558
"""Reflectance of 255 in an 8-bit picture of Sentinel-2, as its true-colour images have it."""


def weights_file(path: Path) -> str:
    """Write Lite0 with the normalisation it was trained with, which its package does not tell."""
    mean, deviation = WHITE * 127 / 255, WHITE * 128 / 255  # (pixel - 127) / 128
    facts = describe_inputs(ChannelStatistics(("B04", "B03", "B02"), (mean,) * 3, (deviation,) * 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(load_file(pretrained_file(IMAGENET["encoder"], IMAGENET["weights"])), path, facts)
    return str(path)


def config_of(study: Study, arm: str, work: Path) -> RunConfig:
    """Return the configuration of an arm."""
    changes = dict(ARMS[arm])
    if changes.get("weights") == "its own file":
        changes["weights"] = weights_file(work / "imagenet-lite0.safetensors")
    config = study.config(**(SETTINGS | changes))
    return config.baseline() if arm == FOREST else config


def derived_counts(dataset: Dataset, runs: list[Run], orientations: int, part: str) -> pd.DataFrame:
    """Count what the mean of several runs' probabilities classifies, as `Run.counts_of` does."""
    sums: Any = 0
    for run in runs:
        one = replace(open_segmenter(run), orientations=orientations)
        scenes = load_scenes(dataset, part, run.task, one.statistics, run.config.test_crop)
        sums = sums + torch.cat([one.probabilities(scene.inputs[None]) for scene in scenes])
    task, predictions = runs[0].task, list(sums.argmax(1).numpy().astype(np.uint8))
    return counts_table(predictions, scenes, task)


def describe(row: dict, counted: dict[str, pd.DataFrame], task: Task) -> tuple[dict, pd.DataFrame]:
    """Add scores and test counts to the row of a run; return it and the counts of every site."""
    sites = []
    for part, rows in counted.items():
        drawn = rows[rows["class"] == task.target_names[1]].assign(part=part)
        tp, fp, fn, tn = (int(drawn[name].sum()) for name in COUNT_COLUMNS)
        iou = round(tp / (tp + fp + fn), 3)
        if part == "validation":
            row["validation_iou"] = iou
        else:
            low, high = (round(end, 3) for end in iou_interval(rows, task))
            row |= {"iou": iou, "iou_low": low, "iou_high": high}
            row |= {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
        sites.append(drawn.rename(columns={"mine": "site"}))
    keys = {name: row[name] for name in ("arm", "split_seed", "seed")}
    return row, pd.concat(sites).assign(**keys)[[*keys, "part", "site", *COUNT_COLUMNS]]


def outcomes(
    folder: Path, work: Path, splits: list[int], stored: bool
) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Make every run, or load it, and yield its row and its counts; only load it if `stored`."""
    store = RunStore(work / "runs")
    datasets = {split_seed: open_split(folder, work, split_seed) for split_seed in splits}
    order = [
        name
        for arm in ARMS
        for name in (arm, *(one for one, (sources, _) in DERIVED.items() if sources[-1] == arm))
    ]
    for arm, (split_seed, dataset) in itertools.product(order, datasets.items()):
        study = Study("paper", dataset, (0,), store)
        sources, orientations = DERIVED.get(arm, ((arm,), 0))
        configs = [config_of(study, source, work) for source in sources]
        if stored and not all(store.find(run_key(config, dataset)) for config in configs):
            continue
        runs = [study.run(config) for config in configs]
        row = {
            "arm": arm.partition(", seed ")[0],  # seeds of an arm are summed up together
            "split_seed": split_seed,
            "seed": runs[0].config.seed,
            "settings": json.dumps([ARMS[source] for source in sources]),
            "minutes": round(sum(run.provenance["wall_time_s"] for run in runs) / 60, 1),
            "run": " ".join(run.key for run in runs),
        }
        parts = ("validation", "test")
        if orientations:
            counted = {part: derived_counts(dataset, runs, orientations, part) for part in parts}
        else:
            counted = {part: runs[0].counts_of(part) for part in parts}
        yield describe(row, counted, runs[0].task)


def pooled(sites: pd.DataFrame, part: str) -> tuple[float, np.ndarray]:
    """Return the IoU of all sites of a part, of all splits and seeds together, and resamples."""
    rows = sites[sites["part"] == part].groupby("site")[COUNT_COLUMNS].sum()
    counts = np.stack([np.zeros_like(rows), rows], axis=1)  # (sites, classes, 4), no background
    tp, fp, fn, _ = rows.sum()
    return tp / (tp + fp + fn), bootstrap(counts, list(rows.index), "standard")[:, 0]


def summarise(runs: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Lay the arms side by side: a row each, over the three splits; 95 % intervals over sites."""
    rows = []
    _, reference = pooled(sites[sites["arm"] == REFERENCE], "test")
    for arm, made in runs.groupby("arm", sort=False):
        if set(made["split_seed"]) != set(runs["split_seed"]):
            continue  # not yet made on every split
        counted = sites[sites["arm"] == arm]
        iou, resampled = pooled(counted, "test")
        difference = resampled - reference if arm != REFERENCE else np.full(1, np.nan)
        row = {
            "arm": arm,
            "runs": len(made),
            "validation_iou": pooled(counted, "validation")[0],
            "mean_test_iou": made.groupby("split_seed")["iou"].mean().mean(),
            "test_iou": iou,
            **dict(zip(("low", "high"), interval(resampled), strict=True)),
            **dict(zip(("ahead_low", "ahead_high"), interval(difference), strict=True)),
            "minutes": made["minutes"].mean(),
        }
        rows.append(row)
    return pd.DataFrame(rows).round(dict.fromkeys(rows[0], 3) | {"minutes": 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with images/, masks/ and chips.csv")
    parser.add_argument("--work", type=Path, default=Path("build/tailings_brazil"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stored", action="store_true", help="tell of the runs that are there")
    given = parser.parse_args()
    rows, sites = [], []
    for row, counts in outcomes(given.folder, given.work, given.splits, given.stored):
        rows.append(row)
        sites.append(counts)
        print(
            row["arm"],
            row["split_seed"],
            row["seed"],
            row["validation_iou"],
            row["iou"],
            row["minutes"],
            flush=True,
        )
        runs, counted = pd.DataFrame(rows), pd.concat(sites)
        runs.to_csv(given.results / "tailings_starts.csv", index=False)
        counted.to_csv(given.results / "tailings_starts_sites.csv", index=False)
        if REFERENCE in set(runs["arm"]):
            arms = summarise(runs, counted)
            arms.to_csv(given.results / "tailings_starts_arms.csv", index=False)


if __name__ == "__main__":
    main()
