"""How much faster two local workers finish a grid of runs than one.

The same runs are made twice in this process's lifetime, into new stores: by one worker with one
thread, and by two. Starting the workers, which costs the same seconds for any grid, is timed apart.

Run: python benchmarks/grid.py [--runs 6 --epochs 8]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from minseg.study.config import profile_config
from minseg.study.runs import RunStore
from minseg.study.scheduling import local_cluster, run_all
from minseg.synthetic.dataset import write_synthetic


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--mines", type=int, default=40)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    configs = [
        profile_config("demo", task="model4", epochs=given.epochs, seed=seed)
        for seed in range(given.runs)
    ]
    seconds, starting = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_synthetic(Path(folder) / "mines", given.mines)
        for workers in (1, 2):
            began = time.perf_counter()
            with local_cluster(workers) as cluster:
                address = cluster.scheduler_address
                warm = [configs[0].replace(epochs=1, seed=100 + k) for k in range(workers)]
                run_all(warm, dataset, RunStore(Path(folder) / f"warm-{workers}"), address)
                starting[workers] = time.perf_counter() - began
                began = time.perf_counter()
                outcomes = run_all(
                    configs, dataset, RunStore(Path(folder) / f"runs-{workers}"), address
                )
                seconds[workers] = time.perf_counter() - began
            if any(outcome.problem for outcome in outcomes):
                raise SystemExit(str([outcome.problem for outcome in outcomes]))
    report = vars(given) | {
        "cores": os.cpu_count(),
        "seconds_one_worker": round(seconds[1], 1),
        "seconds_two_workers": round(seconds[2], 1),
        "seconds_until_ready": {workers: round(value, 1) for workers, value in starting.items()},
        "ratio": round(seconds[1] / seconds[2], 2),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
