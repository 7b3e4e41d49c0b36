"""Results of Tables 3 and 4 from runs written by hand on a dataset's own test mines."""

from pathlib import Path

from minseg.study.config import RunConfig
from tests.conftest import write_small_dataset
from tests.study.made_runs import excavations, made_result

CONFIG = RunConfig(task="model1", epochs=2)


def many_mines(folder: Path):
    """Fifty-four, eight of them in the test part."""
    return write_small_dataset(folder / "many", count=54, years=(2020,), side=32)


def mines_of(dataset, part="test"):
    return sorted(dataset.split.loc[dataset.split["part"] == part, "mine"])


def result_of_hits(study, hits_of_seeds, bands="RGB", row=None, false=0, **changes):
    """A result whose runs find so many of ten excavation pixels in each test mine, in order."""
    config = CONFIG.replace(bands=bands, **changes)
    mines = mines_of(study.dataset)
    return made_result(
        study.store.path,
        row or bands,
        config,
        *(excavations(dict(zip(mines, hits, strict=False)), false) for hits in hits_of_seeds),
        validation=mines_of(study.dataset, "validation")[0],
        dataset_hash=study.dataset.digest,
        split_hash=study.dataset.split_digest,
    )
