import datetime
import sys
from dataclasses import replace

import pytest

from minseg import MinsegError
from minseg.fetching import catalogue
from minseg.fetching.catalogue import find, search
from minseg.synthetic.server import CatalogueHandler
from tests.fetching.conftest import PROVIDER
from tests.fetching.scenes import item

START, END = datetime.date(2020, 1, 1), datetime.date(2020, 12, 31)
BOX = (15.0, 46.0, 15.1, 46.1)


@pytest.fixture
def server(server):
    """With the pages of a catalogue, as the made one has them."""
    server.answers["/"] = lambda body: CatalogueHandler.landing_page(server)
    page = CatalogueHandler.collection(server, "sentinel-2-l2a")
    server.answers["/collections/sentinel-2-l2a"] = lambda body: page
    return server


@pytest.fixture
def provider(server):
    return replace(PROVIDER, url=server.url)


def optical(provider, box=BOX):
    """What a year's search finds."""
    return search(provider, "optical", box, START, END)


def refused(provider, said, kind="optical", start=START):
    """Search and be refused in one line."""
    with pytest.raises(MinsegError, match=said) as error:
        search(provider, kind, BOX, start, END)
    return str(error.value)


def answer_with(server, *items, pages=1):
    """Answer searches with items, a page after the other; the bodies asked with are kept."""
    bodies = []

    def answer(body):
        bodies.append(body)
        page = int(body.get("token", 0))
        links = []
        if page + 1 < pages:
            following = body | {"token": str(page + 1)}
            link = {"rel": "next", "href": f"{server.url}/search", "method": "POST"}
            links = [link | {"body": following}]
        shown = [one.to_dict() for one in items[page::pages]]
        return {"type": "FeatureCollection", "features": shown, "links": links}

    server.answers["/search"] = answer
    return bodies


def test_all_pages_are_read_and_sorted_by_date(server, provider):
    days = ("2020-07-03", "2020-03-01", "2020-05-09")
    bodies = answer_with(server, *(item(f"S{day}", day, {}) for day in days), pages=3)
    found = optical(provider).items
    assert [one.id for one in found] == ["S2020-03-01", "S2020-05-09", "S2020-07-03"]
    assert bodies[0]["collections"] == ["sentinel-2-l2a"]
    assert bodies[0]["bbox"] == list(BOX)
    assert bodies[0]["datetime"] == "2020-01-01T00:00:00Z/2020-12-31T23:59:59Z"


def answer_sending(server, features, links=()):
    page = {"type": "FeatureCollection", "features": features, "links": links}
    server.answers["/search"] = lambda body: page


def about(**properties):
    """Give properties, with colons in their names written as two underscores."""
    told = {name.replace("__", ":"): value for name, value in properties.items()}
    return lambda one: one["properties"].update(told)


def top(**fields):
    return lambda one: one.update(fields)


def blue(**fields):
    return lambda one: one["assets"]["B02"].update(fields)


MALFORMED = {
    "no date": (about(datetime=None), "datetime"),
    "no start": (about(datetime=None, start_datetime=None, end_datetime=None), "has no date"),
    "impossible": (about(datetime="2020-02-31T10:00:00Z"), "day"),
    "before time": (about(datetime="0001-01-01T00:00:00+09:00"), "date"),
    "other year": (about(datetime="2019-12-31T10:00:00Z"), "was taken on 2019-12-31"),
    "empty": (lambda one: one["geometry"].update(coordinates=[]), "geometry is empty"),
    "NaN": (top(geometry={"type": "Point", "coordinates": [15.0, float("nan")]}), "is empty"),
    "text": (top(geometry={"type": "Polygon", "coordinates": "x"}), "geometry"),
    "no type": (top(geometry={}), "geometry"),
    "cloud": (about(eo__cloud_cover="n/a"), "is 'n/a'"),
    "fill": (about(eo__cloud_cover=-9999), "is -9999"),
    "orbit": (about(sat__relative_orbit=[]), "orbit is []"),
    "no address": (lambda one: one["assets"]["B02"].pop("href"), "asset B02 has no address"),
    "empty address": (blue(href=""), "B02 has no address"),
    "relative": (blue(href="./B02.tif"), "(rel: self)"),
    "no asset": (lambda one: one["assets"].update(B02=None), "asset B02 has no address"),
    "null assets": (top(assets=None), "its assets are None"),
    "null links": (top(links=None), "its links are None"),
    "null link": (top(links=[None]), "no sound STAC item"),
    "null properties": (top(properties=None), "its properties are None"),
    "number": (top(bbox="x", id=7), "has no id in text"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_item_is_left_out_by_its_id_and_reason(server, provider, name):
    spoil, said = MALFORMED[name]
    sound, broken = (item(one, "2020-03-01", {"B02": "http://a/b.tif"}) for one in ("S", "B"))
    broken = broken.to_dict()
    spoil(broken)
    answer_sending(server, [broken, sound.to_dict()])
    found = optical(provider)
    assert [one.id for one in found.items] == ["S"]
    (told,) = found.left_out.values()
    assert list(found.left_out) == ["(without id)" if name == "number" else "B"] and said in told
    if name not in ("other year", "number"):
        with pytest.raises(MinsegError, match=r"^B: .*; pin another item$") as error:
            find(provider, "optical", "B")
        assert said in str(error.value)


def test_what_is_unusual_and_sound_stays(server, provider):
    plain, without, naive = (item(name, "2020-03-01", {}).to_dict() for name in "ABC")
    plain["properties"]["eo:cloud_cover"] = "12.5"
    plain["assets"] = {"thumbnail": {"title": "nowhere"}, "B02": {"href": "../B02.tif"}}
    plain["links"] = [{"rel": "self", "href": "http://example.org/items/A/A.json"}]
    without["geometry"] = None
    naive["properties"]["datetime"] = "2020-12-31T23:59:59"
    answer_sending(server, [plain, without, naive, None, "?", {}], links=None)
    found = optical(provider)
    assert [one.id for one in found.items] == ["A", "B", "C"]
    assert found.items[0].assets["B02"].get_absolute_href() == "http://example.org/items/B02.tif"
    assert list(found.left_out) == ["(without id)"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_that_leads_back_to_itself_ends_the_search(server, provider, method):
    link = {"rel": "next", "href": f"{server.url}/search", "method": method}
    sent = [item("S", "2020-03-01", {}).to_dict()]
    answer_sending(server, sent, [link | {"body": {"token": "1"}}])
    refused(provider, "same scenes page after page")
    assert sum("/search" in request for request in server.requests) == 2


def test_a_box_over_the_date_line_is_asked_for_on_both_sides(server, provider):
    bodies = answer_with(server, item("S", "2020-03-01", {}))
    found = optical(provider, (179.9, -17, -179.9, -16.8)).items
    assert [one.id for one in found] == ["S"]  # once
    assert [body["bbox"] for body in bodies] == [
        [179.9, -17, 180, -16.8],
        [-180, -17, -179.9, -16.8],
    ]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_but_not_for_ever(server, provider, status):
    answer_with(server, item("S", "2020-03-01", {}))
    server.failures["/search"] = [status, status]
    assert len(optical(provider).items) == 1
    assert server.requests.count("POST /search") == 3
    server.failures["/search"] = [status] * 50
    told = refused(replace(provider, access="slowly"), rf"gives no answer.*{status}")
    assert ("(slowly)" in told) is (status == 429)  # only where it helps
    assert server.requests.count("POST /search") == 3 + catalogue.ATTEMPTS


def test_no_scene_is_no_error_but_no_collection_is(server, provider):
    answer_with(server)
    assert optical(provider).items == []
    refused(provider, "no collection 'sentinel-1-rtc'", "radar")
    refused(replace(provider, radar=None), "has no radar", "radar")
    refused(provider, "swap them", start=datetime.date(2021, 1, 1))


@pytest.mark.filterwarnings("ignore:Server does not advertise")
def test_what_is_no_stac_api_or_no_network_is_told(server, provider):
    for url, said in (
        ("http://127.0.0.1:9", r"127\.0\.0\.1:9 gives no answer .*check --api and the network"),
        (f"{server.url}/nothing", r"gives no answer \(HTTP 404\)"),
    ):
        refused(replace(provider, url=url), said)
    landing = server.answers["/"]
    server.answers["/"] = lambda body: landing(body) | {"conformsTo": []}
    for name, text in (("", ""), ("a.html", "<html>"), ("a.json", "{}"), ("b", "[]"), ("c", "7")):
        if name:
            (server.folder / name).write_text(text)
        page = replace(provider, url=f"{server.url}/{name}")
        refused(page, "does not answer like a STAC API with item search")


def test_an_item_is_found_by_its_id_even_where_the_server_does_not_know_the_parameter(
    server, provider, monkeypatch
):
    items = [item(f"S{number}", "2020-03-01", {}) for number in range(6)]
    answer_with(server, *items, pages=6)
    assert find(provider, "optical", "S2").id == "S2"
    assert server.requests.count("POST /search") == 3
    monkeypatch.setattr(catalogue, "ITEMS_A_PAGE", 4)  # it is not read to its end
    with pytest.raises(MinsegError, match=r"S5: .* no such item"):
        find(provider, "optical", "S5")
    assert server.requests.count("POST /search") == 3 + 4


@pytest.mark.parametrize("status", [401, 403])
def test_a_search_that_is_refused_tells_of_the_token_and_passes_later(server, provider, status):
    answer_with(server, item("S", "2020-03-01", {}))
    provider = replace(provider, access="its tokens are on the wall")
    server.failures["/search"] = [status]
    refused(provider, rf"HTTP {status}\): a token .* is missing, has expired .* on the wall\)")
    assert server.requests.count("POST /search") == 1  # no waiting mends it
    assert len(optical(provider).items) == 1


@pytest.mark.parametrize("package", ["pystac_client", "planetary_computer"])
def test_without_the_extra_one_line_tells_how_to_get_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    refused(PROVIDER, rf"{package}: run `pip install minseg\[stac\]")
