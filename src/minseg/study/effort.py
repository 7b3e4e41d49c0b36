"""How many epochs the tables took, against a literal reading of the paper."""

from collections.abc import Mapping, Sequence

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.study.config import RunConfig
from minseg.study.experiments import GROUPS, band_entries, split_entries
from minseg.study.runs import run_key
from minseg.study.search import Search
from minseg.study.selection import trial_table
from minseg.study.study import Study


def table_efforts(
    study: Study,
    tasks: Sequence[str],
    bands: Mapping[str, str],
    searches: Mapping[str, Search],
    **settings: object,
) -> list[tuple[str, int, int]]:
    """Count the epochs of Tables 3, 4 and 5, each run once and in the first table that needs it.

    A literal reading trains every row of Table 3, six targeted and two general models a task for
    Table 4 (section 2.4.2), and a trial of Table 5 for each epoch count.

    Parameters
    ----------
    study : Study
    tasks, bands, settings
        As in `minseg.study.experiments.split_entries`.
    searches : mapping of task to Search

    Returns
    -------
    list of (name, epochs read literally, epochs trained)
        Rows of stored runs only: what was not run counts on neither side.
    """
    rows = band_entries(study, tasks, tuple(BAND_CONFIGURATIONS), **settings)
    band_configs = _stored(study, [entry.config for entry in rows])
    entries = split_entries(study, tasks, bands, **settings)
    targeted = _stored(study, [e.config for e in entries if e.config.subset])
    general = _stored(study, [e.config for e in entries if not e.config.subset])
    once = _epochs(band_configs)
    trials = [len(search.finished()) * sum(search.space.epochs) for search in searches.values()]
    trained = [int(trial_table(search)["epochs"].sum()) for search in searches.values()]
    return [
        ("Table 3", once, once),
        (
            "Table 4",
            _epochs(targeted) + len(GROUPS) * _epochs(general),
            _epochs({**band_configs, **targeted, **general}) - once,
        ),
        ("Table 5", sum(trials), sum(trained)),
    ]


def _stored(study: Study, configs: Sequence[RunConfig]) -> dict[str, RunConfig]:
    """Return the configurations, one a seed, whose runs are stored, by their keys."""
    seeded = [config.replace(seed=seed) for config in configs for seed in study.seeds]
    keys = {run_key(config, study.dataset): config for config in seeded}
    return {key: config for key, config in keys.items() if study.store.find(key)}


def _epochs(configs: Mapping[str, RunConfig]) -> int:
    return sum(config.epochs for config in configs.values())
