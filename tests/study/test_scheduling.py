import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client
from safetensors import safe_open

from minseg import MinsegError
from minseg.data.dataset import open_dataset
from minseg.learning.training import HISTORY_COLUMNS
from minseg.study import scheduling
from minseg.study.config import PROFILES
from minseg.study.runs import RunStore, run_key
from minseg.study.scheduling import run_all, summary_of, tell_of_missing
from minseg.study.study import Study
from minseg.study.tuning import tune
from tests.conftest import TINY, names, write_small_dataset
from tests.study.cluster import Cluster, trained_by, wait_until
from tests.study.made_runs import excavation, write_run

GRID = [TINY.replace(seed=seed, epochs=15) for seed in range(3)]
NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """The grid, made by one worker of this machine; one configuration is asked for twice."""
    store = RunStore(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(scheduling.SCHEDULER_VARIABLE, raising=False)
        patch.setattr(scheduling, "WORKER_MEMORY_BYTES", 2**60)  # no room for a second
        outcomes = run_all([*GRID, GRID[1]], dataset, store)
    return store, outcomes


def test_workers_of_this_machine_make_each_run_once_and_stored_runs_need_none(
    dataset, undisturbed, capsys
):
    store, outcomes = undisturbed
    assert [outcome.config for outcome in outcomes] == [*GRID, GRID[1]]
    assert [outcome.problem for outcome in outcomes] == [None] * 4
    assert [outcome.run.key for outcome in outcomes] == [
        run_key(config, dataset) for config in (*GRID, GRID[1])
    ]
    assert len(list(store)) == 3
    assert [name for name in names(store.path) if name.endswith(".partial")] == []
    assert run_all(GRID, dataset, store, NOWHERE) == outcomes[:3]
    assert capsys.readouterr().err == ""  # nothing was made


def test_workers_of_this_machine_can_be_reached_from_no_other():
    with scheduling.local_cluster(1):
        here = psutil.Process()
        ours = [process.net_connections() for process in (here, *here.children(recursive=True))]
    listening = {one.laddr.ip for own in ours for one in own if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.clusters
def test_killed_workers_lose_nothing(cluster, worker_processes, dataset, undisturbed, tmp_path):
    store, (_, made) = RunStore(tmp_path), undisturbed
    doomed = cluster.start_worker("--no-nanny")
    lasting = wait_until(lambda: len(worker_processes()) == 3 and worker_processes())
    lasting.remove(doomed.pid)
    with ThreadPoolExecutor() as pool:
        found = pool.submit(run_all, GRID, dataset, store, cluster.address)
        first = wait_until(lambda: trained_by(doomed.pid, store))
        done = seconds_until_now(store, first)
        doomed.kill()  # for good
        victim = wait_until(lambda: next((p for p in lasting if trained_by(p, store)), None))
        os.kill(victim, signal.SIGKILL)  # its nanny starts another
        outcomes = found.result()
    assert doomed.wait() == -signal.SIGKILL
    assert [outcome.problem for outcome in outcomes] == [None] * len(GRID)
    # The seconds of the epochs before the kill show that these were not done again.
    (taken_up,) = [outcome.run for outcome in outcomes if outcome.run.key == first]
    assert taken_up.history["seconds"][: len(done)].tolist() == pytest.approx(done, rel=1e-12)
    for outcome, expected in zip(outcomes, made, strict=False):
        one, other = ((run.path / "counts.csv").read_bytes() for run in (outcome.run, expected.run))
        assert one == other
        one, other = (run.history.drop(columns="seconds") for run in (outcome.run, expected.run))
        assert one.equals(other)
    assert [name for name in names(store.path) if name.endswith(".partial")] == []
    wait_until(lambda: len(worker_processes()) == 2)


def seconds_until_now(store, key):
    """How long each epoch took that an unfinished run's checkpoint holds."""
    with safe_open(store.path / f".{key}.partial" / "checkpoint.safetensors", "pt") as file:
        history = json.loads(file.metadata()["history"])
    return [row[HISTORY_COLUMNS.index("seconds")] for row in history]


@pytest.mark.clusters
def test_scheduler_without_workers_is_told_and_one_that_goes_away_ends_the_waiting(
    dataset, tmp_path, monkeypatch
):
    study = Study("demo", dataset, (0,), RunStore(tmp_path / "runs"))
    mortal = Cluster(tmp_path / "mortal")
    try:
        alone = pytest.raises(MinsegError, match=f"{mortal.address}: has no workers; start some")
        with monkeypatch.context() as patch, alone:
            patch.setattr(scheduling, "WORKERS_WITHIN_S", 0.5)
            run_all([TINY], dataset, study.store, mortal.address)
        mortal.start_worker("--no-nanny", ready=False)
        with ThreadPoolExecutor() as pool, Client(mortal.address) as client:
            run = pool.submit(run_all, [TINY], dataset, study.store, mortal.address)
            search = pool.submit(tune, study, "model1", "RGB", 2, scheduler=mortal.address)
            wait_until(lambda: sum(map(len, client.processing().values())) == 2)
            mortal.scheduler.kill()
            (outcome,) = run.result()
            with pytest.raises(MinsegError, match=f"{mortal.address}: the connection.*was lost"):
                search.result()
    finally:
        mortal.stop()
    assert outcome.run is None
    assert "connection to the scheduler was lost" in outcome.problem
    assert "\n" not in outcome.problem


@pytest.mark.parametrize("address", [NOWHERE, "127.0.0.1", "post://127.0.0.1:1"])
def test_scheduler_that_does_not_answer(dataset, tmp_path, monkeypatch, address):
    monkeypatch.setattr(scheduling, "ANSWER_WITHIN_S", 0.5)
    with pytest.raises(MinsegError, match=r"does not answer.*start it with `dask scheduler`") as e:
        run_all([TINY], dataset, RunStore(tmp_path), address)
    assert str(e.value).startswith(f"scheduler {address}: ")
    assert names(tmp_path) == []


def test_environment_names_a_scheduler_an_argument_another_and_paths_may_be_relative(
    scheduler, dataset, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    relative, store = open_dataset(Path(os.path.relpath(dataset.path))), RunStore(Path("runs"))
    monkeypatch.setenv(scheduling.SCHEDULER_VARIABLE, NOWHERE)
    with monkeypatch.context() as patch, pytest.raises(MinsegError, match=NOWHERE):
        patch.setattr(scheduling, "ANSWER_WITHIN_S", 0.5)
        run_all([TINY], relative, store)
    (outcome,) = run_all([TINY], relative, store, scheduler)
    assert (outcome.config, outcome.problem) == (TINY, None)
    assert outcome.run.path.parent == tmp_path / "runs"
    assert [run.key for run in store] == [outcome.run.key]


def test_runs_that_cannot_be_made_are_named_and_the_others_go_on(
    scheduler, dataset, undisturbed, tmp_path, capsys
):
    store = RunStore(tmp_path / "runs")
    shutil.copytree(undisturbed[0].path, store.path)
    damaged = store.path / run_key(GRID[2], dataset)
    (damaged / "counts.csv").unlink()
    wanted = [GRID[0], GRID[2], TINY.replace(bands="M"), TINY.replace(crop=96), TINY]
    problems = [one.problem for one in run_all(wanted, dataset, store, scheduler)]
    assert problems[0] is problems[-1] is None
    assert problems[1].startswith(f"{damaged}: counts.csv is missing; delete the folder")
    assert "has no band" in problems[2]
    assert "smaller than the crop" in problems[3]
    shutil.rmtree(damaged)
    (again,) = run_all([GRID[2]], dataset, store, scheduler)
    expected = (undisturbed[0].path / damaged.name / "counts.csv").read_bytes()
    assert (again.run.path / "counts.csv").read_bytes() == expected
    told = capsys.readouterr().err
    assert f"{store.path}: 1 run(s) are missing and made now: about " in told
    assert "not used" not in told


def test_how_long_missing_runs_take_is_told_from_similar_ones(dataset, tmp_path, capsys):
    store = RunStore(tmp_path / "runs")

    def told(*configs, at_once=1):
        tell_of_missing(configs, dataset, store, at_once)
        return capsys.readouterr().err.removeprefix(f"{store.path}: ").strip()

    similar = [TINY.replace(seed=seed) for seed in range(8)]
    unknown = "8 run(s) are missing and made now: how long that takes is not known"
    assert told(*similar).startswith(unknown)
    laptop = [PROFILES["laptop"].replace(task="model3", seed=seed) for seed in (0, 1)]
    assert told(*laptop, at_once=9).endswith("about 3 minutes with 2 at once")
    trial = TINY.replace(score_epochs=(1,))
    tested = {part: {part: excavation(5)} for part in ("validation", "test")}
    for key, config, seconds, digest in (
        ("a0", TINY.replace(bands="RGB", seed=9), 100, dataset.digest),
        ("a1", TINY.replace(task="model1"), 140, dataset.digest),
        ("a2", TINY, 9000, "another"),
        ("a3", TINY.replace(epochs=3), 9000, dataset.digest),
    ):
        facts = {"dataset_hash": digest, "wall_time_s": seconds}
        write_run(store.path / key, config, {config.epochs: tested}, **facts)
    assert told(*similar, at_once=2).endswith(": about 8 minutes with 2 at once")
    assert told(trial).endswith(": about 2 minutes with 1 at once")
    (store.path / "a0" / "provenance.json").write_text("cut off")
    assert told(TINY, TINY.baseline()).endswith(": about 3 minutes with 1 at once")
    write_run(store.path / "a4", TINY, {TINY.epochs: tested}, dataset="squares")
    outdated = "1 run(s) are of an earlier content of dataset 'squares' and not used\n"
    assert told(TINY).startswith(f"{outdated}{store.path}: 1 run(s) are missing")


def test_the_environment_says_how_many_runs_are_made_at_once(monkeypatch):
    monkeypatch.setenv(scheduling.PROCESSES_VARIABLE, "two")
    with (
        pytest.raises(MinsegError, match="MINSEG_PROCESSES='two': give a number"),
        scheduling.local_cluster(2),
    ):
        pytest.fail("how many?")
    monkeypatch.setenv(scheduling.PROCESSES_VARIABLE, "1")
    with scheduling.local_cluster(2) as cluster:
        assert len(cluster.workers) == 1


def test_dataset_whose_files_are_gone_and_what_went_wrong_on_a_worker(tmp_path):
    dataset = write_small_dataset(tmp_path / "mines", count=3, years=(2020,))
    missing = dataset.path / dataset.scenes["labels"][1]
    missing.unlink()
    outcomes = run_all([TINY, GRID[0]], dataset, RunStore(tmp_path / "runs"), NOWHERE)
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert outcome.problem.startswith(f"{missing}: cannot be read")
    assert summary_of(ValueError("first\nsecond")) == "ValueError: first"
    assert summary_of(MemoryError()) == "MemoryError: no reason given"


@pytest.mark.clusters
def test_workers_of_a_machine_that_slept_go_on():
    impatient = dask.config.set({"distributed.scheduler.worker-ttl": "1s"})
    with impatient, scheduling.local_cluster(1) as cluster, Client(cluster) as client:
        worker = client.submit(os.getpid, pure=False).result()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(8)  # Dask waits for ten heartbeats at least, half a second each
        os.kill(worker, signal.SIGCONT)
        assert client.submit(os.getpid, pure=False).result(timeout=60) == worker
