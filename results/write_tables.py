"""The tables of README.md and REPRODUCING.md: ours beside the paper's, from stored outcomes.

`make results` runs this script, which writes the outcomes of the study to ``results/`` and
both tables and the README's picture anew; a test holds the tables to the stored outcomes.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from minseg.atomic import replace_when_done, write_text
from minseg.errors import MinsegError
from minseg.report.scenes import best_median_worst, overlay
from minseg.report.style import model_title, number, signed, span
from minseg.scoring.metrics import CONVENTIONS
from minseg.study.runs import Run
from minseg.study.selection import candidates
from minseg.study.study import Study, open_study, project_folder
from minseg.study.tables import (
    FOREST_SUFFIX,
    GENERAL_OF,
    MODELS,
    PAPER_BANDS,
    band_entries,
    results,
    score_table,
    scored_rows,
    split_entries,
    validation_iou,
)
from minseg.study.tuning import Search, tune_all

OUTCOMES = Path("results") / "study_synthetic.csv"
TAILINGS = Path("results") / "tailings_brazil.csv"
STARTS, ARMS = (Path("results") / f"tailings_starts{of}.csv" for of in ("", "_arms"))
TIMES = Path("results") / "book_times.csv"
SPREAD = Path("results") / "demo_spread.csv"
CHOICE = Path("results") / "laptop_profile.csv"
PICTURE = Path("docs") / "overlay.png"
BEGIN, END = "<!-- written by `make results` -->", "<!-- end of what `make results` writes -->"

Rows = dict[str, dict[Any, Any]]
"""Row, as the paper prints it, to its outcome."""

SPREAD_OF = "Model 1 on RGB, 100 synthetic mines, demo profile"
"""What the outcomes of `SPREAD` are of."""

SEEDS = (0, 1, 2)
"""Of Tables 3 and 4, as on their pages."""

TRIALS = 40
"""Of a model's search, as on the page of Table 5."""

PAGES: dict[str, tuple[str, str]] = {
    "01_dataset": ("Table 2, Figures 1–4", "520 synthetic scenes, images by split, fusion"),
    "02_train_and_look": ("section 2.4", "one network, its overlays beside its baseline's"),
    "03_band_configuration": (
        "Table 3",
        "20 networks and 20 forests a seed, differences with intervals",
    ),
    "04_dataset_splits": ("Tables 2 and 4", "24 targeted networks a seed against the general ones"),
    "05_hyperparameter_tuning": ("Table 5", "a search per model, and what choosing on test adds"),
    "06_excavation": ("Table 6, Figures 5–9", "Model 1 mine by mine"),
    "07_dumping_ground": ("Table 7, Figures 10–13", "Model 2 mine by mine"),
    "08_other_components": ("Table 8, Figures 14–16", "Model 3 mine by mine"),
    "09_change": ("section 4.4, Figures 17–18", "change between two years, in hectares"),
    "10_your_own_mine": ("beyond it", "a map, polygons and areas of one image"),
    "11_build_a_dataset": ("section 2.1, Figure 1", "a dataset fetched from a catalogue"),
    "12_claims": ("abstract, sections 3 to 6", "each claim, against its tables and our runs"),
    "13_metric_conventions": ("section 3", "which averaging gives numbers of that kind"),
    "14_errata": ("Tables 2–8", "what does not agree, with its arithmetic"),
    "15_how_big_a_difference": ("Tables 3 and 4", "the smallest difference that 38 mines resolve"),
    "16_one_or_four": ("section 2.2", "one network of ten classes against the four"),
}
"""Page to what of the paper it is about, and what comes out."""


def results_section(project: Path) -> str:
    """Write the table of the README's results section from the stored outcomes."""
    ours = _read(project / OUTCOMES, "make results")
    seeds = f"Tables 3 and 4: mean of {len(SEEDS)} seeds"
    lines = [
        f"| | the paper | minseg on **synthetic** mines ({seeds}) | how to reproduce |",
        "|---|---|---|---|",
        *(_chosen_bands(ours, task) for task in MODELS),
        _targeted_or_general(ours),
        *(_tuned(ours, task) for task in MODELS),
        "",
        "| on real mines | the paper | minseg | how to reproduce |",
        "|---|---|---|---|",
        *_tailings(_read(project / TAILINGS, "python benchmarks/tailings_brazil.py FOLDER")),
        _best_start(project),
        "",
        _spread_line(project),
    ]
    return "\n".join(lines)


def times_section(project: Path) -> str:
    """Write the table of REPRODUCING.md from the stored times of the book."""
    measure = f"python benchmarks/book.py --results {TIMES}"
    times = _read(project / TIMES, measure).set_index("page")
    lines = [
        f"Times on {times['processor'].iloc[0]}.",
        "",
        "| of the paper | command | what comes out | cold | from stored runs |",
        "|---|---|---|---|---|",
    ]
    for page, (of_the_paper, outcome) in PAGES.items():
        name = f"notebooks/{page}.ipynb"
        if name not in times.index:
            raise MinsegError(
                f"{project / TIMES}: no time of {name}; measure again with: {measure}"
            )
        measured = times.loc[name, ["cold_s", "again_s"]].astype(float)
        written = measured.map("{:.0f} s".format, na_action="ignore").fillna("not yet measured")
        lines.append(_line(of_the_paper, f"`minseg rerun {page[:2]}`", outcome, *written))
    cold, again = times.loc["whole book", ["cold_s", "again_s"]]
    lines.append(_line("all of it", "`make book`", "the book", f"{cold:.0f} s", f"{again:.0f} s"))
    return "\n".join([*lines, "", *_spread_table(project), "", *_choice_table(project)])


SECTIONS: dict[str, Callable[[Path], str]] = {
    "README.md": results_section,
    "REPRODUCING.md": times_section,
}
"""File to what writes its table."""


def with_section(text: str, section: str, path: Path) -> str:
    """Put a section between the marks of a text."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MinsegError(f"{path}: has no lines {BEGIN} and {END}; put them where results go")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def _read(path: Path, command: str) -> pd.DataFrame:
    """Read stored outcomes."""
    if not path.is_file():
        raise MinsegError(f"{path}: no such outcomes; write them with: {command}")
    table = pd.read_csv(path)
    if path.name == OUTCOMES.name and "validation_iou" not in table:
        raise MinsegError(f"{path}: has no column validation_iou; write it anew with: {command}")
    return table


def _of(ours: pd.DataFrame, table: int, task: str, convention: str = "standard") -> Rows:
    """Return the rows of a table and model."""
    kept = ours[
        (ours["table"] == table) & (ours["task"] == task) & (ours["convention"] == convention)
    ]
    return {str(row["row"]): row for row in kept.to_dict("records")}


def _chosen_bands(ours: pd.DataFrame, task: str) -> str:
    """Return the line of the bands that the validation part chooses for a model (Table 3)."""
    found = _of(ours, 3, task)
    networks = {name: row for name, row in found.items() if not name.endswith(FOREST_SUFFIX)}
    chosen = max(networks, key=lambda name: networks[name]["validation_iou"])
    paper_best = max(networks, key=lambda name: networks[name]["paper_iou"])
    like_paper = _of(ours, 3, task, "paper")[chosen]["iou"]
    forest = found[chosen + FOREST_SUFFIX]["iou"]
    return _line(
        f"Table 3, {model_title(task)}: bands chosen on validation, IoU on test",
        f"best on test: {paper_best}, {_three(networks[paper_best]['paper_iou'])}",
        f"{chosen}, {_with_interval(networks[chosen])}; as the convention `paper` averages "
        f"{_three(like_paper)}; per-pixel forest {_three(forest)}",
        "`minseg rerun 03`",
    )


def _targeted_or_general(ours: pd.DataFrame) -> str:
    """Return the line that counts where general models are ahead (Table 4)."""
    theirs, here = [], []
    for task in MODELS:
        found = _of(ours, 4, task)
        for targeted, general in GENERAL_OF.items():
            if not targeted.startswith("AVG") and {targeted, general} <= set(found):
                one, other = found[targeted], found[general]
                theirs.append(other["paper_iou"] >= one["paper_iou"])
                here.append(other["iou"] >= one["iou"])
    return _line(
        "Table 4: general model at least as good as the targeted one, IoU",
        f"{sum(theirs)} of {len(theirs)}",
        f"{sum(here)} of {len(here)}",
        "`minseg rerun 04`",
    )


def _tuned(ours: pd.DataFrame, task: str) -> str:
    """Return the line of a model's search (Table 5)."""
    found = _of(ours, 5, task)
    others = {
        "untuned": "with the untuned settings, at a constant learning rate as all trials",
        "chosen on test": "if chosen on test, as the paper does",
    }
    beside = [
        f"{_three(found[row]['iou'])} {words}" for row, words in others.items() if row in found
    ]
    return _line(
        f"Table 5, {model_title(task)}: {TRIALS} trials, IoU on test",
        "not given",
        "; ".join(
            [f"{_with_interval(found['chosen on validation'])} chosen on validation", *beside]
        ),
        "`minseg rerun 05`",
    )


def _tailings(real: pd.DataFrame) -> list[str]:
    """Return a line for each setting of the job on real tailings facilities."""
    lines = []
    names = real["model"] + real["setting"].where(real["setting"] != "none", "").radd(", ")
    for name, ious in real["iou"].groupby(names.str.removesuffix(", "), sort=False):
        lines.append(
            _line(
                f"39 Brazilian tailings facilities, {name}: mean IoU of {len(ious)} splits",
                "not among its data",
                f"{_three(ious.mean())} ({span(ious.min(), ious.max(), _three)})",
                "`python benchmarks/tailings_brazil.py FOLDER`",
            )
        )
    return lines


def _best_start(project: Path) -> str:
    """Return the line of the start that is best on the validation sites."""
    command = "python benchmarks/tailings_starts.py FOLDER"
    runs, arms = (_read(project / path, command) for path in (STARTS, ARMS))
    best = arms["arm"].iloc[arms["validation_iou"].argmax()]
    ious = runs[runs["arm"] == best].groupby("split_seed")["iou"].mean()
    return _line(
        f"the same, the best of {len(arms)} ways by validation ({best}): mean IoU of {len(ious)} "
        "splits",
        "not among its data",
        f"{_three(ious.mean())} ({span(ious.min(), ious.max(), _three)})",
        f"`{command}`",
    )


def _spread_line(project: Path) -> str:
    """Say how far one outcome moves by what no result should hang on."""
    found = _read(project / SPREAD, "the commands of REPRODUCING.md")
    return (
        f"Trained again with other seeds, numbers of threads, kernels or number formats, "
        f"{SPREAD_OF}, scored {span(found['iou'].min(), found['iou'].max(), _three)} on test "
        f"([REPRODUCING.md](REPRODUCING.md)): a smaller difference between two rows says nothing."
    )


def _spread_table(project: Path) -> list[str]:
    """Write what moves one outcome, and how far."""
    found = _read(project / SPREAD, "the commands below")
    gap = found["iou"] - found["iou"].iloc[0]
    rows = zip(found["trained"], found["iou"], gap, found["validation_iou"], strict=True)
    return [
        f"The same run again, {SPREAD_OF}, on {found['processor'].iloc[0]}:",
        "",
        "| trained | IoU on test | minus the first | IoU on validation |",
        "|---|---|---|---|",
        *(
            _line(how, _three(iou), signed(away), _three(validation))
            for how, iou, away, validation in rows
        ),
    ]


def _choice_table(project: Path) -> list[str]:
    """Write what was tried for the profile `laptop`, and what validation said of it."""
    tried = _read(project / CHOICE, "minseg train, as its rows say")
    gained = tried["validation_iou"] - tried["before_the_last_tenth"]
    columns = ("tried", "task", "bands", "epochs", "seconds_an_epoch", "validation_iou")
    rows = zip(*(tried[name] for name in columns), gained, strict=True)
    return [
        "What was tried for the profile `laptop`, on the **synthetic** validation mines, seed 0:",
        "",
        "| tried | task | bands | epochs | seconds an epoch | validation IoU | in the last tenth |",
        "|---|---|---|---|---|---|---|",
        *(
            _line(
                what,
                model_title(task),
                bands,
                str(epochs),
                f"{seconds:.0f}",
                _three(iou),
                signed(gain),
            )
            for what, task, bands, epochs, seconds, iou, gain in rows
        ),
    ]


def _with_interval(row: Mapping[Any, float]) -> str:
    return f"{_three(row['iou'])} ({span(row['low'], row['high'], _three)})"


def _three(value: float) -> str:
    return number(value).replace("0.", ".", 1)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


CHOSEN = {
    "chosen on validation": "by_validation",
    "chosen on test": "by_test",
    "untuned": "by_default",
}
"""Rows about Table 5, and the property of `Candidates` that names the model."""

OUTCOME_COLUMNS = [
    *("table", "convention", "task", "row", "iou", "low", "high", "mines"),
    *("validation_iou", "paper_iou", "dataset", "synthetic", "device", "code"),
]


def table_outcomes(study: Study, tasks: Sequence[str] = MODELS) -> pd.DataFrame:
    """Score the runs of Tables 3 and 4, per-pixel forests among them, under both conventions.

    Runs that the study does not hold yet are made. The columns are `OUTCOME_COLUMNS`: `table` is
    the paper's, `low` and `high` are a 95 % interval over mines, and `validation_iou` is
    `standard`, of Table 3 alone.
    """
    bands = band_entries(study, tasks)
    tables = {3: [*bands, *(one.baseline() for one in bands)], 4: split_entries(study, tasks)}
    found = []
    for table, entries in tables.items():
        made = results(study, entries)
        validated = {
            (result.entry.task, result.entry.row): validation_iou(result)
            for result in made
            if result.runs and table == 3
        }
        origin = next((_origin(run) for result in made for run in result.runs), {})
        for convention in CONVENTIONS:
            scores = score_table(scored_rows(made, convention), table)
            ious = scores[scores["metric"] == "iou"]
            ious = ious.rename(columns={"value": "iou", "paper": "paper_iou"})
            places = zip(ious["task"], ious["row"], strict=True)
            ious["validation_iou"] = [validated.get(place) for place in places]
            found.append(ious.assign(table=table, convention=convention, **origin))
    return pd.concat(found).reindex(columns=OUTCOME_COLUMNS)


def search_outcomes(searches: Mapping[str, Search]) -> pd.DataFrame:
    """Score the models that searches chose, on validation as here and on test as in the paper.

    As `table_outcomes`; the paper gives no tuned scores.
    """
    rows = []
    for (task, search), convention in product(searches.items(), CONVENTIONS):
        found = candidates(search, convention)
        for row, choice in CHOSEN.items():
            number = getattr(found, choice)
            if number is None:  # a search whose space lacks the default
                continue
            model = found.table.iloc[number]
            run = search.store.find(model["run"])
            assert run  # its counts have just been read
            interval = zip(("low", "high"), found.test_interval(number), strict=True)
            rows.append(
                {"table": 5, "convention": convention, "task": task, "row": row}
                | {"iou": model["test_iou"], "validation_iou": model["validation_iou"]}
                | {"mines": len(set(found.mines)), **dict(interval), **_origin(run)}
            )
    return pd.DataFrame(rows, columns=OUTCOME_COLUMNS)


def _origin(run: Run) -> dict:
    """Return where a table comes from, by one of its runs."""
    facts = run.provenance
    return {
        "dataset": facts["dataset"],
        "synthetic": facts["synthetic"],
        "device": f"{facts['device']}, {facts['cpu_cores']} cores",
        "code": facts["git_commit"],
    }


def main() -> None:
    """Write the outcomes of the study, and the tables and the picture made from them."""
    study, project = open_study(seeds=SEEDS), project_folder()
    searches, _ = tune_all(study, MODELS, PAPER_BANDS, TRIALS)
    outcomes = pd.concat([table_outcomes(study), search_outcomes(searches)])
    with replace_when_done(project / OUTCOMES) as beside:
        outcomes.round(6).to_csv(beside, index=False)
    for name, section in SECTIONS.items():
        path = project / name
        write_text(path, with_section(path.read_text(encoding="utf-8"), section(project), path))
    run = study.run(study.config(task="model1", bands=PAPER_BANDS["model1"]))
    mine = best_median_worst(run.scores_by_mine())["median"]
    with replace_when_done(project / PICTURE) as beside:
        overlay(run, study.dataset, mine).savefig(beside)


if __name__ == "__main__":
    main()
