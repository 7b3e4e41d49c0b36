import geopandas as gpd
import pytest
import shapely

from minseg import MinsegError
from minseg.fetching.icmm import match_raw_material, read_icmm


def written(tmp_path, rows, **changed):
    """ICMM's form: rows are (longitude, latitude, commodity, kind of plant)."""
    table = gpd.GeoDataFrame(
        {
            "id": [f"ICMM{k:05d}" for k in range(len(rows))],
            "name": [f"Mine {k}" for k in range(len(rows))],
            "country": "Nowhere",
            "assetType": [row[3] for row in rows],
            "primaryCommodity": [row[2] for row in rows],
        },
        geometry=[shapely.Point(row[:2]) for row in rows],
        crs="EPSG:4326",
    ).assign(**changed)
    table.to_file(tmp_path / "mines.geojson")
    return tmp_path / "mines.geojson"


def test_only_mines_are_taken_and_commodities_grouped(tmp_path):
    rows = [
        (20, 45, "iron ore ", "Mine"),  # with the blank that the real file has
        (20, 46, "Thermal coal", "Mine;Plant"),
        (20, 47, "phosphate", "Mine"),
        (20, 48, "copper", "Smelter"),
        (20, 49, None, "Mine;Smelter"),
    ]
    points = read_icmm(written(tmp_path, rows))
    assert points["id"].tolist() == ["ICMM00000", "ICMM00001", "ICMM00002", "ICMM00004"]
    assert points["raw_material"].tolist() == ["MO", "CL", "", ""]
    assert points["longitude"].tolist() == [20] * 4 and points["latitude"].iloc[1] == 46


def test_a_list_that_cannot_be_matched_is_one_line(tmp_path):
    rows = [(20, 45, "coal", "Mine"), (20, 46, "coal", "Mine")]
    path = written(tmp_path, rows, id="ICMM1")
    table = gpd.read_file(path)
    table.drop(columns="geometry").to_csv(tmp_path / "mines.csv")
    latin = written(tmp_path, rows, country="Perú").read_text(encoding="utf-8")
    (tmp_path / "latin.geojson").write_bytes(latin.encode("cp1252"))
    table.assign(id=["A/1", "A2"]).to_file(tmp_path / "folder.gpkg")
    table.assign(id=["", None]).to_file(tmp_path / "none.gpkg")
    table.to_file(tmp_path / "twice.gpkg")
    table.assign(id=["A", "B"], assetType=1).to_file(tmp_path / "numbers.gpkg")
    for name, said in (
        ("mines.csv", "is a table without geometries; .*ogr2ogr -oo X_POSSIBLE_NAMES"),
        ("latin.geojson", "encoding"),
        ("folder.gpkg", "'A/1'.* cannot name a folder"),
        ("none.gpkg", "holds ''"),
        ("twice.gpkg", "holds 'ICMM1', which is there twice"),
        ("numbers.gpkg", "holds no located mines"),
    ):
        with pytest.raises(MinsegError, match=rf"{name}: .*{said}|{name}: {said}") as error:
            read_icmm(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_nearest_mine_decides_and_others_within_the_limit_are_counted(tmp_path):
    outline = shapely.box(20, 45, 20.01, 45.01)
    rows = [
        (20.005, 45.06, "coal", "Mine"),  # 5.6 km north
        (20.005, 45.04, "copper", "Mine"),  # 3.3 km
        (20.005, 45.03, "gold", "Smelter"),
    ]
    points = read_icmm(written(tmp_path, rows))
    (row,) = match_raw_material(points, ["a"], [outline], 10).to_dict("records")
    assert row["raw_material"] == "MO" and row["icmm_id"] == "ICMM00001"
    assert row["distance_km"] == pytest.approx(3.33, abs=0.02)
    assert row["within_limit"] == 2 and row["ambiguous"]
    (row,) = match_raw_material(points, ["a"], [outline], 4).to_dict("records")
    assert row["within_limit"] == 1 and not row["ambiguous"]
    (row,) = match_raw_material(points, ["a"], [outline], 1).to_dict("records")
    assert row["raw_material"] == row["icmm_id"] == "" and row["within_limit"] == 0


def test_mines_of_two_groups_inside_one_outline_leave_it_open(tmp_path):
    outline = shapely.box(20, 45, 20.1, 45.1)
    points = read_icmm(
        written(tmp_path, [(20.02, 45.02, "coal", "Mine"), (20.08, 45.08, "gold", "Mine")])
    )
    (row,) = match_raw_material(points, ["a"], [outline]).to_dict("records")
    assert row["raw_material"] == "" and row["ambiguous"] and row["distance_km"] == 0
    alike = read_icmm(
        written(tmp_path, [(20.02, 45.02, "tin", "Mine"), (20.08, 45.08, "gold", "Mine")])
    )
    (row,) = match_raw_material(alike, ["a"], [outline]).to_dict("records")
    assert row["raw_material"] == "MO" and not row["ambiguous"]


def test_the_real_list_has_two_groups_and_no_quarries(shared_data):
    points = read_icmm(shared_data / "icmm_mines" / "mines.geojson")
    assert len(points) == 8018
    assert points["raw_material"].value_counts().to_dict() == {"CL": 4183, "MO": 3696, "": 139}


def test_files_that_are_something_else_are_refused_in_a_line(tmp_path):
    with pytest.raises(MinsegError, match="no such file"):
        read_icmm(tmp_path / "none.geojson")
    (tmp_path / "text.geojson").write_text("nothing")
    with pytest.raises(MinsegError, match="cannot be read as points"):
        read_icmm(tmp_path / "text.geojson")
    path = written(tmp_path, [(20, 45, "coal", "Mine")])
    gpd.read_file(path).drop(columns="assetType").to_file(tmp_path / "less.geojson")
    with pytest.raises(MinsegError, match="no field assetType"):
        read_icmm(tmp_path / "less.geojson")
    with pytest.raises(MinsegError, match="no located mines"):
        read_icmm(written(tmp_path, [(20, 45, "coal", "Smelter")]))
