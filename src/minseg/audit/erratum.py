"""One inconsistency of the print: what is printed, what the arithmetic gives, and what follows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from minseg.errors import MinsegError
from minseg.learning.metrics import METRICS
from minseg.study.paper import MINE_TABLES, PAPER_FOLDER, paper_statements, paper_table

CONTRADICTION, IMPRECISE = "contradiction", "imprecise"
NOT_STATED, CONSISTENT = "not stated", "consistent"

VERDICTS: dict[str, str] = {
    CONTRADICTION: "two printed things cannot both be true as they are worded",
    IMPRECISE: "true in part, or of most of what it speaks of",
    NOT_STATED: "the numbers fit together only under a condition that the paper does not state",
    CONSISTENT: "the numbers bear it out",
}
"""What arithmetic can say of a statement or a table, the gravest first."""

ODD = "odd"
"""Column of `Erratum.cells` that marks the rows which do not fit."""

ACCURATE = 1e-9
"""What binary fractions leave over at most, in sums of printed scores."""

Row = dict[str, Any]
"""A row of `Erratum.cells` in the making."""

Scores = dict[tuple[str, str, str], float]


@dataclass(frozen=True)
class Erratum:
    """A statement or table held against the paper's own numbers."""

    name: str
    """Identifier, as in a link."""
    title: str
    place: str
    """Section and table."""
    printed: str
    """What is printed, in our words."""
    found: str
    """What the arithmetic gives."""
    verdict: str
    """One of `VERDICTS`."""
    matters: str
    """What it changes for a reader, whatever the verdict."""
    cells: pd.DataFrame
    """The numbers concerned; the column `ODD`, where there is one, marks what does not fit."""


@dataclass(frozen=True)
class PrintedPaper:
    """All numbers of the paper that are transcribed."""

    images: dict[tuple[str, str, str], int]
    """Table 2, by split, model and part."""
    bands: Scores
    """Table 3, by bands, model and metric."""
    splits: Scores
    """Table 4, by split, model and metric."""
    tuned: pd.DataFrame
    """Table 5, see `minseg.study.paper.paper_table`."""
    mines: dict[int, pd.DataFrame]
    """Tables 6 to 8: columns location, class and the metrics, in the printed order."""
    statements: Mapping[str, float]
    """Numbers of the prose and captions, by name."""
    folder: Path

    def said(self, name: str) -> float:
        """Return a number of the prose or of a caption; an unknown name is a `MinsegError`."""
        if name not in self.statements:
            raise MinsegError(f"{self.folder / 'statements.csv'}: {name} is missing; add its row")
        return self.statements[name]


Check = Callable[[PrintedPaper], Erratum]
"""Holds one statement or table against the numbers."""


def read_printed(folder: Path | None = None) -> PrintedPaper:
    """Read every transcribed number of the paper.

    Parameters
    ----------
    folder : Path, optional
        Where the files are, by default those of the checkout.

    Returns
    -------
    PrintedPaper

    Raises
    ------
    MinsegError
        If a file is missing or not whole; the message has the line.
    """
    folder = folder or PAPER_FOLDER
    images = paper_table(2, folder).itertuples(index=False, name=None)
    return PrintedPaper(
        images={(split, model, part): int(count) for split, model, part, count in images},
        bands=_scores(paper_table(3, folder)),
        splits=_scores(paper_table(4, folder)),
        tuned=paper_table(5, folder),
        mines={number: _wide(paper_table(number, folder)) for number in MINE_TABLES.values()},
        statements=dict(paper_statements(folder)[["name", "value"]].to_numpy().tolist()),
        folder=folder,
    )


def _scores(table: pd.DataFrame) -> Scores:
    """Return a table of scores by row, model and metric."""
    lines = table.itertuples(index=False, name=None)
    return {(row, model, metric): float(value) for row, model, metric, value in lines}


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of mines with a column for each metric."""
    keys = ["location", "class"]
    wide = table.pivot(index=keys, columns="metric", values="value")[list(METRICS)]
    return table[keys].drop_duplicates().merge(wide.reset_index())


def model_name(model: str) -> str:
    """Write a model as the paper does: ``Model 1``."""
    return f"Model {model.removeprefix('model')}"


def metric_name(metric: str) -> str:
    """Write a metric as the paper does."""
    return "IoU" if metric == "iou" else metric


def difference(one: float, other: float) -> float:
    """Return a difference of printed scores, free of what binary fractions leave over."""
    return round(one - other, 4)


def listed(names: Iterable[str]) -> str:
    """Write names in a row; a dash for none."""
    return ", ".join(names) or "–"


def table_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the cells of an erratum."""
    table = pd.DataFrame(list(rows))
    return table.rename(columns=metric_name).replace("iou", metric_name("iou"))
