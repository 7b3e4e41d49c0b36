"""Errata about what the prose says of classes, tuning and single mines (sections 2, 3.3 and 4)."""

import math

import pandas as pd

from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    Check,
    Erratum,
    PrintedPaper,
    Row,
    listed,
    metric_name,
    model_name,
    table_of,
)
from minseg.data.labels import CLASS_NAMES, TASKS
from minseg.learning.metrics import METRICS
from minseg.study.experiments import PAPER_BANDS


def _labels(paper: PrintedPaper) -> Erratum:
    """Numbers of labels and of predicted classes."""
    stated = {f"model{k}": paper.said(f"model{k}_classes") for k in (1, 3)}
    rows: list[Row] = [
        {"what": "labels", "printed": round(paper.said("labels")), "listed": len(CLASS_NAMES)},
        *(
            {
                "what": f"classes of {model_name(model)}",
                "printed": round(count),
                "listed": len(TASKS[model].class_names),
            }
            for model, count in stated.items()
        ),
    ]
    for row in rows:
        row["odd"] = row["printed"] != row["listed"]
    with_background = (
        all(row["printed"] == row["listed"] + 1 for row in rows[1:]) and not rows[0]["odd"]
    )
    fits = not any(row["odd"] for row in rows)
    return Erratum(
        "labels",
        "How many classes",
        "abstract, section 2.2, section 3.1; Table 1",
        "There are " + ", ".join(f"{row['printed']} {row['what']}" for row in rows) + ".",
        "Table 1 and section 2.2 list "
        + ", ".join(f"{row['listed']} {row['what']}" for row in rows)
        + ("; the predicted ones are counted with the background." if with_background else "."),
        CONSISTENT if fits else IMPRECISE if with_background else CONTRADICTION,
        "Whether the background is one of “all classes” over which scores are averaged "
        "(section 3) moves the mean, since it is scored high; a count with it suggests that it is.",
        table_of(rows),
    )


def _lower_learning_rate(paper: PrintedPaper) -> Erratum:
    """Decreasing the learning rate was consistently better."""
    chosen = _chosen(paper, "learning_rate")
    smallest, largest = paper.said("smallest_learning_rate"), paper.said("largest_learning_rate")
    rows: list[Row] = [
        {"model": model_name(model), "learning rate": f"{rate:g}"}
        | {"tried": f"{smallest:g} to {largest:g}", "odd": rate > smallest}
        for model, rate in chosen.items()
    ]
    above = [str(row["model"]) for row in rows if row["odd"]]
    at_largest = [model_name(model) for model, rate in chosen.items() if rate >= largest]
    return Erratum(
        "lower-learning-rate",
        "Lower learning rates consistently better",
        "section 3.3; Table 5",
        "Decreasing the learning rate is said to have led consistently to better outcomes.",
        f"Not the lowest rate tried was chosen for: {listed(above)}; the highest for: "
        f"{listed(at_largest)}.",
        CONTRADICTION if at_largest else IMPRECISE if above else CONSISTENT,
        "Where the lowest value tried is the best, a lower one might be better still; where the "
        "highest is, the rule does not hold, at least together with the other choices.",
        table_of(rows),
    )


def _most_epochs(paper: PrintedPaper) -> Erratum:
    """Increasing the number of epochs was consistently better."""
    chosen, largest = _chosen(paper, "epochs"), paper.said("largest_epochs")
    rows: list[Row] = [
        {"model": model_name(model), "epochs": f"{epochs:g}", "most tried": f"{largest:g}"}
        | {"odd": epochs < largest}
        for model, epochs in chosen.items()
    ]
    fewer = [str(row["model"]) for row in rows if row["odd"]]
    return Erratum(
        "most-epochs",
        "More epochs consistently better",
        "section 3.3; Table 5",
        "Increasing the number of epochs is said to have led consistently to better outcomes.",
        f"Fewer than the most epochs tried were chosen for: {listed(fewer)}.",
        CONSISTENT if not fewer else IMPRECISE if len(fewer) < len(rows) else CONTRADICTION,
        "Choices at the end of the range leave open how many epochs would be best; the band and "
        "split experiments had 150 (section 2.4).",
        table_of(rows),
    )


def _search_share(paper: PrintedPaper) -> Erratum:
    """Two hundred trials, against the size of the search space."""
    names = list(paper.tuned["hyperparameter"].unique())
    values = {name: round(paper.said(f"tried_{name}")) for name in names}
    combinations, trials = math.prod(values.values()), paper.said("trials")
    rows: list[Row] = [
        {"hyperparameter": name, "values tried": count} for name, count in values.items()
    ]
    return Erratum(
        "search-share",
        "Optimal hyperparameters",
        "section 2.4.3, section 3.3; Table 5",
        f"{trials:g} trials gave the optimal hyperparameters.",
        f"The values make {combinations:,} combinations, of which {trials:g} are "
        f"{trials / combinations:.1%}.",
        IMPRECISE if trials < combinations else CONSISTENT,
        "They are the best of those tried. How near the best of all they come cannot be told "
        "without the scores, which are not printed.",
        table_of(rows),
    )


def _best_mine(paper: PrintedPaper) -> Erratum:
    """Rudnichny has the most favourable metric values of Model 2."""
    table = paper.mines[7]
    rows: list[Row] = []
    for metric in METRICS:
        best = table.loc[table[metric] == table[metric].max(), "location"]
        rows.append(
            {"metric": metric, "best": listed(best), "best value": table[metric].max()}
            | {"Rudnichny": _of_mine(table, "Rudnichny")[metric]}
            | {"odd": "Rudnichny" not in set(best)}
        )
    beaten = [str(row["metric"]) for row in rows if row["odd"]]
    return Erratum(
        "best-mine",
        "The most favourable metric values",
        "section 4.2; Table 7",
        "Rudnichny is said to have the most favourable metric values.",
        f"Another mine has the best value of: {listed(map(metric_name, beaten))}.",
        CONSISTENT if not beaten else CONTRADICTION if "iou" in beaten else IMPRECISE,
        "A high precision alone comes easily with a low recall, so IoU decides.",
        table_of(rows),
    )


def _high_recall(paper: PrintedPaper) -> Erratum:
    """Rank the recall of Cerovo, which is said to have remained high."""
    table = paper.mines[6]
    pits = table[table["class"] == "excavation"]
    recall = float(_of_mine(pits, "Cerovo")["recall"])
    rank = int((pits["recall"] > recall).sum()) + 1
    mean = paper.bands[PAPER_BANDS["model1"], "model1", "recall"]
    rows: list[Row] = [
        {name: line[name] for name in ("location", "recall", "precision")}
        for line in pits.sort_values("recall", ascending=False).to_dict("records")
    ]
    return Erratum(
        "high-recall",
        "The recall of a snowy mine",
        "section 4.1; Tables 3, 6",
        "At Cerovo, where snow spoiled the prediction, recall is said to have remained high.",
        f"It is {recall:.3f}, number {rank} of {len(pits)} excavations in Table 6; the mean over "
        f"classes and test mines (Table 3) is {mean:.3f}.",
        CONSISTENT if recall > mean else IMPRECISE,
        "High may be meant in comparison with its precision. Recall says how much of the "
        "excavation was found, whatever else was taken for it.",
        table_of(rows),
    )


def _figure_order(paper: PrintedPaper) -> Erratum:
    """Figures 5 and 6 are named in the other order than the mines."""
    rows: list[Row] = []
    for name in ("Cordero Rojo", "Agarak"):
        key = f"figure_of_{name.lower().replace(' ', '_')}"
        text, caption = paper.said(f"{key}_text"), paper.said(f"{key}_caption")
        rows.append(
            {"mine": name, "figure by the order in the text": round(text)}
            | {"figure by its caption": round(caption), "odd": text != caption}
        )
    odd = any(row["odd"] for row in rows)
    return Erratum(
        "figure-order",
        "Figures 5 and 6",
        "section 4.1; captions of Figures 5 and 6",
        "Cordero Rojo and Agarak are named together with Figures 5 and 6.",
        "The captions have them " + ("the other way round." if odd else "in this order."),
        IMPRECISE if odd else CONSISTENT,
        "A reader may look at the wrong figure; no score depends on it.",
        table_of(rows),
    )


def _chosen(paper: PrintedPaper, name: str) -> dict[str, float]:
    """Return the value of a hyperparameter chosen for each model."""
    column = paper.tuned[paper.tuned["hyperparameter"] == name]
    return {line["model"]: float(line["value"]) for line in column.to_dict("records")}


def _of_mine(table: pd.DataFrame, location: str) -> pd.Series:
    """Return the first row of a mine."""
    return table[table["location"] == location].iloc[0]


METHOD_ERRATA: tuple[Check, ...] = (
    _labels,
    _lower_learning_rate,
    _most_epochs,
    _search_share,
    _best_mine,
    _high_recall,
    _figure_order,
)
"""Checks of classes, tuning and single mines, in the order of the page."""
