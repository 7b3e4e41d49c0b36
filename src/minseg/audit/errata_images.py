"""Errata about how many images and mines there are (section 2, Table 2)."""

from collections.abc import Sequence

from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    NOT_STATED,
    Check,
    Erratum,
    PrintedPaper,
    Row,
    listed,
    model_name,
    table_of,
)
from minseg.study.experiments import GROUPS, MODELS

_PARTS = ("test", "validation", "train")
_SUBSETS = tuple(code for codes in GROUPS.values() for code in codes)

FEWEST_IMAGES_A_MINE = 4
"""The least that "around five" images a mine may mean; the most is one for each year."""


def _total_images(paper: PrintedPaper) -> Erratum:
    """More than 2000 images, against Table 2."""
    stated, years = round(paper.said("images_more_than")), _years(paper)
    rows: list[Row] = []
    for model in MODELS:
        test, validation, train = _counts(paper, "All", model)
        rows.append(
            {
                "model": model_name(model),
                "images in Table 2": test + validation + train,
                "with every year of the test and validation mines": train
                + years * (test + validation),
            }
        )
    printed = max(row["images in Table 2"] for row in rows)
    most = max(row["with every year of the test and validation mines"] for row in rows)
    verdict = CONSISTENT if printed > stated else NOT_STATED if most > stated else CONTRADICTION
    return Erratum(
        "total-images",
        f"More than {stated} images",
        "abstract, section 2.1; Table 2",
        f"The dataset is said to have more than {stated} images.",
        f"No model has more than {printed:,} of them in Table 2. That counts one image of each "
        f"test and validation mine; with all {years} years of those it would be {most:,}.",
        verdict,
        "How much data stands behind a score is in Table 2, not in the abstract. Images that no "
        "model used would explain the rest; the paper does not mention any.",
        table_of(rows),
    )


def _total_mines(paper: PrintedPaper) -> Erratum:
    """Over 400 mines, against the test and validation mines of Table 2."""
    stated = round(paper.said("mines_more_than"))
    share = (paper.said("validation_share") + paper.said("test_share")) / 100
    usual = paper.said("images_a_mine")
    rows: list[Row] = []
    for model in MODELS:
        test, validation, train = _counts(paper, "All", model)
        held_out = test + validation
        rows.append(
            {
                "model": model_name(model),
                "test and validation mines": held_out,
                "mines in all by the stated ratio": round(held_out / share),
                f"mines in all at {usual:g} images a training mine": round(
                    held_out + train / usual
                ),
                f"images a training mine, were there {stated} mines": round(
                    train / (stated - held_out), 1
                ),
            }
        )
    most = max(row["mines in all by the stated ratio"] for row in rows)
    return Erratum(
        "total-mines",
        f"Over {stated} mines",
        "section 2.1, section 2.3; Table 2",
        f"The images are said to show over {stated} mines, of which {share:.0%} are for test and "
        "validation, one image each.",
        f"{share:.0%} of {stated} mines would be {round(share * stated)} test and validation "
        f"images; Table 2 has at most {max(row['test and validation mines'] for row in rows)}, "
        f"which is {share:.0%} of {most} mines.",
        CONSISTENT if most >= stated else CONTRADICTION,
        "The number of mines, not of images, says how far scores generalise, and the test mines "
        "say how finely they can be told apart.",
        table_of(rows),
    )


def _images_a_mine(paper: PrintedPaper) -> Erratum:
    """One image a year, against around five a mine."""
    years, usual = _years(paper), paper.said("images_a_mine")
    expected = years * paper.said("images_a_year")
    rows: list[Row] = [
        {
            "model": model_name(model),
            "images a mine, from Table 2": round(_images_needed(paper, "All", model), 1),
        }
        for model in MODELS
    ]
    needed = [row["images a mine, from Table 2"] for row in rows]
    return Erratum(
        "images-a-mine",
        "One image a year, around five a mine",
        "section 2.1, section 2.3",
        f"One image was selected for each year from {paper.said('first_year'):.0f} to "
        f"{paper.said('last_year'):.0f}; each location has a time series of around {usual:g}.",
        f"One a year makes {expected:g}. For the stated ratio of mines, Table 2 needs "
        f"{min(needed):.1f} to {max(needed):.1f} images of a training mine.",
        CONSISTENT if expected == usual else IMPRECISE,
        "Which years a mine lacks, if any, decides how seasons and years mix in training; for the "
        "scores it matters little, since test mines have one image.",
        table_of(rows),
    )


def _split_ratio(paper: PrintedPaper) -> Erratum:
    """70:15:15 by mine, for all images."""
    rows: list[Row] = [_ratio_row(paper, "All", model) for model in MODELS]
    return Erratum(
        "split-ratio",
        "70:15:15 by mine",
        "section 2.3; Table 2, row All",
        f"{_ratio(paper)} of the mines are for training, validation and test.",
        f"By images, training has {rows[0]['training share of images']} (Model 1), as it takes all "
        "years of a mine and the other parts one. By mines the ratio is met if a training mine has "
        f"{_span(rows)} images.",
        _ratio_verdict(paper, rows),
        "A reader who takes the row for a split of images would see a training share that it is "
        "not.",
        table_of(rows),
    )


def _split_ratio_of_subsets(paper: PrintedPaper) -> Erratum:
    """70:15:15 by mine, in each subset."""
    rows: list[Row] = [_ratio_row(paper, subset, model) for subset in _SUBSETS for model in MODELS]
    odd = [f"{row['split']} {row['model']}" for row in rows if row["odd"]]
    usual = paper.said("images_a_mine")
    return Erratum(
        "split-ratio-of-subsets",
        "70:15:15 in the subsets",
        "section 2.3; Table 2",
        f"The mines are divided {_ratio(paper)}, each with around {usual:g} images.",
        f"The ratio needs between {FEWEST_IMAGES_A_MINE} and {_years(paper)} images a training "
        f"mine in all subsets but these: {listed(odd)}. At {usual:g} images a mine, training "
        f"has {min(row['training share of mines'] for row in rows)} of the mines in the row "
        "furthest off.",
        _ratio_verdict(paper, rows),
        "A subset whose parts are in another ratio was divided in another way than the rest, or "
        "its mines have fewer years; its scores rest on relatively more test mines and less "
        "training.",
        table_of(rows),
    )


def _subsets_against_all(paper: PrintedPaper) -> Erratum:
    """Add up the subsets of a group, which are parts of all images."""
    rows: list[Row] = []
    for codes in GROUPS.values():
        for model in MODELS:
            surplus = subset_surplus(paper, codes, model)
            rows.append(
                {"subsets": "+".join(codes), "model": model_name(model)}
                | {f"{part}: sum − All": surplus[part] for part in _PARTS}
                | {"odd": surplus["test"] > 0}
            )
    over = [row for row in rows if row["odd"]]
    under = sum(row["train: sum − All"] < 0 for row in rows)
    verdict = CONTRADICTION if over else IMPRECISE if under else CONSISTENT
    return Erratum(
        "subsets-against-all",
        "Subsets against all images",
        "section 2.2, section 2.4.2; Table 2",
        "Images are grouped into three raw materials and into three mine types, and the models are "
        "tested on a correspondingly smaller part of the test set.",
        f"In {len(over)} of {len(rows)} cases the subsets have more test images than there are "
        f"(by up to {max(row['test: sum − All'] for row in rows)}), and in {under} fewer training "
        f"images (by up to {-min(row['train: sum − All'] for row in rows)}).",
        verdict,
        "If subsets were divided anew instead of taken from the one division, a test mine of a "
        "subset may be a training mine of the general model, which would favour the general "
        "rows of Table 4. The paper does not say; too few training images mean mines without a "
        "group.",
        table_of(rows),
    )


def subset_surplus(paper: PrintedPaper, codes: Sequence[str], model: str) -> dict[str, int]:
    """Return by how many images subsets together exceed the row All of Table 2.

    Parameters
    ----------
    paper : PrintedPaper
    codes : sequence of str
        Subsets such as RR, MO and CL.
    model : str

    Returns
    -------
    dict of part to int
        Negative where images are left over.
    """
    return {
        part: sum(paper.images[code, model, part] for code in codes)
        - paper.images["All", model, part]
        for part in _PARTS
    }


def _union_against_components(paper: PrintedPaper) -> Erratum:
    """Model 4 has every label, so that no other model has more images."""
    rows: list[Row] = []
    for split in ("All", *_SUBSETS):
        for part in (*_PARTS, "together"):
            union = _images_of(paper, split, "model4", part)
            for model in MODELS[:3]:
                images = _images_of(paper, split, model, part)
                if images > union:
                    rows.append(
                        {"split": split, "part": part, "model": model_name(model)}
                        | {"images": images, "images of Model 4": union}
                    )
    whole = any(row["part"] == "together" for row in rows)
    verdict = CONTRADICTION if whole else NOT_STATED if rows else CONSISTENT
    return Erratum(
        "union-against-components",
        "Model 4 against Models 1 to 3",
        "section 2.2; Table 2",
        "Model 4 is trained on all labels together, so that an image of any other model is one of "
        "its images too.",
        f"In {sum(row['part'] != 'together' for row in rows)} cells another model has more images "
        f"than Model 4; over the three parts together in "
        f"{sum(row['part'] == 'together' for row in rows)}.",
        verdict,
        "Where a part exceeds and the totals do not, each model has its own division into parts. "
        "Then models are tested on different mines, and test mines of one may be training mines "
        "of another.",
        table_of(rows),
    )


def _test_areas(paper: PrintedPaper) -> Erratum:
    """Hold the test areas of section 4.1 against Table 2."""
    stated, counted = round(paper.said("test_areas_model1")), paper.images["All", "model1", "test"]
    near_zero = round(paper.said("near_zero_areas_model1"))
    return Erratum(
        "test-areas",
        "Test areas of Model 1",
        "section 4.1; Table 2",
        f"An IoU close to 0 was found in {near_zero} of {stated} areas of the test set.",
        f"Table 2 has {counted} test images of Model 1; {near_zero} are {near_zero / counted:.0%}.",
        CONSISTENT if stated == counted else CONTRADICTION,
        "One test area is one image and one mine: scores are means over that many mines.",
        table_of(
            [{"where": "section 4.1", "areas": stated}, {"where": "Table 2", "areas": counted}]
        ),
    )


def _years(paper: PrintedPaper) -> int:
    """Return over how many years the images were taken."""
    return round(paper.said("last_year") - paper.said("first_year")) + 1


def _counts(paper: PrintedPaper, split: str, model: str) -> tuple[int, int, int]:
    """Return the images for test, validation and training."""
    test, validation, train = (paper.images[split, model, part] for part in _PARTS)
    return test, validation, train


def _images_of(paper: PrintedPaper, split: str, model: str, part: str) -> int:
    """Return the images of a part, or of all parts together."""
    return (
        sum(_counts(paper, split, model))
        if part == "together"
        else paper.images[split, model, part]
    )


def _images_needed(paper: PrintedPaper, split: str, model: str) -> float:
    """Return how many images a training mine must have for the stated ratio of mines."""
    test, validation, train = _counts(paper, split, model)
    held_out = paper.said("validation_share") + paper.said("test_share")
    return train / ((test + validation) * paper.said("train_share") / held_out)


def _ratio_row(paper: PrintedPaper, split: str, model: str) -> Row:
    """Hold a row of Table 2 against the stated ratio."""
    test, validation, train = _counts(paper, split, model)
    mines = train / paper.said("images_a_mine")
    needed = _images_needed(paper, split, model)
    return {
        "split": split,
        "model": model_name(model),
        "train": train,
        "validation": validation,
        "test": test,
        "training share of images": f"{train / (train + validation + test):.0%}",
        "training share of mines": f"{mines / (mines + validation + test):.0%}",
        "images a mine for the ratio": round(needed, 1),
        "odd": not FEWEST_IMAGES_A_MINE <= needed <= _years(paper),
    }


def _ratio_verdict(paper: PrintedPaper, rows: Sequence[Row]) -> str:
    """Tell whether rows of Table 2 can have the stated ratio."""
    return CONTRADICTION if any(row["odd"] for row in rows) else CONSISTENT


def _ratio(paper: PrintedPaper) -> str:
    """Write the stated ratio."""
    shares = (paper.said(f"{part}_share") for part in ("train", "validation", "test"))
    return ":".join(f"{share:g}" for share in shares)


def _span(rows: Sequence[Row]) -> str:
    """Write from how many to how many images a mine the ratio needs."""
    needed = [row["images a mine for the ratio"] for row in rows]
    return f"{min(needed):.1f} to {max(needed):.1f}"


IMAGE_ERRATA: tuple[Check, ...] = (
    _total_images,
    _total_mines,
    _images_a_mine,
    _split_ratio,
    _split_ratio_of_subsets,
    _subsets_against_all,
    _union_against_components,
    _test_areas,
)
"""Checks of numbers of images and mines, in the order of the page."""
