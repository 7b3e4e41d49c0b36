"""The 12 optical and 3 radar channels, and the five band configurations (section 2.4.1)."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minseg.errors import MinsegError


@dataclass(frozen=True)
class Band:
    """One input channel."""

    name: str
    """Name in files and on the command line."""
    wavelength_nm: float | None
    """Central wavelength of Sentinel-2A, nm; None for radar."""
    native_gsd_m: int
    """Ground sample distance before resampling to 10 m, metres."""
    description: str
    """What the channel measures."""
    common_name: str
    """Name in catalogues; empty for radar."""

    @property
    def is_radar(self) -> bool:
        """Whether the channel comes from Sentinel-1."""
        return self.wavelength_nm is None

    @property
    def limits(self) -> tuple[float, float]:
        """Reflectance, or decibels, that a pixel can have lie between; others mark missing ones.

        Correction for the atmosphere may go below zero, as Sentinel-2 and Landsat keep it to -0.1
        and -0.2; 6.5534 is the most that 16 bits hold beside a mark for missing pixels. Radar:
        noise floor to corner reflectors.
        """
        return (-90.0, 90.0) if self.is_radar else (-0.2, 6.55345)


def _read_bands() -> Iterator[Band]:
    """Read the table of bands that lies beside this file."""
    with Path(__file__).with_name("bands.csv").open(encoding="utf-8", newline="") as table:
        for name, wavelength_nm, gsd_m, description, common_name in [*csv.reader(table)][1:]:
            wavelength = float(wavelength_nm) if wavelength_nm else None
            yield Band(name, wavelength, int(gsd_m), description, common_name)


BANDS: dict[str, Band] = {band.name: band for band in _read_bands()}

OPTICAL_BANDS = tuple(band for band in BANDS.values() if not band.is_radar)
"""The bands of a Sentinel-2 L2A product (B10 is not part of it)."""

RADAR_BANDS = tuple(band for band in BANDS.values() if band.is_radar)
"""The Sentinel-1 channels of section 2.1, in decibels.

The paper's third is VV - VH - 10 in dB, so it adds no information.
"""

OPTICAL_NAMES = tuple(band.name for band in OPTICAL_BANDS)
RADAR_NAMES = tuple(band.name for band in RADAR_BANDS)

BAND_CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "RGB": ("B04", "B03", "B02"),
    "R+N": ("B04", "B03", "B02", "B08"),
    "R+N+S": ("B04", "B03", "B02", "B08", *RADAR_NAMES),
    "M": OPTICAL_NAMES,
    "M+S": (*OPTICAL_NAMES, *RADAR_NAMES),
}
"""The five band configurations (section 2.4.1), spelled as in Table 3."""

SKIPPED = "-"
"""What stands for a band to leave out, where a file's bands are listed in its order."""

_COMMON_NAMES = {band.common_name.upper(): band.name for band in OPTICAL_BANDS}

_BESIDE_A_NAME = re.compile(
    r"T?\d{2}[A-Z]{3}|\d{8}(T\d{6})?|S2[A-D]?|SENTINEL2?|MSI(L[12][AC])?|L[12][AC]|[RN]\d{3,4}"
    r"|\d+M?|BAND|CENTRAL|WAVELENGTH|NM|MEDIAN|MEAN|MOSAIC|COMPOSITE|BOA|REFLECTANCE"
)
"""Words about tile, date, product, wavelength or composite, which do not change what a band is; a
deviation or a count is no reflectance."""


def band_name(text: str) -> str | None:
    """Find the band that a name tells, in the product's spelling: ``b2`` is ``B02``.

    So are ``B2_median``, ``T33TWM_20230813T100031_B02_10m`` and ``blue``. A radar band is known by
    the polarisation it speaks of: ``Sigma0_VH_db`` is ``VH``. Returns None for a name that is no
    band of ours (B10, which L2A lacks, among them), or more than one.
    """
    whole = text.strip().upper()
    if whole in BANDS:
        return whole
    words = [word for word in re.split(r"[^A-Z0-9]+", whole) if word]
    own = [word for word in words if not _BESIDE_A_NAME.fullmatch(word)]
    found = {_spelled("".join(words)) or _spelled(word) for word in own}
    if found - {None}:
        return found.pop() if len(found) == 1 else None
    spoken = polarisations(whole)
    known = len(spoken) == 1 and spoken[0] in BANDS and not _NO_BACKSCATTER.search(whole)
    return spoken[0] if known else None


def _spelled(word: str) -> str | None:
    """Find the optical band that one word names."""
    name = _COMMON_NAMES.get(word, re.sub(r"^B(\d)$", r"B0\1", word))
    return name if name in OPTICAL_NAMES else None


def polarisations(text: str) -> list[str]:
    """Return the polarisations that a name speaks of, in its order: ``S1_vh_vv`` of VH and VV."""
    return re.findall(r"(?<![A-Z])([VH][VH])(?:DB|LIN)?(?![A-Z])", text.upper())


_NO_BACKSCATTER = re.compile(
    r"ANGLE|COHEREN|STD|VARIAN|PHASE|RATIO|ENTROP|CONTRAST"
    r"|(?<![A-Z])(I|Q|COH|VAR|COUNT|MASK)(?![A-Z])"
)
"""What else bands are made of for each polarisation."""


def parse_bands(text: str) -> tuple[str, ...]:
    """Find a band configuration by name, or list bands separated by commas.

    Parameters
    ----------
    text : str
        ``RGB``, ``R+N``, ``R+N+S``, ``M``, ``M+S``, or band names such as ``B04,B08,VV``.

    Returns
    -------
    tuple of str
        Band names in the order of the model's input channels.

    Raises
    ------
    MinsegError
        If a name is unknown or given twice.

    Examples
    --------
    >>> parse_bands("R+N")
    ('B04', 'B03', 'B02', 'B08')
    """
    configuration = text.replace(" ", "").upper()
    if configuration in BAND_CONFIGURATIONS:
        return BAND_CONFIGURATIONS[configuration]
    names = [band_name(part) for part in text.split(",")]
    if None in names:
        raise MinsegError(
            f"bands {text!r}: use {', '.join(BAND_CONFIGURATIONS)} "
            f"or names separated by commas out of {', '.join(BANDS)}"
        )
    if len(set(names)) < len(names):
        raise MinsegError(f"bands {text!r}: a band is named twice; name each band once")
    return tuple(name for name in names if name)


def parse_file_bands(text: str) -> tuple[str, ...]:
    """Read the bands of a file in its order, ``B02,-,B04``; `SKIPPED` for one to leave out."""
    parts = [part.strip() for part in text.split(",")]
    parse_bands(",".join(part for part in parts if part != SKIPPED))
    return tuple(
        name for part in parts for name in ((SKIPPED,) if part == SKIPPED else parse_bands(part))
    )
