"""Tables of averaging conventions: what the print allows, and what our runs give under each."""

from collections.abc import Callable

import pandas as pd

from minseg.audit.identity import (
    excluded_rows,
    identity_by_task,
    least_empty_share,
    with_identity,
)
from minseg.learning.metrics import METRICS
from minseg.report.comparisons import model_title, signed
from minseg.report.tables import METRIC_TITLES
from minseg.study.paper import ROUNDING

DASH = "–"
MODEL = "model"


def identity_table(paper: pd.DataFrame) -> pd.DataFrame:
    """Return how far each model of the paper breaks IoU <= min(precision, recall), written out.

    Parameters
    ----------
    paper : pandas.DataFrame
        See `minseg.audit.identity.paper_rows`.
    """
    found = identity_by_task(with_identity(paper, ROUNDING))
    margins, residuals = (
        _ranges(found[f"smallest {name}"], found[f"largest {name}"], signed)
        for name in ("margin", "residual")
    )
    table = pd.DataFrame(
        {
            "classes": found["classes"],
            "rows in print": found["rows"],
            "IoU above P or R": found["breaking"],
            "IoU minus min(P, R)": margins,
            "IoU minus 1/(1/P + 1/R − 1)": residuals,
        }
    )
    return _by_model(table)


def excluded_table(paper: pd.DataFrame) -> pd.DataFrame:
    """Return how many printed rows each explanation without absent classes excludes, written out.

    Parameters
    ----------
    paper : pandas.DataFrame
        See `minseg.audit.identity.paper_rows`.
    """
    in_print = paper["task"].value_counts()
    counted = excluded_rows(paper)
    columns = {
        model_title(str(task)): rows.map(f"{{}} of {in_print[str(task)]}".format)
        for task, rows in counted.items()
    }
    table = pd.DataFrame(columns)
    return table.rename_axis(index="if …", columns="rows that cannot be")


def empty_table(paper: pd.DataFrame, ours: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return the share of absent classes that Table 3 implies, and that of our test scenes.

    Parameters
    ----------
    paper : pandas.DataFrame
        See `minseg.audit.identity.paper_rows`; of other tasks nothing is implied.
    ours : pandas.DataFrame
        See `minseg.audit.convention_effects.empty_slots`.
    synthetic : bool
        Marks our columns as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: model; columns: the least share at which the printed rows are possible, under each of
        the three rules for an absent class (the range over the rows), and our actual ones.
    """
    tasks = list(dict.fromkeys([*paper["task"], *ours["task"]]))
    rules = least_empty_share(paper)
    columns = {f"implied, {rule}": _shares(rules[rule], paper["task"]) for rule in rules}
    word = " (synthetic)" * synthetic
    for title, name in (
        ("in neither", "empty"),
        ("not in the truth", "not_annotated"),
    ):
        columns[f"ours{word}, {title}"] = _shares(ours[name], ours["task"])
    return _by_model(pd.DataFrame(columns, index=tasks).fillna(DASH))


def distance_table(
    distances: pd.DataFrame, first: int = 10, synthetic: bool = False
) -> pd.DataFrame:
    """Return the conventions that come nearest to the paper's pattern, written out.

    Parameters
    ----------
    distances : pandas.DataFrame
        See `minseg.audit.convention_effects.pattern_distances`.
    first : int
        How many lines; conventions that give the same numbers share one.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: convention; columns: distance, rows that break or keep the identity as the print does,
        and of each model how many of our rows break it.
    """
    tasks = list(distances.columns.drop(["distance", "agreeing", "rows"]).astype(str))
    groups = distances.round(6).groupby(["distance", "agreeing", *tasks], sort=False)
    lines = {}
    for _, same in list(groups)[:first]:
        names = list(same.index)
        name = names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
        line = same.iloc[0].to_dict()
        facts = {
            "distance": f"{line['distance']:.3f}",
            "as in print": f"{line['agreeing']:.0f} of {line['rows']:.0f} rows",
        }
        breaking = {f"{model_title(task)} breaks": f"{line[task]:.0f}" for task in tasks}
        lines[name] = facts | breaking
    table = pd.DataFrame.from_dict(lines, orient="index")
    return table.rename_axis(index="convention", columns="synthetic" * synthetic)


def ranking_table(changes: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return which row of a task is best under each convention, written out.

    Parameters
    ----------
    changes : pandas.DataFrame
        See `minseg.audit.convention_effects.ranking_changes`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: convention; columns: model; a cell holds the best row, its lead in IoU over the second,
        and Kendall's tau of the order against the `standard` one.
    """
    texts = changes["best"].where(changes["lead"].isna(), changes["best"] + _leads(changes))
    table = changes.assign(text=texts).pivot(index="convention", columns="task", values="text")
    table = table.loc[list(dict.fromkeys(changes["convention"]))]
    table = table[list(dict.fromkeys(changes["task"]))].fillna(DASH)
    table.columns = pd.Index([model_title(str(task)) for task in table.columns])
    return table.rename_axis(index="convention", columns="synthetic" * synthetic)


def rule_table(rows: pd.DataFrame, printed: dict[str, float]) -> pd.DataFrame:
    """Return scores under rules for an absent class with the printed ones below, written out.

    Parameters
    ----------
    rows : pandas.DataFrame
        See `minseg.audit.identity.single_mine_rows`.
    printed : dict of metric to value
        A row of Table 3.
    """
    names = [name for name in METRICS if name in rows]
    below = pd.DataFrame([printed], index=["printed, Table 3"])[names]
    table = pd.concat([rows, below]).rename(columns=METRIC_TITLES | {"empty": "absent"})
    index = table.index.rename("absent class: IoU / P and R")
    return table.map("{:.3f}".format).replace("nan", DASH).set_index(index)


def _leads(changes: pd.DataFrame) -> pd.Series:
    """Write the lead of the best row, and how alike the order is."""
    leads = " by " + changes["lead"].map("{:.3f}".format)
    return leads + changes["tau"].map(", τ {:.1f}".format).str.replace("-", "−")


def _shares(values: pd.Series, tasks: pd.Series) -> pd.Series:
    """Write the range of shares of each task."""
    groups = values.groupby(tasks, sort=False)
    return _ranges(groups.min(), groups.max(), "{:.2f}".format)


def _ranges(low: pd.Series, high: pd.Series, write: Callable[[float], str]) -> pd.Series:
    """Write ranges, a single number where they have no width."""
    texts = low.map(write) + " to " + high.map(write)
    return texts.where(low.map(write) != high.map(write), low.map(write))


def _by_model(table: pd.DataFrame) -> pd.DataFrame:
    """Name tasks as a reader knows them."""
    index = pd.Index([model_title(str(task)) for task in table.index], name=MODEL)
    return table.set_index(index)
