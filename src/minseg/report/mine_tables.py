"""The paper's Tables 6 to 8 as a page shows them, and tables of what explains the errors."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES
from minseg.learning.metrics import METRICS
from minseg.report.comparisons import OURS, PAPER, model_title
from minseg.report.style import table_style
from minseg.study.explanations import (
    CONDITIONS,
    NO_CLASS,
    Explanations,
)
from minseg.study.mine_claims import MISSED_BELOW
from minseg.study.paper import MINE_TABLES, paper_mine_scores

DASH = "–"
_SHORT_TITLES = {"iou": "IoU", "recall": "Rec", "precision": "Prec", "accuracy": "Acc"}


def mine_table(scores: pd.DataFrame, dataset: Dataset, task: str, mines: dict[str, str]) -> Styler:
    """Lay out scores of single mines in the shape of Tables 6 to 8.

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.mine_scores.mine_scores`.
    dataset : Dataset
    task : str
    mines : dict of mine to str
        The mines to show and why (`minseg.study.mine_scores.choose_mines`).

    Returns
    -------
    pandas Styler
        Row: location and label, of the classes that are there or predicted there; columns: why it
        is shown, and ours, IoU, Rec, Prec, Acc, which in these tables is IoU. The paper's numbers
        stand beside ours only where the mine is the same, never beside a synthetic one; the others
        are in `paper_mine_table`.
    """
    names = dataset.mines.set_index("mine")["name"]
    there = scores.dropna(subset=["iou"])
    lines = pd.concat([there.iloc[:0], *(there[there["mine"] == mine] for mine in mines)])
    locations = [str(names[mine]) for mine in lines["mine"]]
    columns: dict[tuple[str, str], list] = {
        ("", "shown as"): [mines[mine] for mine in lines["mine"]]
    }
    for metric in METRICS:
        columns[OURS, _SHORT_TITLES[metric]] = list(lines[metric])
    published = paper_mine_scores(task)
    index = pd.MultiIndex.from_arrays([locations, lines["class"]])
    same = [_published(published, dataset, *row) for row in index]
    if any(row is not None for row in same):
        for metric in METRICS:
            values = [np.nan if row is None else row[metric] for row in same]
            columns[PAPER, _SHORT_TITLES[metric]] = values
    table = pd.DataFrame(columns, index=index)
    corner = (model_title(task), "synthetic" * dataset.synthetic)
    return table_style(table, corner, _group_starts(locations)).format(_three_decimals)


def paper_mine_table(task: str) -> Styler:
    """Lay out the paper's rows of Tables 6 to 8 for a task, in grey: they are of its own mines.

    Parameters
    ----------
    task : str
        `model1` … `model4`, or class names.

    Returns
    -------
    pandas Styler
        Row: location and label; columns IoU, Rec, Prec, Acc as printed. Empty where the paper has
        no such row.
    """
    published = paper_mine_scores(task)
    heading = f"paper, Table {MINE_TABLES[task]}" if task in MINE_TABLES else "paper, Tables 6–8"
    index = pd.MultiIndex.from_arrays([published["location"], published["class"]])
    columns = {
        (f"{heading}, its own mines", _SHORT_TITLES[metric]): published[metric].to_numpy()
        for metric in METRICS
    }
    table = pd.DataFrame(columns, index=index)
    styler = table_style(table, ("", ""), _group_starts(list(published["location"])))
    return styler.format(_as_printed).set_properties(color="#888888")


def same_mine(name: str, location: str) -> bool:
    """Tell whether a mine's name is that of a location of the paper: it has all its words."""
    return _words(location) <= _words(name)


def _words(name: str) -> set[str]:
    """Return the words of a name, whatever the case and kind of hyphen, ``mine`` left out."""
    return set(re.findall(r"\w+", name.casefold())) - {"mine"}


def _published(
    published: pd.DataFrame, dataset: Dataset, name: str, class_name: str
) -> pd.Series | None:
    """Find the paper's row of the same mine and class."""
    if dataset.synthetic:
        return None
    for _, row in published.iterrows():
        if row["class"] == class_name and same_mine(name, row["location"]):
            return row
    return None


def _group_starts(locations: list[str]) -> list[int]:
    """Return the rows at which another location begins."""
    return [k for k in range(1, len(locations)) if locations[k] != locations[k - 1]]


def explanation_table(explanations: Explanations, mine: str) -> pd.DataFrame:
    """Return what explains the errors on one mine, class by class, written out.

    Parameters
    ----------
    explanations : Explanations
    mine : str

    Returns
    -------
    pandas.DataFrame
        Row: a fact; column: a class of the task that is there or predicted there. Behind a share
        of the errors stands in brackets that of all pixels.
    """
    one = explanations.of_mine(mine)
    columns = {}
    for name in one.class_names:
        lines = one.conditions[one.conditions["class"] == name]
        by_condition = {line["condition"]: line for _, line in lines.iterrows()}
        objects = one.objects[one.objects["class"] == name]
        if not lines["errors"].iloc[0] and objects.empty:
            continue
        facts = {
            "pixels in error": _percent(float(lines["errors"].iloc[0] / lines["pixels"].iloc[0])),
            "false positives lie on": _largest(one, name, "false positive", "annotated"),
            "missed pixels are predicted as": _largest(one, name, "false negative", "predicted"),
            "missed pixels lie on": _largest(one, name, "false negative", "annotated"),
        }
        for condition in CONDITIONS[:-1]:
            facts[f"error {condition}"] = _error_share(by_condition[condition])
        facts[f"objects less than {MISSED_BELOW:.0%} found"] = _missed(objects)
        columns[name] = facts
    return pd.DataFrame(columns)


def scene_line(explanations: Explanations, mine: str) -> str:
    """Say in a line what the scene of a mine looks like, and how unlike the training mines."""
    scene = explanations.of_mine(mine).scenes.iloc[0]
    return (
        f"Snow-bright ground {_percent(scene['snow'])}, water {_percent(scene['water'])} of the "
        f"scene; distance to the nearest training mine {_distance(scene)}."
    )


def _largest(one: Explanations, name: str, error: str, by: str) -> str:
    """Name the three grounds, or predictions, that most errors of a class are on."""
    table = one.confusions
    lines = table[(table["class"] == name) & (table["error"] == error) & (table["by"] == by)]
    shares = (lines["errors_there"] / lines["errors"]).set_axis(lines["other"])
    shares = shares[shares >= 0.005].sort_values(ascending=False).head(3)
    texts = [f"{other} {_percent(value)}" for other, value in shares.items()]
    return ", ".join(texts) or "no such pixels"


def _error_share(line: pd.Series) -> str:
    """Write the share of errors under a condition, and that of all pixels."""
    if np.isnan(line["pixels_there"]):
        return "cannot be told"
    if not line["errors"]:
        return "no errors"
    there = _percent(line["pixels_there"] / line["pixels"])
    return f"{_percent(line['errors_there'] / line['errors'])} ({there})"


def _missed(objects: pd.DataFrame) -> str:
    """Write how many objects were missed, and how large those and the found ones are."""
    if objects.empty:
        return "none there"
    missed = objects["detected"] < MISSED_BELOW
    text = f"{missed.sum()} of {len(objects)}"
    for word, areas in (
        ("missed", objects.loc[missed, "area_ha"]),
        ("found", objects.loc[~missed, "area_ha"]),
    ):
        if len(areas):
            low, high = areas.min(), areas.max()
            sizes = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
            text += f"; {word}: {sizes} ha"
    return text


def _distance(scene: pd.Series) -> str:
    """Write how far a scene looks from the training mines."""
    if pd.isna(scene["distance"]):
        return "cannot be told"
    text = f"{scene['distance']:.2f} sd"
    if pd.isna(scene["percentile"]):
        return text
    return f"{text}, farther than {scene['percentile']:.0%} of them from each other"


def condition_table(shares: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return what covers how much of the error over all test mines, written out.

    Parameters
    ----------
    shares : pandas.DataFrame
        See `minseg.study.error_shares.condition_shares`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: class and condition; columns: share of the error with its interval, share of all
        pixels, error rates inside and outside, and share of the error counted once, in order.
    """
    table = pd.DataFrame(
        {
            "share of the error": shares["value"].map(_percent),
            "95 % interval over mines": _ranges(shares),
            "share of all pixels": shares["pixel_share"].map(_percent),
            "error rate inside": shares["rate_inside"].map(_percent),
            "outside": shares["rate_outside"].map(_percent),
            "each error once, in this order": shares["first_share"].map(_percent),
        }
    )
    table.index = pd.MultiIndex.from_frame(shares[["class", "condition"]])
    return table.rename_axis(columns="synthetic" * synthetic)


def claim_table(claims: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return the paper's claims of section 4, each with what was measured, written out.

    Parameters
    ----------
    claims : pandas.DataFrame
        See `minseg.study.mine_claims.claims`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: section and claim; columns: what is measured, its value with interval, number of
        mines, what to hold it against, and the difference with its interval, both sides on the
        same resamples of the mines.
    """
    beside = claims["beside"].astype(str) + ": " + claims["other"].map(_percent).astype(str)
    table = pd.DataFrame(
        {
            "measured": claims["measured"],
            "value": claims["value"].map(_percent),
            "95 % interval over mines": _ranges(claims),
            "mines": claims["mines"].astype(int),
            "beside": beside,
            "difference, points": claims["difference"].map(_points)
            + (" (" + _ranges(claims, "difference_", _points) + ")").where(
                claims["difference_low"].notna(), ""
            ),
        }
    )
    table.index = pd.MultiIndex.from_frame(claims[["section", "claim"]])
    return table.rename_axis(columns="synthetic" * synthetic)


def limits(explanations: Explanations) -> str:
    """Say in a Markdown list what this dataset cannot tell about the errors; empty if nothing."""
    absent = [name for name in CLASS_NAMES if name not in explanations.annotated]
    notes = []
    if absent:
        notes.append(
            f"Nobody annotated {', '.join(absent)} here: errors on them count as on "
            f"“{NO_CLASS}”, and are not zero but unknown."
        )
    for look, needed in (("snow", "B03, B04 and B11"), ("water", "B03 and B08")):
        if explanations.scenes[look].isna().all():
            notes.append(f"The dataset lacks one of {needed}: pixels of {look} are unknown.")
    if explanations.scenes["percentile"].isna().all():
        notes.append("Too few training mines: how unfamiliar a scene is cannot be told.")
    return "\n".join(f"- {note}" for note in notes)


def _ranges(
    table: pd.DataFrame, of: str = "", write: Callable[[float], str] | None = None
) -> pd.Series:
    """Write intervals, a dash where there is none."""
    low, high = (table[of + name].map(write or _percent).astype(str) for name in ("low", "high"))
    texts = low + " to " + high
    return texts.where(table[of + "low"].notna(), DASH)


def _points(value: float) -> str:
    """Write a difference of shares in percentage points."""
    return DASH if pd.isna(value) else f"{100 * value:+.0f}".replace("-", "−")


def _percent(value: float) -> str:
    """Write a share in percent, with a decimal where it is small."""
    if pd.isna(value):
        return DASH
    if 0 < value < 0.0005:
        return "< 0.1%"
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def _three_decimals(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return DASH if np.isnan(value) else f"{value:.3f}"


def _as_printed(value: object) -> str:
    """Write three decimals, or four where the paper prints four."""
    short = f"{value:.3f}"
    return short if float(short) == value else f"{value:g}"
