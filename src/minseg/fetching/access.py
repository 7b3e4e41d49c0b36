"""How the files of a catalogue are reached: GDAL's options, signing, S3 keys, refusals."""

import re
from collections.abc import Mapping

import rasterio
from rasterio.session import DummySession

from minseg.fetching.providers import Provider

GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no hunt for sidecar files
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds, doubled each time
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",  # bytes a second ...
    "GDAL_HTTP_LOW_SPEED_TIME": "60",  # ... for so many seconds is no connection any more
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",  # a failure is not remembered either
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}
"""How GDAL asks servers, retries included; a provider's own options come before them."""

TIMEOUT_S = 60.0
"""How long to wait for an answer, seconds."""

ATTEMPTS = 6
"""How often a request is sent at most: too many requests and server errors pass by themselves."""

REFUSED = (401, 403)
"""Status of a server that knows the file and does not give it."""

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
    """Return GDAL's environment to read a provider's files in.

    Parameters
    ----------
    provider : Provider

    Returns
    -------
    rasterio.Env
        To enter by ``with``. Keys of S3 are the provider's own, or those that GDAL finds.
    """
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
