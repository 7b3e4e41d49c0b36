import pytest

from minseg import MinsegError
from minseg.data.bands import (
    BAND_CONFIGURATIONS,
    BANDS,
    OPTICAL_BANDS,
    RADAR_BANDS,
    band_name,
    parse_bands,
    parse_file_bands,
)


def test_the_table_of_bands_is_the_papers():
    sizes = {name: len(bands) for name, bands in BAND_CONFIGURATIONS.items()}
    assert sizes == {"RGB": 3, "R+N": 4, "R+N+S": 7, "M": 12, "M+S": 15}
    assert "B10" not in BANDS  # not part of L2A
    wavelengths = [band.wavelength_nm for band in OPTICAL_BANDS]
    assert wavelengths == sorted(wavelengths)
    assert [band.name for band in RADAR_BANDS] == ["VV", "VH", "VV/(10·VH)"]


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("B02", ["B2", "b02", "B2_median", "blue"]),
        ("B04", ["T33TWM_20230813T100031_B04_10m", "B4, central wavelength 665 nm", "red"]),
        ("B05", ["Red Edge 1"]),
        ("B08", ["B8 (NIR)"]),
        ("B8A", ["B8a"]),
        ("B11", ["B11", "swir16"]),
        ("VH", ["Sigma0_VH_db", "sigma0VH"]),
        ("VV", ["VV_dB", "VVdb", "gamma0_vv", "S1A_IW_GRDH_1SDV_20200103T164810_VV",
                "Sigma0_VV_slv1_10Jan2023"]),
        ("VV/(10·VH)", ["VV/(10·VH)"]),
        (None, ["B10", "B2_stdDev", "B8-B4", "red mask", "2021", "", "VV/VH", "VV_VH_ratio", "HH",
                "Sigma0_HV_db", "localIncidenceAngle_VV", "i_VV", "coh_VV", "VV_stdDev",
                "SR_B5"]),
    ],
)  # fmt: skip
def test_bands_are_known_by_their_spellings(name, spellings):
    assert {text: band_name(text) for text in spellings} == dict.fromkeys(spellings, name)


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("rgb", ("B04", "B03", "B02")),
        ("R + N", BAND_CONFIGURATIONS["R+N"]),
        ("b8,vv", ("B08", "VV")),
        *((text, None) for text in ("RGBN", "B04,B04", "B10", "", "B2,-")),
    ],
)
def test_bands_by_configuration_or_by_name(text, bands):
    if bands is None:
        with pytest.raises(MinsegError):
            parse_bands(text)
    else:
        assert parse_bands(text) == bands


def test_bands_of_a_file_may_be_left_out():
    assert parse_file_bands("b2,-,B04 , -") == ("B02", "-", "B04", "-")
    assert parse_file_bands("RGB,-") == ("B04", "B03", "B02", "-")
    for text in ("B02,-,B2", "-", "B02,--"):
        with pytest.raises(MinsegError):
            parse_file_bands(text)
