"""Train everything that the book shows, and pack it: `make study`.

It goes seed by seed, Table 3 first, so that an interrupted study serves; started again, it goes on
where it was. ``MINSEG_PROCESSES`` says how many runs are made at once.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

from optuna.trial import TrialState
from results.write_tables import SEEDS, TRIALS

from minseg.data.labels import ALL
from minseg.errors import MinsegError
from minseg.report.one_or_four import compare, costs
from minseg.study.change import compare_years
from minseg.study.pack import pack_runs
from minseg.study.runs import Run, RunStore
from minseg.study.study import Study, default_store, open_study, project_folder
from minseg.study.tables import (
    MODELS,
    ONE_OR_FOUR,
    PAPER_BANDS,
    PREDICTING,
    Entry,
    band_entries,
    results,
    split_entries,
)
from minseg.study.tuning import Search, tune_all


def groups(study: Study) -> Iterator[tuple[str, list[Entry]]]:
    """Yield what is trained of a seed, in order."""
    bands = band_entries(study)
    yield "Table 3, networks", bands
    yield "Table 3, per-pixel forests", [entry.baseline() for entry in bands]
    yield "Table 4, targeted models", split_entries(study)
    yield "one network of all classes", band_entries(study, [ALL.name], [ONE_OR_FOUR])


def trained(study: Study, seed: int) -> Iterator[Run]:
    """Make or find the runs of a seed."""
    one = replace(study, seeds=(seed,))
    for name, entries in groups(one):
        found = results(one, entries)
        for result in found:
            if result.problem and not result.entry.problem:
                raise MinsegError(f"{result.entry.task}, {result.entry.row}: {result.problem}")
            yield from result.runs
        print(f"seed {seed}: {name}: {sum(len(result.runs) for result in found)} rows", flush=True)


def searched(study: Study) -> list[Search]:
    """Make or find the searches of Table 5."""
    searches, problems = tune_all(study, MODELS, PAPER_BANDS, TRIALS)
    short = [name for name, search in searches.items() if len(search.finished()) < TRIALS]
    if problems or short:
        raise MinsegError("; ".join([*problems, *(f"{name}: trials failed" for name in short)]))
    print(f"Table 5: {TRIALS} trials of {len(searches)} models", flush=True)
    return list(searches.values())


def train(study: Study) -> tuple[list[str], list[str]]:
    """Make the study, and return what is packed of its store, and which runs keep their weights."""
    first, *others = study.seeds
    runs = list(trained(study, first))
    searches = searched(study)
    for seed in others:
        runs += trained(study, seed)
    # What pages keep beside runs goes along.
    compare_years(study, MODELS, PAPER_BANDS)
    costs(compare(study, ONE_OR_FOUR))
    names = {run.key for run in runs}
    for search in searches:
        complete = search.known(TrialState.COMPLETE)
        names |= {search.run_of(trial).key for trial in complete}
        names.add(f"tuning/{search.name}.journal")
    configs = [study.config(task=task, bands=bands) for task, bands in PREDICTING]
    return sorted(names), sorted(study.run(config).key for config in configs)


def main() -> None:
    """Train, and write the pack that the package ships."""
    study = open_study(seeds=SEEDS)
    # What is shipped already is no reason not to train.
    study = replace(study, store=RunStore(default_store()))
    names, weights = train(study)
    path = project_folder() / "results" / "synthetic.runs"
    manifest = pack_runs(study.store, path, weights, names)
    print(f"{path}: {len(manifest.runs)} runs, {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    try:
        main()
    except MinsegError as error:
        sys.exit(f"make study: {error}")
    except KeyboardInterrupt:
        sys.exit("make study: interrupted; start it again, and it goes on")
