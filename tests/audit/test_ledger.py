import pytest

from minseg import MinsegError
from minseg.audit.ledger import LEDGER_FILE, against_paper, against_runs, read_claims, select
from minseg.audit.measured import RUN_TESTS, Evidence
from minseg.audit.paper_tests import PAPER_TESTS
from minseg.audit.printed import CONTRASTS
from minseg.data.labels import CLASS_NAMES
from minseg.study import section4
from minseg.study.errors import explain
from tests.study.predicted import rectangle, write_mines, write_predictions

ONE = """\
- id: one
  place: ["3.1"]
  says: Something.
  rows: [{table: 3, model: model1, metric: iou}]
  test_paper: {test: highest, of: bands, row: M}
  test_runs: null
  runs_cannot: It is about paper.
"""

NO_RUNS = "null\n  runs_cannot: It is about paper."
MINE_CLAIM = "{test: mine_claim, models: [model1], measure: snow-iou, side: abov}"


@pytest.fixture
def ledger(tmp_path):
    """From a text to the path of a ledger that holds it."""

    def write(text):
        path = tmp_path / "ledger.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_ledger_of_the_checkout_knows_its_lines_and_names_every_test(claims):
    places = {place for one in claims.values() for place in one.place}
    assert places >= {"abstract", "3.1", "3.2", "5.4", "6"}
    text = LEDGER_FILE.read_text(encoding="utf-8").splitlines()
    for name, one in claims.items():
        assert text[int(one.where.rsplit(":", 1)[1]) - 1] == f"- id: {name}"
    on_paper = {one.test_paper.test for one in claims.values() if one.test_paper}
    on_runs = {one.test_runs.test for one in claims.values() if one.test_runs}
    assert on_paper | (set(CONTRASTS) & on_runs) == set(PAPER_TESTS)
    assert on_runs | (set(CONTRASTS) & on_paper) == set(RUN_TESTS)


def test_statements_of_section_4_are_named_as_the_mine_pages_name_them(claims, tmp_path):
    labels = {"excavation": rectangle(4, 4, 8, 8), "settling pond": rectangle(20, 20, 4, 4)}
    mines = write_mines(tmp_path / "mines", [labels] * 2, CLASS_NAMES)
    wanted = {
        (model, one.test_runs.parameters["measure"])
        for one in claims.values()
        if one.test_runs and one.test_runs.test == "mine_claim"
        for model in one.test_runs.parameters["models"]
    }
    found = set()
    for model in {model for model, _ in wanted}:
        run = write_predictions(tmp_path / model, mines, model, [{}, {}])
        found |= {(model, name) for name in section4.claims(run, explain(run, mines))["id"]}
    assert wanted <= found


def test_rows_of_a_claim_come_with_their_lines(ledger):
    (claim,) = read_claims(ledger(ONE))
    (rows,) = select(claim)
    assert list(rows["bands"]) == ["RGB", "R+N", "R+N+S", "M", "M+S"]
    assert set(rows["table"]) == {3}
    assert list(rows["line"]) == [2, 18, 34, 50, 66]
    assert list(rows["value"]) == [0.694, 0.657, 0.699, 0.710, 0.648]


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("model: model1", "model: model5", 4, "table 3 has no such row with model 'model5'"),
        ("model: model1", "task: model1", 4, "table 3 has no column 'task'; it has bands, model"),
        ("table: 3", "table: 9", 4, "there is no table 9; use 2, 3, 4"),
        ("test: highest", "test: heighest", 5, "unknown test 'heighest'; there are above,"),
        ("row: M}", "raw: M}", 5, "test highest: missing a required argument: 'row'"),
        ("row: M}", "row: M, by: 1}", 5, "test highest: got an unexpected keyword argument 'by'"),
        ("bands, row: M}", "[bands], row: M}", 5, "test highest: of is ['bands']: Input should be"),
        ("row: M}", "row: 3}", 5, "test highest: row is 3: Input should be a valid string"),
        ("row: M}", "row: M, share: 70}", 5, "share: Input should be less than or equal to 1"),
        (NO_RUNS, MINE_CLAIM, 6, "side is 'abov': Input should be 'above' or 'below'"),
        (NO_RUNS, MINE_CLAIM.replace("[model1]", "model1"), 6, "models is 'model1': 'str'"),
        ('["3.1"]', '["3.9"]', 1, "place '3.9' is none of abstract, 2.1,"),
        ('["3.1"]', "[3.1]", 2, "place.0: Input should be a valid string"),
        ("  says: Something.\n", "", 1, "claim one: says: Field required"),
        ("  test_runs: null\n", "", 1, "test_runs: Field required"),
        ("  runs_cannot: It is about paper.\n", "", 1, "or null and the reason runs_cannot"),
        ("id: one", "id: One Claim", 1, "id: String should match pattern"),
        ("runs_cannot:", "run_cannot:", 7, "run_cannot: Extra inputs are not permitted"),
        ("runs_cannot: It", "says: It", 7, "says stands twice in this claim"),
        ("  place:", " place:", 2, "is no YAML"),
        ("- id: one", "id: one\n- x", 2, "is no YAML"),
        (ONE, "claims: []", 1, "is no list of claims"),
        (ONE, "- one", 1, "is no claim; begin it with '- id:"),
    ],
)
def test_bad_ledgers_are_refused_with_file_and_line(ledger, old, new, line, problem):
    assert old in ONE
    path = ledger(ONE.replace(old, new))
    with pytest.raises(MinsegError) as caught:
        read_claims(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert problem in str(caught.value)


def test_all_problems_are_told_at_once_and_an_id_that_stands_twice(ledger, tmp_path):
    path = ledger(ONE + "\n" + ONE)
    with pytest.raises(MinsegError, match=rf":9: id 'one' stands at {path}:1 too"):
        read_claims(path)
    path = ledger(ONE.replace("model1", "model5").replace("highest", "heighest"))
    with pytest.raises(MinsegError, match=r":4: .*:5: "):
        read_claims(path)
    with pytest.raises(MinsegError, match=r"missing\.yaml: No such file"):
        read_claims(tmp_path / "missing.yaml")


def test_a_ledger_in_another_encoding_is_refused_with_its_line(tmp_path):
    path = tmp_path / "ledger.yaml"
    path.write_bytes(ONE.replace("Something", "Größe").encode("latin-1"))
    with pytest.raises(MinsegError, match=r"ledger\.yaml:3: is no UTF-8"):
        read_claims(path)


def test_a_test_that_compares_nothing_does_not_hold(ledger):
    """IoU alone is higher than no other metric."""
    (claim,) = read_claims(ledger(ONE.replace("of: bands, row: M", "of: metric, row: iou")))
    with pytest.raises(MinsegError, match=r"ledger\.yaml:1: the rows leave nothing to compare"):
        against_paper(claim)


def test_what_a_test_of_runs_cannot_use_is_told_with_its_line(ledger):
    named = "{test: near_zero, models: [model9], name: dam, at_most: 0.1}"
    (claim,) = read_claims(ledger(ONE.replace(NO_RUNS, named)))
    with pytest.raises(MinsegError, match=r"ledger\.yaml:1: test near_zero .* 'model9'"):
        against_runs(claim, Evidence(None, "standard", {}, {}, {}))
