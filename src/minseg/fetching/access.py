"""How the files of a catalogue are reached: GDAL's options, signing, S3 keys, refusals."""

import os
import re
from typing import TYPE_CHECKING

import rasterio
from rasterio.session import AWSSession, DummySession

from minseg.fetching.providers import Provider

if TYPE_CHECKING:
    import boto3

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
)
"""What S3 says where GDAL has no error for it."""


def environment(href: str, provider: Provider) -> rasterio.Env:
    """Return GDAL's environment to read an address in.

    Parameters
    ----------
    href : str
    provider : Provider

    Returns
    -------
    rasterio.Env
        To enter by ``with``. Keys of S3 are those that boto3 finds, or the provider's own.
    """
    options = GDAL_OPTIONS | {k: v for k, v in provider.gdal.items() if k not in _KEYS}
    if not href.startswith("s3://"):  # a session would look for keys each time
        return rasterio.Env(DummySession(), **options)
    return rasterio.Env(
        AWSSession(_s3_session(provider), aws_unsigned=_is_unsigned(provider)), **options
    )


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


def missing_keys(href: str, provider: Provider) -> str:
    """Tell that an address needs keys of S3 that are not there; empty where nothing is missing.

    GDAL would search for them for minutes, and then give another reason.
    """
    if not href.startswith("s3://") or _is_unsigned(provider):
        return ""
    from botocore.exceptions import BotoCoreError

    try:
        found = _s3_session(provider).get_credentials() is not None
        return "" if found else "no keys for S3 are set"
    except BotoCoreError as error:  # of a half of a key, or a profile that is not there
        return f"no keys for S3 can be found ({error})"


def read_s3_text(href: str, provider: Provider) -> str:
    """Read a small text file from S3, with the provider's endpoint, region and payer.

    Parameters
    ----------
    href : str
        ``s3://BUCKET/KEY``.
    provider : Provider

    Returns
    -------
    str

    Raises
    ------
    OSError
        If it cannot be read, with the reason.
    """
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    options = provider.gdal
    endpoint = options.get("AWS_S3_ENDPOINT")
    scheme = "http" if _is_off(options.get("AWS_HTTPS", "")) else "https"
    style = "path" if _is_off(options.get("AWS_VIRTUAL_HOSTING", "")) else "auto"
    payer = options.get("AWS_REQUEST_PAYER")
    bucket, _, key = href.removeprefix("s3://").partition("/")
    config = Config(
        signature_version=UNSIGNED if _is_unsigned(provider) else None,
        s3={"addressing_style": style},
        connect_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        client = _s3_session(provider).client(
            "s3", endpoint_url=f"{scheme}://{endpoint}" if endpoint else None, config=config
        )
        asked = {"RequestPayer": payer} if payer else {}
        return client.get_object(Bucket=bucket, Key=key, **asked)["Body"].read().decode()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise OSError(f"HTTP {status}{refusal(status, provider)}") from None
    except BotoCoreError as error:
        raise OSError(str(error)) from None


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


def _s3_session(provider: Provider) -> "boto3.Session":
    """Return what finds keys: the provider's own, or wherever boto3 looks for them."""
    import boto3

    return boto3.Session(
        *(provider.gdal.get(name) for name in _KEYS), region_name=provider.gdal.get("AWS_REGION")
    )


def _is_unsigned(provider: Provider) -> bool:
    """Whether S3 is to be asked without keys."""
    name = "AWS_NO_SIGN_REQUEST"
    text = provider.gdal.get(name) or os.environ.get(name) or ""
    return text.upper() in ("YES", "TRUE", "ON", "1")


def _is_off(text: str) -> bool:
    """Whether a switch of GDAL is off."""
    return text.upper() in ("NO", "FALSE", "OFF", "0")
