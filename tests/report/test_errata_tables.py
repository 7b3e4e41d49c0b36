import re
import shutil

import pytest

from minseg.audit.errata import errata
from minseg.audit.erratum import read_printed
from minseg.report.errata_figures import gain_figure, subset_figure
from minseg.report.errata_tables import errata_html, open_table, summary_table, verdict_table
from minseg.study.paper import PAPER_FOLDER, open_points
from tests.report.conftest import draw, row_names


@pytest.fixture(scope="module")
def groups():
    return errata(read_printed())


def test_every_line_of_the_summary_leads_to_its_arithmetic(groups):
    summary = summary_table(groups).to_html()
    pages = "".join(errata_html(found) for found in groups.values())
    names = re.findall(r'<details id="([\w-]+)"', pages)
    assert re.findall(r'href="#([\w-]+)"', summary) == names
    assert len(set(names)) == len(names) == verdict_table(groups).iloc[:, 1:].to_numpy().sum()


def test_what_an_erratum_shows(groups):
    (one,) = (e for found in groups.values() for e in found if e.name == "mine-iou")
    html = errata_html([one])
    assert html.count("◂") == 1  # Buenavista
    assert "0.7161" in html and "0.920" in html
    assert ">odd<" not in html
    assert one.verdict in html and "Tables 6–8" in html


def test_text_of_a_file_stays_text(tmp_path):
    folder = shutil.copytree(PAPER_FOLDER, tmp_path / "paper")
    path = folder / "table5.csv"
    path.write_text(path.read_text().replace("Model 1,model4", "<b>Model</b>,model4"))
    (one,) = (
        e for found in errata(read_printed(folder)).values() for e in found if e.name == "headings"
    )
    html = errata_html([one])
    assert "<b>Model" not in html
    assert html.count("&lt;b&gt;Model&lt;/b&gt;") == 2  # in the text and in the table
    (folder / "open_points.csv").write_text("place,point,consequence\nsection 2,<i>x</i>,y\n")
    assert "&lt;i&gt;x" in open_table(open_points(folder)).to_html()


def test_subset_figure_shows_the_surplus():
    figure = draw(subset_figure(read_printed()))
    (axes,) = figure.axes
    assert row_names(axes)[2] == "RR+MO+CL, Model 3"
    assert [text.get_text() for text in axes.texts][6:9] == ["−183", "+16", "+12"]


def test_gain_figure_frames_where_the_targeted_model_is_ahead():
    figure = draw(gain_figure(read_printed()))
    axes = figure.axes[0]
    assert len(axes.texts) == 8 * 16
    assert axes.texts[0].get_text() == "+116"  # RR, Model 1, IoU: .746 against .630
    # 26 cells of the subsets and 4 of their means.
    assert sum(patch.get_linewidth() > 1 for patch in axes.patches) == 30
