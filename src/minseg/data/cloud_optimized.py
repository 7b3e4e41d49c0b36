"""Cloud-Optimized GeoTIFFs with class names and colours, as a GIS shows them."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import rasterio
import rasterio.shutil

from minseg.atomic import replace_when_done
from minseg.data.raster import require_whole, writing


def to_cloud_optimized(
    source: Path,
    path: Path,
    *,
    category_names: Sequence[str] = (),
    colours: dict[int, tuple[int, int, int, int]] | None = None,
    named: Path | None = None,
) -> None:
    """Copy a raster to a Cloud-Optimized GeoTIFF, with class names and colours if given.

    Parameters
    ----------
    source : Path
        GeoTIFF to copy.
    path : Path
        File to write. GDAL keeps category names in a sidecar, ``<path>.aux.xml``.
    category_names : sequence of str
        Names of the values 0, 1, … of band 1.
    colours : dict of int to (red, green, blue, alpha)
        Colour table of band 1.
    named : Path, optional
        What errors call the file, if not `path`.

    Raises
    ------
    MinsegError
        If the file cannot be written.
    """
    resampling = "nearest" if category_names else "average"
    options = {"compress": "deflate", "overview_resampling": resampling, "BIGTIFF": "IF_SAFER"}
    with replace_when_done(path) as beside, writing(named or path, beside):
        described, sidecar = beside.with_suffix(".vrt"), Path(f"{beside}.aux.xml")
        try:
            rasterio.shutil.copy(source, described, driver="VRT")
            _describe_categories(described, category_names, colours or {})
            rasterio.shutil.copy(described, beside, driver="COG", **options)
            require_whole(beside)
            if sidecar.exists():
                sidecar.replace(f"{path}.aux.xml")
        finally:
            described.unlink(missing_ok=True)
            sidecar.unlink(missing_ok=True)


def _describe_categories(
    vrt: Path, names: Sequence[str], colours: dict[int, tuple[int, int, int, int]]
) -> None:
    """Add category names and a colour table to band 1 of a VRT (rasterio cannot set names)."""
    if not names:
        return
    tree = ElementTree.parse(vrt)
    band = tree.getroot().find("VRTRasterBand")
    assert band is not None
    for tag in ("CategoryNames", "ColorTable", "ColorInterp"):
        for old in band.findall(tag):
            band.remove(old)
    categories = ElementTree.Element("CategoryNames")
    for name in names:
        ElementTree.SubElement(categories, "Category").text = name
    table = ElementTree.Element("ColorTable")
    for value in range(max(colours, default=-1) + 1):
        channels = zip(("c1", "c2", "c3", "c4"), colours.get(value, (0, 0, 0, 0)), strict=True)
        ElementTree.SubElement(table, "Entry", {key: str(level) for key, level in channels})
    interpretation = ElementTree.Element("ColorInterp")
    interpretation.text = "Palette"
    # GDAL's schema wants the colour interpretation and tables before the band's sources.
    band[:0] = [interpretation, categories, table]
    tree.write(vrt)
