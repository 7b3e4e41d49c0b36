import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import rasterio

from minseg.cli.notebooks import notebooks_and_parameters
from tests.conftest import names
from tests.report.test_rerun import write_notebook


def as_options(settings):
    return [part for setting in settings.split() for part in ("--set", setting)]


BOTH = ("excavation", "preparatory work area")  # all that was looked for


@pytest.mark.parametrize(
    ("task", "classes", "bands"),
    [("excavation", BOTH[:1], ("background", "excavation")), ("all", BOTH, BOTH)],
)
def test_train_evaluate_predict(
    minseg, refused, dataset, tmp_path, monkeypatch, task, classes, bands
):
    monkeypatch.setattr(logging.root, "handlers", [])  # as outside of a test
    pairs = as_options("encoder=tu-mobilenetv3_small_100 crop=64 test_crop=64 epochs=1")
    common = ["--task", task, "--runs", tmp_path / "runs"]
    status, out, err = minseg("train", dataset.path, *common, *pairs, "--device", "cpu")
    assert (status, len(err.splitlines())) == (0, 1)
    assert "epoch 1 of 1: loss" in err
    run, scores = out.splitlines()[0], out.splitlines()[1]
    out_of_train = out
    mines = len(dataset.scenes_of("test"))
    assert scores.startswith(f"test, {mines} mines, standard: iou 0.")

    status, out, _ = minseg("evaluate", run, dataset.path, "--convention", "paper", "--json")
    report = json.loads(out)
    assert status == 0
    assert set(report["per_class"]) == {"background", *classes}
    assert (report["mines"], report["convention"]) == (mines, "paper")

    again = ["train", dataset.path, "--settings", f"{run}/config.json", *common[2:]]
    assert minseg(*again)[:2] == (0, out_of_train)
    (tmp_path / "s.toml").write_text('task = "dam"\nepochs = 7\nencoder = "none"\ncrop = 64\n')
    given = ["--settings", tmp_path / "s.toml", *common, *pairs]
    assert minseg("train", dataset.path, *given)[:2] == (0, out_of_train)

    image = dataset.path / dataset.scenes["optical"][0]
    output, probabilities = tmp_path / "map.tif", tmp_path / "p.tif"
    command = ["predict", run, image, "-o", output]
    assert "'cuda:9' is not on this machine; use auto or cpu" in refused(
        *command, "--device", "cuda:9"
    )
    more = ["--tile", 96, "--batch-size", 2, "--device", "cpu"]
    status, out, _ = minseg(*command, "--probabilities", probabilities, *more)
    assert (status, out.strip()) == (0, str(output))
    with rasterio.open(output) as found, rasterio.open(image) as original:
        assert found.transform == original.transform
    with rasterio.open(probabilities) as found:
        assert found.descriptions == bands

    status, out, _ = minseg("train", dataset.path, *common, *pairs, "--baseline")
    assert status == 0
    assert out.splitlines()[0] != run

    pack, other = tmp_path / "all.runs", tmp_path / "other"
    status, out, _ = minseg("runs", "pack", pack, "--runs", tmp_path / "runs", "--weights", "all")
    assert (status, f"{pack}: 2 runs, 1 of them with weights" in out) == (0, True)
    status, out, _ = minseg("runs", "unpack", pack, "--runs", other)
    assert (status, out) == (0, f"{other}: 2 runs unpacked, 0 were there\n")
    unpacked = other / Path(run).name / "weights.safetensors"
    assert unpacked.read_bytes() == Path(run, "weights.safetensors").read_bytes()


def test_dataset_commands(minseg, tmp_path):
    folder = tmp_path / "mines"
    status, out, _ = minseg(
        "dataset", "synth", folder, "--mines", 4, "--years", 2018, 2020, "--size", 64
    )
    assert (status, "4 synthetic mines, 8 scenes" in out) == (0, True)
    assert minseg("dataset", "check", folder)[:2] == (0, f"{folder}: no problem found\n")
    status, out, _ = minseg("dataset", "split", folder, "--seed", 3)
    assert (status, "train 2 mines (4 scenes)" in out) == (0, True)
    (folder / "mines.csv").unlink()
    status, out, err = minseg("dataset", "check", folder)
    assert (status, err) == (1, "")
    assert "mines.csv: no such file" in out


IMPORT = "dataset import {missing} --images a* --masks b*"
WORDS = {
    "train {dataset} --task dam": "nobody annotated",
    "train {dataset} --task model4": "nobody annotated",
    "train {dataset} --task excavation+dam,stockpile": "may overlap, those with commas between",
    "train {dataset} --task model1 --bands M": "has no band",
    "evaluate run data --part tst": "unknown part 'tst'; use train, validation",
    "evaluate run data --convention x": "'x'; use standard or paper",
    "train data --task model1 --profile x": "'x'; use paper, laptop or demo",
    "dataset recipe x": "use jasansky, maus",
    f"{IMPORT} --table t --classes 1=dam --radar-unit x": "use db, power",
    "predict run a.tif -o b.tif --radar-unit x": "use db, power",
    "predict run a.tif -o b.tif --tile 64": "the tile larger, e.g. --tile 512",
    "predict run a.tif -o b.tif --batch-size 0": "0 tiles at once",
    "train {dataset}": "give --task",
    "train {dataset} --task model1 --device gpu": "'gpu' is not on this machine; use auto or cpu",
    "train {dataset} --task model1 --settings .": "--settings .: cannot be read (Is a directory)",
}
"""What is unknown is named, with what is known."""


@pytest.mark.parametrize(
    "command",
    [
        *WORDS,
        "train {missing} --task model1",
        "train {dataset} --task model1 --set epochs",
        "train {dataset} --task model1 --set task=model2",
        "train {dataset} --task model1 --set epochs=2 --set epochs=3",
        "train {dataset} --task model1 --seed -1",
        "train {dataset} --task model1 --seed 99999999999999999999",
        "evaluate {missing} {dataset}",
        "predict {missing} image.tif -o out.tif",
        f"dataset check {'a' * 260}",
        "dataset split {missing}",
        "dataset split {dataset} --seed -1",
        "dataset synth {dataset}",
        *(f"dataset synth new --years {years}" for years in ("２０１９", "20²", "20190", "now")),
        "dataset synth {missing} --seed -1",
        *(f"dataset synth {place} --mines 3 --size 64"
          for place in ("a" * 260, ".", "{dataset}/mines.csv")),
        f"{IMPORT} --table t.csv --classes 1",
        f"{IMPORT} --table . --classes 1=dam",
        "runs pack x.runs --runs {missing}",
        "runs unpack {missing}",
        "rerun 99",
        "rerun 01 -p dataset",
        "rerun --each task",
        "rerun -p task model1 -p task model2",
        "rerun -p task model1 --each task model1,model2",
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_status_1(refused, dataset, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    places = {"missing": tmp_path / "missing", "dataset": dataset.path}
    err = refused(*(part.format(**places) for part in command.split(" ")))
    assert WORDS.get(command, "") in err
    assert names(tmp_path) in ([], ["runs"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"epochs 5", "cannot be read (Expected '=' after a key"),
        ("a.toml", 'title = "Müll"'.encode("latin-1"), "cannot be read ('utf-8' codec"),
        ("a.toml", b"epoch = 5", "unknown setting 'epoch'; settings are crop"),
        ("a.toml", b"[epochs]\nfirst = 5", "setting epochs = {'first': 5}"),
        ("config.json", b"epochs = 5", "cannot be read (Expecting value"),
        ("config.json", b"[5]", "holds no names with values"),
    ],
)
def test_settings_that_are_none_are_refused(refused, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    command = ["train", tmp_path, "--task", "model1", "--settings", tmp_path / name]
    assert message in refused(*command)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("crop=64 test_crop=64 architecture=unet+", "use one of"),
        ("crop=64 test_crop=64 encoder=resnet5", "unknown encoder"),
        ("crop=96 test_crop=64", "smaller than the crop of 96"),
        ("crop=64 test_crop=96", "smaller than the test crop of 96"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_pixels_are_read(
    refused, own_dataset, tmp_path, settings, message
):
    for path in own_dataset.path.rglob("optical.tif"):
        path.write_bytes(b"no raster")
    common = ["train", own_dataset.path, "--task", "model1", "--runs", tmp_path / "runs"]
    assert message in refused(*common, *as_options(settings))


def test_a_fault_of_ours_is_one_line_and_keeps_its_traceback(minseg, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("minseg.data.dataset.check_dataset", lambda path: 1 / 0)
    status, out, err = minseg("dataset", "check", "somewhere")
    assert (status, out, len(err.splitlines())) == (70, "", 1)
    assert "ZeroDivisionError: division by zero; this is a fault of minseg" in err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    assert "Traceback" in kept.read_text()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["dataset", "check", "ж…"], 1),
        (["dataset", "synth", "new", "--mines", "3", "--size", "64"], 0),
        (["dataset", "synth", "."], 1),
    ],
)
def test_a_terminal_without_unicode_ends_nothing_and_a_log_has_no_progress_bar(
    tmp_path, arguments, status
):
    command = [sys.executable, "-c", "from minseg.cli import main; main()", *arguments]
    how = {"encoding": "latin-1", "env": os.environ | {"PYTHONIOENCODING": "latin-1:strict"}}
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, **how)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == status
    assert len((done.stderr if "." in arguments else done.stdout).splitlines()) > 0
    assert status == 1 or done.stderr == ""


def test_notebooks_parameters_and_values_to_go_through():
    found = notebooks_and_parameters(["02", "--each", "x", "1,2", "-p", "seeds", "[0]", "01"])
    assert found == (["02", "01"], {"seeds": "[0]"}, {"x": "1,2"})


def test_rerun_over_values_tells_which_failed(minseg, tmp_path, monkeypatch):
    monkeypatch.setenv("MINSEG_PROGRESS", "off")
    notebook = write_notebook(tmp_path / "page.ipynb", "share = 0", "1 / share")
    output = tmp_path / "results"
    status, out, err = minseg("rerun", notebook, "--each", "share", "0", "--output", output)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"0 of 1 executions succeeded; outcomes.csv is in {output}",
        f"failed: {output / 'page-share=0.ipynb'}: cell 3: ZeroDivisionError: division by zero",
    ]


@pytest.mark.kills
def test_interrupted_rerun_keeps_outcomes_and_leaves_no_kernel(tmp_path):
    note = f"open({str(tmp_path / 'kernel')!r}, 'w').write(str(os.getpid()))"
    notebook = write_notebook(
        tmp_path / "page.ipynb", "wait = 0", f"import os, time\nwait and {note}\ntime.sleep(wait)"
    )
    # A program started in the background may have inherited that it ignores an interrupt.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{code}; from minseg.cli import main; main()", "rerun"]
    command += [str(notebook), "--each", "wait", "0,99999,1", "--output", str(tmp_path / "out")]
    batch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kernel = tmp_path / "kernel"
    while not (kernel.exists() and kernel.read_text()):
        assert batch.poll() is None, batch.communicate()
        time.sleep(0.05)
    batch.send_signal(signal.SIGINT)
    out, err = batch.communicate()
    assert batch.returncode == 130
    assert out.startswith("interrupted: 1 of 3 executions succeeded;")
    assert "Traceback" not in err
    outcomes = pd.read_csv(tmp_path / "out" / "outcomes.csv")
    assert outcomes[["wait", "status"]].values.tolist() == [[0, "succeeded"]]
    assert not psutil.pid_exists(int(kernel.read_text()))
