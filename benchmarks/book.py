"""How long the demo book takes: cold, and again from its stored runs.

The project's files are copied to an empty folder, without datasets, runs or pages. There the book
is built, every run being made on the way, and then built anew without its pages: the second time,
all that can be loaded is.

Run: python benchmarks/book.py [--results results/book_times.csv]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from minseg.study.runs import cpu_cores, git_state

ROOT = Path(__file__).parents[1]
EXECUTED = re.compile(r"book/(\S+): Executed notebook in ([\d.]+) seconds")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="a CSV file to write the times to")
    return parser.parse_args()


def copy_project(target: Path) -> None:
    """Copy the files that git knows, links as links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def build(project: Path) -> dict[str, float]:
    """Build the book; return the seconds of each page, and of the whole."""
    shutil.rmtree(project / "book" / "_build", ignore_errors=True)
    command = ["jupyter-book", "build", "book/", "-W", "--keep-going"]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "PYTHONPATH": str(project / "src")}
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    whole = time.perf_counter() - began
    log = done.stdout + done.stderr
    if done.returncode:
        sys.exit(f"the book was not built:\n{log[-3000:]}")
    return {page: float(seconds) for page, seconds in EXECUTED.findall(log)} | {"whole book": whole}


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project)
        times = pd.DataFrame({"cold_s": build(project), "again_s": build(project)})
    times = times.round(1).rename_axis("page").reset_index()
    name = torch.cpu.get_capabilities().get("cpu_name", "unknown processor")
    times["processor"] = f"{name}, {cpu_cores()} cores"
    commit, dirty = git_state(ROOT / "pyproject.toml")
    times["code"] = f"{commit} with changes" if dirty else commit
    print(times[["page", "cold_s", "again_s"]].to_string(index=False))
    whole = times.set_index("page").loc["whole book"]
    cold_min, again_s = whole["cold_s"] / 60, whole["again_s"]
    print(f"whole book: {cold_min:.1f} min cold, {again_s:.0f} s from stored runs")
    if given.results:
        times.to_csv(given.results, index=False)


if __name__ == "__main__":
    main()
