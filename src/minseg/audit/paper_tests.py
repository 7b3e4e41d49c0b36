"""Tests that hold the paper's statements against its own printed values, known by name."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, permutations, product

import numpy as np
import pandas as pd

from minseg.audit.printed import (
    ABOVE_ZERO,
    CONTRASTS,
    EXACT,
    FAILS,
    HOLDS,
    IN_PART,
    NOT_A_KEY,
    NOT_STATED,
    SLACK,
    ZERO,
    Compared,
    Comparison,
    Contrast,
    Region,
    Rows,
    above,
    evaluate,
    groups,
    listed,
    title,
    values_of,
    written,
)
from minseg.data.bands import BAND_CONFIGURATIONS, BANDS
from minseg.data.labels import parse_task
from minseg.data.radiometry import radar_channels
from minseg.scoring.metrics import METRICS
from minseg.study.paper import ROUNDING
from minseg.study.tables import AVERAGES, GENERAL_OF, GROUPS, MODELS, PAPER_BANDS

PaperTest = Callable[..., Compared | Iterable[Contrast | Comparison]]
"""From a claim's rows and its parameters to comparisons."""

_TRUE = Region(low=0.5)


def no_gain(rows: Rows, *, of: str, pairs: Sequence[Sequence[str]]) -> Compared:
    """Test that nothing rose; whether a rise would be significant, printed means do not tell."""
    edge = Region(high=10.0**-EXACT)
    found = [
        Comparison(one.name, one.arithmetic, one.value, edge, "not significantly above 0")
        for one in map(evaluate, above(rows, of=of, pairs=pairs))
    ]
    most = max(found, key=lambda one: one.value)
    return Compared(found, {"most": f"{most.name} by {written(most.value)}"})


def ranges_exceed(rows: Rows, *, of: str, by: float) -> Iterator[Comparison]:
    """Test that the values of each group span more than `by`."""
    for group in groups(rows, of):
        values = group.printed
        top, bottom = str(values.idxmax()), str(values.idxmin())
        span = round(values[top] - values[bottom], EXACT)
        arithmetic = f"{written(values[top])} − {written(values[bottom])} = {written(span)}"
        name = f"{group.name}: highest ({title(top)}) − lowest ({title(bottom)})"
        yield Comparison(name, arithmetic, span, Region(low=by))


def largest_difference_in(
    rows: Rows, *, metric: str, pairs: Sequence[Sequence[str]]
) -> Iterator[Comparison]:
    """Test that of all metrics one differs most between the splits of a pair."""
    for row, reference in pairs:
        differences: dict[str, dict[str, float]] = {}
        for contrast in above(rows, of="split", pairs=[[row, reference]]):
            keys = contrast.cells[0][1].keys
            differences.setdefault(keys["model"], {})[keys["metric"]] = evaluate(contrast).value
        for model, by_metric in differences.items():
            others = {name: abs(value) for name, value in by_metric.items() if name != metric}
            rival = max(others, key=lambda name: others[name])
            lead = round(abs(by_metric[metric]) - others[rival], EXACT)
            yield Comparison(
                f"{title(model)}, {row} and {reference}: {metric} before {title(rival)}",
                f"{written(abs(by_metric[metric]))} − {written(others[rival])} = "
                f"{written(lead, signed=True)}",
                lead,
                ABOVE_ZERO,
            )


def labels_need_bands(rows: Rows) -> Iterator[Comparison]:
    """Test that the best configuration has the more channels the more labels a model predicts."""
    best = []
    for group in groups(rows, "bands"):
        bands, labels = str(group.printed.idxmax()), parse_task(group.model).num_classes - 1
        best.append((labels, len(BAND_CONFIGURATIONS[bands]), title(group.model), bands))
    for (few, channels_of_few, fewer, bands_of_few), (many, channels, more, bands) in combinations(
        sorted(best), 2
    ):
        if many > few:
            yield Comparison(
                f"{more} ({many} labels) against {fewer} ({few})",
                f"{bands}, {channels} channels − {bands_of_few}, {channels_of_few} channels = "
                f"{written(channels - channels_of_few, signed=True)}",
                channels - channels_of_few,
                ABOVE_ZERO,
            )


def every_value(rows: Rows, *, value: str) -> Iterator[Comparison]:
    """Test that each printed cell says one thing (Table 5)."""
    for row in pd.concat(rows).to_dict("records"):
        what = f"{title(row['model'])}, {row['hyperparameter'].replace('_', ' ')}"
        as_claimed = str(row["value"]) == value
        yield _said(what, f"printed {row['printed']}", as_claimed, f"{value}, as a number")


def differ(rows: Rows) -> Iterator[Comparison]:
    """Test that the printed choices of the models are not all the same (Table 5)."""
    for table in rows:
        for name, part in table.groupby("hyperparameter", sort=False):
            text = listed(
                f"{title(model)} {value}"
                for model, value in zip(part["model"], part["printed"], strict=True)
            )
            several = part["value"].nunique() > 1
            yield _said(str(name).replace("_", " "), text, several, "not all the same")


def highest_rounds_to(rows: Rows, *, value: float, decimals: int) -> Compared:
    """Test that the highest printed value is, rounded, the one that the prose gives."""
    cells = pd.concat(rows)
    half = 0.5 * 10.0**-decimals
    region, best = Region(value - half - 1e-12, value + half), cells["value"].max()
    found = []
    for row in cells.sort_values("value", ascending=False).to_dict("records"):
        what = ", ".join(title(str(row[name])) for name in row if name not in NOT_A_KEY)
        found.append(Comparison(what, f"printed {written(row['value'])}", row["value"], region))
    fits = all(one.as_claimed for one in found if one.value == best)
    fitting = listed(one.name for one in found if one.as_claimed)
    some = HOLDS if fits else IN_PART if fitting != "–" else FAILS
    return Compared(found, {"fitting": fitting, "best": found[0].arithmetic}, some)


def mean_bounds(rows: Rows) -> Iterator[Comparison]:
    """Test the bound that one averaging puts on means: IoU is not above recall or precision."""
    for group in groups(rows, "metric"):
        iou, recall, precision = group.printed[list(METRICS[:3])]
        room = round(min(recall, precision) - iou, EXACT)
        yield Comparison(
            f"{group.name}: min(recall, precision) − IoU",
            f"min({written(recall)}, {written(precision)}) − {written(iou)} = "
            f"{written(room, signed=True)}",
            room,
            Region(low=-2 * ROUNDING),
        )


def sums(rows: Rows, *, of: Mapping[str, Sequence[str | float]]) -> Iterator[Comparison]:
    """Test that printed numbers are the sums of others."""
    known: dict[str, float] = {}
    for table in rows:
        keys = [name for name in table.columns if name not in NOT_A_KEY]
        known |= {" ".join(map(str, key)): value for key, value in values_of(table, keys).items()}
        if "location" in table:
            known[f"locations of Table {table['table'].iloc[0]}"] = table["location"].nunique()
    for name, terms in of.items():
        total = known[name]
        numbers = [
            term
            if not isinstance(term, str)
            else (-1) ** term.startswith("-") * known[term.removeprefix("-")]
            for term in terms
        ]
        text = " + ".join(written(one) for one in numbers).replace("+ −", "− ")
        yield Comparison(
            name.replace("_", " "),
            f"printed {written(total)}, elsewhere {text}"
            + f" = {written(sum(numbers))}" * (len(numbers) > 1),
            total - sum(numbers),
            ZERO,
            "the same number",
            drawable=False,
        )


# Images and mines (Table 2) ----------------------------------------------------------------------

_PARTS = ["test", "validation", "train"]


def images(rows: Rows, *, more_than: int, years: int) -> Compared:
    """Test how many images there are, by the split of one model (Table 2).

    Of a validation or test mine one image is used (section 2.3); with one image a year there are at
    most `years`. So a total with all of these counted is an upper bound of what the table can
    account for.
    """
    found, used = [], []
    for group in groups(rows, "part"):
        test, validation, train = group.printed[_PARTS]
        most = train + years * (test + validation)
        used.append(train + test + validation)
        arithmetic = (
            f"{written(train)} + {years} × ({written(test)} + {written(validation)}) = "
            f"{written(most)}, of which {written(used[-1])} were used"
        )
        name = f"{group.name}: images used, with all {years} years of the other mines"
        found.append(Comparison(name, arithmetic, most, Region(low=more_than)))
    reached = max(one.value for one in found)
    some = HOLDS if max(used) > more_than else NOT_STATED if reached > more_than else FAILS
    return Compared(found, {"used": written(max(used)), "most": written(reached)}, some)


def mines(rows: Rows, *, more_than: int, test_and_validation: float) -> Iterator[Comparison]:
    """Test how many mines there are, by the split of one model (Table 2).

    Test and validation hold one image a mine (section 2.3), and are a known share of all mines.
    """
    for group in groups(rows, "part"):
        test, validation, train = group.printed[_PARTS]
        total = (test + validation) / test_and_validation
        each = train / max(more_than - test - validation, 1)
        yield Comparison(
            f"{group.name}: test and validation mines are {test_and_validation:.0%} of all",
            f"({written(test)} + {written(validation)}) / {test_and_validation:g} = "
            f"{total:.0f}; with {more_than} mines, a training mine had {each:.1f} images",
            total,
            Region(low=more_than),
        )


def volume_helps(rows: Rows) -> Iterator[Comparison]:
    """Test that a targeted model stands the better against the general one the more images it had.

    Rows are train images (Table 2) and IoU of targeted and general models (Table 4). Comparing with
    the general model on the same mines takes out that subsets are not equally hard.
    """
    sizes = values_of(rows[0], ["model", "split"])
    for group in groups(rows[1:], "split"):
        pairs = [(a, b) for a, b in GENERAL_OF.items() if {a, b} <= set(group.cells)]
        train = [sizes[group.model, row] for row, _ in pairs]
        gaps = [round(group.printed[a] - group.printed[b], EXACT) for a, b in pairs]
        text = listed(
            f"{pairs[k][0]} {written(train[k])}: {written(gaps[k], signed=True)}"
            for k in np.argsort(train)
        )
        ranks = pd.DataFrame({"train": train, "gaps": gaps}).corr("spearman")
        rank = round(float(ranks.to_numpy()[0, 1]), EXACT)
        model = title(group.model)
        yield Comparison(
            f"{model}: rank correlation of images with the lead over the general model",
            f"{text}; Spearman {rank:+.2f}".replace("-", "−"),
            rank,
            ABOVE_ZERO,
        )


def ratio_of_mines(
    rows: Rows, *, train: float, held_out: float, fewest: float, most: float
) -> Compared:
    """Test that training mines can be to the others in a ratio, with so many images each."""
    found, share = [], ""
    for group in groups(rows, "part"):
        test, validation, images_of = counted = group.printed[_PARTS]
        share = share or f"{images_of / counted.sum():.0%}"
        needed = images_of / ((test + validation) * train / held_out)
        found.append(
            Comparison(
                group.name,
                f"{written(images_of)} / (({written(test)} + {written(validation)}) × {train:g} / "
                f"{held_out:g}) = {needed:.1f}",
                needed,
                Region(fewest - 1e-9, most + 1e-9),
                f"{fewest:g} to {most:g} images of a training mine",
            )
        )
    values = [one.value for one in found]
    span = f"{min(values):.1f} to {max(values):.1f}"
    return Compared(found, {"span": span, "share": share})


def subsets_add_up(rows: Rows) -> Compared:
    """Test that subsets, which are parts of all images, are no more than all (Table 2)."""
    counts = values_of(pd.concat(rows), ["split", "model", "part"])
    found = []
    for codes, model, part in product(GROUPS.values(), MODELS, _PARTS):
        surplus = subset_surplus(counts, codes, model, part)
        whole = counts["All", model, part]
        name = f"{'+'.join(codes)}, {title(model)}, {part}: sum − All"
        text = _taken(whole + surplus, whole)
        found.append(Comparison(name, text, surplus, Region(high=0.5), "not above 0"))
    return Compared(found, {"most": written(max(one.value for one in found))})


def subset_surplus(
    counts: Mapping[tuple[str, ...], float], codes: Sequence[str], model: str, part: str
) -> float:
    """Return by how many images subsets exceed the row All; negative where some are left."""
    return sum(counts[code, model, part] for code in codes) - counts["All", model, part]


def union_has_most(rows: Rows, *, union: str) -> Compared:
    """Test that the model of all labels has no fewer images than any other (Table 2)."""
    counts = values_of(pd.concat(rows), ["split", "model", "part"])
    splits = list(dict.fromkeys(split for split, _, _ in counts))
    parts = {part: (part,) for part in _PARTS}
    found, together = [], 0
    for split, (name, of), model in product(
        splits, (parts | {"together": tuple(parts)}).items(), MODELS
    ):
        if model == union:
            continue
        ours, theirs = (sum(counts[split, one, part] for part in of) for one in (union, model))
        text = _taken(ours, theirs)
        what = f"{split}, {name}: {title(union)} − {title(model)}"
        found.append(Comparison(what, text, ours - theirs, Region(low=-0.5), "not below 0"))
        together += len(of) > 1 and ours < theirs
    cells = sum(not one.as_claimed for one in found) - together
    return Compared(found, {"cells": cells, "totals": together}, FAILS if together else None)


# Averages and identities (Tables 3, 4 and 6 to 8) ------------------------------------------------


def averages(rows: Rows) -> Compared:
    """Test that AVG rows of Table 4 are the means of the rows before them."""
    scores = values_of(pd.concat(rows), ["split", "model", "metric"])
    found = []
    for average, model, metric in product(AVERAGES, MODELS, METRICS):
        mean = float(np.mean([scores[row, model, metric] for row in AVERAGES[average]]))
        shown = scores[average, model, metric]
        name = f"{average}, {title(model)}, {title(metric)}: printed − mean of its rows"
        text = f"{written(shown)} − {mean:.4f} = {written(round(shown - mean, 4), signed=True)}"
        found.append(Comparison(name, text, shown - mean, ZERO, "0, but for rounding"))
    exact = sum(abs(one.value) <= ROUNDING + 1e-9 for one in found)
    return Compared(found, {"exact": exact, "rounded": sum(o.as_claimed for o in found) - exact})


def weights_change_nothing(rows: Rows) -> Iterator[Comparison]:
    """Test that a mean over subsets has one sign, whether each counts alike or by its test images.

    Rows are test images (Table 2) and IoU (Table 4).
    """
    counts, iou = values_of(rows[0], ["split", "model"]), values_of(rows[1], ["split", "model"])
    for codes, model in product(GROUPS.values(), MODELS):
        weights = [counts[code, model] for code in codes]
        gains = [round(iou[code, model] - iou[GENERAL_OF[code], model], 4) for code in codes]
        plain, weighted = float(np.mean(gains)), float(np.average(gains, weights=weights))
        yield _said(
            f"{title(model)} {'+'.join(codes)}",
            f"targeted − general: plain {written(round(plain, 4), signed=True)}, weighted by "
            f"{listed(map(written, weights))} test images "
            f"{written(round(weighted, 4), signed=True)}",
            _sign(plain) == _sign(weighted),
            "one sign; a difference below 0.001 counts as none",
        )


def whole_between_parts(rows: Rows) -> Iterator[Comparison]:
    """Test that the general model (Table 3) scores between the parts of its mines (Table 4)."""
    bands, splits = _bands_and_splits(rows)
    for model, codes, metric in product(MODELS, GROUPS.values(), METRICS):
        parts = [splits[GENERAL_OF[code], model, metric] for code in codes]
        whole = bands[PAPER_BANDS[model], model, metric]
        yield Comparison(
            f"{title(model)}, {title(metric)}, {'+'.join(codes)}",
            f"{written(whole)} in Table 3, {written(min(parts))} to {written(max(parts))} in "
            "Table 4",
            whole,
            Region(min(parts) - SLACK, max(parts) + SLACK),
            "between its parts",
            drawable=False,
        )


def one_general_model(rows: Rows) -> Compared:
    """Test that the two general models, weighted by test images, have the same scores.

    Rows are test images (Table 2), Table 4 and, to compare with, IoU of Table 3.
    """
    counts = values_of(rows[0], ["split", "model"])
    scores = values_of(rows[1], ["split", "model", "metric"])
    found, gaps = [], dict.fromkeys(METRICS, 0.0)
    for model, metric in product(MODELS, METRICS):
        means = [
            np.average(
                [scores[GENERAL_OF[code], model, metric] for code in codes],
                weights=[counts[code, model] for code in codes],
            )
            for codes in GROUPS.values()
        ]
        gap = round(float(means[0] - means[1]), EXACT)
        gaps[metric] = max(gaps[metric], abs(gap))
        text = f"{means[0]:.3f} − {means[1]:.3f} = {gap:+.3f}".replace("-", "−")
        name = f"{title(model)}, {title(metric)}: {' − '.join(GROUPS)}"
        found.append(Comparison(name, text, gap, ZERO, "0, but for rounding"))
    best = [sorted(part["value"])[::-1][:2] for _, part in rows[2].groupby("model")]
    leads = [first - second for first, second in best]
    texts = listed(f"up to {gap:.3f} in {title(metric)}" for metric, gap in gaps.items())
    return Compared(found, {"gaps": texts, "leads": f"{min(leads):.3f} to {max(leads):.3f}"})


def one_accuracy(rows: Rows) -> Compared:
    """Test that accuracy is IoU in all tables or in none."""
    shares = {}
    for table in rows:
        keys = [name for name in table.columns if name not in (*NOT_A_KEY, "metric")]
        wide = table.pivot(index=keys, columns="metric", values="value")
        same = (wide["accuracy"] - wide["iou"]).abs() < SLACK
        shares[f"Table {table['table'].iloc[0]}"] = (int(same.sum()), len(same))
    first = next(iter(shares.values()))
    usual = round(first[0] / first[1])
    found = [
        _said(
            name,
            f"accuracy is IoU in {same} of {number} rows",
            round(same / number) == usual,
            "as in the first table",
        )
        for name, (same, number) in shares.items()
    ]
    texts = (f"{same} of {number} rows of {name}" for name, (same, number) in shares.items())
    return Compared(found, {"tables": listed(texts)})


def one_class_identity(rows: Rows) -> Iterator[Comparison]:
    """Test that IoU = 1 / (1/P + 1/R − 1), as it is for one class counted over all its pixels."""
    for group in groups(rows, "metric"):
        iou, recall, precision = group.printed[list(METRICS[:3])]
        low, high = (
            _iou(max(precision + step, 0.0), max(recall + step, 0.0))
            for step in (-ROUNDING, ROUNDING)
        )
        yield Comparison(
            group.name,
            f"printed {written(iou)}; from {written(precision)} and {written(recall)}: "
            f"{low:.4f} to {high:.4f}",
            iou,
            Region(low - ROUNDING - 1e-9, high + ROUNDING + 1e-9),
            "as precision and recall say",
            drawable=False,
        )


def more_of_both_is_more(rows: Rows) -> Compared:
    """Test that no more recall at no less precision comes with less IoU or accuracy.

    Rows are Tables 3 and 4 of models with one class; rows are compared that have the same mines.
    """
    bands, splits = _bands_and_splits(rows)
    subsets = [pair for pair in GENERAL_OF.items() if pair[0] not in AVERAGES]
    pairs: list[tuple[str, str]] = [
        *permutations(dict.fromkeys(one for one, _, _ in bands), 2),
        *(one for pair in subsets for one in (pair, pair[::-1])),
    ]
    scores, found = bands | splits, []
    for model in dict.fromkeys(model for _, model, _ in scores):
        for row, other in pairs:
            gain = {m: round(scores[row, model, m] - scores[other, model, m], 4) for m in METRICS}
            if min(gain["recall"], gain["precision"]) < 0:
                continue
            text = listed(f"{title(m)} {written(step, signed=True)}" for m, step in gain.items())
            least = min(gain["iou"], gain["accuracy"])
            name = f"{title(model)}: {row} against {other}"
            found.append(Comparison(name, text, least, Region(low=-SLACK), "no less"))
    return Compared(found, {"opposite": sum(not one.as_claimed for one in found)})


def one_share_of_class(rows: Rows) -> Compared:
    """Test that the share of the pixels of one class is the same, whatever predicts it.

    Counted over all pixels it is (1 − accuracy) / ((1 − R) + R (1 − P) / P).
    """
    spans: dict[str, tuple[float, float]] = {}
    for group in groups(rows, "metric"):
        values = group.printed[["recall", "precision", "accuracy"]]
        corners = product(*((max(v - ROUNDING, 1e-9), min(v + ROUNDING, 1.0)) for v in values))
        shares = [_prevalence(*corner) for corner in corners]
        spans[group.name] = min(shares), max(shares)
    apart = any(
        max(one[0], other[0]) > min(one[1], other[1])
        for one, other in combinations(spans.values(), 2)
    )
    middle = float(np.median([sum(span) for span in spans.values()]))
    furthest = max(spans, key=lambda name: abs(sum(spans[name]) - middle))
    found = [
        _said(name, f"{low:.3f} to {high:.3f}", not (apart and name == furthest), "as the others")
        for name, (low, high) in spans.items()
    ]
    ends = [end for span in spans.values() for end in span]
    return Compared(found, {"span": f"{min(ends):.3f} to {max(ends):.3f}"})


# Bands, headings and the search ------------------------------------------------------------------


def finest_pixels(rows: Rows, *, bands: str) -> Compared:
    """Test that one configuration has smaller native pixels than any other."""
    coarsest_m = {
        name: max(BANDS[band].native_gsd_m for band in of)
        for name, of in BAND_CONFIGURATIONS.items()
    }
    own, found = coarsest_m.pop(bands), []
    for name, size in coarsest_m.items():
        what = f"{name}: coarsest native pixel − that of {bands}"
        text = f"{size} m − {own} m = {size - own:+} m"
        found.append(Comparison(what, text, size - own, ABOVE_ZERO))
    alike = listed(one.name.split(":")[0] for one in found if not one.as_claimed)
    return Compared(found, {"size": own, "alike": alike})


def independent_radar_channels(rows: Rows, *, stated: int) -> Compared:
    """Test how many of the radar channels, in decibels, are independent up to a constant."""
    vv_db, vh_db = np.meshgrid(np.linspace(-20.0, 0.0, 5), np.linspace(-28.0, -8.0, 5))
    stack = radar_channels(vv_db, vh_db).reshape(stated, -1)
    rank = int(np.linalg.matrix_rank(np.vstack([stack, np.ones(stack.shape[1])]), tol=1e-3)) - 1
    text = f"VV/(10·VH) is VV − VH − 10 in decibels: {rank} of {stated}"
    return Compared([Comparison("independent channels", text, rank, Region(low=stated - 0.5))])


def headings(rows: Rows) -> Iterator[Comparison]:
    """Test that each column of Table 5 is headed as its place says."""
    heads = pd.concat(rows)[["printed_model", "model"]].drop_duplicates()
    for k, (head, model) in enumerate(heads.itertuples(index=False), 1):
        text = f"headed {head}, by its place {title(model)}"
        yield _said(f"column {k}", text, head == title(model), "headed as its place says")


def whole_space_tried(rows: Rows) -> Compared:
    """Test that a search made as many trials as its values have combinations."""
    known = values_of(pd.concat(rows), ["name"])
    tried = {name[0]: value for name, value in known.items() if name[0].startswith("tried_")}
    number, trials = math.prod(tried.values()), known[("trials",)]
    text = (
        f"{' × '.join(map(written, tried.values()))} = {written(number)}; {written(trials)} tried"
    )
    found = [Comparison("trials − combinations", text, trials - number, Region(low=-0.5))]
    return Compared(found, {"combinations": written(number), "share": f"{trials / number:.1%}"})


def _taken(number: float, other: float) -> str:
    """Write a difference of counts."""
    return f"{number:,.0f} − {other:,.0f} = {number - other:+,.0f}".replace("-", "−")


def _said(name: str, arithmetic: str, as_claimed: bool, expected: str) -> Comparison:
    """Compare what is no number on a scale."""
    return Comparison(name, arithmetic, float(as_claimed), _TRUE, expected, drawable=False)


def _bands_and_splits(rows: Rows) -> tuple[dict[tuple, float], dict[tuple, float]]:
    """Return the values of Tables 3 and 4 by row, model and metric."""
    bands, splits = rows
    rest = ["model", "metric"]
    return values_of(bands, ["bands", *rest]), values_of(splits, ["split", *rest])


def _iou(precision: float, recall: float) -> float:
    """Return the IoU of one class."""
    return 1 / (1 / precision + 1 / recall - 1) if min(precision, recall) > 0 else 0.0


def _prevalence(recall: float, precision: float, accuracy: float) -> float:
    """Return the share of pixels of a class, from its scores over all pixels."""
    wrong = (1 - recall) + recall * (1 - precision) / precision
    return (1 - accuracy) / wrong if wrong > 0 else 0.0


def _sign(value: float) -> int:
    """Return the sign of a difference, 0 for one that rounding can make."""
    return 0 if abs(value) < 2 * ROUNDING else int(np.sign(value))


def compared(found: Compared | Iterable[Contrast | Comparison]) -> Compared:
    """Gather what a test yields, if it does not say all itself."""
    if isinstance(found, Compared):
        return found
    return Compared([evaluate(one) if isinstance(one, Contrast) else one for one in found])


_TESTS: tuple[Callable, ...] = (
    *CONTRASTS.values(),
    *(no_gain, ranges_exceed, largest_difference_in, labels_need_bands, every_value),
    *(differ, highest_rounds_to, mean_bounds, sums, images, mines, volume_helps),
    *(ratio_of_mines, subsets_add_up, union_has_most, averages, weights_change_nothing),
    *(whole_between_parts, one_general_model, one_accuracy, one_class_identity),
    *(more_of_both_is_more, one_share_of_class, finest_pixels),
    *(independent_radar_channels, headings, whole_space_tried),
)

PAPER_TESTS: dict[str, PaperTest] = {one.__name__: one for one in _TESTS}
"""Tests by the names that the ledger calls them."""
