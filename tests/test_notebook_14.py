import shutil

from minseg.study.paper import PAPER_FOLDER
from tests.pages import run_page


def test_page_of_the_paper_as_printed(tmp_path):
    seen = run_page("14", tmp_path)
    assert seen.count("image/png") == 2
    assert seen.count("<details") > 40
    assert "1,207" in seen and "16 of 48" in seen
    assert "blank label" in seen


def test_page_follows_a_changed_number(tmp_path):
    folder = shutil.copytree(PAPER_FOLDER, tmp_path / "paper")
    path = folder / "table2.csv"
    path.write_text(path.read_text().replace("All,model4,train,1127", "All,model4,train,2127"))
    seen = run_page("14", tmp_path, paper=str(folder))
    assert "claim-abstract-mines" in seen and "claim-abstract-images" not in seen  # it holds now
