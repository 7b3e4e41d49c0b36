import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from distributed import Client
from optuna.trial import TrialState

from minseg import MinsegError
from minseg.study import scheduling, tuning
from minseg.study.pack import pack_runs
from minseg.study.runs import Outcome, Run, RunStore, run_key
from minseg.study.study import Study
from minseg.study.tuning import SearchSpace, absolute, tune
from tests.conftest import names
from tests.study.cluster import wait_until

NOWHERE = "tcp://127.0.0.1:1"
UNFAILED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
SPACE = SearchSpace(
    learning_rate=(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
    batch_size=(2, 4, 8),
    epochs=(1, 2, 3),
    crop=(32,),
    optimiser=("sgd", "adam", "adamw"),
    encoder=("tu-mobilenetv3_small_050",),
    architecture=("linknet",),
    loss=("jaccard", "tversky", "focal", "crossentropy"),
)
COMMON = {"weights": None, "test_crop": 0, "precision": "32-true"}
PROGRAM = """
import sys
from pathlib import Path
from minseg import atomic
from minseg.data.dataset import open_dataset
from minseg.study import scheduling
from minseg.study.runs import RunStore
from minseg.study.study import Study
from minseg.study.tuning import SPACES, SearchSpace, tune
space, dataset, runs, trials, storage, scheduler = sys.argv[1:]
scheduling.ANSWER_WITHIN_S = scheduling.WORKERS_WITHIN_S = atomic.TOLD_AFTER_S = 3600
SPACES["demo"] = SearchSpace.model_validate_json(space)
study = Study("demo", open_dataset(dataset), (0,), RunStore(Path(runs)))
found = tune(
    study, "model1", "B02,B04,VV", int(trials), storage=storage or None,
    scheduler=scheduler or None, weights=None, test_crop=0, precision="32-true",
)
print(len(found.finished()))
"""


@pytest.fixture(autouse=True)
def small_space(monkeypatch):
    monkeypatch.setitem(tuning.SPACES, "demo", SPACE)
    monkeypatch.delenv(scheduling.SCHEDULER_VARIABLE, raising=False)


@pytest.fixture
def study(dataset, tmp_path):
    return Study("demo", dataset, (0,), RunStore(tmp_path / "runs"))


def search_for(study, trials, scheduler=NOWHERE, **settings):
    return tune(study, "model1", "B02,B04,VV", trials, scheduler=scheduler, **COMMON | settings)


def start_program(study, trials, storage="", scheduler="", space=SPACE):
    values = (space.model_dump_json(), study.dataset.path, study.store.path, trials)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, values), storage, scheduler],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_training(found):
    """Some trial has begun and is not near its end."""
    half = found.space.epochs[-1] / 2
    running = found.known(TrialState.RUNNING)
    return any(0 < max(trial.intermediate_values, default=0) < half for trial in running)


def stopped_in_training(found, program):
    """Stop a program and all that it started if it is in a training; else let it go on."""
    processes = [program, *program.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    if in_training(found):
        return processes
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return []


def require_sound(found, num_finished):
    """All trials are over, and each says what its run says."""
    assert len(found.finished()) == num_finished
    assert not found.known(TrialState.RUNNING, TrialState.WAITING)
    # A kill may come while hyperparameters are drawn; such a trial never had a run.
    assert not any("run" in trial.user_attrs for trial in found.known(TrialState.FAIL))
    complete = found.known(TrialState.COMPLETE)
    assert complete
    for trial in complete:
        run = found.run_of(trial)
        assert run.config == found.base.replace(**trial.params)
        curve = run.history.set_index("epoch")["validation_iou"]
        assert trial.value == max(curve[list(found.space.epochs)])
        assert trial.intermediate_values == pytest.approx(dict(curve))
        assert "weights.safetensors" not in names(run.path)
        assert set(run.counts["epochs"]) == set(found.space.epochs)
    assert {run.key for run in found.store} == {trial.user_attrs["run"] for trial in complete}
    assert [name for name in names(found.store.path) if name.endswith(".partial")] == []


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_search_ends_with_as_many_trials_as_are_wanted(scheduler, study, tmp_path, kind):
    storage = f"sqlite:///{tmp_path / 'tuning.db'}" if kind == "sqlite" else None
    found = search_for(study, 2, scheduler, storage=storage)
    require_sound(found, 2)
    before = found.known()

    again = search_for(study, 2, storage=storage)  # no scheduler answers: nothing is trained
    assert again.known() == before

    more = search_for(study, 3, scheduler, storage=storage)
    require_sound(more, 3)
    assert more.known()[:2] == before

    if kind == "journal":
        pack_runs(study.store, tmp_path / "search.runs")
        shipping = RunStore(tmp_path / "another", tmp_path / "search.runs")
        shipped = search_for(replace(study, store=shipping), 3)  # nothing is trained
        require_sound(shipped, 3)
        assert shipped.known() == more.known()


def test_kept_journal_is_found_from_another_folder(scheduler, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = Study("demo", study.dataset, (0,), RunStore(Path("runs")))
    found = search_for(relative, 1, scheduler, storage="kept.journal")
    require_sound(found, 1)
    assert "kept.journal" in names(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = search_for(study, 1, storage="../kept.journal")
    assert again.known() == found.known()
    assert absolute("sqlite:///a.db") == f"sqlite:///{Path.cwd() / 'a.db'}"
    for whole in (f"sqlite:///{tmp_path / 'a.db'}", "sqlite://", "postgresql://host/name"):
        assert absolute(whole) == whole


@pytest.mark.kills
def test_killed_search_is_finished_by_the_next(scheduler, study, monkeypatch):
    longer = SPACE.model_copy(update={"epochs": (12, 18, 24)})
    monkeypatch.setitem(tuning.SPACES, "demo", longer)
    program = start_program(study, 100, space=longer)  # far more than it gets the time for
    try:
        wait_until(lambda: program.poll() is not None or list(study.store))
        assert program.poll() is None, program.communicate()
        left, whole = search_for(study, 0), psutil.Process(program.pid)

        def stopped():
            assert program.poll() is None, program.communicate()
            return in_training(left) and stopped_in_training(left, whole)

        _, *children = wait_until(stopped)
    finally:
        program.kill()
    for child in children:
        child.resume()
    program.communicate()
    assert program.returncode == -signal.SIGKILL
    assert psutil.wait_procs(children)[1] == []  # its workers leave with it

    before = left.known()
    assert left.known(TrialState.RUNNING)
    wanted = len(left.known(*UNFAILED)) + 1
    found = search_for(study, wanted, scheduler)
    require_sound(found, wanted)
    for old, new in zip(before, found.known(), strict=False):
        assert old.params == new.params
        assert old.intermediate_values.items() <= new.intermediate_values.items()


@pytest.mark.clusters
def test_two_programs_share_one_search(cluster, study, tmp_path):
    storage = f"sqlite:///{tmp_path / 'tuning.db'}"
    programs = [start_program(study, 7, storage, cluster.address) for _ in range(2)]
    try:
        outputs = [program.communicate() for program in programs]
    finally:
        for program in programs:
            program.kill()
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert [out.split() for out, _ in outputs] == [["7"], ["7"]]
    told = [line for _, errors in outputs for line in errors.splitlines()]
    assert all("are missing and made now" in line for line in told)
    found = search_for(study, 7, storage=storage)
    # A run that two had made at once could not have been put in place by the second, which would
    # be a failed trial.
    require_sound(found, 7)
    assert [trial.number for trial in found.known()] == list(range(7))
    drawn = Counter(trial.user_attrs["run"] for trial in found.known())
    assert max(drawn.values()) == 1  # programs do not draw the same ones


def test_combinations_that_cannot_be_built_are_not_trained(scheduler, study, monkeypatch):
    only = {"architecture": ("deeplabv3+",), "loss": ("crossentropy",), "batch_size": (4,)}
    encoders = ("vgg16", "tu-mobilenetv3_small_050", "densenet121")
    space = SPACE.model_copy(update={**only, "encoder": encoders, "epochs": (1,)})
    monkeypatch.setitem(tuning.SPACES, "demo", space)
    found = search_for(study, 2, scheduler)
    assert {trial.params["encoder"] for trial in found.finished()} == {encoders[1]}
    failed = found.known(TrialState.FAIL)
    assert failed
    assert {trial.params["encoder"] for trial in failed} <= {"vgg16", "densenet121"}
    assert not any(trial.user_attrs for trial in failed)
    assert {run.config.encoder for run in study.store} == {encoders[1]}

    monkeypatch.setitem(
        tuning.SPACES, "demo", space.model_copy(update={"encoder": ("vgg16", "densenet121")})
    )
    with pytest.raises(MinsegError, match=r"none of deeplabv3\+ can be built on vgg16, densenet"):
        search_for(study, 2, scheduler)


def test_failed_trials_are_told_and_do_not_count(scheduler, study, monkeypatch, capsys):
    space = SPACE.model_copy(update={"crop": (32, 96), "epochs": (1,)})
    monkeypatch.setitem(tuning.SPACES, "demo", space)
    found = search_for(study, 4, scheduler)
    failed = found.known(TrialState.FAIL)
    assert len(found.finished()) + len(failed) == 4
    assert 0 < len(failed) < 4, "draw with another seed"
    assert {trial.params["crop"] for trial in failed} == {96}
    assert all("smaller than the crop" in trial.user_attrs["problem"] for trial in failed)
    missing, told = capsys.readouterr().err.splitlines()
    assert "4 run(s) are missing" in missing
    assert told.startswith(f"{len(failed)} trial(s) failed: ")

    monkeypatch.setitem(tuning.SPACES, "demo", space.model_copy(update={"crop": (96,)}))
    with pytest.raises(MinsegError, match=r"no trial could be trained: .*smaller than the crop"):
        search_for(study, 2, scheduler)


def test_trial_left_while_it_was_drawn_is_not_trained(scheduler, study):
    left = search_for(study, 0).trials.ask()
    left.suggest_categorical("batch_size", SPACE.batch_size)
    found = search_for(study, 1, scheduler)
    assert [trial.state for trial in found.known()] == [TrialState.FAIL, TrialState.COMPLETE]


def run_trial(scheduler, found, trial):
    arguments = found, found.base.replace(**trial.params), trial._trial_id
    with Client(scheduler) as client:
        return client.submit(tuning._run_trial, *arguments, pure=False).result()


@pytest.mark.parametrize("ended_by", ["another program", "pruning"])
def test_trial_that_is_pruned_leaves_no_run(scheduler, study, ended_by):
    found = search_for(study, 0)
    if ended_by == "pruning":
        better = found.trials.ask()
        better.report(1.0, 1)
        assert not better.should_prune()
    trial = tuning._ask(found)
    if ended_by == "another program":
        found.trials.tell(trial.number, state=TrialState.PRUNED)
    assert run_trial(scheduler, found, trial) is None
    pruned = found.known()[trial.number]
    assert pruned.state == TrialState.PRUNED
    assert list(pruned.intermediate_values) == [1] * (ended_by == "pruning")
    assert list(study.store) == []
    assert [name for name in names(study.store.path) if name.endswith(".partial")] == []


def test_untuned_settings_are_the_first_trial_and_never_stopped(scheduler, study, monkeypatch):
    space = SPACE.model_copy(update={"epochs": (1, 10)})
    monkeypatch.setitem(tuning.SPACES, "demo", space)
    untuned = {"learning_rate": 1e-3, "crop": 32, "encoder": "tu-mobilenetv3_small_050"}
    found = search_for(study, 0, **untuned)
    better = found.trials.ask()
    better.report(1.0, found.first_rung)
    assert not better.should_prune()
    trial = tuning._ask(found)
    demo = study.config(**untuned)
    assert trial.params == {name: getattr(demo, name) for name in space.sampled} == found.default
    assert len(run_trial(scheduler, found, trial).run.history) == demo.epochs
    tuning._ask(found)
    assert all(one.params != found.default for one in found.known()[2:])
    assert search_for(study, 0, **untuned | {"crop": 64}).default is None  # not in the space


@pytest.mark.parametrize("profile", tuning.SPACES)
def test_each_space_holds_its_profiles_own_settings_and_length(
    dataset, tmp_path, profile, monkeypatch
):
    monkeypatch.undo()
    study = Study(profile, dataset, (0,), RunStore(tmp_path / "runs"))
    found = tuning.open_search(study, "model1", "B02,B04,VV")
    config = study.config()
    assert found.default == {name: getattr(config, name) for name in found.space.sampled}
    assert config.epochs in found.space.epochs


def test_validation_without_a_class_fails_a_trial(scheduler, study, tmp_path):
    found = search_for(study, 0)
    trial = tuning._ask(found)
    config = found.base.replace(**trial.params)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "history.csv").write_text("epoch,validation_iou\n1,\n2,\n3,\n")
    with Client(scheduler) as client:
        future = client.submit(Outcome, config, Run(tmp_path))
        problem = tuning._tell(found, trial.number, future)
    assert "no validation scene" in problem
    assert found.known()[0].state == TrialState.FAIL


@pytest.mark.parametrize("epochs", [3, 9, 12, 18, 50, 200])
def test_trials_are_pruned_at_a_ninth_and_a_third(study, monkeypatch, epochs):
    space = SPACE.model_copy(update={"epochs": (epochs,)})
    monkeypatch.setitem(tuning.SPACES, "demo", space)
    found = search_for(study, 0)
    good = found.trials.ask()
    rungs = []
    for epoch in range(1, epochs):  # tuning asks at no last epoch
        good.report(0.5, epoch)
        before = found.known()[0].system_attrs
        assert not good.should_prune()
        rungs += [epoch] * (found.known()[0].system_attrs != before)
    ninth = -(-epochs // 9)
    assert rungs == [rung for rung in (ninth, 3 * ninth) if rung < epochs]
    bad = found.trials.ask()
    bad.report(0.1, ninth)
    assert bad.should_prune()


def test_locked_database_is_one_line(study, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "LOCKED_WITHIN_S", 0.2)
    file = tmp_path / "tuning.db"
    search_for(study, 0, storage=f"sqlite:///{file}")
    other = sqlite3.connect(file)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MinsegError, match=r"database is locked.*wait until other") as error:
            search_for(study, 2, storage=f"sqlite:///{file}")
    finally:
        other.close()
    assert str(file) in str(error.value)
    assert search_for(study, 0, storage=f"sqlite:///{file}").known() == []


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("{file}/sub/tuning.journal", "{file}/sub"),
        ("{file}", "tuning storage {file}: "),
        ("sqlite:///{file}", "file is not a database"),
        ("post://x", "post://x: "),
        ("postgresql://me:secret@127.0.0.1:1/trials", r"postgresql://me:\*\*\*@127.0.0.1:1/trials"),
    ],
)
def test_storage_that_cannot_be_used_is_one_line(study, tmp_path, storage, message):
    file, text = tmp_path / "notes.txt", "some\nlines of\ntext\n" * 100
    file.write_text(text)
    with pytest.raises(MinsegError, match=message.format(file=file)) as error:
        search_for(study, 2, storage=storage.format(file=file))
    assert str(error.value).startswith("tuning storage ")
    assert "secret" not in str(error.value)
    assert file.read_text() == text


def fill_journal(study):
    """The journal of a search with three finished trials, and what is known of these."""
    found = search_for(study, 0)
    for k in range(3):
        trial = found.trials.ask()
        trial.report(0.1 * k, 1)
        found.trials.tell(trial, 0.1 * k)
    return Path(found.storage), found.known()


def test_journal_that_was_cut_keeps_all_that_is_whole(study):
    journal, before = fill_journal(study)
    lines = journal.read_bytes().splitlines(keepends=True)
    for behind in (b"\0" * 100, b'{"op_code":6,"trial_id":0'):
        journal.write_bytes(b"".join(lines) + behind)
        again = search_for(study, 0)
        assert again.known() == before
        again.trials.tell(again.trials.ask(), 0.7)
        assert search_for(study, 0).known()[:3] == before
        assert [trial.value for trial in search_for(study, 0).finished()] == [0.0, 0.1, 0.2, 0.7]
    for length in range(1, len(lines[-1])):  # written on by a program that knew nothing of the cut
        cut = lines[-1][:length]
        journal.write_bytes(b"".join([*lines, cut, *lines[1:]]))
        found = search_for(study, 0).known()
        assert len(found) == 6, length
        assert found[:3] == before
    journal.write_bytes(lines[0][:20])  # at the very first line
    assert search_for(study, 0).known() == []


def test_full_disk_leaves_a_journal_whole(study, file_limit):
    journal, before = fill_journal(study)
    whole = journal.read_bytes()
    for more in range(0, 200, 40):
        with file_limit(len(whole) + more), pytest.raises(OSError, match="File too large"):
            while True:
                search_for(study, 0).trials.ask()
        assert journal.read_bytes().endswith(b"\n")
        assert search_for(study, 0).known()[:3] == before


def test_trial_is_keyed_as_any_run_and_a_search_by_all_but_the_number_of_trials(study, monkeypatch):
    found = search_for(study, 0)
    trial = tuning._ask(found)
    config = found.base.replace(**trial.params)
    assert trial.user_attrs == {"run": run_key(config, study.dataset)}
    assert (config.schedule, config.checkpoint) == ("constant", "last")
    assert (config.score_epochs, config.epochs) == ((1, 2), 3)
    assert trial.params == {name: getattr(config, name) for name in SPACE.sampled}
    assert search_for(study, 0).name == found.name
    assert search_for(study, 0, loss="focal").name != found.name
    monkeypatch.setitem(tuning.SPACES, "demo", SPACE.model_copy(update={"crop": (64,)}))
    assert search_for(study, 0).name != found.name


def test_task_that_the_dataset_lacks_is_refused_at_once(study):
    with pytest.raises(MinsegError, match="nobody annotated"):
        tune(study, "model3", "RGB", 2, scheduler=NOWHERE)
    assert not study.store.path.exists()


def test_searches_that_are_over_need_no_place_to_write(study, monkeypatch):
    journal, before = fill_journal(study)
    found_names = names(journal.parent)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    monkeypatch.setattr(tuning, "hold", lambda *_: pytest.fail("asked for a lock"))
    monkeypatch.setattr(tuning.Journal, "append_logs", lambda *_: pytest.fail("wrote"))
    assert search_for(study, 3).known() == before
    assert names(journal.parent) == found_names
