"""A mine in two years: which mines have them, what was annotated, and what runs predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from minseg.data.dataset import Dataset
from minseg.data.labels import Task, parse_task
from minseg.errors import MinsegError
from minseg.maps.change import change_areas
from minseg.maps.class_map import ClassMap
from minseg.study.runs import Run
from minseg.study.scene_maps import scene_maps
from minseg.study.study import Study


@dataclass(frozen=True)
class TwoYears:
    """Class maps of one mine in two years, annotated or predicted."""

    mine: str
    years: tuple[int, int]
    scenes: tuple[str, str]
    before: ClassMap
    after: ClassMap


@dataclass(frozen=True)
class Comparison:
    """What runs predict of mines in two years, beside what was annotated."""

    mine: str | None
    """The mine at hand; None where no test mine has two years."""
    found: dict[str, dict[str, TwoYears]]
    """Task to mine to predicted maps: the mine at hand, and all test mines with two years."""
    true: dict[str, dict[str, TwoYears]]
    """The same, annotated."""
    notes: tuple[str, ...]
    """What is missing and why, one line each."""

    def at_hand(self) -> list[tuple[TwoYears, TwoYears]]:
        """Return predicted and annotated maps of the mine at hand, one pair a task."""
        if self.mine is None:
            return []
        return [(self.found[task][self.mine], self.true[task][self.mine]) for task in self.found]

    def by_figure(self) -> list[list[TwoYears]]:
        """Return predictions of the mine at hand as Figures 17 and 18 group them.

        Those of classes together; each that merges all classes, as Model 4, by itself.
        """
        found = [one for one, _ in self.at_hand()]
        together = [one for one in found if not one.before.task.merged_name]
        alone = [[one] for one in found if one.before.task.merged_name]
        return [group for group in (together, *alone) if group]


def compare_years(
    study: Study,
    tasks: Sequence[str],
    bands: Mapping[str, str],
    mine: str = "",
    years: Sequence[int] = (),
    **settings: object,
) -> Comparison:
    """Map a mine and all test mines in two years, with one run a task.

    Parameters
    ----------
    study : Study
    tasks, bands, settings
        See `first_runs`.
    mine : str
        The mine at hand; empty for the test mine that grew most, see `most_grown_mine` (of the
        total transformed area if Model 4 has a run, else of the first task that has one).
    years : sequence of int
        See `scenes_of_two_years`.

    Returns
    -------
    Comparison

    Raises
    ------
    MinsegError
        If the mine given lacks one of the years, or a run was trained on it.
    """
    runs, problems = first_runs(study, tasks, bands, **settings)
    dataset = study.dataset
    tested = mines_with_two_years(dataset, years)
    if mine:
        scenes_of_two_years(dataset, mine, years)
    elif not tested:
        problems.append("no test mine has scenes of two years on one grid: there is no change")
    elif runs:
        grown = "model4" if "model4" in runs else next(iter(runs))
        mine = most_grown_mine(dataset, runs[grown].task, years) or ""
    if not (mine and runs):
        return Comparison(None, {}, {}, tuple(problems))
    mines = list(dict.fromkeys([mine, *tested]))
    return Comparison(
        mine,
        {task: predicted(run, dataset, mines, years) for task, run in runs.items()},
        {task: annotated(dataset, run.task, mines, years) for task, run in runs.items()},
        tuple(problems),
    )


def first_runs(
    study: Study, tasks: Sequence[str], bands: Mapping[str, str], **settings: object
) -> tuple[dict[str, Run], list[str]]:
    """Make or load one run a task, with the study's first seed: those that Tables 3 and 4 share.

    Parameters
    ----------
    study : Study
    tasks : sequence of str
    bands : mapping of task to band configuration
        RGB for a task that is not named.
    **settings
        Other fields of `RunConfig`.

    Returns
    -------
    runs : dict of task to Run
    problems : list of str
        Why others are missing, one line each.
    """
    names = [parse_task(task).name for task in tasks]
    outcomes = study.run_all(
        [study.config(task=name, bands=bands.get(name, "RGB"), **settings) for name in names]
    )
    runs = {one.config.task: one.run for one in outcomes if one.run}
    return runs, [f"{one.config.task}: {one.problem}" for one in outcomes if not one.run]


def scenes_of_two_years(dataset: Dataset, mine: str, years: Sequence[int] = ()) -> pd.DataFrame:
    """Find a mine's scenes of two years.

    Parameters
    ----------
    dataset : Dataset
    mine : str
    years : sequence of int
        The earlier and the later year; by default the first and the last there are.

    Returns
    -------
    pandas.DataFrame
        Two rows of the scene table, the earlier year first.

    Raises
    ------
    MinsegError
        If the mine is unknown, the years are no two years, or the mine has no scene of one.
    """
    if mine not in set(dataset.mines["mine"]):
        raise MinsegError(f"{dataset.path}: has no mine {mine!r}; mines.csv lists them")
    if years and (len(years) != 2 or years[0] >= years[1]):
        raise MinsegError(f"years {list(years)}: give an earlier and a later one, as [2019, 2021]")
    known = dataset.scenes[dataset.scenes["mine"] == mine].dropna(subset=["year"])
    known = known.sort_values(["year", "scene"]).drop_duplicates("year", keep="last")
    chosen = known[known["year"].isin(years)] if years else known.iloc[[0, -1][: len(known)]]
    if len(chosen) < 2:
        wanted = " and ".join(map(str, years)) if years else "of any kind"
        there = ", ".join(map(str, known["year"])) or "not stated"
        raise MinsegError(
            f"mine {mine!r}: change needs two years ({wanted}), and its scenes are of: {there}"
        )
    return chosen


def mines_with_two_years(dataset: Dataset, years: Sequence[int] = ()) -> list[str]:
    """Return the test mines that have scenes of two years on one grid, in order.

    Parameters
    ----------
    dataset : Dataset
    years : sequence of int
        See `scenes_of_two_years`.
    """
    found = []
    for mine in sorted(dataset.split.loc[dataset.split["part"] == "test", "mine"]):
        try:
            scenes = scenes_of_two_years(dataset, mine, years)
        except MinsegError:
            continue
        before, after = (dataset.grid(scene) for _, scene in scenes.iterrows())
        if before.matches(after):
            found.append(mine)
    return found


def most_grown_mine(dataset: Dataset, task: Task, years: Sequence[int] = ()) -> str | None:
    """Return the test mine whose annotated area, of all classes of a task, grew most in hectares.

    Parameters
    ----------
    dataset : Dataset
    task : Task
    years : sequence of int
        See `scenes_of_two_years`.

    Returns
    -------
    str or None
        None where no test mine has two years.
    """
    true = annotated(dataset, task, mines_with_two_years(dataset, years), years)

    def growth_ha(mine: str) -> float:
        areas = change_areas(true[mine].before, true[mine].after)
        return float((areas["after_ha"] - areas["before_ha"]).sum())

    return max(true, key=growth_ha, default=None)


def annotated(
    dataset: Dataset, task: Task, mines: Sequence[str], years: Sequence[int] = ()
) -> dict[str, TwoYears]:
    """Read what was annotated of mines in two years; 255 where nobody annotated.

    Parameters
    ----------
    dataset : Dataset
    task : Task
    mines : sequence of str
    years : sequence of int
        See `scenes_of_two_years`.

    Returns
    -------
    dict of mine to TwoYears
    """
    found = {}
    for mine in mines:
        first, last = (row for _, row in scenes_of_two_years(dataset, mine, years).iterrows())
        before, after = (
            ClassMap(dataset.read_target(row, task), dataset.grid(row), task)
            for row in (first, last)
        )
        both = int(first["year"]), int(last["year"])
        found[mine] = TwoYears(mine, both, (first["scene"], last["scene"]), before, after)
    return found


def predicted(
    run: Run, dataset: Dataset, mines: Sequence[str], years: Sequence[int] = ()
) -> dict[str, TwoYears]:
    """Map mines in two years with a run's network.

    Parameters
    ----------
    run : Run
    dataset : Dataset
    mines : sequence of str
        None that the run was trained on.
    years : sequence of int
        See `scenes_of_two_years`.

    Returns
    -------
    dict of mine to TwoYears

    Raises
    ------
    MinsegError
        If a mine lacks a year, or the run was trained on it.
    """
    true = annotated(dataset, run.task, mines, years)
    scenes = [scene for one in true.values() for scene in one.scenes]
    maps = scene_maps(run, dataset, scenes)
    return {
        mine: replace(one, before=maps[one.scenes[0]], after=maps[one.scenes[1]])
        for mine, one in true.items()
    }
