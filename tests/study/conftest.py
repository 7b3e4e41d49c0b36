"""Dask workers that the tests of this folder share."""

import os

import pytest
from distributed import Client

from tests.study.cluster import PATIENCE_S, Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A scheduler and two workers, which their nannies start again if they are killed."""
    started = Cluster(tmp_path_factory.mktemp("dask") / "cluster")
    try:
        for _ in range(2):
            started.start_worker()
        with Client(started.address, timeout=PATIENCE_S) as client:
            client.wait_for_workers(2, timeout=PATIENCE_S)
        yield started
    finally:
        started.stop()


@pytest.fixture
def worker_processes(cluster):
    """From nothing to the process numbers of the workers that are there now."""
    with Client(cluster.address, timeout=PATIENCE_S) as client:
        yield lambda: set(client.run(os.getpid).values())
