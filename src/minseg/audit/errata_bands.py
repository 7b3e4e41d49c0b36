"""Errata about what the prose says of bands (abstract, sections 2.1, 3 and 6; Table 3)."""

import numpy as np

from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    Check,
    Erratum,
    PrintedPaper,
    Row,
    difference,
    listed,
    metric_name,
    model_name,
    table_of,
)
from minseg.data.bands import BAND_CONFIGURATIONS, BANDS
from minseg.data.radiometry import radar_channels
from minseg.learning.metrics import METRICS
from minseg.study.experiments import MODELS

THIRD_DECIMAL = 0.01
"""A difference below this shows in the third decimal only."""

_BINARY = ("model2", "model4")


def _near_infrared_best(paper: PrintedPaper) -> Erratum:
    """R+N is best for the binary models."""
    rows: list[Row] = []
    for model in _BINARY:
        for metric in METRICS:
            best = best_bands(paper, model, metric)
            rows.append(
                {"model": model_name(model), "metric": metric, "best": listed(best)}
                | {"best value": paper.bands[best[0], model, metric]}
                | {"R+N": paper.bands["R+N", model, metric], "odd": "R+N" not in best}
            )
    won = sum(not row["odd"] for row in rows)
    by_iou = all(not row["odd"] for row in rows if row["metric"] == "iou")
    verdict = CONSISTENT if won == len(rows) else IMPRECISE if by_iou else CONTRADICTION
    return Erratum(
        "near-infrared-best",
        "R+N best for the binary models",
        "section 3.1, section 6; Table 3",
        "Red, green, blue and near infrared are said to give the best results for Models 2 and 4.",
        f"R+N has the best value in {won} of {len(rows)} cells. In IoU the best is "
        + ", ".join(f"{r['best']} ({r['model']})" for r in rows if r["metric"] == "iou")
        + ".",
        verdict,
        "Sections 3.2 to 4 build on the bands chosen here; with another choice, Tables 4, 5 and 7 "
        "would be about other models.",
        table_of(rows),
    )


def _third_decimal(paper: PrintedPaper) -> Erratum:
    """Differences are in the third decimal."""
    rows: list[Row] = []
    for bands in list(BAND_CONFIGURATIONS)[1:]:
        for model in MODELS:
            steps = {
                metric: difference(
                    paper.bands[bands, model, metric], paper.bands["RGB", model, metric]
                )
                for metric in METRICS
            }
            small = sum(abs(step) < THIRD_DECIMAL for step in steps.values())
            rows.append(
                {"bands − RGB": bands, "model": model_name(model)}
                | {metric: f"{step:+.3f}" for metric, step in steps.items()}
                | {"below 0.01": small, "odd": small < len(steps)}
            )
    binary = [model_name(model) for model in _BINARY]
    meant = [
        row["below 0.01"] for row in rows if row["bands − RGB"] == "R+N" and row["model"] in binary
    ]
    narrow, wide = sum(meant), sum(row["below 0.01"] for row in rows)
    cells = len(METRICS) * len(_BINARY)
    # "Generally" is more than half; which differences are meant can be read in two ways.
    verdict = IMPRECISE if 2 * narrow > cells else CONTRADICTION
    if 2 * min(narrow / cells, wide / (len(METRICS) * len(rows))) > 1:
        verdict = CONSISTENT
    return Erratum(
        "third-decimal",
        "Differences in the third decimal",
        "section 3.1; Table 3",
        "After “significant variability” over the bands, adding the near infrared is said to "
        "change the scores generally in the third decimal place only.",
        f"For R+N against RGB in Models 2 and 4, {narrow} of {cells} scores differ by less than "
        f"0.01; over all bands and models {wide} of {len(METRICS) * len(rows)}.",
        verdict,
        "Which differences are small decides whether a choice of bands is a finding; the sentence "
        "should not be read as one about all of Table 3.",
        table_of(rows),
    )


def _multispectral_best(paper: PrintedPaper) -> Erratum:
    """Model 1 is best in IoU with all multispectral bands, and hardly differs otherwise."""
    steps = {
        metric: difference(paper.bands["M", "model1", metric], paper.bands["RGB", "model1", metric])
        for metric in METRICS
    }
    rows: list[Row] = [
        {"metric": metric, "M": paper.bands["M", "model1", metric]}
        | {"RGB": paper.bands["RGB", "model1", metric], "M − RGB": f"{step:+.3f}"}
        | {"best": listed(best_bands(paper, "model1", metric))}
        | {"odd": abs(step) > abs(steps["iou"])}
        for metric, step in steps.items()
    ]
    best = "M" in best_bands(paper, "model1", "iou")
    others = {metric: step for metric, step in steps.items() if metric != "iou"}
    most = max(others, key=lambda metric: abs(others[metric]))
    minor = abs(others[most]) <= abs(steps["iou"])
    return Erratum(
        "multispectral-best",
        "Model 1 best with all multispectral bands",
        "section 3.1, section 6; Table 3",
        "Model 1 has the best IoU with M; differences in other metrics are called minor.",
        f"M is {'' if best else 'not '}best in IoU, by {steps['iou']:+.3f} against RGB. The "
        f"largest other difference is that of {metric_name(most)}, {others[most]:+.3f}.",
        CONTRADICTION if not best else CONSISTENT if minor else IMPRECISE,
        "More IoU at less precision would be a trade and not a gain throughout; whether M is "
        "preferable depends on what false alarms cost.",
        table_of(rows),
    )


def _most_channels_best(paper: PrintedPaper) -> Erratum:
    """Model 3 is best with all channels, except in accuracy."""
    rows: list[Row] = []
    for metric in METRICS:
        best = best_bands(paper, "model3", metric)
        rows.append(
            {"metric": metric, "best": listed(best), "M+S": paper.bands["M+S", "model3", metric]}
            | {
                "best value": paper.bands[best[0], "model3", metric],
                "odd": metric != "accuracy" and "M+S" not in best,
            }
        )
    beaten = [metric for metric in METRICS if "M+S" not in best_bands(paper, "model3", metric)]
    fits = beaten in ([], ["accuracy"])
    return Erratum(
        "most-channels-best",
        "Model 3 best with all channels",
        "section 3.1; Table 3",
        "For Model 3 the most channels are best in nearly all metrics, except accuracy.",
        f"M+S has the best value in all metrics but: {listed(map(metric_name, beaten))}.",
        CONSISTENT if fits else IMPRECISE if "iou" not in beaten else CONTRADICTION,
        "The choice of M+S for Model 3 rests on this, as far as its scores can be read together "
        "(see mean IoU above mean precision and recall).",
        table_of(rows),
    )


def _more_channels_degrade(paper: PrintedPaper) -> Erratum:
    """More channels degrade the metrics."""
    rows: list[Row] = []
    for model in MODELS:
        best = best_bands(paper, model, "iou")
        most = max(len(BAND_CONFIGURATIONS[bands]) for bands in best)
        rows.append(
            {"model": model_name(model), "best in IoU": listed(best), "channels": most}
            | {"IoU": paper.bands[best[0], model, "iou"]}
            | {"IoU with RGB": paper.bands["RGB", model, "iou"]}
            | {"odd": most > len(BAND_CONFIGURATIONS["RGB"])}
        )
    odd = [str(row["model"]) for row in rows if row["odd"]]
    return Erratum(
        "more-channels-degrade",
        "More channels degrade the metrics",
        "abstract, section 3.1, section 6; Table 3",
        "The abstract says that further channels degraded the metrics; sections 3.1 and 6 that "
        "Models 1 and 3 needed more of them.",
        f"The best IoU has more channels than RGB for: {listed(odd)}.",
        CONTRADICTION if odd else CONSISTENT,
        "Which models the sentence is about decides whether more bands are worth their cost. "
        "Whether differences of this size are more than chance is the question of page 15.",
        table_of(rows),
    )


def _resolution(paper: PrintedPaper) -> Erratum:
    """R+N was expected to be best for its resolution."""
    pixels_m = {
        name: sorted({BANDS[band].native_gsd_m for band in bands})
        for name, bands in BAND_CONFIGURATIONS.items()
    }
    rows: list[Row] = [
        {"bands": name, "native pixels, metres": listed(map(str, sizes))}
        for name, sizes in pixels_m.items()
    ]
    coarsest_m = max(pixels_m["R+N"])
    rivals = [name for name in pixels_m if name != "R+N" and max(pixels_m[name]) <= coarsest_m]
    return Erratum(
        "resolution",
        "The resolution of R+N",
        "section 3.1; section 2.1",
        "R+N was expected to be best because of its higher resolution.",
        f"Its four bands have pixels of {coarsest_m} m. So have those of: {listed(rivals)}.",
        IMPRECISE if rivals else CONSISTENT,
        "The reason speaks for R+N against M and M+S, not against RGB. What R+N adds to RGB is a "
        "wavelength.",
        table_of(rows),
    )


def _third_radar_channel(paper: PrintedPaper) -> Erratum:
    """Compute how many of the radar channels are independent."""
    vv_db, vh_db = np.meshgrid(np.linspace(-20.0, 0.0, 5), np.linspace(-28.0, -8.0, 5))
    stack = radar_channels(vv_db, vh_db).reshape(3, -1)
    rank = int(np.linalg.matrix_rank(np.vstack([stack, np.ones(stack.shape[1])]), tol=1e-3)) - 1
    stated = round(paper.said("radar_channels"))
    examples = [
        {"VV, dB": vv, "VH, dB": vh, "VV/(10·VH), dB": ratio, "VV − VH − 10, dB": vv - vh - 10}
        for vv, vh, ratio in stack.T[[0, 4, 12, 20, 24]].astype(float)
    ]
    return Erratum(
        "third-radar-channel",
        "The third radar channel",
        "section 2.1, section 2.4.1",
        f"{stated} radar channels, VV, VH and VV/(10·VH), all in decibels, enter the models.",
        f"In decibels the third is VV − VH − 10. Up to a constant, {rank} of the {stated} are "
        "independent.",
        CONSISTENT if rank == stated else IMPRECISE,
        "The radar configurations carry two radar measurements. A network can form the third "
        "itself, so nothing is wrong; the count of channels overstates what was added.",
        table_of(examples),
    )


def _channels(paper: PrintedPaper) -> Erratum:
    """Channels of the five band configurations."""
    radar, optical = paper.said("radar_channels"), paper.said("channels_M")
    rgb, near = paper.said("channels_RGB"), paper.said("channels_R+N")
    expected = {"R+N": rgb + 1, "R+N+S": near + radar, "M+S": optical + radar}
    rows: list[Row] = [
        {"bands": name, "printed": round(paper.said(f"channels_{name}")), "sum": round(total)}
        for name, total in expected.items()
    ]
    for row in rows:
        row["odd"] = row["printed"] != row["sum"]
    fits = not any(row["odd"] for row in rows)
    return Erratum(
        "channels",
        "Channels of the band configurations",
        "section 2.4.1",
        "Each configuration is given with its dimensions.",
        "They add up." if fits else "They do not add up: see the rows marked.",
        CONSISTENT if fits else CONTRADICTION,
        "It says what each network was given.",
        table_of(rows),
    )


def _best_accuracy(paper: PrintedPaper) -> Erratum:
    """Hold the best model's accuracy of 96 % against Table 3."""
    stated = paper.said("best_accuracy_percent")
    rows: list[Row] = []
    for bands in BAND_CONFIGURATIONS:
        accuracy = paper.bands[bands, "model4", "accuracy"]
        rows.append(
            {"bands": bands, "accuracy of Model 4": accuracy}
            | {"IoU": paper.bands[bands, "model4", "iou"]}
            | {"rounds to": f"{100 * accuracy:.0f}%", "odd": round(100 * accuracy) != stated}
        )
    fitting = [str(row["bands"]) for row in rows if not row["odd"]]
    best = best_bands(paper, "model4", "accuracy")
    fits = set(best) <= set(fitting)
    return Erratum(
        "best-accuracy",
        "The best model's accuracy",
        "section 6; Table 3",
        f"The best model is said to have an accuracy of {stated:g} %, against "
        f"{paper.said('earlier_accuracy_percent'):g} % of an earlier study.",
        f"{stated:g} % is what Model 4 has with: {listed(fitting)}. Its best accuracy is "
        f"{paper.bands[best[0], 'model4', 'accuracy']:.3f}, with {listed(best)}.",
        CONSISTENT if fits else IMPRECISE if fitting else CONTRADICTION,
        "Pixel accuracy with true negatives depends on how much of the images is mine. Two "
        "studies with other images and units cannot be ranked by it.",
        table_of(rows),
    )


def best_bands(paper: PrintedPaper, model: str, metric: str) -> list[str]:
    """Return the configurations with the best printed value of a score.

    Parameters
    ----------
    paper : PrintedPaper
    model, metric : str

    Returns
    -------
    list of str
        More than one where values are equal.
    """
    values = {bands: paper.bands[bands, model, metric] for bands in BAND_CONFIGURATIONS}
    return [bands for bands, value in values.items() if value == max(values.values())]


BAND_ERRATA: tuple[Check, ...] = (
    _near_infrared_best,
    _third_decimal,
    _multispectral_best,
    _most_channels_best,
    _more_channels_degrade,
    _resolution,
    _third_radar_channel,
    _channels,
    _best_accuracy,
)
"""Checks of bands, in the order of the page."""
