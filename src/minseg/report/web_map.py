"""Maps to click on and to switch layers of, on a static page without a network."""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from io import BytesIO
from textwrap import shorten

import folium
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from branca.element import Element, MacroElement
from folium.template import Template
from folium.utilities import JsCode
from leafmap.foliumap import Map
from matplotlib.colors import to_rgb
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from minseg.data.dataset import Dataset
from minseg.data.grid import seen_from
from minseg.data.labels import IGNORE
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.maps.change import CHANGES, class_change, require_comparable
from minseg.maps.class_map import ClassMap
from minseg.report import scenes
from minseg.report.style import PART_STYLES, html_cell, html_text
from minseg.study.runs import Run, scene_prediction

EARTH_RADIUS_M = 6_378_137.0
"""Of the sphere that web maps take the Earth for."""

MAX_SIDE = 800
"""Longest side of an overlay, pixels; a larger raster is thinned, so that a page stays small."""

WEBP_QUALITY = 90
"""Of images: a tenth of the size of a PNG, and no difference to see."""

DEGREE_DECIMALS = 6
"""Decimals of coordinates in a page: a tenth of a metre."""


@dataclass(frozen=True)
class Overlay:
    """A picture that lies on a web map."""

    pixels: np.ndarray
    """uint8 (height, width, 4): red, green, blue and opacity; rows evenly spaced in Mercator."""
    bounds: tuple[tuple[float, float], tuple[float, float]]
    """(south, west) and (north, east) in degrees, west before east: beyond 180 where need be."""
    photograph: bool
    """Whether it may be packed with loss, as an image may and classes may not."""

    @property
    def address(self) -> str:
        """The picture itself as a ``data:`` address."""
        packed = BytesIO()
        options = {"quality": WEBP_QUALITY} if self.photograph else {"lossless": True}
        Image.fromarray(self.pixels).save(packed, "WEBP", **options)
        return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def image_pixels(image: np.ndarray) -> np.ndarray:
    """Stretch an image for display, see-through without data: uint8 (height, width, 4)."""
    shown = image[:3] if len(image) >= 3 else image[:1]
    valid = np.isfinite(shown).all(axis=0) & (shown != 0).any(axis=0)
    colours = (255 * scenes.stretch(image, valid)).round()
    return np.dstack([colours, np.where(valid, 255, 0)]).astype(np.uint8)


def class_pixels(values: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """Colour a raster of class numbers, see-through where a value has no colour."""
    table = np.zeros((256, 4), np.uint8)
    for value, colour in colours.items():
        table[value] = [round(255 * level) for level in (*to_rgb(colour), scenes.OPACITY)]
    return table[values]


def lay_on_mercator(pixels: np.ndarray, grid: Grid, *, photograph: bool = False) -> Overlay:
    """Warp pixels to the Mercator map of web browsers, by nearest neighbour.

    The map is unrolled about the scene's own meridian, so that none is cut at 180 degrees. A
    photograph is averaged where it is thinned to `MAX_SIDE`, and packed with a little loss.
    """
    meridian = central_meridian(grid)
    mercator = _mercator(meridian)
    transform, width, height = calculate_default_transform(
        grid.crs, mercator, grid.width, grid.height, *grid.bounds
    )
    thinning = max(1.0, max(width, height) / MAX_SIDE)
    width, height = math.ceil(width / thinning), math.ceil(height / thinning)
    transform = transform @ Affine.scale(thinning)

    warped, _ = reproject(
        np.moveaxis(pixels, 2, 0),
        np.zeros((4, height, width), np.uint8),
        src_transform=grid.transform,
        src_crs=grid.crs,
        dst_transform=transform,
        dst_crs=mercator,
        resampling=Resampling.average if photograph and thinning > 1 else Resampling.nearest,
    )
    west, north = _degrees(transform @ (0, 0), meridian)
    east, south = _degrees(transform @ (width, height), meridian)
    bounds = ((south, west), (north, east))
    return Overlay(np.ascontiguousarray(np.moveaxis(warped, 0, 2)), bounds, photograph)


def polygon_features(polygons: gpd.GeoDataFrame, meridian: float) -> dict:
    """Turn polygons into GeoJSON with all their columns, within 180 degrees of a meridian."""
    if polygons.crs is None:
        raise MinsegError(
            "the polygons have no coordinate reference system; assign one with `set_crs`"
        )

    def rounded(points: np.ndarray) -> np.ndarray:
        longitudes = seen_from(points[:, 0], meridian)
        return np.column_stack([longitudes, points[:, 1]]).round(DEGREE_DECIMALS)

    shapes = shapely.transform(polygons.geometry.to_crs("EPSG:4326").to_numpy(), rounded)
    return polygons.set_geometry(shapes, crs="EPSG:4326").to_geo_dict()


def central_meridian(grid: Grid) -> float:
    """Return the longitude of a grid's centre, whole degrees."""
    if grid.crs is None:
        raise MinsegError(
            "the raster has no coordinate reference system, so it lies nowhere on a map; assign "
            "it, e.g. `rio edit-info --crs EPSG:32633 FILE`, or look at the still figures"
        )
    return float(round(grid.centre_lonlat[0]))


def _mercator(meridian: float) -> CRS:
    """Return EPSG:3857, counted from another meridian."""
    return CRS.from_proj4(
        f"+proj=merc +a={EARTH_RADIUS_M} +b={EARTH_RADIUS_M} +lat_ts=0 +lon_0={meridian} "
        "+x_0=0 +y_0=0 +k=1 +units=m +nadgrids=@null +wktext +no_defs"
    )


def _degrees(place_m: tuple[float, float], meridian: float) -> tuple[float, float]:
    """Return longitude and latitude of a place on the Mercator map."""
    x_m, y_m = place_m
    longitude = meridian + math.degrees(x_m / EARTH_RADIUS_M)
    return longitude, math.degrees(math.atan(math.sinh(y_m / EARTH_RADIUS_M)))


class EmbeddedMap(Map):
    """A map of leafmap's that needs no network but for background tiles.

    It is shown as a cell's last expression, in a notebook and on a static page alike. The title
    is for those who cannot see it. A synthetic one is marked, and has no background tiles: places
    that were made up lie nowhere among real ones.
    """

    # What leafmap and folium would link from servers: Leaflet stands in the page instead, and
    # jQuery, Bootstrap and icon fonts serve markers and plugins that these maps do not use.
    default_js: list[tuple[str, str]] = []  # noqa: RUF012
    default_css: list[tuple[str, str]] = []  # noqa: RUF012

    def __init__(
        self,
        title: str,
        legend: Mapping[str, Mapping[str, str]],
        *,
        synthetic: bool,
        attribution: str = "",
    ) -> None:
        super().__init__(
            tiles=None,
            height=480,
            scale_control=False,  # it would also measure in miles
            fullscreen_control=False,  # a plugin from a server
            layers_control=False,  # added last, and open
            zoom_snap=0.25,  # so that a scene fills the map
            font_size="12px",
        )
        self.title = title
        self.words = _legend_html(legend, synthetic), html_text(attribution)
        figure = self.get_root()
        figure.title = html_text(title)
        figure.header.add_child(Element('<base target="_blank">'), name="links_leave_the_frame")
        figure.header.add_child(_Verbatim("style", _leaflet("leaflet.css")), name="leaflet_css")
        figure.header.add_child(_Verbatim("script", _leaflet("leaflet.js")), name="leaflet_js")
        if not synthetic:
            folium.TileLayer("OpenStreetMap", name="OpenStreetMap", overlay=True).add_to(self)

    def add_overlay(
        self, name: str, overlay: Overlay, *, below: bool = False, choice: bool = False, show: bool
    ) -> None:
        """Add a picture as a layer; of those that are a choice one at a time is seen."""
        folium.raster_layers.ImageOverlay(
            overlay.address,
            overlay.bounds,
            name=html_text(name),
            overlay=not choice,
            show=show,
            alt=html_text(name),
            pane="tilePane" if below else "overlayPane",
        ).add_to(self)

    def add_features(self, name: str, features: dict, key: str, colours: Mapping[str, str]) -> None:
        """Add GeoJSON features, coloured by the property `key`, each with a popup of them all."""
        colour_of = {html_text(value): colour for value, colour in colours.items()}

        def style(feature: dict) -> dict[str, object]:
            colour = colour_of[feature["properties"][key]]
            if feature["geometry"]["type"] == "Point":
                return {"color": "#FFFFFF", "weight": 1, "fillColor": colour, "fillOpacity": 0.9}
            # A thin filling, so that a polygon can be clicked.
            return {"color": colour, "weight": 2, "fillColor": colour, "fillOpacity": 0.2}

        folium.GeoJson(
            {**features, "features": [*map(_as_html, features["features"])]},
            name=html_text(name),
            style_function=style,
            marker=folium.CircleMarker(radius=5, fill=True),
            on_each_feature=JsCode("popup"),
            smooth_factor=0,
        ).add_to(self)

    def add_land(self) -> None:
        """Draw the outlines of the land, which need no network, under the layers to come."""
        style = {"color": "#A9A59B", "weight": 1, "fillColor": "#E6E3DC", "fillOpacity": 1}
        folium.GeoJson(
            json.loads(_text("land.geojson")),
            style_function=lambda _: style,
            interactive=False,
            smooth_factor=0,
            control=False,
        ).add_to(self)

    def finish(self, bounds: Sequence[Sequence[float]]) -> "EmbeddedMap":
        """Show the ground within (south, west) and (north, east), and the layer control."""
        self.add_child(_Furniture(*self.words, bounds))
        folium.LayerControl(collapsed=False).add_to(self)
        return self

    def _repr_html_(self, **kwargs: object) -> str:
        frame = super()._repr_html_(**kwargs)
        return frame.replace("<iframe ", f'<iframe title="{escape(self.title)}" ', 1)


def _text(name: str) -> str:
    """Read a file of this folder."""
    return files("minseg.report").joinpath(name).read_text(encoding="utf-8")


class _Verbatim(Element):
    """Text of a style or a script, which is no template."""

    _template = Template("<{{ this.tag }}>{{ this.text }}</{{ this.tag }}>")

    def __init__(self, tag: str, text: str) -> None:
        super().__init__()
        self.tag, self.text = tag, text


class _Furniture(MacroElement):
    """Scale bar, legend with the mark of synthetic data, popups, what a reader hears, the view."""

    _template = Template(_text("map.html"))

    def __init__(self, legend: str, attribution: str, bounds: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.legend, self.attribution, self.bounds = legend, attribution, bounds


def _as_html(feature: dict) -> dict:
    """Write the properties of a feature as HTML."""
    facts = {html_text(name): html_cell(value) for name, value in feature["properties"].items()}
    return {**feature, "properties": facts}


def _legend_html(legend: Mapping[str, Mapping[str, str]], synthetic: bool) -> str:
    """Write a legend: names beside their colours, under headings."""
    parts = ['<div class="mark">SYNTHETIC</div>'] if synthetic else []
    for heading, colours in legend.items():
        parts.append(f"<b>{html_text(heading)}</b>" if colours else "")
        for name, colour in colours.items():
            parts.append(f'<div><i style="background: {colour}"></i>{html_text(name)}</div>')
    return "".join(parts)


def _leaflet(name: str) -> str:
    """Read a file of Leaflet's, under its licence, without what it would load beside itself."""
    # Icons of markers and of a closed layer control, which these maps have not; a debugger's map.
    spare = r"background-image: url\(images/[^)]*\);|//# sourceMappingURL=\S+"
    return f"/* {_text('leaflet/LICENSE')} */\n{re.sub(spare, '', _text(f'leaflet/{name}'))}"


MOST_POLYGONS = 2000
"""Outlines on a map; of more only the largest are drawn, so that a browser can open the page."""


def mine_locations_map(dataset: Dataset) -> EmbeddedMap:
    """Show the mines of a dataset over the land, a layer and colour a part (Figure 2).

    A click on a mine tells its name, country, raw material, type, part and years.
    """
    mines = dataset.mines.merge(dataset.split, on="mine")
    colours = {part: colour for part, (colour, _) in PART_STYLES.items()}
    counts = mines["part"].value_counts()
    legend = {f"{part} ({counts[part]})": colours[part] for part in colours if part in counts}
    shown = EmbeddedMap(
        f"Map of the {len(mines)} mines of {dataset.description.name}",
        {"mines by part": legend},
        synthetic=dataset.synthetic,
        attribution=_attribution(dataset),
    )
    shown.add_land()
    dated = dataset.scenes.sort_values("year").groupby("mine")["year"]
    years = dated.agg(lambda of_mine: ", ".join(map(str, of_mine.dropna().unique())))
    for part in (part for part in colours if part in counts):
        points = mines[mines["part"] == part]
        frame = gpd.GeoDataFrame(
            [_mine_facts(mine, years[mine["mine"]]) for _, mine in points.iterrows()],
            geometry=gpd.points_from_xy(points["longitude"], points["latitude"]),
            crs="EPSG:4326",
        )
        shown.add_features(part, polygon_features(frame, 0.0), "part", colours)
    west, south = mines[["longitude", "latitude"]].min()
    east, north = mines[["longitude", "latitude"]].max()
    return shown.finish(((south, west), (north, east)))


def prediction_map(run: Run, dataset: Dataset, mine: str) -> EmbeddedMap:
    """Show image, truth, a run's prediction and their agreement for one test mine (Figures 5-16).

    The image lies below; truth, prediction and agreement are to choose from.
    """
    scene = scene_prediction(run, dataset, mine).uppermost()
    picture = scenes.read_picture(dataset, scene.scene, scene.window)
    verdict = scenes.agreement(scene.prediction, scene.target)
    unknown = {IGNORE: scenes.NOT_ANNOTATED["not annotated"]}
    classes = scenes.class_colours(scene.task)
    verdicts = {int(kind): colour for kind, colour in scenes.AGREEMENT_COLOURS.items()}
    seen = set(np.unique(verdict))
    names = {
        kind.title: colour for kind, colour in scenes.AGREEMENT_COLOURS.items() if kind in seen
    }
    present = scenes.classes_present(scene.task, scene.target, scene.prediction)
    names |= scenes.NOT_ANNOTATED if scenes.Agreement.IGNORED in seen else {}
    shown = EmbeddedMap(
        f"Map of {scenes.scene_title(dataset, scene.scene)}: {scene.task.title}, "
        "image, truth, prediction and agreement",
        {"classes": present, "agreement": names},
        synthetic=dataset.synthetic,
        attribution=_attribution(dataset),
    )
    layers = {
        "truth": (scene.target, classes | unknown),
        "prediction": (scene.prediction, classes),
        "agreement": (verdict, verdicts | unknown),
    }
    image = lay_on_mercator(image_pixels(picture), scene.grid, photograph=True)
    shown.add_overlay("image", image, below=True, show=True)
    for name, (values, colours) in layers.items():
        overlay = lay_on_mercator(class_pixels(values, colours), scene.grid)
        shown.add_overlay(name, overlay, choice=True, show=name == "prediction")
    return _finish_choice(shown, image)


def change_map(
    before: ClassMap,
    after: ClassMap,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    synthetic: bool = False,
) -> EmbeddedMap:
    """Show the class maps of two years of a mine and, class by class, what was gained and lost.

    Parameters
    ----------
    before, after : ClassMap
        Of one task, on one grid.
    images : pair of float ndarray (bands, height, width), optional
        Of the two years, on the same grid, as `Dataset.read_inputs` gives it.
    synthetic : bool
        Marks the map as made from synthetic data.
    """
    require_comparable(before, after)
    drawn = before.uppermost(), after.uppermost()
    task, grid = drawn[0].task, before.grid
    colours = scenes.classes_present(task, *(class_map.classes for class_map in drawn))
    shown = EmbeddedMap(
        f"Map of change between two years: {task.title}",
        {"classes": colours, "change": CHANGES},
        synthetic=synthetic,
    )
    for name, image in zip(("before", "after"), images or (), strict=bool(images)):
        overlay = lay_on_mercator(image_pixels(image), grid, photograph=True)
        shown.add_overlay(f"image {name}", overlay, below=True, show=True)
    kinds = dict(enumerate(CHANGES.values(), start=1))
    # Of overlapping classes one may lie under others everywhere, and have no colour.
    present = [
        name
        for name in before.task.target_names[1:]
        if any(one.task.mask(one.classes, name).any() for one in (before, after))
    ]
    for name in present:
        change = lay_on_mercator(class_pixels(class_change(before, after, name), kinds), grid)
        shown.add_overlay(f"change: {name}", change, choice=True, show=name == present[0])
    for name, class_map in zip(("before", "after"), drawn, strict=True):
        overlay = lay_on_mercator(class_pixels(class_map.classes, scenes.class_colours(task)), grid)
        shown.add_overlay(name, overlay, choice=True, show=name == "after" and not present)
    return _finish_choice(shown, overlay)


def raster_map(
    class_map: ClassMap,
    image: np.ndarray | None = None,
    polygons: gpd.GeoDataFrame | None = None,
    synthetic: bool = False,
) -> EmbeddedMap:
    """Show a class map over its image, with the polygons made of it.

    Parameters
    ----------
    class_map : ClassMap
    image : float ndarray (bands, height, width), optional
        On the same grid, as `Dataset.read_inputs` gives it.
    polygons : geopandas.GeoDataFrame, optional
        With a column `class`, and perhaps `area_ha` and `mean_probability`, for the popups. Of
        more than `MOST_POLYGONS` the largest.
    synthetic : bool
        Marks the map as made from synthetic data.
    """
    class_map = class_map.uppermost()
    task, grid = class_map.task, class_map.grid
    shown = EmbeddedMap(
        f"Map of the predicted classes: {task.title}",
        {"classes": scenes.classes_present(task, class_map.classes)},
        synthetic=synthetic,
    )
    if image is not None:
        overlay = lay_on_mercator(image_pixels(image), grid, photograph=True)
        shown.add_overlay("image", overlay, below=True, show=True)
    classes = lay_on_mercator(class_pixels(class_map.classes, scenes.class_colours(task)), grid)
    shown.add_overlay("class map", classes, show=True)
    if polygons is not None and len(polygons):
        colours = dict(zip(task.target_names, task.target_colours, strict=True))
        largest = _largest(polygons)
        several = len(largest) < len(polygons)
        name = f"{len(largest)} largest of {len(polygons)} polygons" if several else "polygons"
        features = polygon_features(_popup_facts(largest), central_meridian(grid))
        shown.add_features(name, features, "class", colours)
    return shown.finish(classes.bounds)


def _largest(polygons: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the polygons that a map has room for, in their order."""
    by_size = np.argsort(-shapely.area(polygons.geometry.array), kind="stable")
    return polygons.iloc[np.sort(by_size[:MOST_POLYGONS])]


def _finish_choice(shown: EmbeddedMap, overlay: Overlay) -> EmbeddedMap:
    """Add the choice of none of the layers, so that the image can be seen bare."""
    folium.FeatureGroup(name="image only", overlay=False, show=False).add_to(shown)
    return shown.finish(overlay.bounds)


def _attribution(dataset: Dataset) -> str:
    """Name a dataset and its licence, shortly."""
    return shorten(f"{dataset.description.name}, {dataset.description.licence}", 90)


def _mine_facts(mine: pd.Series, years: str) -> dict[str, str]:
    """Say what is known of a mine; what is not is empty."""
    return {
        "mine": mine["name"] or mine["mine"],
        "country": mine["country"],
        "raw material": RAW_MATERIALS.get(mine["raw_material"], ""),
        "mine type": MINE_TYPES.get(mine["mine_type"], ""),
        "part": mine["part"],
        "years": years,
    }


def _popup_facts(polygons: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep what a reader wants to know of a polygon, in few digits."""
    decimals = {"area_ha": 2, "mean_probability": 3}
    columns = ["class", *(name for name in decimals if name in polygons)]
    facts = polygons[columns].round(decimals).astype(object)
    facts = facts.where(facts.notna(), "")  # no probabilities were kept
    return gpd.GeoDataFrame(facts, geometry=polygons.geometry)
