"""A Leaflet map that carries all it needs inside itself, and its furniture."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import folium
from branca.element import Element, MacroElement
from folium.template import Template
from folium.utilities import JsCode
from leafmap.foliumap import Map

from minseg.report.map_layers import Overlay
from minseg.report.style import MARK_COLOUR
from minseg.report.text import html_text

HEIGHT_PX = 480

_STYLE = f"""
.leaflet-container {{ background: #E9ECEF; font-family: system-ui, sans-serif; }}
.leaflet-control-layers, .legend {{ background: rgba(255, 255, 255, 0.92); border-radius: 5px; }}
.legend {{ padding: 6px 9px; max-width: 165px; box-shadow: 0 1px 5px rgba(0, 0, 0, 0.4); }}
.legend b {{ display: block; }}
.legend div {{ display: flex; align-items: center; gap: 6px; }}
.legend i {{ flex: none; width: 14px; height: 14px; border: 1px solid #555; }}
.legend .mark {{ color: {MARK_COLOUR}; font-weight: bold; }}
.leaflet-popup-content th {{ text-align: left; padding-right: 8px; font-weight: normal;
  color: #555; vertical-align: top; }}
"""

# `add_features` has made text of what other people's tables hold.
_POPUP = JsCode(
    """function (feature, layer) {
        const table = document.createElement("table");
        for (const [name, value] of Object.entries(feature.properties)) {
            if (value === "") continue;
            const row = table.insertRow();
            const head = row.appendChild(document.createElement("th"));
            head.scope = "row";
            head.innerHTML = name;
            row.insertCell().innerHTML = value;
        }
        layer.bindPopup(table);
    }"""
)


@dataclass(frozen=True)
class LegendGroup:
    """A part of a legend under a heading."""

    heading: str
    colours: Mapping[str, str]
    """Name to colour."""


class EmbeddedMap(Map):
    """A map of leafmap's that needs no network but for background tiles.

    It is shown as a cell's last expression, in a notebook and on a static page alike.

    Parameters
    ----------
    title : str
        What the map shows, for those who cannot see it.
    legend : sequence of LegendGroup
    synthetic : bool
        Writes SYNTHETIC on the map, and leaves out the background tiles: places that were made
        up lie nowhere among real ones.
    attribution : str
        Where the data are from; empty for nothing.
    """

    # What leafmap and folium would link from servers: Leaflet stands in the page instead, and
    # jQuery, Bootstrap and icon fonts serve markers and plugins that these maps do not use.
    default_js: list[tuple[str, str]] = []  # noqa: RUF012
    default_css: list[tuple[str, str]] = []  # noqa: RUF012

    def __init__(
        self,
        title: str,
        legend: Sequence[LegendGroup],
        *,
        synthetic: bool,
        attribution: str = "",
    ) -> None:
        super().__init__(
            tiles=None,
            height=HEIGHT_PX,
            scale_control=False,  # it would also measure in miles
            fullscreen_control=False,  # a plugin from a server
            layers_control=False,  # added last, and open
            zoom_snap=0.25,  # so that a scene fills the map
            font_size="12px",
        )
        self.title = title
        figure = self.get_root()
        figure.title = html_text(title)
        figure.header.add_child(Element('<base target="_blank">'), name="links_leave_the_frame")
        figure.header.add_child(_Verbatim("style", _leaflet("leaflet.css")), name="leaflet_css")
        figure.header.add_child(_Verbatim("script", _leaflet("leaflet.js")), name="leaflet_js")
        figure.header.add_child(_Verbatim("style", _STYLE), name="map_style")
        self.add_child(_Furniture(_legend_html(legend, synthetic), html_text(attribution)))
        if not synthetic:
            folium.TileLayer("OpenStreetMap", name="OpenStreetMap", overlay=True).add_to(self)

    def add_overlay(
        self, name: str, overlay: Overlay, *, below: bool = False, choice: bool = False, show: bool
    ) -> None:
        """Add a picture as a layer.

        Parameters
        ----------
        name : str
            In the layer control.
        overlay : Overlay
        below : bool
            Under all layers that are not.
        choice : bool
            One of the layers of which one at a time is seen.
        show : bool
            Whether it is seen at first.
        """
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
        """Add polygons or points as a layer, with a popup of their properties.

        Parameters
        ----------
        name : str
            In the layer control.
        features : dict
            GeoJSON feature collection.
        key : str
            The property that decides the colour.
        colours : mapping of str to str
            Colour of a value of that property.
        """
        colour_of = {html_text(value): colour for value, colour in colours.items()}

        def style(feature: dict) -> dict[str, object]:
            return _shape_style(feature["geometry"]["type"], colour_of[feature["properties"][key]])

        folium.GeoJson(
            {**features, "features": [*map(_as_html, features["features"], itertools.count())]},
            name=html_text(name),
            style_function=style,
            marker=folium.CircleMarker(radius=5, fill=True),
            on_each_feature=_POPUP,
            smooth_factor=0,
        ).add_to(self)

    def finish(self, bounds: Sequence[Sequence[float]]) -> "EmbeddedMap":
        """Show the ground within (south, west) and (north, east), and the layer control."""
        self.add_child(_View(bounds))
        folium.LayerControl(collapsed=False).add_to(self)
        return self

    def _repr_html_(self, **kwargs: object) -> str:
        frame = super()._repr_html_(**kwargs)
        return frame.replace("<iframe ", f'<iframe title="{escape(self.title)}" ', 1)


class _Verbatim(Element):
    """Text of a style or a script, which is no template."""

    _template = Template("<{{ this.tag }}>{{ this.text }}</{{ this.tag }}>")

    def __init__(self, tag: str, text: str) -> None:
        super().__init__()
        self.tag, self.text = tag, text


class _Furniture(MacroElement):
    """Scale bar, legend with the mark of synthetic data, and what a screen reader says."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        (function (map) {
            map.getContainer().setAttribute("role", "region");
            map.getContainer().setAttribute("aria-label", document.title);
            map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
            map.attributionControl.addAttribution({{ this.attribution|tojson }});
            L.control.scale({ imperial: false }).addTo(map);
            const legend = L.control({ position: "bottomleft" });
            legend.onAdd = function () {
                const box = L.DomUtil.create("div", "legend");
                box.innerHTML = {{ this.legend|tojson }};
                return box;
            };
            legend.addTo(map);
            map.setMaxZoom(19);
            // A page is scrolled past a map, not caught by it.
            map.scrollWheelZoom.disable();
            map.once("click", () => map.scrollWheelZoom.enable());
        })({{ this._parent.get_name() }});
        {% endmacro %}
        """
    )

    def __init__(self, legend: str, attribution: str) -> None:
        super().__init__()
        self.legend, self.attribution = legend, attribution


class _View(MacroElement):
    """What ground the map shows, beside its controls where there is room and behind them if not."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        (function (map) {
            const fit = function () {
                const width = map.getSize().x;
                const sides = width > 500 ? [180, 130] : [8, 8];
                if (width > 0) {
                    map.fitBounds({{ this.bounds|tojson }}, {
                        animate: false, maxZoom: 17,
                        paddingTopLeft: [sides[0], 8], paddingBottomRight: [sides[1], 24],
                    });
                }
            };
            fit();
            map.on("resize", fit);
        })({{ this._parent.get_name() }});
        {% endmacro %}
        """
    )

    def __init__(self, bounds: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.bounds = bounds


def _as_html(feature: dict, number: int) -> dict:
    """Give a feature a number to be told by, and write its properties as HTML."""
    facts = {
        html_text(name): html_text(value) if isinstance(value, str) else value
        for name, value in feature["properties"].items()
    }
    return {**feature, "id": str(number), "properties": facts}


def _shape_style(shape: str, colour: str) -> dict[str, object]:
    """Draw a point filled and a polygon as an outline, thinly filled so that it can be clicked."""
    if shape == "Point":
        return {"color": "#FFFFFF", "weight": 1, "fillColor": colour, "fillOpacity": 0.9}
    return {"color": colour, "weight": 2, "fillColor": colour, "fillOpacity": 0.2}


def _legend_html(legend: Sequence[LegendGroup], synthetic: bool) -> str:
    """Write a legend: names beside their colours, under headings."""
    parts = ['<div class="mark">SYNTHETIC</div>'] if synthetic else []
    for group in filter(lambda group: group.colours, legend):
        parts.append(f"<b>{html_text(group.heading)}</b>")
        for name, colour in group.colours.items():
            parts.append(f'<div><i style="background: {colour}"></i>{html_text(name)}</div>')
    return "".join(parts)


def _leaflet(name: str) -> str:
    """Read a file of Leaflet's, under its licence, without what it would load beside itself."""
    folder = files("minseg.report").joinpath("leaflet")
    licence = folder.joinpath("LICENSE").read_text(encoding="utf-8")
    text = folder.joinpath(name).read_text(encoding="utf-8")
    # Icons of markers and of a closed layer control, which these maps have not; a debugger's map.
    text = re.sub(r"background-image: url\(images/[^)]*\);|//# sourceMappingURL=\S+", "", text)
    return f"/* {licence} */\n{text}"
