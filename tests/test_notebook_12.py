import pytest

from minseg import MinsegError, open_study
from minseg.audit.ledger import read_claims
from minseg.study.runs import require, run_key
from minseg.study.tables import band_entries, split_entries
from tests.audit.counted_results import many_mines, mines_of
from tests.pages import study_page
from tests.study.made_runs import excavation, write_run

HITS = {"RGB": [2, 4, 3, 2, 4, 3, 2, 4], "R+N": [5, 6, 6, 4, 8, 6, 5, 7], "R+N+S": [3] * 8}


@pytest.fixture
def stored(tmp_path):
    """Runs of Model 1 on the configurations and subsets that a small dataset has, by hand."""
    dataset = many_mines(tmp_path)
    study = open_study("laptop", dataset.path, [0], tmp_path / "runs")
    entries = band_entries(study, ["model1"], epochs=2)
    entries += split_entries(study, ["model1"], {"model1": "RGB"}, epochs=2)
    counted = {}
    for entry in entries:
        try:
            require(entry.config, dataset)
        except MinsegError:
            continue
        hits = HITS[entry.config.bands]
        tested = dict(zip(mines_of(dataset), map(excavation, hits), strict=True))
        validated = {mine: excavation(5) for mine in mines_of(dataset, "validation")}
        found = {2: {"validation": validated, "test": tested}}
        origin = {"dataset_hash": dataset.digest, "split_hash": dataset.split_digest}
        folder = study.store.path / run_key(entry.config, dataset)
        counted[folder] = write_run(folder, entry.config, found, **origin)
    assert len(counted) == 5  # three configurations, and rock and open-pit mines alone
    return dataset


GIVEN = {"tasks": ["model1"], "bands": {"model1": "RGB"}, "settings": {"epochs": 2}}


def test_claims_page_judges_what_it_can_and_says_what_it_cannot(stored, tmp_path):
    seen = study_page("12", tmp_path, stored, **GIVEN)
    for claim in read_claims():
        assert f"claim-{claim.id}" in seen
    assert seen.count("image/png") == 1
    assert "real imagery: **0**" in seen
    assert "Model 1, IoU: RGB − R+N" in seen
    assert "contradicted" in seen  # more channels are not worse in these counts
    assert "has no band" in seen
    assert "no result for model2, R+N: it was not run" in seen


def test_claims_page_refuses_counts_of_other_data(stored, tmp_path):
    for path in tmp_path.glob("runs/[0-9a-f]*/provenance.json"):
        path.write_text(path.read_text().replace(stored.digest, "0123456789abcdef"))
    with pytest.raises(MinsegError, match="counts are of other data"):
        study_page("12", tmp_path, stored, **GIVEN)
