"""A mine in two years: which mines have them, what was annotated, and what runs predict."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, Task, parse_task
from minseg.errors import MinsegError
from minseg.maps.change import ABSENT, GAINED, LOST, UNCHANGED, change_areas, class_change
from minseg.maps.class_map import ClassMap, read_class_map, write_class_map
from minseg.scoring.intervals import LEVEL
from minseg.study.errors import pooled, ratio
from minseg.study.runs import Run
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
    tasks : sequence of str
    bands : mapping of task to band configuration
        RGB for a task that is not named.
    mine : str
        The mine at hand; empty for the test mine that grew most, see `most_grown_mine` (of the
        total transformed area if Model 4 has a run, else of the first task that has one).
    years : sequence of int
        The earlier and the later year; by default the first and the last there are.
    **settings
        Other fields of `RunConfig`.

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
    true = {task: annotated(dataset, run.task, mines, years) for task, run in runs.items()}
    found = {task: predicted(run, dataset, true[task]) for task, run in runs.items()}
    return Comparison(mine, found, true, tuple(problems))


def first_runs(
    study: Study, tasks: Sequence[str], bands: Mapping[str, str], **settings: object
) -> tuple[dict[str, Run], list[str]]:
    """Make or load one run a task with the study's first seed, and say why others are missing."""
    names = [parse_task(task).name for task in tasks]
    outcomes = study.run_all(
        [study.config(task=name, bands=bands.get(name, "RGB"), **settings) for name in names]
    )
    runs = {one.config.task: one.run for one in outcomes if one.run}
    return runs, [f"{one.config.task}: {one.problem}" for one in outcomes if not one.run]


def scenes_of_two_years(dataset: Dataset, mine: str, years: Sequence[int] = ()) -> pd.DataFrame:
    """Return a mine's rows of two years, the earlier first; by default of its first and last."""
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
    """Return the test mines that have scenes of two years on one grid, in order."""
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
    """Return the test mine whose annotated area of a task grew most in hectares, if any has."""
    true = annotated(dataset, task, mines_with_two_years(dataset, years), years)

    def growth_ha(mine: str) -> float:
        areas = change_areas(true[mine].before, true[mine].after)
        return float((areas["after_ha"] - areas["before_ha"]).sum())

    return max(true, key=growth_ha, default=None)


def annotated(
    dataset: Dataset, task: Task, mines: Sequence[str], years: Sequence[int] = ()
) -> dict[str, TwoYears]:
    """Read what was annotated of mines in two years; 255 where nobody annotated."""
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


def predicted(run: Run, dataset: Dataset, true: Mapping[str, TwoYears]) -> dict[str, TwoYears]:
    """Map annotated mines with a run's network, none of which it was trained on."""
    scenes = [scene for one in true.values() for scene in one.scenes]
    maps = scene_maps(run, dataset, scenes)
    return {
        mine: replace(one, before=maps[one.scenes[0]], after=maps[one.scenes[1]])
        for mine, one in true.items()
    }


def scene_maps(run: Run, dataset: Dataset, scenes: Sequence[str]) -> dict[str, ClassMap]:
    """Return the class maps that a run's network draws of scenes, of any year.

    Only predicting loads torch: a page whose maps are kept does without. 255 where the image has no
    data; a scene of a mine that the run was trained on is refused.
    """
    folder = run.path / "scene_maps" / dataset.digest  # the images decide what is predicted
    maps = {scene: folder / f"{scene}.tif" for scene in scenes}
    missing = [scene for scene, path in maps.items() if not path.is_file()]
    predicted = {}
    if missing:
        from minseg.study.execution import predict_scenes_of  # loads torch

        predicted = predict_scenes_of(run, dataset, missing)
        with suppress(MinsegError):  # a run store may be open for reading only
            for scene, one in predicted.items():
                write_class_map(maps[scene], one.classes, one.grid, one.task)
    return {
        scene: predicted[scene] if scene in predicted else read_class_map(path)
        for scene, path in maps.items()
    }


CATEGORIES: tuple[str, ...] = ("stable background", "gained", "lost", "stable class")
"""What became of a class at a pixel, in the order of the numbers of `minseg.maps.change`."""

KINDS: dict[str, int] = {"gained": GAINED, "lost": LOST}
"""The two kinds of change, with their numbers."""

KEYS = ["class", "change"]
CROSS_COLUMNS = ["mine", "class", "predicted", "true", "pixels"]

ACCOUNT_COLUMNS = [
    *("class", "change", "mapped_ha", "adjusted_ha", "low_ha", "high_ha"),
    *("floor_ha", "floor_low_ha", "floor_high_ha", "true_ha", "mines"),
]

CHECK_COLUMNS = ["class", "change", "mines", "inside", "mapped_error_ha", "adjusted_error_ha"]


def cross_tables(found: Mapping[str, TwoYears], true: Mapping[str, TwoYears]) -> pd.DataFrame:
    """Count pixels by what became of each class as predicted and as annotated, mine by mine.

    Rows mine, class, predicted, true (both of `CATEGORIES`), pixels. Pixels without data or
    annotation in either year are left out.
    """
    tables, number = [], len(CATEGORIES)
    pairs = pd.MultiIndex.from_product([CATEGORIES, CATEGORIES], names=["predicted", "true"])
    for mine, one in found.items():
        for name in one.before.task.target_names[1:]:
            seen = class_change(one.before, one.after, name)
            there = class_change(true[mine].before, true[mine].after, name)
            known = (seen != IGNORE) & (there != IGNORE)
            both = number * seen[known].astype(int) + there[known]
            table = pd.DataFrame({"pixels": np.bincount(both, minlength=number**2)}, pairs)
            tables.append(table.reset_index().assign(mine=mine, **{"class": name}))
    return pd.concat(tables or [pd.DataFrame(columns=CROSS_COLUMNS)], ignore_index=True)


def false_change(crossed: pd.DataFrame) -> pd.DataFrame:
    """Measure the floor of false change: how much is predicted to change where nothing did.

    Rows class, change (gained or lost), share (of all ground whose truth did not change, pooled
    over the mines), low, high (95 % interval: bootstrap over mines).
    """
    rows = []
    for name, mines, pixels in _by_class(crossed):
        stable = pd.DataFrame(pixels[:, :, [ABSENT, UNCHANGED]].sum(axis=2), mines)
        for kind, number in KINDS.items():
            false = pooled(stable[number], stable.sum(axis=1))
            rows.append((name, kind, false.value, *false.interval))
    return pd.DataFrame(rows, columns=["class", "change", "share", "low", "high"])


def adjusted_areas(areas: pd.DataFrame, crossed: pd.DataFrame) -> pd.DataFrame:
    """Estimate a mine's true change from its map and from what such maps were worth elsewhere.

    The stratified, error-adjusted estimator of Olofsson et al. (2014), "Good practices for
    estimating area and assessing accuracy of land change", Remote Sensing of Environment 148,
    42-57. Strata are the mapped categories of the mine at hand: gained, lost, class in both years,
    background in both years. Each stratum's mapped area is multiplied by the share of such a
    stratum that truly was gained (or lost), and the products are added up.

    There, the shares come from a random sample of the map's own pixels, and a standard error from
    that sample. Here they come from the annotated pixels of *other* mines, pooled, so the estimate
    holds as far as the model errs on this mine as on those, and what is uncertain is how this mine
    differs from them. So the interval is that of the estimates with each other mine's own shares
    in turn. A bootstrap of the pooled shares would be about the average mine, and far too narrow
    for one: of such 95 % intervals less than half held the annotated area of synthetic mines.
    With n other mines even their whole range misses a further one of their kind 2 times of n + 1.

    From areas of the mine at hand (`minseg.maps.change.change_areas`) and `cross_tables` of others:
    rows class, change, mapped_ha, adjusted_ha, low_ha, high_ha (2.5th and 97.5th percentile over
    the other mines, taken outwards: the whole range of less than 40), mines. Adjusted is NaN where
    the map has a stratum that was predicted on none of the other mines; where one of them lacks it,
    the pooled share stands in.
    """
    rows = []
    for name, mines, pixels in _by_class(crossed):
        changed_ha = areas.loc[name, ["gained_ha", "lost_ha", "unchanged_ha"]].to_numpy(float)
        stable_ha = areas.loc[name, "compared_ha"] - changed_ha.sum()
        strata_ha = np.array([max(stable_ha, 0.0), *changed_ha])  # in the order of CATEGORIES
        predicted = pixels.sum(axis=2)  # (mines, strata)
        for kind, number in KINDS.items():
            truly = pixels[:, :, number]
            pooled = ratio(truly.sum(axis=0), predicted.sum(axis=0))
            of_mine = np.where(predicted > 0, ratio(truly, predicted), pooled)
            adjusted, in_turn = _added_up(strata_ha, pooled), _added_up(strata_ha, of_mine)
            ends = _outer_interval(in_turn)
            rows.append((name, kind, strata_ha[number], float(adjusted), *ends, len(mines)))
    columns = ["class", "change", "mapped_ha", "adjusted_ha", "low_ha", "high_ha", "mines"]
    return pd.DataFrame(rows, columns=columns)


def change_account(
    found: Mapping[str, TwoYears], true: Mapping[str, TwoYears], mine: str
) -> pd.DataFrame:
    """Set a mine's mapped change beside its estimate, the floor of false change, and the truth.

    Estimate and floor come from the other mines alone; what was annotated of the mine at hand is
    not used for them, and so it checks them. Rows of `ACCOUNT_COLUMNS`; the floor is its share of
    all ground that is compared, mines are the others. NaN where there is no other mine, and in
    true_ha where nobody annotated.
    """
    others = {name: one for name, one in found.items() if name != mine}
    crossed = cross_tables(others, true)
    account = _areas(found[mine], true[mine], crossed)
    floors = {"share": "floor_ha", "low": "floor_low_ha", "high": "floor_high_ha"}
    floor = false_change(crossed).rename(columns=floors)
    compared_ha = change_areas(found[mine].before, found[mine].after)["compared_ha"].iloc[0]
    floor[list(floors.values())] *= compared_ha
    account = account.merge(floor, "left", KEYS)[ACCOUNT_COLUMNS]
    numbers = dict.fromkeys(ACCOUNT_COLUMNS[2:-1], float)
    return account.fillna({"mines": 0}).astype({**numbers, "mines": int})


def account_check(found: Mapping[str, TwoYears], true: Mapping[str, TwoYears]) -> pd.DataFrame:
    """Check mapped and adjusted areas on every mine in turn, estimated from the others.

    Rows class, change, mines (with an annotated area, an interval, and a change that is mapped or
    annotated: what never changes is no test), inside (how many of their annotated areas lie in the
    interval), mapped_error_ha and adjusted_error_ha (mean absolute difference from the annotated
    area).
    """
    crossed = cross_tables(found, true)
    of_mines = [
        _areas(one, true[mine], crossed[crossed["mine"] != mine]) for mine, one in found.items()
    ]
    if len(of_mines) < 2:
        return pd.DataFrame(columns=CHECK_COLUMNS)
    rows = pd.concat(of_mines).dropna(subset=["true_ha", "adjusted_ha", "low_ha"])
    rows = rows[(rows["true_ha"] > 0) | (rows["mapped_ha"] > 0)]
    slack = 1e-9  # of sums in another order
    rows["inside"] = rows["true_ha"].between(rows["low_ha"] - slack, rows["high_ha"] + slack)
    for name in ("mapped", "adjusted"):
        rows[f"{name}_error_ha"] = (rows[f"{name}_ha"] - rows["true_ha"]).abs()
    checked = rows.groupby(KEYS).agg(
        mines=("inside", "size"),
        inside=("inside", "sum"),
        mapped_error_ha=("mapped_error_ha", "mean"),
        adjusted_error_ha=("adjusted_error_ha", "mean"),
    )
    return of_mines[0][KEYS].merge(checked.reset_index())[CHECK_COLUMNS]


def accounts(compared: Comparison) -> pd.DataFrame:
    """Return the account of the mine at hand by all tasks: `change_account` with a column task."""
    found = [
        change_account(compared.found[task], compared.true[task], compared.mine).assign(task=task)
        for task in compared.found
        if compared.mine
    ]
    return pd.concat(found or [pd.DataFrame(columns=["task", *ACCOUNT_COLUMNS])], ignore_index=True)


def account_checks(compared: Comparison) -> pd.DataFrame:
    """Return the check on every mine in turn by all tasks: `account_check` with a column task."""
    found = [
        account_check(compared.found[task], compared.true[task]).assign(task=task)
        for task in compared.found
    ]
    return pd.concat(found or [pd.DataFrame(columns=["task", *CHECK_COLUMNS])], ignore_index=True)


def _areas(own: TwoYears, true: TwoYears, crossed: pd.DataFrame) -> pd.DataFrame:
    """Return a mine's mapped, adjusted and annotated areas, with cross tables of others."""
    areas, true_areas = (change_areas(one.before, one.after) for one in (own, true))
    adjusted = adjusted_areas(areas, crossed).drop(columns="mapped_ha")
    known = true_areas[true_areas["compared_ha"] > 0]
    account = _in_rows(areas, "mapped_ha").merge(adjusted, "left", KEYS)
    return account.merge(_in_rows(known, "true_ha"), "left", KEYS)


def _in_rows(areas: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lay gained and lost areas out as rows class, change, area."""
    rows = [(name, kind, areas.loc[name, f"{kind}_ha"]) for name in areas.index for kind in KINDS]
    return pd.DataFrame(rows, columns=["class", "change", column])


def _by_class(crossed: pd.DataFrame) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """Yield each class with its mines and pixels, int64 (mines, predicted, true)."""
    for name, rows in crossed.groupby("class", sort=False):
        pixels = rows["pixels"].to_numpy(np.int64)  # in the order of `cross_tables`
        yield str(name), list(rows["mine"].unique()), pixels.reshape(-1, *[len(CATEGORIES)] * 2)


def _added_up(strata_ha: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Add up shares (…, strata) of strata; a stratum without area needs no known share."""
    return np.where(strata_ha > 0, strata_ha * shares, 0.0).sum(axis=-1)


def _outer_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the least of the values' own intervals with 95 % of them; a single one has none."""
    if len(values) < 2 or np.isnan(values).any():
        return np.nan, np.nan
    low = np.quantile(values, (1 - LEVEL) / 2, method="lower")
    high = np.quantile(values, (1 + LEVEL) / 2, method="higher")
    return float(low), float(high)
