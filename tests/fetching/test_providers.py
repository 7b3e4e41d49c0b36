import datetime
from dataclasses import asdict, replace

import numpy as np
import planetary_computer
import pytest
import rasterio
from planetary_computer.sas import TOKEN_CACHE
from planetary_computer.settings import Settings

from minseg import MinsegError
from minseg.data.bands import OPTICAL_BANDS
from minseg.fetching import pixels as assets
from minseg.fetching import providers as access
from minseg.fetching.pixels import read_scene_classes
from minseg.fetching.providers import PROVIDERS, environment, provider_for, status_of
from tests.fetching.conftest import PROVIDER
from tests.fetching.scenes import BOX, item, scene_classes

COMPLETE = """
url = "https://stac.example.org/v1"
[optical]
name = "s2"
pixels = "reflectance"
offset = "applied"
[optical.assets]
B03 = "green"
B02 = "blue"
SCL = "scl"
"""


@pytest.mark.parametrize("name", PROVIDERS)
def test_known_catalogues_are_found_by_name_and_address_and_are_complete(name):
    provider = provider_for(name)
    assert provider_for(f"{provider.url}/") is provider
    assert provider.optical.bands == tuple(band.name for band in OPTICAL_BANDS)
    assert "SCL" in provider.optical.assets
    # Only terrain-corrected radar is read, and two of them have none.
    assert (provider.radar is not None) is (name == "planetary-computer")


def read(tmp_path, text):
    """What a table of this text, t.toml, describes."""
    (tmp_path / "t.toml").write_text(text)
    return provider_for(str(tmp_path / "t.toml"))


def test_a_table_describes_any_other_catalogue_whole_or_by_how_it_differs_from_a_known(tmp_path):
    provider = read(tmp_path, COMPLETE)
    assert provider.name == "t"
    assert provider.optical.bands == ("B02", "B03")
    assert provider.optical.offset == "applied"
    assert provider.radar is None
    url = "http://127.0.0.1:1"
    given = f'like = "earth-search"\nurl = "{url}"\n[optical]\nname = "sentinel-2-c1-l2a"\n'
    expected = asdict(PROVIDERS["earth-search"]) | {"name": "t", "url": url}
    expected["optical"]["name"] = "sentinel-2-c1-l2a"
    for mark in ("", "\ufeff"):  # as Windows' editor saves it
        assert asdict(read(tmp_path, mark + given)) == expected
    known = asdict(PROVIDERS["planetary-computer"])
    given = 'like = "planetary-computer"\nradar = false\n'
    assert asdict(read(tmp_path, given)) == known | {"name": "t", "radar": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = ", "TOML"),
        ('like = "nasa"', "'nasa' is unknown"),
        (COMPLETE.replace("B03", "B10"), "B10 is no Sentinel-2 L2A band"),
        (COMPLETE.replace('SCL = "scl"', ""), "needs SCL"),
        (COMPLETE.replace("https://stac", "stac"), "is no address"),
        (COMPLETE.replace('"applied"', '"guess"'), "optical.offset"),
        (COMPLETE + '\n[radar]\nname = "s1"\npixels = "power"\nassets = {VV = "vv"}', "VV and VH"),
        (COMPLETE + '[radar]\nname = "grd"\npixels = "amplitude"\n', "radar.pixels"),
        (COMPLETE.replace("[optical]", "colour = 1\n[optical]"), "colour"),
        (COMPLETE.replace("[optical]", 'signing = "s3-keys"\n[optical]'), "signing"),
        ('url = "https://a.b"', "optical: field required"),
        ('like = "planetary-computer"\nradar = true\n', "radar"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(tmp_path, text, said):
    with pytest.raises(MinsegError, match=r"t\.toml") as error:
        read(tmp_path, text)
    assert said in str(error.value)


PLAIN = replace(PROVIDER, access="free for all")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch, tmp_path):
    """A machine on which nobody has set keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CPL_AWS_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")


def test_a_providers_options_come_before_ours():
    provider = replace(PLAIN, gdal={"GDAL_HTTP_MAX_RETRY": "9", "GDAL_HTTP_USERAGENT": "minseg"})
    with environment(provider):
        options = rasterio.env.getenv()
    expected = access.GDAL_OPTIONS | provider.gdal
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("status", "said", "helps"),
    [
        *((status, r"a token .* has expired .* \(free for all\)$", True) for status in (401, 403)),
        *((status, "; try again later", status == 429) for status in (404, 429, 503)),
    ],
)
def test_a_refusal_is_told_with_what_helps_and_passes_later(server, status, said, helps):
    scene_classes(server.folder / "SCL.tif", {3: 0.4})
    scene = item("S", "2020-07-01", {"SCL": f"{server.url}/SCL.tif"})
    server.refuse = lambda address, headers: status
    with pytest.raises(MinsegError, match=rf"{status}.*{said}") as error:
        read_scene_classes(scene, PLAIN, BOX)
    assert ("(free for all)" in str(error.value)) is helps
    assert status > 403 or len(server.requests) <= 2  # GDAL's HEAD and GET of one attempt
    server.refuse = lambda address, headers: 0
    assert read_scene_classes(scene, PLAIN, BOX).any()


def test_a_token_refused_before_its_time_is_fetched_anew(server, monkeypatch):
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    given = []

    def token(body):
        given.append(f"sig={len(given)}")
        return {"msft:expiry": expiry.isoformat(), "token": given[-1]}

    server.answers["/token/account/container"] = token
    server.refuse = lambda address, headers: (
        403 if address.startswith("http://account") and "sig=1" not in address else 0
    )
    monkeypatch.setattr(Settings.get(), "sas_url", f"{server.url}/token")
    TOKEN_CACHE.clear()
    (server.folder / "container").mkdir()
    path = scene_classes(server.folder / "container" / "SCL.tif", {3: 0.4})
    address = "http://account.blob.core.windows.net/container/SCL.tif"
    # The server stands in for Azure as the proxy that GDAL asks for everything.
    proxy = {"GDAL_HTTP_PROXY": server.url}
    provider = replace(PROVIDERS["planetary-computer"], gdal=proxy)
    assert planetary_computer.sign(address).endswith("?sig=0")  # the cached one, now withdrawn
    scene = item("S", "2020-07-01", {"SCL": address})
    classes = read_scene_classes(scene, provider, BOX)
    assert scene.assets["SCL"].href == address  # the item keeps the address that stays valid
    local = item("S", "2020-07-01", {"SCL": str(path)})
    assert np.array_equal(classes, read_scene_classes(local, PLAIN, BOX))
    assert given == ["sig=0", "sig=1"]
    server.refuse = lambda address, headers: 403 if address.startswith("http://account") else 0
    with pytest.raises(MinsegError, match="HTTP response code: 403: a token") as error:
        read_scene_classes(scene, provider, BOX)
    assert "sig" not in str(error.value)  # what signs is nobody's business
    assert len(given) == 2 + assets.READ_ATTEMPTS - 1


KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


def s3_at(server):
    """GDAL's options by which the server is S3."""
    return {
        "AWS_S3_ENDPOINT": server.url.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


@pytest.fixture
def bucket(server):
    """A bucket that wants signed requests by who pays; an item in it, and the provider."""
    (server.folder / "bucket").mkdir()
    scene_classes(server.folder / "bucket" / "SCL.tif", {3: 0.4})

    def refuse(address, headers):
        signed = headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AKIDEX")
        return 0 if signed and headers.get("x-amz-request-payer") == "requester" else 403

    server.refuse = refuse
    payer = {"AWS_REQUEST_PAYER": "requester"}
    return item("S", "2020-07-01", {"SCL": "s3://bucket/SCL.tif"}), replace(
        PLAIN, gdal=payer | s3_at(server)
    )


def test_keys_are_found_in_the_environment_in_files_and_in_the_table(bucket, monkeypatch, tmp_path):
    scene, provider = bucket
    assert read_scene_classes(scene, replace(provider, gdal=provider.gdal | KEYS), BOX).any()
    with monkeypatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        assert read_scene_classes(scene, provider, BOX).any()
        patch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER")
        with pytest.raises(MinsegError, match=r"SCL .*403: a token or key is missing.*for all"):
            read_scene_classes(scene, provider, BOX)
    written = "\n".join(f"{name.lower()} = {value}" for name, value in KEYS.items())
    (tmp_path / "keys").write_text(f"[default]\n{written}\n")
    assert read_scene_classes(scene, provider, BOX).any()


@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": "A"}, {"AWS_SECRET_ACCESS_KEY": "s"}])
def test_keys_of_s3_that_are_missing_are_told_before_anything_is_asked(bucket, server, keys):
    scene, provider = bucket
    said = r"S: asset SCL cannot be read: .*a token or key is missing.*\(free for all\)$"
    with pytest.raises(MinsegError, match=said):
        read_scene_classes(scene, replace(provider, gdal=provider.gdal | keys), BOX)
    assert server.requests == []


@pytest.mark.parametrize(
    ("sent", "code", "message", "status"),
    [
        *((sent, "", "", sent) for sent in (400, 401, 403, 404, 410, 429, 503)),  # no S3
        (403, "AccessDenied", "Access Denied", 403),
        (403, "AccessDenied", "", 403),  # Ceph gives no message
        (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist", 403),
        (403, "SignatureDoesNotMatch", "The request signature does not match", 403),
        (400, "ExpiredToken", "The provided token has expired.", 403),
        (404, "NoSuchKey", "The specified key does not exist.", 404),
        (404, "NoSuchBucket", "The specified bucket does not exist", 404),
        (503, "SlowDown", "Please reduce your request rate.", None),
    ],
)
def test_the_status_is_that_of_the_answer_and_no_number_in_a_name(
    server, sent, code, message, status
):
    told_so = f"<Message>{message}</Message>" if message else ""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code>{told_so}</Error>"
    server.refuse, server.refusal = lambda address, headers: sent, text.encode()
    keys_of = environment(replace(PLAIN, gdal=s3_at(server) | KEYS))
    path = "/vsis3/b/x.tif" if code else f"/vsicurl/{server.url}/404-401.tif"
    with keys_of, pytest.raises(rasterio.errors.RasterioIOError) as told:
        rasterio.open(path)
    assert status_of(told.value) == status
    assert status_of(OSError("404-401.tif: TIFFReadDirectory failed")) is None
