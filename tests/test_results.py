import shutil
from pathlib import Path

import pandas as pd
import pytest
from results import write_tables

from minseg import MinsegError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """A copy of what the section is made from."""
    (tmp_path / "results").mkdir()
    for path in (write_tables.OUTCOMES, write_tables.TAILINGS, write_tables.SPREAD):
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("name", write_tables.SECTIONS)
def test_documents_show_the_stored_outcomes(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    section = write_tables.SECTIONS[name](ROOT)
    assert write_tables.with_section(text, section, ROOT / name) == text, "write it: make results"


def test_every_page_of_the_book_can_be_reproduced():
    assert list(write_tables.PAGES) == sorted(
        path.stem for path in (ROOT / "notebooks").glob("*.ipynb")
    )


def test_one_changed_outcome_changes_the_section(project):
    before = write_tables.results_section(project)
    path = project / write_tables.OUTCOMES
    outcomes = pd.read_csv(path)
    rows = (outcomes["table"] == 3) & (outcomes["convention"] == "standard")
    networks = rows & ~outcomes["row"].str.contains("forest") & (outcomes["task"] == "model4")
    chosen = outcomes[networks]["validation_iou"].idxmax()
    outcomes.loc[chosen, "iou"] = 0.9876
    outcomes.to_csv(path, index=False)
    after = write_tables.results_section(project)
    assert ".988" in after
    assert sum(a != b for a, b in zip(before.split("\n"), after.split("\n"), strict=True)) == 1


def test_the_test_part_selects_nothing(project):
    before = write_tables.results_section(project)
    path = project / write_tables.OUTCOMES
    outcomes = pd.read_csv(path)
    networks = (outcomes["table"] == 3) & ~outcomes["row"].str.contains("forest")
    of_task = networks & (outcomes["task"] == "model1") & (outcomes["convention"] == "standard")
    worst = outcomes[of_task]["validation_iou"].idxmin()
    outcomes.loc[worst, "iou"] = 0.999
    outcomes.to_csv(path, index=False)
    assert write_tables.results_section(project) == before
    outcomes.drop(columns="validation_iou").to_csv(path, index=False)
    with pytest.raises(MinsegError, match=r"no column validation_iou; .*make results"):
        write_tables.results_section(project)


def test_all_outcomes_are_of_synthetic_mines_and_name_their_code():
    outcomes = pd.read_csv(ROOT / write_tables.OUTCOMES)
    assert outcomes["synthetic"].all()
    assert outcomes["code"].notna().all()


def test_missing_outcomes_and_marks_are_told(tmp_path):
    with pytest.raises(MinsegError, match="make results"):
        write_tables.results_section(tmp_path)
    with pytest.raises(MinsegError, match="has no lines"):
        write_tables.with_section("no marks", "section", tmp_path / "README.md")
