"""Whether `make test` notices mistakes: each is made in a copy of the project, and must be caught.

    python benchmarks/mutations.py [WORD …]     only those whose names hold one of the words

A line a mistake, and how many tests ran until it was caught; exit status 1 if one is not.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICK = "not (clusters or kills or pages)"  # as in `make test`

MISTAKES = {  # name: file of src/minseg, what stands there once, what instead, test files
    "a flipped sign (VV / VH)": (
        *("data/radiometry.py", "vv_db - vh_db - 10", "vv_db + vh_db - 10"),
        "test_cli_import.py",
    ),
    "a window off by one": (
        *("learning/inference.py", "(grid.height - crop) // 2,", "(grid.height - crop) // 2 + 1,"),
        "learning/test_inference.py",
    ),
    "a swapped axis (flips and turns of crops)": (
        *("learning/patches.py", "image.transpose(-1, -2)", "image.flip(-1)"),
        "learning/test_patches.py",
    ),
    "a leaked mine (overlapping mines apart)": (
        *("data/mines.py", "_overlap_groups(list(mines[\"mine\"]), footprints or {})",
          "_overlap_groups(list(mines[\"mine\"]), {})"),
        "data/test_mines.py",
    ),
    "training pixels of all parts": (
        *("data/radiometry.py", "scenes_of(\"train\")", "scenes_of(\"test\")"),
        "data/test_radiometry.py",
    ),
    "a wrong order of classes (overlaps)": (
        *("data/labels.py", "(EXTENT.name, *PRIORITY).index):",
          "(EXTENT.name, *PRIORITY).index, reverse=True):"),
        "data/test_labels.py",
    ),
    "ignored pixels counted as background": (
        *("learning/patches.py", "target[~valid] = task.ignore", "target[~valid] = 0"),
        "learning/test_patches.py",
    ),
    "bands swapped (as stored, not as asked)": (
        *("data/dataset.py", "self.values[(positions, *inside)]",
          "self.values[(sorted(positions), *inside)]"),
        "data/test_writing.py data/test_dataset.py",
    ),
    "a wrong nodata (of class maps)": (
        *("maps/class_map.py", "if source.nodata not in (None, task.ignore):",
          "if source.nodata not in (None, 0):"),
        "maps/test_class_map.py",
    ),
    "the seed ignored": (
        *("learning/patches.py", "default_rng((self.seed, epoch))", "default_rng((0, epoch))"),
        "learning/test_patches.py",
    ),
    "a wrong unit (acres for hectares)": (
        *("maps/regions.py", "HECTARE_M2 = 10_000.0", "HECTARE_M2 = 4_046.9"),
        "maps/test_polygons.py",
    ),
    "the offset of 1000 added": (
        *("fetching/pixels.py", "numbers.astype(np.int32) - offset",
          "numbers.astype(np.int32) + offset"),
        "fetching/test_pixels.py",
    ),
    "the test part chooses": (
        *("study/tables.py", "scored(result, \"standard\", \"validation\")",
          "scored(result, \"standard\", \"test\")"),
        "study/test_tables.py",
    ),
}  # fmt: skip


def tracked() -> list[str]:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def run(copy: Path, files: list[str]) -> tuple[bool, str]:
    """Run test files of the copy until one fails; whether one did, and pytest's last line."""
    command = ["-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", QUICK]
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command, *(f"tests/{name}" for name in files)],
        cwd=copy, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode != 0, done.stdout.splitlines()[-1]


def main() -> None:
    words = sys.argv[1:]
    chosen = {
        name: one for name, one in MISTAKES.items() if not words or any(w in name for w in words)
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "minseg"
        for name in tracked():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
        every = sorted({name for *_, files in chosen.values() for name in files.split()})
        failed, said = run(copy, every)
        if failed:
            sys.exit(f"without a mistake: {said}")
        missed = 0
        for name, (file, before, after, files) in chosen.items():
            path = copy / "src" / "minseg" / file
            whole = path.read_text(encoding="utf-8")
            assert whole.count(before) == 1, f"{file} has not one {before!r}"
            path.write_text(whole.replace(before, after), encoding="utf-8")
            caught, said = run(copy, files.split())
            path.write_text(whole, encoding="utf-8")
            missed += not caught
            print(f"{name}: {'caught' if caught else 'MISSED'} ({said})", flush=True)
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
