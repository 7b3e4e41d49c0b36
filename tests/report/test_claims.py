import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from minseg.audit.claims import read_claims, select
from minseg.audit.claims_ledger import Judged, Ledger, against_paper
from minseg.audit.claims_verdicts import (
    ABOVE_ZERO,
    RUN_VERDICTS,
    Effect,
    Missing,
    Region,
    RunFinding,
    decide,
)
from minseg.report.claims import ledger_html, ledger_summary
from minseg.report.claims_figures import verdict_figure
from minseg.report.claims_strips import Span, strips
from tests.report.conftest import draw


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
    return Ledger(tuple(judged), "drawn & made", True, "standard", (0,))


@pytest.fixture(scope="module")
def real(ledger):
    return dataclasses.replace(ledger, synthetic=False)


class Tags(HTMLParser):
    """Whether tags close in the order they open, and what text stands in them."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, text):
        self.texts.append(text)


def test_the_page_is_whole(ledger):
    page = ledger_html(ledger)
    tags = Tags()
    tags.feed(page)
    assert (tags.open, tags.wrong) == ([], [])
    anchors = re.findall(r'<details id="claim-([^"]+)">', page)
    assert sorted(anchors) == sorted(one.claim.id for one in ledger.judged)
    text = " ".join(" ".join(tags.texts).split())
    for one in ledger.judged:
        assert one.claim.says in text
        assert one.paper.summary in text
    assert "0.643 − 0.644 = −0.001" in text
    assert "data/paper/table3.csv, lines 6, 22, 38, 54, 70" in text  # rows of bands-rn-model2
    assert "highest(of='bands', row='R+N')" in text


def test_nothing_in_a_ledger_becomes_html(ledger):
    page = ledger_html(ledger)
    assert "no &lt;run&gt;" in page
    assert "no <run>" not in page
    assert "drawn &amp; made" in page


def test_synthetic_verdicts_bear_the_word(ledger, real):
    page = ledger_html(ledger)
    for verdict in RUN_VERDICTS[:3]:
        (label,) = re.findall(rf'<span class="badge [^>]*>. {verdict}</span>(.{{40}})', page)
        assert 'class="word">synthetic' in label
    assert page.count("no evidence about real mines") == len(ledger.judged)
    assert "synthetic<" not in ledger_html(real)
    assert "SYNTHETIC" not in ledger_html(real)


def test_the_summary_counts_no_synthetic_evidence(ledger, real):
    assert "real imagery: **0**" in ledger_summary(ledger)
    assert "(**synthetic**)" in ledger_summary(ledger)
    assert "real imagery: **2**" in ledger_summary(real)
    assert "1 supported, 1 contradicted, 1 inconclusive" in ledger_summary(real)
    assert "synthetic" not in ledger_summary(real)


def test_the_figure_has_a_tile_for_each_claim_on_each_side(ledger, real):
    figure = draw(verdict_figure(ledger))
    for axes in figure.axes:
        assert len(axes.patches) == len(axes.texts) == len(ledger.judged)
        counted = [int(text.get_text().rsplit(" ", 1)[1]) for text in axes.get_legend().get_texts()]
        assert sum(counted) == len(ledger.judged)
    assert figure.get_suptitle() == "SYNTHETIC"
    assert draw(verdict_figure(real)).get_suptitle() == ""
    supported = {
        name: [
            patch
            for patch in one.axes[1].patches
            if patch.get_edgecolor()[2] > 0.5 > patch.get_edgecolor()[0]
        ]
        for name, one in (("made", figure), ("real", verdict_figure(real)))
    }
    assert supported["made"][0].get_facecolor()[:3] == (1, 1, 1)
    assert supported["real"][0].get_facecolor()[:3] != (1, 1, 1)


def test_strips_share_a_scale_and_show_the_side():
    drawn = strips(
        [
            Span(0.1, 0.2, 0.3, ABOVE_ZERO),
            Span(-0.3, -0.2, -0.1, ABOVE_ZERO),
            Span(-0.1, 0.0, 0.1, ABOVE_ZERO),
            Span(0.0, 0.0, 0.0, ABOVE_ZERO, exact=True),
            Span(0.0, 0.0, 0.0, ABOVE_ZERO),
        ]
    )
    centres = [float(re.search(r'cx="([\d.]+)"', one)[1]) for one in drawn]
    colours = [re.search(r'<circle[^>]*fill="(#\w+)"', one)[1] for one in drawn]
    assert centres[1] < centres[2] == centres[3] == centres[4] < centres[0]
    assert centres[2] == pytest.approx((centres[0] + centres[1]) / 2, abs=0.2)
    assert len({*colours[:3]}) == 3
    assert colours[3] == colours[1]  # a printed value on the edge is not as claimed
    assert colours[4] == colours[2]  # an effect of nothing on any mine is open
    for one in drawn:
        assert "claimed above 0" in one
    assert strips([]) == []


def test_a_strip_of_a_region_has_both_edges():
    (one,) = strips([Span(-0.02, 0.0, 0.02, Region(-0.01, 0.01))])
    assert one.count('y1="0"') == 2
