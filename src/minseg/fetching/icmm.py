"""Mines of the ICMM Global Mining Dataset, and the raw material they lend to outlines near them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import shapely

from minseg.errors import MinsegError
from minseg.fetching.features import read_features
from minseg.fetching.owners import pairs_within

LIMIT_KM = 10.0
"""How far a listed mine may lie from an outline to name its raw material; positions in public
lists are off by kilometres, and Maus et al. drew outlines as far as that from theirs."""

COMMODITIES: dict[str, tuple[str, ...]] = {
    "CL": ("coal", "thermal coal", "metallurgical coal"),
    "MO": (
        "alumina", "aluminium", "antimony", "bauxite", "chromite", "chromium", "cobalt", "copper",
        "ferrochrome", "ferromanganese", "ferronickel", "gold", "heavy mineral sands", "ilmenite",
        "iron ore", "lanthanides", "lead", "lithium", "manganese", "mercury", "molybdenum",
        "nickel", "niobium", "palladium", "platinum", "silver", "tin", "titanium", "tungsten",
        "uranium", "vanadium", "zinc", "zircon",
    ),
}  # fmt: skip
"""Raw-material groups of section 2.2 to commodities as ICMM names them: our judgement, for the
paper lists none. Rock raw materials (RR) have no entry, since ICMM lists no quarries; industrial
minerals and gems (barium, borates, diamond, fluorspar, phosphate, potash) are in no group."""

_GROUP_OF = {name: group for group, names in COMMODITIES.items() for name in names}

_FIELDS = ("id", "name", "country", "assetType", "primaryCommodity")

MATCH_COLUMNS = [
    "mine",
    "raw_material",
    "distance_km",
    "icmm_id",
    "icmm_name",
    "country",
    "commodity",
    "within_limit",
    "ambiguous",
]


def read_icmm(path: Path) -> pd.DataFrame:
    """Read the mines among the points of the ICMM data set; smelters and other plants are no mines.

    Parameters
    ----------
    path : Path
        ``mines.geojson``, or the same in another format that GDAL reads, with the fields id, name,
        country, assetType and primaryCommodity.

    Returns
    -------
    pandas.DataFrame
        Columns id, name, country, commodity, raw_material (a group of `COMMODITIES` or empty),
        longitude, latitude (degrees).

    Raises
    ------
    MinsegError
        If the file cannot be read, or lacks a field or points.
    """
    points = read_features(path, "points of the ICMM data set", [])
    missing = [name for name in _FIELDS if name not in points]
    if missing:
        raise MinsegError(
            f"{path}: has no field {', '.join(missing)}; give the points of the ICMM data set"
        )
    for name in _FIELDS:
        points[name] = points[name].fillna("").astype(str).str.strip()
    points = points[points["assetType"].str.contains(r"\bMine\b")]
    points = points[points.geometry.notna() & (points.geom_type == "Point") & ~points.is_empty]
    if points.empty:
        raise MinsegError(f"{path}: holds no located mines; give the points of the ICMM data set")
    _require_ids(points["id"], path)
    commodity = points["primaryCommodity"].str.lower()
    return pd.DataFrame(
        {
            **{name: points[name] for name in ("id", "name", "country")},
            "commodity": commodity,
            "raw_material": commodity.map(_GROUP_OF).fillna(""),
            "longitude": points.geometry.x,
            "latitude": points.geometry.y,
        }
    ).reset_index(drop=True)


def _require_ids(ids: pd.Series, path: Path) -> None:
    """Refuse ids that cannot tell mines apart, or name their folders."""
    bad = ids[ids.duplicated() | ~ids.str.fullmatch(r"[\w.-]+")]
    if len(bad):
        raise MinsegError(
            f"{path}: field 'id' holds {bad.iloc[0]!r}, which is there twice or cannot name a "
            "folder (letters, digits, _ . and - can); mend it in the file"
        )


def match_raw_material(
    points: pd.DataFrame,
    mines: Sequence[str],
    outlines: Sequence[shapely.Geometry],
    limit_km: float = LIMIT_KM,
) -> pd.DataFrame:
    """Find each mine's raw material: that of the listed mine nearest to its outline.

    Parameters
    ----------
    points : pandas.DataFrame
        As `read_icmm` gives it.
    mines : sequence of str
    outlines : sequence of shapely geometry
        Of the same mines, in degrees.
    limit_km : float
        Points farther from an outline than this say nothing about it.

    Returns
    -------
    pandas.DataFrame
        A row for each mine: mine, raw_material, distance_km (0 inside the outline), icmm_id,
        icmm_name, country and commodity of the nearest point (empty without one), within_limit (how
        many points), ambiguous (some of them yield another group). Where points of several groups
        are equally near, as inside a large outline, raw_material is empty.
    """
    pairs = pairs_within(points["longitude"], points["latitude"], list(outlines), limit_km * 1000)
    pairs["group"] = points["raw_material"].to_numpy()[pairs["place"]]
    pairs = pairs.sort_values("distance_m", kind="stable")
    near_outline = dict(iter(pairs.groupby("shape")))
    rows = []
    for number, mine in enumerate(mines):
        near = near_outline.get(number, pairs.iloc[:0])
        row = dict.fromkeys(MATCH_COLUMNS, "") | {"mine": mine, "within_limit": len(near)}
        row |= {"distance_km": float("nan"), "ambiguous": near["group"].nunique() > 1}
        if len(near):
            first = near.iloc[0]
            point = points.iloc[int(first["place"])]
            tied = near.loc[near["distance_m"] == first["distance_m"], "group"]
            row |= {
                "raw_material": first["group"] if tied.nunique() == 1 else "",
                "distance_km": round(first["distance_m"] / 1000, 2),
                "icmm_id": point["id"],
                "icmm_name": point["name"],
                "country": point["country"],
                "commodity": point["commodity"],
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=MATCH_COLUMNS)
