"""How much disk the scenes of a recipe take: what was measured, and what is estimated from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minseg.data.labels import EXTENT, TASKS
from minseg.errors import MinsegError
from minseg.fetching.plan import PIXEL_M, BoxRule

BYTES_A_PIXEL = 12 * 2 + 3 * 4 + 2
"""Of a scene before compression: twelve bands, three radar channels, labels."""

COMPRESSED_BYTES_A_PIXEL = 18
"""The same on disk, as measured on one real scene of 12 + 3 channels (Sen1Floods11, Spain)."""

BOX = BoxRule()
"""The box that sizes are told for: what ``fetch`` takes if not asked otherwise."""

MEAN_PIXELS = 2_254_000
"""Of a scene, as measured: the mean over the boxes of Jasansky's 116 test tiles."""


def estimated_size(num_scenes: int) -> str:
    """Tell how much disk scenes take of which nothing but their number is known.

    Parameters
    ----------
    num_scenes : int

    Returns
    -------
    str
    """
    least, most = ((side_m / PIXEL_M) ** 2 for side_m in (BOX.smallest_m, BOX.largest_m))
    low, mean, high = (
        pixels * COMPRESSED_BYTES_A_PIXEL / 1e6 for pixels in (least, MEAN_PIXELS, most)
    )
    return (
        f"about {num_scenes * mean / 1000:.0f} GB for {num_scenes:,} scenes, estimated at "
        f"{mean:.0f} MB a scene ({low:.0f} to {high:.0f} by its box): boxes as measured on "
        "Jasansky's 116 test tiles, compression as measured on one real scene; the size of the "
        "download itself is unknown to us"
    )


@dataclass(frozen=True)
class Source:
    """A public set of outlines that a dataset can be made from."""

    name: str
    """Name on the command line."""
    title: str
    address: str
    """Where to download it."""
    licence: str
    content: str
    """What is in it, in a line."""
    files: str
    """What to give as FILE."""
    mines: str
    """How many mines it gives, and what is not known of that before a download."""
    num_scenes: int
    """How many scenes to expect at most; more only where mines have outlines of several years."""
    classes: Mapping[str, str]
    """Values of the class field (``*`` for all) to class names."""
    class_field: str = ""
    """Field with the class; empty where all polygons are outlines of whole mining areas."""
    year_field: str = ""
    """Field with the year of the image a polygon was drawn on."""
    year: int | None = None
    """The year of the images, where one year holds for all."""
    tiles: str = "none; a mine's box is laid round its outlines"
    """How many tiles of what size it has."""
    limits: tuple[str, ...] = field(default_factory=tuple)
    """What a user should know before a download, a line each."""

    @property
    def has_scenes(self) -> bool:
        """Whether it says which scene each outline was drawn on."""
        return self.name == "jasansky"


_ONLY_EXTENT = (
    "outlines of whole mining areas: Model 4 can be trained, every other task is refused",
    "its authors' idea of a mining area is near the paper's total transformed area, not equal to "
    "it: reclaimed ground, roads and ground between parts are drawn by other rules",
)
NUM_ICMM_MINES = 8018
"""Mines in the ICMM data set of September 2025, as `minseg.fetching.icmm` counts them."""

_NEAR_LISTED = (
    f"up to {NUM_ICMM_MINES:,}, the mines of the ICMM list of September 2025, as counted; how many "
    "of them have outlines within --limit-km is unknown before FILE is read"
)
_MINE_LIST = (
    "a mine here is a mine of the ICMM list with outlines within the limit; others are left out, "
    "so that quarries and most small mines are missing",
)
_NO_TYPE = (
    "mine type (opencast, open-pit, mountain-top) stays empty: no open source tells it, so that "
    "half of Table 4 cannot be run unless you fill the column mine_type of mines.csv",
    "rock raw materials (RR) stay empty too, since ICMM lists no quarries: of the other half of "
    "Table 4 only coal and lignite (CL) and metallic ores (MO) can be run",
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "jasansky",
            "Jasansky (2024), mine segmentation tiles",
            "https://doi.org/10.5281/zenodo.14195737",
            "CC BY-SA 4.0",
            "1,514 tiles of 20.5 km over 1,210 sites, mine outlines checked by hand, and of each "
            "the Sentinel-2 scene they were checked on",
            "its GeoPackage, with a layer tiles (fields tile_id, s2_tile_id) and one of outlines "
            "(tile_id): polygons_annotated, or name it by --layer",
            "up to 1,514, one a tile, as the author counts; tiles rejected by the author or of no "
            "surface mine are left out, how many is unknown before FILE is read",
            1514,
            {"*": EXTENT.name},
            tiles="1,514 of 20.5 km, as the author counts",
            limits=(
                *_ONLY_EXTENT,
                "one scene a mine: no time series, so that training sees one year where the paper "
                "sees up to seven",
                "a tile counts as one mine, whatever lies in it; ground outside of tiles, which "
                "nobody looked at, is ignored in training and scores",
                "scenes are pinned by Planetary Computer's item ids; one that it no longer has is "
                "reported, never replaced",
                *_NO_TYPE,
            ),
        ),
        Source(
            "maus",
            "Maus et al. (2022), global-scale mining polygons, version 2",
            "https://doi.org/10.1594/PANGAEA.942325",
            "CC BY-SA 4.0",
            "44,929 outlines of mining areas, drawn on Sentinel-2 mosaics of 2019",
            "global_mining_polygons_v2.gpkg",
            _NEAR_LISTED,
            NUM_ICMM_MINES,
            {"*": EXTENT.name},
            year=2019,
            limits=(
                *_ONLY_EXTENT,
                "drawn on a mosaic of the year, so that a single scene may show a later or earlier "
                "state",
                *_MINE_LIST,
                *_NO_TYPE,
            ),
        ),
        Source(
            "tang",
            "Tang and Werner (2023), global mining footprint",
            "https://doi.org/10.5281/zenodo.6806817",
            "CC BY 4.0",
            "74,548 outlines of mine features, without the ground between them",
            "the polygons as unpacked (Shapefile)",
            _NEAR_LISTED,
            NUM_ICMM_MINES,
            {"*": EXTENT.name},
            limits=(
                *_ONLY_EXTENT,
                "drawn on high-resolution images of several years: say with --year which year's "
                "scenes to set them on, and expect ground that has moved",
                *_MINE_LIST,
                *_NO_TYPE,
            ),
        ),
        Source(
            "cheng",
            "Cheng et al. (2025), land use and cover of more than 80,000 mining areas",
            "https://doi.org/10.5281/zenodo.15726306",
            "CC BY-SA",
            "areas of five classes, mapped by a machine, for one year of 2017 to 2022 a site",
            "one or more of its GeoPackages (fields class_name and year)",
            f"{_NEAR_LISTED}; a mine has a scene for each year in which areas near it were mapped",
            NUM_ICMM_MINES,
            {
                "Open pit": "excavation",
                "Waste dumping site": "dumping ground",
                "Facility": "infrastructure",
                "Water body": EXTENT.name,
                "General disturbed land": EXTENT.name,
            },
            class_field="class_name",
            year_field="year",
            limits=(
                "weak labels: a machine made them, with errors that a network will learn; a score "
                "on them measures agreement with that machine",
                "Model 4, Model 2 and tasks of excavation, dumping ground and infrastructure can "
                "be trained; Models 1 and 3 are refused, since other classes of theirs are missing",
                "its classes are no classes of Table 1: a waste dumping site may hold a tailings "
                "facility, a facility roads and parking lots. --classes maps them otherwise; the "
                "values are spelled as its authors' definitions spell them, and one that the file "
                "spells in another way is refused by name",
                *_MINE_LIST,
                *_NO_TYPE,
            ),
        ),
    )
}
"""The sets known by name."""


def source_named(name: str) -> Source:
    """Find a set of outlines by its name.

    Raises
    ------
    MinsegError
        If there is none.
    """
    if name not in SOURCES:
        raise MinsegError(f"recipe {name!r}: unknown; use {', '.join(SOURCES)}")
    return SOURCES[name]


def source_lines(source: Source) -> list[str]:
    """Tell what a set gives and where to get it, before anything is downloaded.

    Parameters
    ----------
    source : Source

    Returns
    -------
    list of str
    """
    return [
        source.title,
        f"holds: {source.content}",
        f"from: {source.address}",
        f"licence: {source.licence}",
        f"mines: {source.mines}",
        f"tiles: {source.tiles}",
        class_line(source.classes.values()),
        f"size on disk: {estimated_size(source.num_scenes)}",
        f"give as FILE: {source.files}",
        *(f"limit: {limit}" for limit in source.limits),
    ]


def class_line(classes: Iterable[str]) -> str:
    """Tell classes, and which of the paper's models can be trained on them.

    Parameters
    ----------
    classes : iterable of str

    Returns
    -------
    str
    """
    names = sorted(set(classes))
    served = [name for name, task in TASKS.items() if not task.not_annotated(set(names))]
    return f"classes: {', '.join(names)}; of Models 1-4 they serve: {', '.join(served) or 'none'}"
