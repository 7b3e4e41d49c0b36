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


def test_channel_counts_are_the_papers():
    sizes = {name: len(bands) for name, bands in BAND_CONFIGURATIONS.items()}
    assert sizes == {"RGB": 3, "R+N": 4, "R+N+S": 7, "M": 12, "M+S": 15}
    assert "B10" not in BANDS  # not part of L2A


def test_optical_bands_are_ordered_by_wavelength_and_radar_has_none():
    wavelengths = [band.wavelength_nm for band in OPTICAL_BANDS]
    assert wavelengths == sorted(wavelengths)
    assert all(band.is_radar for band in RADAR_BANDS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("B2", "B02"),
        ("b02", "B02"),
        ("B8a", "B8A"),
        ("B11", "B11"),
        ("T33TWM_20230813T100031_B04_10m", "B04"),
        ("B4, central wavelength 665 nm", "B04"),
        ("B2_median", "B02"),
        ("red", "B04"),
        ("Red Edge 1", "B05"),
        ("B8 (NIR)", "B08"),
        ("swir16", "B11"),
        ("B10", None),
        ("B2_stdDev", None),
        ("B8-B4", None),
        ("red mask", None),
        ("2021", None),
        ("", None),
    ],
)
def test_band_spellings(text, name):
    assert band_name(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Sigma0_VH_db", "VH"),
        ("VV_dB", "VV"),
        ("VVdb", "VV"),
        ("gamma0_vv", "VV"),
        ("sigma0VH", "VH"),
        ("S1A_IW_GRDH_1SDV_20200103T164810_VV", "VV"),
        ("Sigma0_VV_slv1_10Jan2023", "VV"),
        ("VV/(10·VH)", "VV/(10·VH)"),
        ("VV/VH", None),
        ("VV_VH_ratio", None),
        ("HH", None),
        ("Sigma0_HV_db", None),
        ("localIncidenceAngle_VV", None),
        ("i_VV", None),
        ("coh_VV", None),
        ("VV_stdDev", None),
    ],
)
def test_radar_bands_are_known_by_polarisation(text, name):
    assert band_name(text) == name


def test_bands_by_configuration_or_by_name():
    assert parse_bands("rgb") == ("B04", "B03", "B02")
    assert parse_bands("R + N") == BAND_CONFIGURATIONS["R+N"]
    assert parse_bands("b8,vv") == ("B08", "VV")


def test_bands_of_a_file_may_be_left_out():
    assert parse_file_bands("b2,-,B04 , -") == ("B02", "-", "B04", "-")
    assert parse_file_bands("RGB,-") == ("B04", "B03", "B02", "-")
    for text in ("B02,-,B2", "-", "B02,--"):
        with pytest.raises(MinsegError):
            parse_file_bands(text)


@pytest.mark.parametrize("text", ["RGBN", "B04,B04", "B10", ""])
def test_unknown_bands_are_refused(text):
    with pytest.raises(MinsegError):
        parse_bands(text)
