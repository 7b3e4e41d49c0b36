import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import torch
from pystac.extensions.mlm import AssetGeneralMLMExtension, MLMExtension
from pystac.validation import validate_dict

from minseg import MinsegError
from minseg.learning.device import resolve_precision
from minseg.study import execution
from minseg.study.export import OPENVINO, export_run, open_exported
from minseg.study.runs import RunStore
from tests.conftest import NASTY, TINY, mine_rows, names, scene_of, write_scenes

onnx, onnxruntime = map(pytest.importorskip, ("onnx", "onnxruntime"))
ROOT = Path(__file__).parents[2]
SHORT = TINY.replace(epochs=1)
VARIANTS = {
    "exclusive classes": SHORT,
    "overlapping classes": SHORT.replace(task="excavation+preparatory work area"),
    "coarse": SHORT.replace(crop=64, coarsen=2),
    "eight orientations": SHORT.replace(orientations=8),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return RunStore(tmp_path_factory.mktemp("export") / "runs")


@pytest.fixture(scope="module")
def run(dataset, store):
    return execution.run(SHORT, dataset, store)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "new" / "model"
    export_run(run, folder)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_exported_model_answers_as_its_run_at_any_size(dataset, store, tmp_path, variant):
    """Another implementation sums in another order: within 0.0001, where float32 has 7 digits."""
    run = execution.run(VARIANTS[variant], dataset, store)
    export_run(run, tmp_path / "model")
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    segmenter = execution.open_segmenter(run)
    assert open_exported(tmp_path / "model" / "model.onnx").stride == 32 * run.config.coarsen
    random = np.random.default_rng(0)
    for batch, height, width in [(1, 33, 1), (2, 50, 70), (1, 64, 64), (1, 97, 131)]:
        noise = random.normal(0, 2, (batch, height, width, 3))
        statistics = run.statistics
        image = np.moveaxis(noise * statistics.deviation + statistics.mean, -1, 1)
        image = image.astype(np.float32)
        image[0, 1, :9] = np.nan  # in one band of three
        image[0, 2, 20:] = np.inf
        valid = np.isfinite(image).all(axis=1)
        inputs = [statistics.standardise(*both) for both in zip(image, valid, strict=True)]
        expected = segmenter.probabilities(torch.from_numpy(np.stack(inputs))).numpy()
        (found,) = session.run(None, {"image": image})
        assert found == pytest.approx(expected, abs=1e-4)
        sums = found.sum(axis=1)
        assert (abs(sums - 1) < 1e-5).all() == (not run.task.overlapping)
        rounded = replace(segmenter, precision="bf16-mixed")
        inexact = rounded.probabilities(torch.from_numpy(np.stack(inputs))).numpy()
        assert found == pytest.approx(inexact, abs=0.05)  # bfloat16 has three digits


@pytest.mark.skipif(
    OPENVINO not in onnxruntime.get_available_providers(),
    reason="needs the package onnxruntime-openvino in place of onnxruntime",
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_openvino_computes_in_the_format_of_a_run(run, exported, precision):
    if precision == "bf16-mixed" != resolve_precision("auto", "cpu"):
        pytest.skip("this processor does not multiply bfloat16")
    noise = np.random.default_rng(0).normal(size=(97, 131, 3)).astype(np.float32)
    image = np.moveaxis(noise * run.statistics.deviation + run.statistics.mean, -1, 0)
    segmenter = replace(execution.open_segmenter(run), precision="32-true")
    expected = segmenter.probabilities(torch.from_numpy(np.moveaxis(noise, -1, 0)[None]))
    model = open_exported(exported / "model.onnx", precision)
    assert model.session.get_providers()[0] == OPENVINO
    found = model.probabilities(torch.from_numpy(image.astype(np.float32)[None]))
    apart = float(abs(found - expected).max())
    assert apart < 1e-4 if precision == "32-true" else 1e-4 < apart < 0.05


def test_an_exported_model_maps_as_its_run(minseg, refused, run, dataset, tmp_path):
    assert minseg("export", run.path, tmp_path / "model")[:2] == (0, f"{tmp_path / 'model'}\n")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["README.md", "item.json", "model.onnx"]
    scene = dataset.scenes.iloc[0]
    images = [dataset.path / scene[kind] for kind in ("optical", "radar")]
    maps = {}
    for name, model in {"run": run.path, "file": tmp_path / "model" / "model.onnx"}.items():
        output = tmp_path / name / "map.tif"
        polygons = ("--polygons", output.with_name("mine.gpkg"), "--smooth", 1)
        assert minseg("predict", model, *images, "-o", output, *polygons)[0] == 0
        maps[name] = rasterio.open(output).read()
    assert "runs on the processor" in refused(
        "predict", model, *images, "-o", output, "--device", "cuda"
    )
    assert names(tmp_path / "run") == names(tmp_path / "file")
    assert (maps["run"] == maps["file"]).mean() > 0.999  # up to ties
    assert len(np.unique(maps["file"])) > 1


def example(folder):
    """The code of a model card."""
    return re.search("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]


@pytest.mark.parametrize("variant", ["exclusive classes", "overlapping classes"])
def test_the_example_of_the_card_maps_where_neither_minseg_nor_torch_is(
    minseg, dataset, store, tmp_path, variant
):
    run, folder = execution.run(VARIANTS[variant], dataset, store), tmp_path / "model"
    export_run(run, folder)
    scene = dataset.scenes.iloc[0]
    optical, radar = (rasterio.open(dataset.path / scene[kind]) for kind in ("optical", "radar"))
    values = np.concatenate([optical.read(), radar.read()]).astype(np.float32)
    values[:, :9, 5] = 0
    profile = radar.profile | {"count": len(values), "nodata": 0}
    with rasterio.open(folder / "image.tif", "w", **profile) as image:
        image.write(values)
        image.descriptions = (*optical.descriptions, *radar.descriptions)
    program = f"import sys; sys.modules.update(minseg=None, torch=None)\n{example(folder)}"
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    mapped = ("--scale", "1e-4", "-o", tmp_path / "map.tif")
    assert minseg("predict", run.path, folder / "image.tif", *mapped)[0] == 0
    found = rasterio.open(folder / "classes.tif").read()
    expected = rasterio.open(tmp_path / "map.tif").read(1)
    assert (found[0] == 255).sum() == 9
    for band, layer in enumerate(found):
        name = run.task.output_names[band]
        there = run.task.mask(expected, name) if run.task.overlapping else expected
        assert (layer == np.where(expected == run.task.ignore, 255, there)).mean() > 0.999


def test_the_book_shows_the_example_of_the_card(exported):
    page = (ROOT / "book" / "models_that_leave.md").read_text(encoding="utf-8")
    assert example(exported) in page
    assert len(example(exported).splitlines()) <= 15


def test_a_file_tells_what_it_is(run, exported):
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    assert {one.key: one.value for one in model.metadata_props} == {
        "minseg_format": "1",
        "task": "model1",
        "classes": "background,excavation,preparatory work area",
        "bands": "B02,B04,VV",
        "units": "reflectance,reflectance,dB",
        "coarsen": "1",
        "run": run.key,
    }
    assert str(ROOT).encode() not in (exported / "model.onnx").read_bytes()


def test_the_stac_item_is_valid_and_pystac_reads_the_model_from_it(run, exported):
    """Against STAC's own schema; the extension's is not at hand, but pystac's reader of it is."""
    item = json.loads((exported / "item.json").read_text(encoding="utf-8"))
    validate_dict(item | {"stac_extensions": []})
    read = pystac.Item.from_dict(item)
    model = MLMExtension.ext(read)
    assert MLMExtension.get_schema_uri() in item["stac_extensions"]
    assert model.mlm_name == f"minseg-{run.key}"
    assert model.tasks == ["semantic-segmentation"]
    (image,), (answer,) = model.input, model.output
    assert image.bands == ["B02", "B04", "VV"] == [b["name"] for b in item["properties"]["bands"]]
    assert "bands" in image.input.dim_order  # by its schema, where an input names bands
    assert image.input.shape == answer.result.shape == [-1, 3, -1, -1]
    assert [one.description for one in answer.classes] == list(run.task.output_names)
    assert AssetGeneralMLMExtension.ext(read.assets["model"]).artifact_type == "onnx"
    assert all((exported / asset.href).is_file() for asset in read.assets.values())
    assert model.total_parameters == sum(
        tensor.numel() for tensor in execution.open_segmenter(run).network.parameters()
    )


def test_the_card_has_the_scores_and_what_users_wrote_as_text(tmp_path):
    nasty = " ".join(NASTY)
    words = {"provenance": nasty, "licence": f"{nasty}\n# {nasty}", "name": nasty}
    mines = write_scenes(tmp_path / "data", mine_rows(3), map(scene_of, range(3)), **words)
    run = execution.run(SHORT, mines, RunStore(tmp_path / "runs"))
    export_run(run, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"    licence of images and labels: {nasty} # {nasty}\n" in card
    assert [line for line in card.splitlines() if nasty in line and line[:4] != "    "] == []
    assert json.loads((tmp_path / "model" / "item.json").read_text())["id"] == f"minseg-{run.key}"
    assert "any real mine" in card
    mean, pit, _ = card[card.index("| | IoU") :].splitlines()[2:5]
    scores = run.scores()
    assert f"| mean | {scores['iou']:.3f} (" in mean
    assert f"| excavation | {scores['per_class'].loc['excavation', 'iou']:.3f} (" in pit


def set_fact(key, value):
    def change(model):
        next(one for one in model.metadata_props if one.key == key).value = value

    return change


CHANGES = {
    "minseg_format is missing": lambda model: model.ClearField("metadata_props"),
    "format 2 for 1": set_fact("minseg_format", "2"),
    "task 'x'": set_fact("task", "x"),
    "bands 'B02,B04,x'": set_fact("bands", "B02,B04,x"),
    "inputs and outputs are": set_fact("bands", "B02,B04"),
}


@pytest.mark.parametrize("fault", ["cannot be read", "no whole ONNX file", "cut", *CHANGES])
def test_a_file_that_is_none_of_ours_is_refused(refused, exported, tmp_path, fault):
    path = tmp_path / "other.onnx"
    whole = (exported / "model.onnx").read_bytes()
    if fault in CHANGES:
        model = onnx.load(exported / "model.onnx")
        CHANGES[fault](model)
        onnx.save(model, path)
    elif fault != "cannot be read":
        path.write_bytes(whole[: len(whole) // 2] if fault == "cut" else b"PK\x03\x04 a zip")
    said = refused("predict", path, "image.tif", "-o", tmp_path / "map.tif")
    assert str(path) in said
    assert ("no whole ONNX file" if fault == "cut" else fault) in said


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(run, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MinsegError, match=rf"{package} is not installed.*minseg\[onnx\]"):
        export_run(run, tmp_path / "model")
    assert names(tmp_path) == []


def test_what_cannot_leave_is_refused_and_leaves_nothing(refused, run, dataset, store, tmp_path):
    forest = execution.run(SHORT.baseline(), dataset, store)
    assert "per-pixel baseline" in refused("export", forest.path, tmp_path / "model")
    trial = store.path / "0123"
    shutil.copytree(run.path, trial, ignore=shutil.ignore_patterns("*.safetensors"))
    assert "keeps no weights" in refused("export", trial, tmp_path / "model")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    assert "name a new one" in refused("export", run.path, tmp_path / "there")
    assert names(tmp_path) == ["there"]
