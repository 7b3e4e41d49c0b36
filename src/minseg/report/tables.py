"""Tables of a page: what a dataset holds, how runs score, and where a run comes from."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from minseg.data.dataset import Dataset
from minseg.data.labels import decode_bits
from minseg.data.mines import PARTS
from minseg.learning.intervals import interval
from minseg.learning.metrics import METRICS
from minseg.study.comparison import scored
from minseg.study.experiments import Entry, Result
from minseg.study.paper import paper_scores
from minseg.study.runs import Run

METRIC_TITLES: dict[str, str] = {
    "iou": "IoU",
    "recall": "recall",
    "precision": "precision",
    "accuracy": "accuracy",
}
"""Metrics as a reader sees them."""

_IOU = METRICS.index("iou")


def dataset_table(dataset: Dataset) -> pd.DataFrame:
    """Return what a dataset is and holds, one fact a row."""
    about = dataset.description
    years = dataset.scenes["year"].dropna()
    facts = {
        "name": about.name,
        "kind": "synthetic: made, not observed" if about.synthetic else "real imagery",
        "mines": f"{len(dataset.mines)}",
        "scenes": f"{len(dataset.scenes)}",
        "years": f"{years.min()} to {years.max()}" if len(years) else "not stated",
        "annotated classes": ", ".join(about.class_names),
        "bands": ", ".join(about.bands),
        "provenance": about.provenance,
        "licence": about.licence,
        "content hash": dataset.digest,
    }
    return pd.DataFrame({"": facts})


def part_table(dataset: Dataset) -> pd.DataFrame:
    """Return mines and scenes per part (section 2.3), with the share of all mines."""
    mines = dataset.split["part"].value_counts().reindex(PARTS, fill_value=0)
    return pd.DataFrame(
        {
            "mines": mines,
            "share of mines": (mines / mines.sum()).map("{:.0%}".format),
            "scenes used": [len(dataset.scenes_of(part)) for part in PARTS],
        }
    ).rename_axis("part")


def overlap_table(dataset: Dataset, part: str = "train") -> pd.DataFrame:
    """Return how far classes overlap (section 2.2).

    Returns
    -------
    pandas.DataFrame
        Row and column are classes; the value is the share of the row's pixels that also carry
        the column's class, 0 to 1. Classes that do not occur are left out.
    """
    names = dataset.description.class_names
    both = pd.DataFrame(0, index=list(names), columns=list(names))
    for _, scene in dataset.scenes_of(part).iterrows():
        labels = dataset.read_labels(scene)
        masks = np.stack([decode_bits(labels, name).ravel() for name in names]).astype(np.int64)
        both += masks @ masks.T  # pixels that carry both classes
    pixels = pd.Series(np.diag(both), index=both.index)
    occurring = pixels.index[pixels > 0]
    return both.loc[occurring, occurring].div(pixels[occurring], axis=0)


def score_table(
    models: Mapping[str, Sequence[Run]], convention: str, part: str = "test"
) -> pd.DataFrame:
    """Set scores of several models beside each other, and beside the paper's.

    Parameters
    ----------
    models : mapping of str to sequence of Run
        Name of the model to its runs, one a seed; all of one task and band configuration.
    convention : str
        See `minseg.learning.metrics.scores`.
    part : {"validation", "test"}

    Returns
    -------
    pandas.DataFrame
        Per model the mean over its seeds, and for IoU the 95 % interval over mines of that mean
        and the spread over seeds. The paper's row (Table 3) is on its own test mines.
    """
    rows = {}
    for name, runs in models.items():
        config = runs[0].config
        found = scored(Result(Entry(config.task, name, config), tuple(runs)), convention, part)
        row = pd.Series(found.values, list(METRIC_TITLES.values())).map("{:.3f}".format)
        low, high = interval(found.resampled[:, _IOU])
        several = found.num_mines > 1
        row["IoU, 95 % interval over mines"] = (
            f"{low:.3f} to {high:.3f}" if several else "a single mine"
        )
        spread = found.spread[_IOU]
        row["IoU, spread over seeds"] = f"{spread:.3f}" if len(runs) > 1 else "one seed"
        rows[name] = row
    config = next(iter(models.values()))[0].config
    published = paper_scores(config.task, config.bands)
    if published:
        row = pd.Series({METRIC_TITLES[name]: f"{published[name]:.3f}" for name in METRICS})
        rows["paper, Table 3 (its own mines)"] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(f"{part}, {convention}")
    means = [METRIC_TITLES[metric] for metric in METRICS]
    return table[[*means, *table.columns.difference(means)]].fillna("not given")


def per_class_table(models: Mapping[str, Run], part: str = "test") -> pd.DataFrame:
    """Return each class's scores under the `standard` convention, models side by side."""
    tables = {
        name: run.scores(part)["per_class"][list(METRICS)[:3]].rename(columns=METRIC_TITLES)
        for name, run in models.items()
    }
    return pd.concat(tables, axis=1).round(3)


def mine_scores(models: Mapping[str, Run], part: str = "test") -> pd.DataFrame:
    """Return rows mine, model, iou, … (`standard`, each mine by itself) of several models."""
    return pd.concat(
        [run.scores_by_mine(part).reset_index().assign(model=name) for name, run in models.items()],
        ignore_index=True,
    )


def provenance_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return where runs come from: a row per run."""
    rows = []
    for run in runs:
        origin = run.provenance
        commit = (origin["git_commit"] or "not in git")[:8]
        rows.append(
            {
                "run": run.key,
                "model": run.config.title,
                "seed": run.config.seed,
                "code": commit + (" (changed since)" if origin["git_dirty"] else ""),
                "trained on": f"{origin['device']}, {origin['cpu_cores']} cores",
                "minutes": f"{origin['wall_time_s'] / 60:.1f}",
            }
        )
    return pd.DataFrame(rows).set_index("run")
