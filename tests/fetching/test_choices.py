"""What goes wrong in one year of a mine, and what the others make of it."""

import json

import pytest

from minseg import MinsegError
from minseg.fetching import assets, catalogue
from minseg.fetching.choices import choose_mine, parse_pins, read_choices, write_choices
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.demo_catalogue import write_demo_catalogue
from minseg.fetching.demo_server import serve
from minseg.fetching.plan import plan_mines
from tests.fetching.stac_server import Behaviour, behaving
from tests.fetching.test_dataset import request_of

YEARS = (2019, 2022)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue") / "made"
    return write_demo_catalogue(folder, num_mines=3, years=YEARS, size=96)


@pytest.fixture
def behaviour():
    return Behaviour()


@pytest.fixture
def request_(made, behaviour, monkeypatch):
    monkeypatch.setattr(assets, "PAUSE_S", 0.0)
    monkeypatch.setattr(catalogue, "BACKOFF_S", 0.01)
    with serve(made.folder, behaving(behaviour)) as api:
        yield request_of(made, api)


@pytest.fixture
def choose(request_):
    """Choose the scenes of the first mine."""
    plan = plan_mines(request_)[0][0]

    def choose(pins=(), earlier=None, provider=request_.provider):
        return choose_mine(
            plan.mine, plan.grid, plan.years, provider, parse_pins(pins), earlier or {}
        )

    return choose


def items_of(made):
    return {one["id"]: one for one in json.loads((made.folder / "items.json").read_text())}


def test_a_year_that_cannot_be_judged_fails_alone_and_is_tried_again(request_, behaviour, tmp_path):
    behaviour.missing = "S2_synthetic-002_2019.*SCL"
    found = fetch_dataset(tmp_path / "mines", request_)
    (failure,) = found.failures
    assert failure.startswith("synthetic-002 2019: ") and "SCL cannot be read" in failure
    assert len(found.dataset.scenes) == 5
    behaviour.missing = ""
    found = fetch_dataset(tmp_path / "mines", request_)
    assert found.failures == () and len(found.dataset.scenes) == 6


def test_a_failed_year_is_not_settled_and_its_failure_is_not_kept(choose, tmp_path):
    choices = choose(pins=["synthetic-001:2019=x"])
    assert choices[2019].optical is None and choices[2022].optical is not None
    assert choices[2022].radar is not None
    assert choices[2019].failure.startswith("x: demo has no such item")
    assert not choices[2019].is_settled("synthetic-001", 2019, {})
    write_choices(tmp_path / "mine.json", choices)
    again = read_choices(tmp_path / "mine.json")
    assert again[2019].failure == "" and not again[2019].is_settled("synthetic-001", 2019, {})
    assert choose(earlier=again)[2019].optical is not None


def test_what_is_there_stays_where_a_pin_fails(choose):
    before = choose()
    for pin, said in (
        ("synthetic-001:2019=x", "no such item"),
        ("synthetic-001:2019:radar=x", "no such item"),
    ):
        after = choose(pins=[pin], earlier=before)
        assert said in after[2019].failure
        assert after[2019].optical.id == before[2019].optical.id
        assert not after[2019].is_settled("synthetic-001", 2019, {})
        assert after[2022] == before[2022]


def test_a_year_whose_radar_cannot_be_searched_fails_alone(choose, behaviour):
    behaviour.refuse = lambda query: (
        500
        if query["collections"] == ["sentinel-1-rtc"] and query["datetime"].startswith("2019")
        else 0
    )
    choices = choose()
    assert "HTTP 500" in choices[2019].failure or "500 error" in choices[2019].failure
    assert choices[2019].optical is None  # or it would be taken for a year that has no radar
    assert choices[2022].radar is not None and choices[2022].failure == ""


def test_where_every_year_fails_the_mine_does(choose, behaviour):
    behaviour.busy = [401]
    with pytest.raises(MinsegError, match=r"HTTP 401\): a token"):  # the landing page: no year is
        choose()  # asked for at all
    assert behaviour.busy == []
    with pytest.raises(MinsegError, match=r"x: demo .*; y: demo"):
        choose(pins=["synthetic-001:2019=x", "synthetic-001:2022=y"])


def test_a_pin_of_another_year_is_refused_in_one_line(choose, made):
    other = next(name for name in items_of(made) if name.startswith("S2_synthetic-001_2022"))
    day = other.split("_")[2]
    choices = choose(pins=[f"synthetic-001:2019={other}"])
    assert choices[2019].failure == (
        f"{other}: is pinned for 2019 and was taken on {day[:4]}-{day[4:6]}-{day[6:]}; "
        "pin an item of 2019"
    )
    other = next(name for name in items_of(made) if name.startswith("S1_synthetic-001_2022"))
    choices = choose(pins=[f"synthetic-001:2019:radar={other}"])
    assert "is pinned for 2019 and was taken on 2022-" in choices[2019].failure
    assert choices[2022].failure == ""
