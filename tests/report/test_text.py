import re
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from minseg.report.dataset import class_share_figure
from minseg.report.ledger import open_table
from minseg.report.style import markdown_list, markdown_text, table_style, text_table
from tests.conftest import NASTY
from tests.report.conftest import draw, row_names


def cells_of(page):
    """What a reader sees in a table's cells, which have no markup of their own."""
    soup = BeautifulSoup(page, "html.parser")
    cells = soup.find_all(["td", "th"])
    assert not any(cell.find() for cell in cells)
    return [cell.get_text() for cell in cells]


@pytest.mark.parametrize("wicked", NASTY)
def test_tables_show_text_wherever_it_stands(wicked):
    index = pd.MultiIndex.from_tuples([(wicked, 1), ("b", 2)], names=[wicked, None])
    table = pd.DataFrame([[wicked, 1.5], ["b", None]], index, [wicked, "number"])
    page = text_table(table.rename_axis(columns=wicked)).format(precision=2, na_rep="–").to_html()
    seen = cells_of(page)
    assert seen.count(wicked) == 5
    assert {"1.50", "–"} <= {*seen}
    assert "mathjax_ignore" in page  # by which MathJax leaves dollars alone
    two = pd.DataFrame([[wicked]], [wicked], pd.MultiIndex.from_tuples([(wicked, wicked)]))
    assert cells_of(table_style(two, (wicked, "")).to_html()).count(wicked) == 5
    points = pd.DataFrame([[wicked] * 3], columns=["place", "point", "consequence"])
    assert cells_of(open_table(points).to_html()).count(wicked) == 3


@pytest.mark.parametrize("wicked", NASTY)
def test_markdown_shows_text(wicked):
    """As the book reads it, with mathematics between dollars."""
    reader = MarkdownIt("gfm-like", {"linkify": False}).use(dollarmath_plugin)
    texts = [wicked, f"{wicked}\n# heading {wicked}"]
    soup = BeautifulSoup(reader.render(markdown_list(texts)), "html.parser")
    assert [item.get_text() for item in soup.find_all("li")] == [" ".join(t.split()) for t in texts]
    heading = BeautifulSoup(reader.render(f"### {markdown_text(wicked)} (best)"), "html.parser")
    assert heading.h3.get_text() == f"{wicked} (best)"
    assert {tag.name for tag in [*soup.find_all(), *heading.find_all()]} == {"ul", "li", "h3"}


def test_figures_show_text():
    """The mathematics of a title such as ``$A^^`` would end the page, in drawing it."""
    shares = pd.DataFrame({"train": 0.5}, index=list(NASTY))
    axes = draw(class_share_figure(shares)).axes[0]
    assert row_names(axes) == list(NASTY)
    assert not any(label.get_parse_math() for label in axes.get_yticklabels())


def test_tables_have_one_writer():
    """A styled table that another way makes would show names as markup."""
    root = Path(__file__).parents[2]
    pages = [*(root / "notebooks").glob("*.ipynb"), *(root / "src/minseg/report").glob("*.py")]
    own = re.compile(r"^(?!.*\bimport\b).*\.style\b", re.MULTILINE)
    found = {path.name for path in pages if own.search(path.read_text(encoding="utf-8"))}
    assert found == {"style.py"}
