"""The built book, looked at in a real browser that has no network."""

import re
from pathlib import Path

import nbformat
import pytest

from tests.browser import open_browser

ROOT = Path(__file__).parents[1]
HTML = ROOT / "book" / "_build" / "html"
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted((ROOT / "book").glob("*.md"))
MAP_CALL = re.compile(r"\b(?:mine_locations|prediction|change|raster)_map\(")

# The book's theme configures its (unused) live code twice; nothing on the page depends on it.
KNOWN_ERROR = "'THEBE_JS_URL' has already been declared"


def built(source):
    return HTML / source.relative_to(ROOT).relative_to("book" if source.suffix == ".md" else ".")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.mark.pages
@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.stem)
def test_a_page_of_the_book(source, request):
    page = built(source).with_suffix(".html")
    if not page.is_file():
        pytest.skip(f"{page.relative_to(ROOT)} is not built: run `make book`")
    seen = request.getfixturevalue("browser").visit(page)
    assert [error for error in seen.errors if KNOWN_ERROR not in error] == []
    assert seen.broken == []
    assert seen.wide == []
    assert {address.split("/")[2] for address in seen.requests} <= {"tile.openstreetmap.org"}
    assert len(seen.maps) == page.read_text(encoding="utf-8").count("<iframe ")
    for found in seen.maps:
        assert found["layers"], f"{found['title']}: has no layers"
        assert all(found["layers"].values()), f"{found['title']}: {found['layers']}"
        assert found["legend"]
        assert found["label"]
    if source.suffix == ".ipynb":
        cells = nbformat.read(source, 4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        assert len(seen.maps) >= bool(MAP_CALL.search(code)), (
            "a map that the page makes is not seen"
        )


@pytest.mark.pages
def test_what_runs_out_of_its_column_is_seen(browser, tmp_path):
    """The check of pages itself: a table that sticks out, and a line cut off in its frame."""
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><article style="width: 300px"><table><td>fits</table><pre>fits</pre>'
        '<div style="overflow: auto"><table width="400"><td>sticks out</table></div>'
        f'<pre style="overflow: auto">{"cut off " * 20}</pre></article>'
    )
    assert [text[:17] for text in browser.visit(page).wide] == [
        "TABLE: sticks out",
        "PRE: cut off cut ",
    ]
