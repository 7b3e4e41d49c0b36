"""Random fields and tilings of the ground, which the synthetic mines are drawn from."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from minseg.synthetic.sensing import MATERIALS, Material, Surface


@lru_cache(maxsize=8)
def _frequency(shape: tuple[int, int]) -> np.ndarray:
    """Return the frequencies of a real Fourier transform, cycles per pixel."""
    return np.hypot(
        *np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    )


def noise(
    rng: np.random.Generator, shape: tuple[int, int], scale_px: float, roughness: float = 3.0
) -> np.ndarray:
    """Return a random field of zero mean and unit spread."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    # An rfft spectrum is already Hermitian, so a real filter keeps the field real.
    spectrum *= (1 + (0.5 * np.pi * scale_px * _frequency(shape)) ** 2) ** (-roughness / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, shape)
    return field / field.std()


def turned(
    shape: tuple[int, int], centre: tuple[float, float], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a direction, in pixels from a centre (row, column).

    `angle` is that of the first coordinate, in radians from the columns towards the rows.
    """
    rows, columns = np.indices(shape, float)
    down, right = rows - centre[0], columns - centre[1]
    cosine, sine = np.cos(angle), np.sin(angle)
    return right * cosine + down * sine, down * cosine - right * sine


def parcels(
    rng: np.random.Generator, shape: tuple[int, int], width_px: float, angle: float
) -> np.ndarray:
    """Divide the country into strips of rectangular parcels."""
    along, across = turned(shape, (shape[0] / 2, shape[1] / 2), angle)
    along = along + 1.5 * noise(rng, shape, 60, 5)
    across = across + 1.5 * noise(rng, shape, 60, 5)
    num_strips = int(3 * max(shape) / width_px)
    edges = np.cumsum(rng.uniform(0.5, 1.6, num_strips)) * width_px - 1.5 * max(shape)
    strip = np.searchsorted(edges, across)
    lengths = rng.uniform(1.2, 3.5, num_strips + 1) * width_px
    offsets = rng.uniform(0, 1, num_strips + 1) * lengths
    cell = np.floor((along + offsets[strip]) / lengths[strip]).astype(np.int64)
    return np.unique(strip * 100_000 + cell, return_inverse=True)[1].reshape(shape)


def buildings(
    rng: np.random.Generator, where: np.ndarray, spacing_px: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Set buildings in rows on a piece of ground."""
    along, across = turned(where.shape, (where.shape[0] / 2, where.shape[1] / 2), angle)
    u, v = along / (1.4 * spacing_px), across / spacing_px
    # A table of random plots, repeated over the country.
    plot = np.floor(u).astype(int) % 61, np.floor(v).astype(int) % 61
    length, width = rng.uniform(0.35, 0.85, (61, 61))[plot], rng.uniform(0.3, 0.75, (61, 61))[plot]
    built = rng.uniform(0, 1, (61, 61))[plot] < 0.75
    roofs = where & built & (u % 1 < length) & (v % 1 < width)
    return roofs, rng.standard_normal((61, 61))[plot]


@dataclass(frozen=True)
class Biome:
    """What grows around a mine, and on what soil."""

    forest: float
    """Share of the country under forest."""
    fields: float
    """Share of the country under fields."""
    plants: float
    """Share of the ground that open vegetation covers; the rest shows soil."""
    dryness: float
    """0 for lush green, 1 for dry grass at the time of the image."""
    lakes: float
    """Chance of a lake."""
    soil_brightness: float
    """Relative to the soil of `MATERIALS`."""
    soil_tint: float
    """Positive for red soils."""

    @property
    def soil(self) -> Material:
        """The bare soil of the country."""
        return MATERIALS["soil"].shaded(self.soil_brightness, self.soil_tint)


BIOMES: dict[str, Biome] = {
    "temperate": Biome(0.30, 0.45, 0.93, 0.25, 0.35, 0.9, 0.0),
    "boreal": Biome(0.60, 0.08, 0.90, 0.30, 0.60, 0.8, -0.05),
    "steppe": Biome(0.08, 0.40, 0.70, 0.80, 0.20, 1.1, 0.05),
    "arid": Biome(0.00, 0.04, 0.25, 0.95, 0.05, 1.35, 0.12),
    "tropical": Biome(0.50, 0.18, 0.92, 0.15, 0.30, 0.9, 0.22),
    "savanna": Biome(0.18, 0.22, 0.75, 0.65, 0.20, 1.0, 0.18),
}
"""Kinds of country, by the name that `minseg.synthetic.register.BELTS` uses."""


class Landscape:
    """What the ground around a mine carries; masks are bool (height, width)."""

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, int], biome: Biome, relief_m: float
    ):
        """Lay out the country; the middle is left to the mine only by what is painted over it."""
        extent = max(shape)
        self.biome = biome
        self.elevation_m = relief_m * noise(rng, shape, 0.6 * extent, 3.2)
        angle = rng.uniform(0, np.pi)
        self.parcel = parcels(rng, shape, rng.uniform(7, 14), angle)
        crops = _share(noise(rng, shape, 0.5 * extent), biome.fields)
        # Fields end at parcel borders, woods between them too.
        share_of_parcel = ndimage.mean(crops, self.parcel, np.arange(self.parcel.max() + 1))
        self.fields = (share_of_parcel > 0.5)[self.parcel]
        wood = noise(rng, shape, 0.3 * extent, 2.2) + 0.3 * _standard(self.elevation_m)
        copses = noise(rng, shape, 4, 3.0) > 2.4 - 1.5 * biome.forest
        forest = _share(wood, biome.forest) | (copses & (biome.forest > 0))
        self.forest = forest & ~self.fields
        # Bare ground that no mine made: felled forest, building sites, eroded soil.
        bare = noise(rng, shape, 0.22 * extent, 2.6)
        self.clearings = _share(bare, rng.uniform(0.02, 0.10)) & ~self.fields
        self.water = _water(rng, shape, biome, self.elevation_m)
        roads, tracks = _road(rng, shape, angle), _road(rng, shape, angle + rng.uniform(1.0, 2.0))
        village = _spot(rng, roads, rng.uniform(0.08, 0.16) * extent) & (rng.random() < 0.6)
        estate = _spot(rng, roads, rng.uniform(0.04, 0.08) * extent) & (rng.random() < 0.45)
        houses, house_shade = buildings(rng, village, 3.2, angle)
        halls, hall_shade = buildings(rng, estate, 6.5, angle)
        dry = ~self.water
        self.roads, self.tracks = roads & dry, tracks & ~roads & dry  # paved, unpaved
        self.village, self.estate = village & dry, estate & dry  # an industrial estate, paved
        self.roofs = (houses | halls) & dry
        self.roof_shade = np.where(estate, hall_shade, house_shade)  # a random number a building
        # Share of the ground that open vegetation covers, 0-1.
        self.vegetation = _vegetation(rng, shape, biome)


def paint_landscape(
    surface: Surface, land: Landscape, year_rng: np.random.Generator, *, winter: bool
) -> None:
    """Paint the country as it looks in one year: crops change, the rest stays."""
    biome, everywhere = land.biome, np.ones_like(land.forest)
    dryness = biome.dryness + year_rng.normal(0, 0.12) + 0.6 * winter
    dryness = float(np.clip(dryness, 0, 1))
    meadow = MATERIALS["grass"].mixed(MATERIALS["dry grass"], dryness)
    wild = MATERIALS["shrub"].mixed(meadow, 0.6)
    surface.cover(everywhere, biome.soil)
    surface.cover(everywhere, wild, opacity=land.vegetation)
    # Building sites and badlands bare the subsoil, as a mine does.
    subsoil = biome.soil.mixed(MATERIALS["overburden"], 0.5)
    bare = 1 - 0.25 * land.vegetation * (surface.hue > 0)
    surface.cover(land.clearings, subsoil, opacity=bare, brightness=1 + 0.1 * surface.hue)
    _paint_fields(surface, land, meadow, year_rng)
    surface.cover(land.forest & ~land.clearings, MATERIALS["forest"], opacity=0.95)
    surface.cover(land.tracks, biome.soil.shaded(1.2), opacity=0.7)
    surface.cover(land.roads, MATERIALS["asphalt"], opacity=0.75)
    surface.cover(land.village, MATERIALS["shrub"], opacity=0.6)
    surface.cover(land.estate, MATERIALS["paving"], opacity=0.9)
    halls = land.roofs & land.estate
    surface.cover(halls, MATERIALS["metal roof"], brightness=np.exp(0.35 * land.roof_shade - 0.1))
    surface.cover(
        land.roofs & ~halls,
        MATERIALS["tile roof"],
        brightness=np.exp(0.2 * land.roof_shade),
        tint=0.2 * np.sin(5 * land.roof_shade),
    )
    surface.cover(land.water, MATERIALS["water"], brightness=year_rng.uniform(0.8, 1.6))


def paint_snow(
    surface: Surface,
    land: Landscape,
    worked: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Cover the ground with patches of snow.

    Snow lies longest in the shade; it hides under trees, and goes first where people work.
    """
    patches = noise(rng, light.shape, 25, 2.4)
    melt = np.clip(light - 1, -0.3, 0.3)
    depth = np.clip(1.1 + patches - melt, 0, 0.95)
    kept = np.select([land.water | land.roads, land.forest, worked], [0.1, 0.25, 0.6], 1.0)
    surface.cover(depth > 0, MATERIALS["snow"], opacity=depth * kept)


def _paint_fields(
    surface: Surface, land: Landscape, meadow: Material, year_rng: np.random.Generator
) -> None:
    """Give each field this year's crop; some lie bare."""
    num_parcels = int(land.parcel.max()) + 1
    crops = (
        (0.34, MATERIALS["crop"].mixed(meadow, 0.4 * land.biome.dryness)),
        (0.28, MATERIALS["ripe crop"]),
        (0.10, meadow),
        (0.28, land.biome.soil),
    )
    state = year_rng.choice(len(crops), num_parcels, p=[share for share, _ in crops])[land.parcel]
    brightness = np.exp(year_rng.normal(0, 0.16, num_parcels))[land.parcel]
    tint = year_rng.normal(0, 0.08, num_parcels)[land.parcel]
    for number, (_, material) in enumerate(crops):
        surface.cover(land.fields & (state == number), material, brightness=brightness, tint=tint)
    border = ndimage.morphological_gradient(land.parcel, size=(2, 2)) > 0
    surface.cover(land.fields & border, meadow, opacity=0.5)


def _share(field: np.ndarray, share: float) -> np.ndarray:
    """Return the pixels where a field takes its highest values, a given share of all."""
    return field > np.quantile(field, 1 - share)


def _standard(field: np.ndarray) -> np.ndarray:
    return (field - field.mean()) / field.std()


def _vegetation(rng: np.random.Generator, shape: tuple[int, int], biome: Biome) -> np.ndarray:
    """Return the share of ground under open vegetation: patchy, and denser along gullies."""
    patches = 0.10 * noise(rng, shape, 20, 2.0) + 0.08 * noise(rng, shape, 80, 3.0)
    gullies = np.exp(-((6 * noise(rng, shape, 60, 2.6)) ** 2))
    return np.clip(biome.plants + patches + 0.35 * gullies, 0.03, 1)


def _water(
    rng: np.random.Generator, shape: tuple[int, int], biome: Biome, elevation_m: np.ndarray
) -> np.ndarray:
    """Return a lake in the lowest ground, or a river, or nothing."""
    kind = rng.random()
    if kind < biome.lakes:
        bay = _standard(elevation_m) + 0.25 * noise(rng, shape, 30)
        return _share(-bay, rng.uniform(0.015, 0.06))
    if kind < biome.lakes + 0.3:
        _, across = turned(shape, (shape[0] / 2, shape[1] / 2), rng.uniform(0, np.pi))
        course = across + 0.1 * max(shape) * noise(rng, shape, 0.5 * max(shape), 4)
        return np.abs(course - rng.choice([-0.3, 0.3]) * max(shape)) < rng.uniform(0.8, 2.5)
    return np.zeros(shape, bool)


def _road(rng: np.random.Generator, shape: tuple[int, int], angle: float) -> np.ndarray:
    """Return a road that crosses the country off its middle."""
    _, across = turned(shape, (shape[0] / 2, shape[1] / 2), angle)
    course = across + 0.04 * max(shape) * noise(rng, shape, 0.8 * max(shape), 5)
    offset = rng.choice([-1, 1]) * rng.uniform(0.15, 0.42) * max(shape)
    return np.abs(course - offset) < 0.6


def _spot(rng: np.random.Generator, roads: np.ndarray, radius_px: float) -> np.ndarray:
    """Return an irregular patch of ground around a random place at a road."""
    places = np.argwhere(roads)
    row, column = places[rng.integers(len(places))] if len(places) else (0, 0)
    along, across = turned(roads.shape, (row, column), 0.0)
    return np.hypot(along, across) < radius_px * (1 + 0.3 * noise(rng, roads.shape, 15))
