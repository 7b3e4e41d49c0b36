from dataclasses import asdict

import pytest

from minseg import MinsegError
from minseg.data.bands import OPTICAL_BANDS
from minseg.fetching.providers import PROVIDERS, provider_for

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


def test_assets_are_those_of_real_items(shared_data):
    import pystac

    folder = shared_data / "stac_items"
    for path, provider in (
        ("planetary_computer_s2_l2a.json", "planetary-computer"),
        ("s2_l2a_pb0400.json", "earth-search"),
        (
            "earthsearch_S2B_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json",
            "earth-search",
        ),
    ):
        item = pystac.Item.from_file(folder / path)
        # The item from the test data of stactools has no SCL at 20 m under another name.
        assert set(PROVIDERS[provider].optical.assets.values()) <= set(item.assets), path


def test_a_table_describes_any_other_catalogue(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(COMPLETE)
    provider = provider_for(str(path))
    assert provider.name == "mine"
    assert provider.optical.bands == ("B02", "B03")
    assert provider.optical.offset == "applied"
    assert provider.radar is None


def test_a_table_takes_from_a_known_catalogue_what_it_leaves_out(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        'like = "earth-search"\nurl = "http://127.0.0.1:1"\n[optical]\nname = "sentinel-2-c1-l2a"\n'
    )
    known, provider = PROVIDERS["earth-search"], provider_for(str(path))
    changed = {"name": "t", "url": "http://127.0.0.1:1"}
    expected = asdict(known) | changed
    expected["optical"]["name"] = "sentinel-2-c1-l2a"
    assert asdict(provider) == expected


def test_a_table_can_leave_radar_out(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text('like = "planetary-computer"\nradar = false\n')
    assert asdict(provider_for(str(path))) == asdict(PROVIDERS["planetary-computer"]) | {
        "name": "t",
        "radar": None,
    }
    path.write_text('like = "planetary-computer"\nradar = true\n')
    with pytest.raises(MinsegError, match="radar"):
        provider_for(str(path))


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
    ],
)
def test_a_wrong_table_is_told_in_one_line(tmp_path, text, said):
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(MinsegError, match=r"t\.toml") as error:
        provider_for(str(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_api_is_told_what_to_give():
    with pytest.raises(MinsegError, match=r"planetary-computer.*PATH\.toml"):
        provider_for("https://stac.example.org")
    with pytest.raises(MinsegError, match=r"no_such\.toml"):
        provider_for("no_such.toml")
