"""A model that leaves: a run as ONNX, with a model card and STAC metadata; mapping with one."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from jinja2 import FileSystemLoader
from torch import Tensor, nn

from minseg.atomic import replace_when_done, require_new_folder
from minseg.data.bands import BANDS, parse_bands
from minseg.data.labels import Task, parse_task
from minseg.errors import MinsegError
from minseg.learning.device import Precision, resolve_precision
from minseg.learning.inference import Segmenter
from minseg.learning.tiling import STRIDE, Predictor
from minseg.maps.class_map import TEMPLATES
from minseg.scoring.intervals import bootstrap, interval
from minseg.scoring.metrics import METRICS
from minseg.study.execution import open_segmenter
from minseg.study.runs import Run, counted_mines, counts_array, open_run

MODEL, CARD, ITEM = "model.onnx", "README.md", "item.json"
"""Files of an exported model."""

FORMAT_VERSION = "1"
"""Of the metadata inside `MODEL`; another one is refused."""

OPSET = 17
"""Version of ONNX's operators that the file is written in: readable since onnxruntime 1.12."""

IMAGE, PROBABILITIES = "image", "probabilities"
"""Names of the one input and the one output."""

OPENVINO = "OpenVINOExecutionProvider"
"""Of the package onnxruntime-openvino, which stands in for onnxruntime: with it alone bfloat16."""

TOLERANCE = 1e-3
"""Largest difference of a probability, exported or not, in float32: sums in another order."""


def export_run(run: Run, folder: Path) -> None:
    """Write a run's network as `MODEL`, `CARD` and `ITEM` into a new folder, whole or not at all.

    Its numbers are float32, whatever the run was trained in. Standardising, padding, orientations
    and the softmax are inside.
    """
    require_new_folder(folder)
    with _packages():
        import onnx
        import onnxruntime  # noqa: F401  (what is written is tried)
    segmenter = open_segmenter(run)
    cpu = torch.device("cpu")
    network = segmenter.network.to(cpu)
    segmenter = replace(segmenter, network=network, device=cpu, precision="32-true")
    with replace_when_done(folder) as beside:
        beside.mkdir()
        _write_graph(run, segmenter, beside / MODEL)
        model = onnx.load(beside / MODEL)
        for name, value in _facts(run).items():
            model.metadata_props.add(key=name, value=value)
        answer = model.graph.output[0].type.tensor_type.shape
        answer.dim[1].dim_value = len(run.task.output_names)
        onnx.save(model, beside / MODEL)
        _require_same_answers(run, segmenter, beside / MODEL)
        parameters = sum(tensor.numel() for tensor in network.parameters())
        for name, text in _describe(run, parameters):
            (beside / name).write_text(text, encoding="utf-8")


class _Exported(nn.Module):
    """Class probabilities of reflectance and dB, as a run gives them."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.network, self.segmenter = segmenter.network, segmenter
        statistics = segmenter.statistics
        self.mean = torch.tensor(statistics.mean)[:, None, None]
        self.deviation = torch.tensor(statistics.deviation)[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, bands, h, w), NaN where missing, to (batch, classes, h, w)."""
        valid = (image.abs() < torch.inf).all(dim=1, keepdim=True)  # NaN is less than nothing
        inputs = torch.where(valid, (image - self.mean) / self.deviation, 0.0)
        return self.segmenter.probabilities(inputs)


def _write_graph(run: Run, segmenter: Segmenter, path: Path) -> None:
    """Trace a network and write its graph, open for any batch, height and width."""
    shape = {0: "batch", 2: "height", 3: "width"}
    stride = segmenter.stride
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # By tracing: torch's newer exporter fails on these networks with open sizes, and
            # needs onnxscript. What tracing would freeze, `_require_same_answers` finds.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Exported(segmenter).eval(),
                (_some_image(segmenter, 2 * stride - 9, 3 * stride - 5),),
                path,
                input_names=[IMAGE],
                output_names=[PROBABILITIES],
                dynamic_axes={IMAGE: shape, PROBABILITIES: shape},
                opset_version=OPSET,
                dynamo=False,
            )
    except RuntimeError as error:  # what torch's exporter raises
        reason = shorten(str(error), 200)
        raise MinsegError(
            f"{run.path}: {run.config.title} cannot be written as ONNX ({reason}); "
            "train another architecture or encoder"
        ) from None


def _some_image(segmenter: Segmenter, height: int, width: int) -> Tensor:
    """Return two made-up images (2, bands, height, width) with a missing corner."""
    made = np.random.default_rng(0).normal(size=(2, height, width, len(segmenter.bands)))
    values = made * segmenter.statistics.deviation + segmenter.statistics.mean
    values[0, :3, :5, 0] = np.nan
    return torch.from_numpy(np.moveaxis(values, -1, 1).astype(np.float32))


def _require_same_answers(run: Run, segmenter: Segmenter, path: Path) -> None:
    """Refuse a file that answers otherwise than the run, at another size than was traced."""
    stride = segmenter.stride
    image = _some_image(segmenter, 3 * stride + 7, stride + 1)[:1]
    expected = _Exported(segmenter)(image)
    found = open_exported(path, segmenter.precision).probabilities(image)
    if found.shape != expected.shape or not found.allclose(expected, rtol=0, atol=TOLERANCE):
        raise MinsegError(
            f"{run.path}: {run.config.title} answers otherwise as ONNX than in the run; "
            "train another architecture or encoder"
        )


def _units(run: Run) -> list[str]:
    """Return the units of a network's inputs."""
    return ["dB" if BANDS[band].is_radar else "reflectance" for band in run.statistics.bands]


def _facts(run: Run) -> dict[str, str]:
    """Return what the file says of itself, without a format of its own to parse."""
    return {
        "minseg_format": FORMAT_VERSION,
        "task": run.task.name,
        "classes": ",".join(run.task.output_names),
        "bands": ",".join(run.statistics.bands),
        "units": ",".join(_units(run)),
        "coarsen": str(run.config.coarsen),
        "run": run.key,
    }


@dataclass(frozen=True)
class ExportedModel:
    """A model that `export_run` wrote, at work under onnxruntime on the CPU."""

    session: Any
    """onnxruntime.InferenceSession."""
    task: Task
    bands: tuple[str, ...]
    stride: int
    """Pixels at whose multiples tiles begin."""
    content: str
    """Hash of the file and of what computes it."""

    @property
    def device(self) -> torch.device:
        """Where the answers are."""
        return torch.device("cpu")

    def prepare(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Mark missing pixels; the file standardises by itself."""
        return np.where(valid, values, np.float32(np.nan))

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return class probabilities of reflectance and dB (batch, bands, height, width)."""
        (found,) = self.session.run([PROBABILITIES], {IMAGE: inputs.numpy()})
        return torch.from_numpy(found)

    def digest(self) -> str:
        """Return the hash of the file."""
        return self.content

    def for_maps(self) -> Self:
        """Return it as it is: onnxruntime did what can be done when it read the file."""
        return self


def open_predictor(path: Path, device: str = "auto") -> Predictor:
    """Open what `minseg predict` takes: a run's folder, or the file of an exported model."""
    if path.suffix.lower() != ".onnx" and not path.is_file():
        return open_segmenter(open_run(path), device)
    if device not in ("auto", "cpu"):
        raise MinsegError(
            f"device {device!r}: a file of ONNX runs on the processor; use auto or cpu"
        )
    return open_exported(path)


def open_exported(path: Path, precision: Precision | Literal["auto"] = "auto") -> ExportedModel:
    """Open the file of an exported model; refuse one that `export_run` did not write.

    It computes in float32 unless `OPENVINO` is there, and the processor multiplies bfloat16.
    """
    with _packages():
        import onnxruntime
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MinsegError(
            f"{path}: cannot be read ({error.strerror}); name the {MODEL} of `minseg export`"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is told below
    providers: list[Any] = ["CPUExecutionProvider"]
    if OPENVINO in onnxruntime.get_available_providers():
        providers.insert(0, (OPENVINO, _openvino_options(resolve_precision(precision, "cpu"))))
    try:
        # From memory, so that nothing else on this disk is read in its name.
        session = onnxruntime.InferenceSession(content, options, providers)
    except Exception as error:  # onnxruntime's own have no class in common
        reason = shorten(str(error).rpartition("failed:")[-1], 120)
        raise MinsegError(
            f"{path}: is no whole ONNX file ({reason}); export the run again"
        ) from None
    facts = session.get_modelmeta().custom_metadata_map
    if fault := _fault(session, facts):
        raise MinsegError(
            f"{path}: is no model of `minseg export` ({fault}); export a run with this minseg"
        )
    how = f"{onnxruntime.__version__} {providers}"
    digest = hashlib.sha256(content + how.encode()).hexdigest()
    task, bands = parse_task(facts["task"]), parse_bands(facts["bands"])
    return ExportedModel(session, task, bands, STRIDE * int(facts["coarsen"]), digest)


def _openvino_options(precision: Precision) -> dict[str, str]:
    """Return the options of `OPENVINO` for a number format, on as many threads as torch has."""
    hint = "bf16" if precision == "bf16-mixed" else "f32"
    return {
        "device_type": "CPU",
        "num_of_threads": str(torch.get_num_threads()),
        "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": hint}}),
    }


def _fault(session: Any, facts: Mapping[str, str]) -> str | None:
    """Say in what a file's metadata, input or output are not ours, or None."""
    if missing := [
        name for name in ("minseg_format", "task", "bands", "coarsen") if name not in facts
    ]:
        return f"metadata {missing[0]} is missing"
    if facts["minseg_format"] != FORMAT_VERSION:
        return f"format {facts['minseg_format']} for {FORMAT_VERSION}"
    try:
        task, bands = parse_task(facts["task"]), parse_bands(facts["bands"])
    except MinsegError as error:
        return str(error)
    ours = [(IMAGE, 4, len(bands)), (PROBABILITIES, 4, len(task.output_names))]
    found = [
        (one.name, len(one.shape), *one.shape[1:2])
        for one in (*session.get_inputs(), *session.get_outputs())
    ]
    return None if found == ours else f"inputs and outputs are {found} for {ours}"


@contextmanager
def _packages() -> Iterator[None]:
    """Tell which package of the extra is missing."""
    try:
        yield
    except ImportError as error:
        raise MinsegError(
            f"the package {error.name} is not installed: run `pip install minseg[onnx]`"
        ) from None


_TEXTS = TEMPLATES.overlay(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=False, keep_trailing_newline=True
)
"""Templates of model card and STAC item; the item has no geometry: a model is bound to no place."""


def _describe(run: Run, parameters: int) -> Iterator[tuple[str, str]]:
    """Yield model card and STAC item, by the names of their files."""
    weights, synthetic = run.config.weights, run.provenance["synthetic"]
    places = "synthetic mines, drawn by a program" if synthetic else "real mines"
    facts = {
        "run": run,
        "places": places,
        "bands": [
            {"name": name, "description": BANDS[name].description} for name in run.statistics.bands
        ],
        "units": _units(run),
        "parts": Counter(run.provenance["parts"].values()),
        "start": Path(weights).name if weights else None,  # no folder of this machine
        "scores": _score_rows(run),
        "parameters": parameters,
        "opset": OPSET,
        "versions": {name: version(name) for name in ("minseg", "onnx")},
    }
    for name, template in ((CARD, "card.md"), (ITEM, "item.json")):
        yield name, _TEXTS.get_template(template).render(facts)


def _score_rows(run: Run) -> Iterator[tuple[str, list[str]]]:
    """Yield the mean's and each class's scores, with their intervals over mines."""
    rows, found = run.counts_of("test"), run.scores("test")
    counts, mines = counts_array(rows, run.task), counted_mines(rows)
    per_class = found["per_class"][list(METRICS)]
    means = per_class.mean().to_frame("mean").T
    for place, (name, scores) in enumerate(pd.concat([means, per_class]).iterrows()):
        counted = counts[:, [0, place]] if place else counts
        ends = map(interval, bootstrap(counted, mines, "standard").T)
        cells = [
            f"{score:.3f} ({low:.3f} to {high:.3f})"
            for score, (low, high) in zip(scores, ends, strict=True)
        ]
        known = scores.notna().all()
        yield str(name), cells if known else ["not in the truth"] * len(cells)
