import datetime
from dataclasses import replace

import numpy as np
import planetary_computer
import pytest
import rasterio
from planetary_computer.sas import TOKEN_CACHE
from planetary_computer.settings import Settings

from minseg import MinsegError
from minseg.fetching import access, assets
from minseg.fetching.access import environment, missing_keys, read_s3_text, status_of
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.sentinel import calibration_problem, read_radar, read_scene_classes
from tests.fetching.loopback import serving
from tests.fetching.scenes import (
    BOX,
    calibration,
    ground_range,
    ground_range_places,
    item,
    scene_classes,
)

PLAIN = replace(PROVIDERS["planetary-computer"], signing="none", access="free for all")
EARTH_SEARCH, COPERNICUS = PROVIDERS["earth-search"], PROVIDERS["copernicus"]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch, tmp_path):
    """A machine on which nobody has set keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "PAUSE_S", 0.0)
    quick = {"GDAL_HTTP_RETRY_DELAY": "0.01", "GDAL_HTTP_MAX_RETRY": "1"}
    monkeypatch.setattr(access, "GDAL_OPTIONS", access.GDAL_OPTIONS | quick)
    with serving(tmp_path) as state:
        yield state


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def classes_item(server):
    scene_classes(server.folder / "SCL.tif", {3: 0.4})
    return item("S", "2020-07-01", {"SCL": f"{server.url}/SCL.tif"})


def test_a_providers_options_come_before_ours():
    ours = access.GDAL_OPTIONS["GDAL_HTTP_MAX_RETRY"]
    provider = replace(PLAIN, gdal={"GDAL_HTTP_MAX_RETRY": "9", "GDAL_HTTP_USERAGENT": "minseg"})
    with environment("https://example.org/a.tif", provider):
        options = rasterio.env.getenv()
    assert ours != "9"
    assert options["GDAL_HTTP_MAX_RETRY"] == "9"
    assert options["GDAL_HTTP_USERAGENT"] == "minseg"
    assert options["GDAL_HTTP_RETRY_CODES"] == access.GDAL_OPTIONS["GDAL_HTTP_RETRY_CODES"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 503])
def test_the_status_is_that_of_gdals_error_and_no_number_in_a_name(server, status):
    server.refuse = lambda address, headers: status
    with (
        environment("http://", PLAIN),
        pytest.raises(rasterio.errors.RasterioIOError) as told,
    ):
        rasterio.open(f"/vsicurl/{server.url}/404-401.tif")
    assert status_of(told.value) == status
    assert status_of(OSError("404-401.tif: TIFFReadDirectory failed")) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final_tells_of_the_token_and_passes_later(server, status):
    scene = classes_item(server)
    server.refuse = lambda address, headers: status
    said = rf"HTTP response code: {status}: a token .* has expired .* \(free for all\)$"
    with pytest.raises(MinsegError, match=said):
        read_scene_classes(scene, PLAIN, BOX)
    assert len(server.requests) <= 2  # GDAL's HEAD and GET of one attempt, and no other
    server.refuse = lambda address, headers: 0
    assert read_scene_classes(scene, PLAIN, BOX).any()


def test_what_the_provider_says_of_access_is_told_only_where_it_helps(server):
    scene = classes_item(server)
    for status, helps in ((429, True), (503, False), (404, False)):
        server.refuse = lambda address, headers, status=status: status
        with pytest.raises(MinsegError, match=f"{status}.*; try again later") as error:
            read_scene_classes(scene, PLAIN, BOX)
        assert ("(free for all)" in str(error.value)) is helps


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
    classes = read_scene_classes(item("S", "2020-07-01", {"SCL": address}), provider, BOX)
    local = item("S", "2020-07-01", {"SCL": str(path)})
    assert np.array_equal(classes, read_scene_classes(local, PLAIN, BOX))
    assert given == ["sig=0", "sig=1"]
    server.refuse = lambda address, headers: 403 if address.startswith("http://account") else 0
    with pytest.raises(MinsegError, match="HTTP response code: 403: a token") as error:
        read_scene_classes(item("S", "2020-07-01", {"SCL": address}), provider, BOX)
    assert "sig" not in str(error.value)  # what signs is nobody's business
    assert len(given) == 2 + assets.ATTEMPTS - 1


@pytest.mark.parametrize("provider", [EARTH_SEARCH, COPERNICUS, PLAIN], ids=lambda p: p.name)
def test_keys_of_s3_that_are_missing_are_named_before_anything_is_asked(provider):
    scene = item("S", "2020-07-01", {"vv": "s3://b/vv.tif", "vh": "s3://b/vh.tif"})
    said = r"asset vv .* no keys for S3 are set; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    with pytest.raises(MinsegError, match=f"{said}or leave radar out with --no-radar") as error:
        read_radar(scene, provider, BOX)
    assert f"({provider.access})" in str(error.value)
    key = provider.optical.assets["SCL"]
    with pytest.raises(MinsegError, match=f"asset {key} .* no keys for S3") as error:
        read_scene_classes(item("S", "2020-07-01", {key: "s3://b/SCL.tif"}), provider, BOX)
    assert "--no-radar" not in str(error.value)  # without Sentinel-2 there is no scene


def test_keys_are_found_in_the_environment_in_files_and_in_the_table(monkeypatch, tmp_path):
    address = "s3://bucket/a.tif"
    own = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert missing_keys(address, PLAIN)
    assert missing_keys("https://example.org/a.tif", PLAIN) == ""
    assert missing_keys(address, replace(PLAIN, gdal=own)) == ""
    assert missing_keys(address, replace(PLAIN, gdal={"AWS_NO_SIGN_REQUEST": "YES"})) == ""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_NO_SIGN_REQUEST", "YES")
        assert missing_keys(address, PLAIN) == ""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        assert "no keys for S3 can be found (Partial" in missing_keys(address, PLAIN)
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        assert missing_keys(address, PLAIN) == ""
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert missing_keys(address, PLAIN) == ""


def s3_at(server):
    """GDAL's options by which the server is S3."""
    return {
        "AWS_S3_ENDPOINT": server.url.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


@pytest.fixture
def bucket(server):
    """A bucket that wants signed requests by who pays; the GRD item in it, and the provider."""
    folder = server.folder / "bucket"
    folder.mkdir()
    rows, columns = np.mgrid[:300, :320]
    numbers = (1000 + 50 * (rows % 97) + columns).astype(np.uint16)
    hrefs = {}
    for channel in ("vv", "vh"):
        ground_range(folder / f"{channel}.tif", numbers)
        calibration(folder / f"{channel}.xml", *numbers.shape)
        hrefs |= {channel: f"s3://bucket/{channel}.tif"}
        hrefs |= {f"schema-calibration-{channel}": f"s3://bucket/{channel}.xml"}

    def refuse(address, headers):
        signed = headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AKIDEX")
        return 0 if signed and headers.get("x-amz-request-payer") == "requester" else 403

    server.refuse = refuse
    provider = replace(EARTH_SEARCH, gdal={**EARTH_SEARCH.gdal, **s3_at(server)})
    return item("S1A", "2020-07-02", hrefs), numbers, provider


def test_ground_range_on_s3_is_calibrated_by_its_file_there(bucket, keys, server):
    scene, numbers, provider = bucket
    assert calibration_problem(scene, provider) == ""
    channels = read_radar(scene, provider, BOX)
    rows, columns = ground_range_places(BOX)
    at = np.isfinite(channels[0])
    gain = 200 + rows[at] / 10 + columns[at] / 5
    expected = 20 * np.log10(numbers[rows[at].astype(int), columns[at].astype(int)] / gain)
    assert at.mean() > 0.6
    assert np.mean(np.abs(channels[0][at] - expected) < 1e-3) > 0.99
    assert {"GET /bucket/vv.xml", "GET /bucket/vh.xml", "GET /bucket/vv.tif"} <= {*server.requests}


def test_keys_of_the_table_serve_rasters_and_text(bucket):
    scene, _, provider = bucket
    own = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(MinsegError, match="no keys for S3"):
        read_radar(scene, provider, BOX)
    channels = read_radar(scene, replace(provider, gdal={**provider.gdal, **own}), BOX)
    assert np.isfinite(channels).any()


def test_wrong_keys_are_told_for_rasters_and_text(bucket, keys, monkeypatch, server):
    scene, _, provider = bucket
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER")
    with pytest.raises(MinsegError, match=r"asset vv .*403: a token or key is missing.*paid by"):
        read_radar(scene, provider, BOX)
    with pytest.raises(OSError, match=r"HTTP 403: a token or key is missing, .*paid by"):
        read_s3_text("s3://bucket/vv.xml", provider)
    server.refuse = lambda address, headers: 0
    with pytest.raises(OSError, match=r"HTTP 404$"):
        read_s3_text("s3://bucket/none.xml", provider)


@pytest.mark.parametrize(
    ("sent", "code", "message", "status"),
    [
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
def test_what_s3_says_is_understood(server, keys, sent, code, message, status):
    told_so = f"<Message>{message}</Message>" if message else ""
    text = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code>{told_so}<RequestId>1</RequestId></Error>"
    )
    server.refuse, server.refusal = lambda address, headers: sent, text.encode()
    provider = replace(PLAIN, gdal=s3_at(server))
    with (
        environment("s3://b/x.tif", provider),
        pytest.raises(rasterio.errors.RasterioIOError) as told,
    ):
        rasterio.open("/vsis3/b/x.tif")
    assert status_of(told.value) == status


def test_the_catalogues_own_names_of_radar_assets_have_calibration():
    for provider in (EARTH_SEARCH, COPERNICUS):
        hrefs = {key: f"s3://b/{key}" for key in ("vv", "vh")}
        hrefs |= {f"schema-calibration-{key}": f"s3://b/{key}.xml" for key in ("vv", "vh")}
        scene = item("S1A", "2020-07-02", hrefs)
        assert calibration_problem(scene, provider) == ""
