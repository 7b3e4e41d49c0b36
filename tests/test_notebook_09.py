from tests.conftest import write_small_dataset
from tests.pages import study_page


def test_page_on_mines_with_two_years(tmp_path):
    """Run the page on Model 1 and on a task that nobody annotated."""
    dataset = write_small_dataset(tmp_path / "squares", 14)
    tasks = ["model1", "model3"]
    seen = study_page("09", tmp_path, dataset, tasks=tasks, bands={"model1": "RGB"})
    assert seen.count("image/png") == 3  # both years, the change, the areas
    for text in (
        "were mapped at all",
        "model3",
        "nobody annotated",
        "preparatory work area",
        "it takes three test mines",  # there are two
    ):
        assert text in seen
