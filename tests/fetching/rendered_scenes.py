"""A loopback catalogue of scenes at planned places that show what polygons have drawn there."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine

from minseg.data.labels import CLASSES
from minseg.fetching.annotations import Annotations, rasterise
from minseg.fetching.plan import MinePlan
from minseg.fetching.scene import SYNTHETIC_PROPERTY
from minseg.synthetic.catalogue import OPTICAL, RADAR
from tests.fetching.pinned_scenes import GSD_M
from tests.fetching.scenes import item, tif


def write_rendered(folder: Path, plans: Sequence[MinePlan], polygons: Annotations) -> None:
    """Write items for `minseg.synthetic.server.serve`, each class its own colour.

    Ground that annotators were not sure about looks like one more class.
    """
    (folder / "files").mkdir(parents=True)
    random = np.random.default_rng(0)
    looks = np.clip(random.normal(1500, 600, (len(CLASSES) + 2, len(GSD_M))), 300, 4000)
    items = []
    for plan, year in [(one, year) for one in plans for year in one.years]:
        grid, name, hrefs = plan.grid, f"{plan.mine}_{year}", {}
        bits = rasterise(polygons.of_year(year), grid)
        shown = np.zeros(bits.shape, int)
        for value in np.unique(bits[bits > 0]):
            shown[bits == value] = min(int(value).bit_length(), len(CLASSES) + 1)
        noise = random.normal(0, 60, bits.shape)
        for number, (band, gsd_m) in enumerate(GSD_M.items()):
            step, hrefs[band] = gsd_m // 10, f"{name}_{band}.tif"
            values = (looks[shown, number] + noise)[::step, ::step].astype(np.uint16)
            values = np.full(values.shape, 5, np.uint8) if band == "SCL" else values
            place = grid.transform @ Affine.scale(step)
            tif(folder / "files" / hrefs[band], values, place, grid.crs)
        radar = {channel: f"{name}_{channel}.tif" for channel in ("vv", "vh")}
        power = (0.1 + shown / 20 + noise / 1e4).astype(np.float32)
        for href in radar.values():
            tif(folder / "files" / href, power, grid.transform, grid.crs)
        orbit = {"sat__relative_orbit": 51, "sat__orbit_state": "ascending"}
        about = {"s2__processing_baseline": "02.12", "eo__cloud_cover": 0.0}
        for kind, files, collection, told in (
            ("S2", hrefs, OPTICAL, about),
            ("S1", radar, RADAR, orbit),
        ):
            one = item(
                f"{kind}_{name}", f"{year}-07-01", files, grid.bounds_lonlat, **told
            ).to_dict()
            one["properties"][SYNTHETIC_PROPERTY] = True
            items.append(one | {"collection": collection})
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")
