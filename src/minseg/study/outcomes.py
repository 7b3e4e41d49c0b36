"""The outcomes of Tables 3 to 5 on one dataset, as a small table that can be published."""

from collections.abc import Mapping, Sequence

import pandas as pd

from minseg.learning.metrics import CONVENTIONS
from minseg.study.comparison import PaperScores, score_table, scored_rows, validation_iou
from minseg.study.experiments import (
    MODELS,
    Entry,
    Result,
    band_entries,
    results,
    split_entries,
)
from minseg.study.paper import paper_scores, paper_split_scores
from minseg.study.runs import Run
from minseg.study.search import Search
from minseg.study.selection import Candidates, candidates
from minseg.study.study import Study

CHOSEN = {
    "chosen on validation": "by_validation",
    "chosen on test": "by_test",
    "untuned": "by_default",
}
"""Rows about Table 5, and the property of `Candidates` that names the model."""

OUTCOME_COLUMNS = [
    "table",
    "convention",
    "task",
    "row",
    "iou",
    "low",
    "high",
    "mines",
    "validation_iou",
    "paper_iou",
    "dataset",
    "synthetic",
    "device",
    "code",
]


def table_outcomes(study: Study, tasks: Sequence[str] = MODELS) -> pd.DataFrame:
    """Score the runs of Tables 3 and 4, per-pixel forests among them, under both conventions.

    Parameters
    ----------
    study : Study
        Runs that it does not hold yet are made.
    tasks : sequence of str

    Returns
    -------
    pandas.DataFrame
        Columns `OUTCOME_COLUMNS`: number of the paper's table, convention, task, row (as the paper
        prints it), IoU, its 95 % interval over mines, number of mines tested, of Table 3 the
        `standard` IoU on the validation part, the paper's IoU, and where ours comes from.
    """
    bands = band_entries(study, tasks)
    tables: tuple[tuple[int, list[Entry], PaperScores], ...] = (
        (3, [*bands, *(entry.baseline() for entry in bands)], paper_scores),
        (4, split_entries(study, tasks), paper_split_scores),
    )
    found = []
    for number, entries, paper in tables:
        made = results(study, entries)
        chosen_by = (
            {} if number == 4 else {_row(one): validation_iou(one) for one in made if one.runs}
        )
        origin = next((_origin(run) for result in made for run in result.runs), {})
        for convention in CONVENTIONS:
            scores = score_table(scored_rows(made, convention), paper)
            ious = scores[scores["metric"] == "iou"]
            ious = ious.rename(columns={"value": "iou", "paper": "paper_iou"})
            places = zip(ious["task"], ious["row"], strict=True)
            ious["validation_iou"] = [chosen_by.get(place) for place in places]
            found.append(ious.assign(table=number, convention=convention, **origin))
    return pd.concat(found).reindex(columns=OUTCOME_COLUMNS)


def search_outcomes(searches: Mapping[str, Search]) -> pd.DataFrame:
    """Score the models that searches chose, on validation as here and on test as in the paper.

    Parameters
    ----------
    searches : mapping of task to Search

    Returns
    -------
    pandas.DataFrame
        As `table_outcomes`; the paper gives no tuned scores.
    """
    rows = []
    for task, search in searches.items():
        origin = _origin(search.run_of(search.finished()[0]))
        for convention in CONVENTIONS:
            found = candidates(search, convention)
            for row, choice in CHOSEN.items():
                number = getattr(found, choice)
                if number is None:  # a search whose space lacks the default
                    continue
                scored = _chosen(found, number)
                rows.append(
                    {"table": 5, "convention": convention, "task": task, "row": row}
                    | scored
                    | origin
                )
    return pd.DataFrame(rows, columns=OUTCOME_COLUMNS)


def _row(result: Result) -> tuple[str, str]:
    return result.entry.task, result.entry.row


def _chosen(found: Candidates, row: int) -> dict:
    """Return the test IoU of one of the models that a search could choose."""
    low, high = found.test_interval(row)
    iou = found.table["test_iou"].iloc[row]
    of_validation = {"validation_iou": found.table["validation_iou"].iloc[row]}
    mines = len(set(found.mines))
    return {"iou": iou, "low": low, "high": high, "mines": mines} | of_validation


def _origin(run: Run) -> dict:
    """Return where a table comes from, by one of its runs."""
    facts = run.provenance
    return {
        "dataset": facts["dataset"],
        "synthetic": facts["synthetic"],
        "device": f"{facts['device']}, {facts['cpu_cores']} cores",
        "code": facts["git_commit"],
    }
