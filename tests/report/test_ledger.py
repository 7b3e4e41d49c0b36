import dataclasses
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from minseg.audit.ledger import Judged, Ledger, against_paper, judge_print, read_claims, select
from minseg.audit.measured import RUN_VERDICTS, Effect, Missing, RunFinding, decide
from minseg.audit.printed import ABOVE_ZERO, PAPER_VERDICTS, Region
from minseg.report import ledger as pages
from minseg.study.paper import PAPER_FOLDER
from tests.report.conftest import draw, legend, texts


@pytest.fixture(scope="module")
def ledger():
    """All claims; the first four with each of the verdicts on runs."""
    effects = [
        Effect("M − RGB", np.linspace(*ends, 100), (0.01, 0.03), ABOVE_ZERO, 6)
        for ends in ((0.01, 0.03), (-0.03, -0.01), (-0.01, 0.05))
    ]
    found = [decide([one]) for one in effects] + [decide([Missing("M", "no <run>")])]
    claims = read_claims()
    rest = RunFinding("not testable here", "none")
    judged = [
        Judged(claim, select(claim), against_paper(claim), found[k] if k < 4 else rest)
        for k, claim in enumerate(claims)
    ]
    return Ledger(tuple(judged), "drawn & made", True)


@pytest.fixture(scope="module")
def real(ledger):
    return dataclasses.replace(ledger, synthetic=False)


def test_the_page_is_whole_and_synthetic_verdicts_bear_the_word(ledger, real):
    page = pages.ledger_html(ledger)
    text = " ".join(" ".join(ElementTree.fromstring(page).itertext()).split())  # tags close
    anchors = re.findall(r'<details id="claim-([^"]+)">', page)
    assert sorted(anchors) == sorted(one.claim.id for one in ledger.judged)
    for one in ledger.judged:
        assert one.claim.says in text
        assert one.paper.summary in text
    assert "0.643 − 0.644 = −0.001" in text
    assert "data/paper/table3.csv, lines 6, 22, 38, 54, 70" in text  # rows of bands-rn-model2
    assert "highest(of='bands', row='R+N')" in text

    assert "no &lt;run&gt;" in page and "no <run>" not in page
    assert "drawn &amp; made" in page
    for verdict in RUN_VERDICTS[:3]:
        (label,) = re.findall(rf'<span class="badge [^>]*>. {verdict}</span>(.{{40}})', page)
        assert 'class="word">synthetic' in label
    assert page.count("no evidence about real mines") == len(ledger.judged)
    page = pages.ledger_html(real)
    assert "synthetic<" not in page and "SYNTHETIC" not in page


def test_the_summary_counts_no_synthetic_evidence(ledger, real):
    assert "as they are worded. Of all: 37 holds" in pages.ledger_summary(ledger)
    assert "real imagery: **0**" in pages.ledger_summary(ledger)
    assert "(**synthetic**)" in pages.ledger_summary(ledger)
    assert "real imagery: **2**" in pages.ledger_summary(real)
    assert "1 supported, 1 contradicted, 1 inconclusive" in pages.ledger_summary(real)
    assert "synthetic" not in pages.ledger_summary(real)


def test_the_figure_has_a_tile_for_each_claim_on_each_side(ledger, real):
    figure = draw(pages.verdict_figure(ledger))
    for axes in figure.axes:
        assert len(axes.patches) == len(axes.texts) == len(ledger.judged)
        counted = [int(entry.rsplit(" ", 1)[1]) for entry in legend(axes)]
        assert sum(counted) == len(ledger.judged)
    assert figure.get_suptitle() == "SYNTHETIC"
    assert draw(pages.verdict_figure(real)).get_suptitle() == ""
    for one, hollow in ((figure, True), (pages.verdict_figure(real), False)):
        edges = ((patch, patch.get_edgecolor()) for patch in one.axes[1].patches)
        supported = next(patch for patch, edge in edges if edge[2] > 0.5 > edge[0])
        assert (supported.get_facecolor()[:3] == (1, 1, 1)) == hollow


def test_strips_share_a_scale_and_show_the_side():
    intervals = [(0.1, 0.2, 0.3), (-0.3, -0.2, -0.1), (-0.1, 0.0, 0.1), (0.0, 0.0, 0.0)]
    spans = [pages.Span(*interval, ABOVE_ZERO) for interval in intervals]
    drawn = pages.strips([*spans, dataclasses.replace(spans[3], exact=True)])
    centres = [float(re.search(r'cx="([\d.]+)"', one)[1]) for one in drawn]
    colours = [re.search(r'<circle[^>]*fill="(#\w+)"', one)[1] for one in drawn]
    assert centres[1] < centres[2] == centres[3] == centres[4] < centres[0]
    assert centres[2] == pytest.approx((centres[0] + centres[1]) / 2, abs=0.2)
    assert len({*colours[:3]}) == 3
    assert colours[3] == colours[2]  # an effect of nothing on any mine is open
    assert colours[4] == colours[1]  # a printed value on the edge is not as claimed
    for one in drawn:
        assert "claimed above 0" in one
    assert pages.strips([]) == []
    (one,) = pages.strips([pages.Span(-0.02, 0.0, 0.02, Region(-0.01, 0.01))])
    assert one.count('y1="0"') == 2


def test_the_page_of_contradictions_asks_no_runs_and_shows_text_of_a_file_as_text(tmp_path):
    folder = shutil.copytree(PAPER_FOLDER, tmp_path / "paper")
    path = folder / "table5.csv"
    path.write_text(path.read_text().replace("Model 1,model4", "<b>Model</b>,model4"))
    printed = judge_print(read_claims(), folder)
    page = pages.ledger_html(printed.contradictions)
    assert page.count("<details") == len(printed.contradictions.judged) > 30
    assert "Against our runs" not in page and "Our runs" not in page
    assert page.count("What hangs on it") == page.count("<details")
    assert "data/paper/statements.csv, lines" in page
    assert "<b>Model" not in page and "&lt;b&gt;Model&lt;/b&gt;" in page
    table = pages.verdict_table(printed)
    assert list(table.index) == list(PAPER_VERDICTS)
    assert table["statements"].sum() == len(printed.judged)


def test_charts_of_the_print():
    subsets, gains = draw(pages.subset_figure()), draw(pages.gain_figure())
    surplus, cells = texts(subsets.axes[0]), texts(gains.axes[0])
    assert "+12" in surplus and len(surplus) == 24
    assert len(cells) == 128 and "+116" in cells
    assert len(gains.axes[0].patches) == 30  # framed: the targeted model is ahead
