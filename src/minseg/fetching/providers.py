"""Catalogues of Sentinel scenes: their collections and assets, and what the pixels mean."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
import rasterio
from pydantic import ConfigDict, TypeAdapter, ValidationError
from rasterio.session import DummySession

from minseg.data.bands import BANDS, OPTICAL_NAMES
from minseg.data.raster import ELSEWHERE_OPTIONS, HTTP_OPTIONS
from minseg.errors import MinsegError, summarise

SCENE_CLASSES = "SCL"
"""Key, among a collection's assets, of the scene classification of Sen2Cor."""


@dataclass(frozen=True)
class Collection:
    """The scenes of one kind in a catalogue."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    """The collection's id."""
    assets: Mapping[str, str]
    """Band (B01 ... B12, VV, VH) or SCL to the key of the asset that holds it."""
    pixels: Literal["reflectance", "power"]
    """What a digital number stands for: reflectance × 10 000, or linear power."""
    nodata: float = 0.0
    """Digital number of missing pixels, where the file does not say."""
    offset: Literal["baseline", "flag", "applied"] = "baseline"
    """Whether 1000 is to be subtracted: from processing baseline 04.00 on; likewise, unless the
    item's `offset_flag` says that it was; or never, since the catalogue's files had it applied."""
    offset_flag: str = ""
    """Property of an item that tells that 1000 was already subtracted from its pixels."""

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the collection has, in the product's order."""
        return tuple(band for band in BANDS if band in self.assets)


@dataclass(frozen=True)
class Provider:
    """A catalogue that answers STAC searches."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    """Name on the command line."""
    url: str
    """Landing page of the STAC API."""
    optical: Collection
    """Sentinel-2 L2A."""
    radar: Collection | None = None
    """Sentinel-1 corrected for terrain (RTC), where the catalogue has it."""
    signing: Literal["none", "planetary-computer"] = "none"
    """How addresses of assets are signed: not at all, or by tokens of the Planetary Computer.
    Addresses on S3 (``s3://``) always need keys, unless AWS_NO_SIGN_REQUEST is YES."""
    gdal: Mapping[str, str] = field(default_factory=dict)
    """GDAL's options to reach the assets, which those of S3 also hold for."""
    access: str = ""
    """What a user needs to read the assets; told where one is refused."""


_TABLE = TypeAdapter(Provider)


def _read_known() -> dict[str, Provider]:
    """Read the tables of the known catalogues, and the keys of their optical assets."""
    folder = Path(__file__).parent
    keys = pd.read_csv(folder / "assets.csv", index_col="band")
    tables = tomllib.loads((folder / "providers.toml").read_text(encoding="utf-8"))
    for name, table in tables.items():
        table["name"], table["optical"]["assets"] = name, keys[name].to_dict()
    return {name: _TABLE.validate_python(table) for name, table in tables.items()}


PROVIDERS = _read_known()
"""The catalogues known by name."""


def provider_for(api: str) -> Provider:
    """Find a catalogue by its name or address, or read its table from a file.

    A table is a TOML file with the fields of `Provider`, and of `Collection` under ``[optical]``
    and ``[radar]``. ``like`` names a known catalogue to take all from that the table leaves out;
    ``radar = false`` leaves its radar out::

        like = "planetary-computer"
        url = "https://stac.example.org/v1"
        signing = "none"

        [optical]
        name = "sentinel-2-c1-l2a"

    Parameters
    ----------
    api : str
        ``planetary-computer``, ``earth-search``, ``copernicus``, the address of one of these, or
        the path of a table, ``PATH.toml``.

    Returns
    -------
    Provider

    Raises
    ------
    MinsegError
        If the name or address is unknown, or the table cannot be read.
    """
    if api.endswith(".toml"):
        return _read_table(Path(api))
    for provider in PROVIDERS.values():
        if api.rstrip("/") in (provider.name, provider.url):
            return provider
    raise MinsegError(
        f"--api {api}: unknown; use {', '.join(PROVIDERS)} or, for another STAC API, a table of "
        "its collections and assets, PATH.toml "
        "(its form: help(minseg.fetching.providers.provider_for))"
    )


def _read_table(path: Path) -> Provider:
    """Read a catalogue's table."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MinsegError(
            f"{path}: cannot be read as a table of a STAC API ({error}); check path and TOML syntax"
        ) from None
    model = table.pop("like", None)
    if model is not None and model not in PROVIDERS:
        raise MinsegError(f"{path}: like = {model!r} is unknown; use {', '.join(PROVIDERS)}")
    given = {"name": path.stem} | table
    if given.get("radar") is False:
        given["radar"] = None  # for which TOML has no word
    if model is not None:  # asset keys replace the model's as a whole
        known = asdict(PROVIDERS[model])
        for kind in ("optical", "radar"):
            if isinstance(given.get(kind), dict):
                given[kind] = (known[kind] or {}) | given[kind]
        given = known | given
    try:
        provider = _TABLE.validate_python(given)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].lower()}"
            for problem in error.errors()
        ]
        raise MinsegError(f"{path}: {summarise(problems)}; correct the table") from None
    _require_complete(provider, path)
    return provider


def _require_complete(provider: Provider, path: Path) -> None:
    """Refuse a table by which no scene can be read."""
    optical, radar = provider.optical, provider.radar
    known = {*OPTICAL_NAMES, SCENE_CLASSES}
    unknown = ", ".join(sorted(set(optical.assets) - known))
    rules = {
        f"url {provider.url!r} is no address (https://...)": re.match("https?://", provider.url),
        f"optical.assets: {unknown} is no Sentinel-2 L2A band": not unknown,
        f"optical.assets: needs {SCENE_CLASSES} and at least one band": (
            SCENE_CLASSES in optical.assets and optical.bands
        ),
        'optical.pixels must be "reflectance"': optical.pixels == "reflectance",
        'optical.offset = "flag" needs offset_flag': optical.offset != "flag"
        or optical.offset_flag,
        "radar.assets: needs VV and VH and nothing else": radar is None
        or set(radar.assets) == {"VV", "VH"},
        'radar.pixels must be "power"': radar is None or radar.pixels == "power",
    }
    problems = [problem for problem, holds in rules.items() if not holds]
    if problems:
        raise MinsegError(f"{path}: {summarise(problems)}; correct the table")


GDAL_OPTIONS = {
    **HTTP_OPTIONS,
    **ELSEWHERE_OPTIONS,
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",  # a failure is not remembered either
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}
"""How GDAL asks servers; a provider's own options come before them."""

TIMEOUT_S = 60.0  # to wait for an answer
ATTEMPTS = 6  # to send a request: too many requests and server errors pass by themselves
REFUSED = (401, 403)  # status of a server that knows the file and does not give it

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_STATUS = re.compile(r"HTTP (?:response|error) code ?: (\d{3})|too many (\d{3}) error responses")
"""Where GDAL and urllib3 tell the status of an answer."""

_S3_STATUS = {
    "CPLE_AWSAccessDeniedError": 403,
    "CPLE_AWSInvalidCredentialsError": 403,
    "CPLE_AWSSignatureDoesNotMatchError": 403,
    "CPLE_AWSBucketNotFoundError": 404,
    "CPLE_AWSObjectNotFoundError": 404,
}
"""GDAL's errors of S3, whose text is the server's own."""

_S3_REFUSALS = re.compile(
    r"\b(AccessDenied|ExpiredToken|InvalidAccessKeyId|SignatureDoesNotMatch)\b"
    r"|token has expired|AWS Access Key Id you provided"
    r"|AWS_(SECRET_ACCESS_KEY|ACCESS_KEY_ID)\b.* not defined"
)
"""What S3 says where GDAL has no error for it, and GDAL itself where it finds no keys."""


class _Keys(DummySession):
    """Keys of S3 that a provider's table holds; rasterio takes none as options."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self.credentials = dict(keys)

    def get_credential_options(self) -> dict[str, str]:
        """Return them under GDAL's names."""
        return self.credentials


def environment(provider: Provider) -> rasterio.Env:
    """Return GDAL's environment to read a provider's files in, with its own keys of S3 if any."""
    keys = {name: provider.gdal[name] for name in _KEYS if name in provider.gdal}
    options = {name: value for name, value in provider.gdal.items() if name not in _KEYS}
    return rasterio.Env(_Keys(keys), **(GDAL_OPTIONS | options))


def gdal_path(href: str) -> str:
    """Turn an address into GDAL's name for it."""
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    if href.startswith("s3://"):
        return f"/vsis3/{href.removeprefix('s3://')}"
    return href


def signed(href: str, provider: Provider) -> str:
    """Sign an address as the provider wants it, with a token that is still valid."""
    if provider.signing != "planetary-computer":
        return href
    import planetary_computer

    return planetary_computer.sign(href)  # keeps the token, and other addresses as they are


def can_sign_anew(provider: Provider) -> bool:
    """Forget tokens, since one was refused before its time; tell whether new ones can be had."""
    if provider.signing != "planetary-computer":
        return False
    from planetary_computer.sas import TOKEN_CACHE

    TOKEN_CACHE.clear()
    return True


def status_of(error: BaseException | None) -> int | None:
    """Return the status of the answer that an error comes from; None where it tells none."""
    while error is not None:
        status = getattr(error, "status_code", None) or _S3_STATUS.get(type(error).__name__)
        told = _STATUS.search(str(error))
        if status or told:
            return int(status or told[1] or told[2])  # type: ignore[index]
        if _S3_REFUSALS.search(str(error)):
            return 403
        error = error.__cause__ or error.__context__
    return None


def refusal(status: int | None, provider: Provider) -> str:
    """Tell what helps where a server refuses or is asked too often; empty for any other status."""
    cause = ": a token or key is missing, has expired or does not open it"
    helps = f" ({provider.access})" if provider.access and status in (*REFUSED, 429) else ""
    return (cause if status in REFUSED else "") + helps
