"""Dask workers that the tests of this folder share, and runs with predictions drawn by hand."""

import os

import pytest
from distributed import Client

from minseg.study import scheduling
from tests.study.cluster import Cluster, cluster_here
from tests.study.predicted import PIT, write_mines, write_predictions

FOR_EVER_S = 3600


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Give a busy machine all the time it takes to answer."""
    monkeypatch.setattr(scheduling, "ANSWER_WITHIN_S", FOR_EVER_S)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A scheduler and two workers, which their nannies start again if they are killed."""
    started = Cluster(tmp_path_factory.mktemp("dask") / "cluster")
    try:
        for _ in range(2):
            started.start_worker()
        with Client(started.address, timeout=FOR_EVER_S) as client:
            client.wait_for_workers(2)
        yield started
    finally:
        started.stop()


@pytest.fixture
def scheduler():
    return cluster_here().scheduler_address


@pytest.fixture
def worker_processes(cluster):
    """From nothing to the process numbers of the workers that are there now."""
    with Client(cluster.address, timeout=FOR_EVER_S) as client:
        yield lambda: set(client.run(os.getpid).values())


@pytest.fixture
def make(tmp_path):
    """From predictions of the test mines to a run and its dataset."""

    def make(predictions, labels=None, task="model1", **dataset):
        labels = labels or [{"excavation": PIT}] * len(predictions)
        mines = write_mines(tmp_path / "d", labels, **dataset)
        return write_predictions(tmp_path / "run", mines, task, predictions), mines

    return make
