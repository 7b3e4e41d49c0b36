"""A trained network at work on the scenes of a dataset."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import torch
from rasterio.windows import Window
from torch import Tensor, nn
from torch.nn import functional

from minseg.data.dataset import Dataset
from minseg.data.labels import Task
from minseg.data.radiometry import ChannelStatistics
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.learning.device import Precision
from minseg.learning.models import fold_normalisation, round_convolutions
from minseg.learning.patches import read_patch
from minseg.learning.tiling import STRIDE, Tiling, predict_strips
from minseg.progress import progress
from minseg.scoring.metrics import scene_counts


@dataclass(frozen=True)
class Segmenter:
    """A network together with what its inputs and outputs mean."""

    network: nn.Module
    """Logits (batch, outputs, h, w) from standardised inputs (batch, bands, h, w)."""
    task: Task
    statistics: ChannelStatistics
    device: torch.device
    precision: Precision = "bf16-mixed"
    """As in training: bfloat16 or full precision."""
    orientations: int = 1
    """1: the image as it is; 8: the mean over all flips and turns of a square."""
    coarsen: int = 1
    """Pixels a side that the network sees as one (`build_model`)."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Channels of the inputs."""
        return self.statistics.bands

    @property
    def stride(self) -> int:
        """Pixels that the encoder, which halves the image five times, sees as one at the end."""
        return STRIDE * self.coarsen

    def prepare(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Standardise reflectance and dB; missing pixels get the mean."""
        return self.statistics.standardise(values, valid)

    def digest(self) -> str:
        """Return a hash of network, weights and settings."""
        settings = (self.precision, self.orientations, self.coarsen, self.device.type)
        told = repr((self.network, self.statistics, self.task, *settings))
        digest = hashlib.sha256(told.encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            # As the weights of convolutions lie in memory, which saves a copy.
            laid = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
            digest.update(laid.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def for_maps(self) -> Self:
        """Return one whose network is quicker and gives the same but for rounding."""
        folded = fold_normalisation(self.network, len(self.bands), 2 * self.stride)
        if self.precision == "bf16-mixed":
            folded = copy.deepcopy(folded) if folded is self.network else folded
            round_convolutions(folded)
        return replace(self, network=folded)

    @torch.inference_mode()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return probabilities of the task's outputs for standardised inputs (batch, bands, h, w).

        A softmax of exclusive classes, a sigmoid each of overlapping ones.
        """
        if self.network.training:  # going through all layers takes a millisecond a tile
            self.network.eval()
        height, width = inputs.shape[-2:]
        margin = (0, -width % self.stride, 0, -height % self.stride)
        padded = inputs.to(self.device).float()
        if any(margin):
            padded = functional.pad(padded, margin, mode="replicate")
        padded = padded.contiguous(memory_format=torch.channels_last)
        turns = (self._turned(padded, number) for number in range(self.orientations))
        total = next(turns)[..., :height, :width]
        for other in turns:
            total = total + other[..., :height, :width]
        return total if self.orientations == 1 else total / self.orientations

    def _turned(self, padded: Tensor, number: int) -> Tensor:
        """Return the probabilities of an image, seen in one of its eight orientations."""
        reduced = self.precision == "bf16-mixed"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced):
            logits = self.network(turn(padded, number))
        logits = turn_back(logits, number).float()
        if not self.task.overlapping:
            return logits.softmax(dim=1)
        # One number that is not finite makes those of all classes so, as it does in a softmax.
        return (logits + 0 * logits.sum(dim=1, keepdim=True)).sigmoid()


def turn(image: Tensor, number: int) -> Tensor:
    """Return one of the eight orientations of an image (…, height, width); 0 leaves it."""
    flipped = _flip(image, number)
    flipped = flipped.transpose(-1, -2) if number & 4 else flipped
    return flipped.contiguous(memory_format=torch.channels_last) if number else image


def turn_back(image: Tensor, number: int) -> Tensor:
    """Undo `turn`."""
    upright = image.transpose(-1, -2) if number & 4 else image
    return _flip(upright, number)


def _flip(image: Tensor, number: int) -> Tensor:
    """Mirror an image as an orientation has it; ONNX has no flip along no axis."""
    axes = [axis for axis in (-1, -2) if number & -axis]
    return image.flip(axes) if axes else image


@dataclass(frozen=True)
class EvaluationScene:
    """A scene, or its centre, held in memory for repeated evaluation."""

    scene: str
    mine: str
    grid: Grid
    """Grid of the part that is held."""
    inputs: Tensor
    """float16 (bands, height, width), standardised."""
    target: np.ndarray
    """Raster of the task (height, width)."""


def load_scenes(
    dataset: Dataset, part: str, task: Task, statistics: ChannelStatistics, crop: int
) -> list[EvaluationScene]:
    """Read the scenes of a part, or their centres of `crop` pixels (section 2.4)."""
    places = evaluation_windows(dataset, part, crop)
    loaded = []
    for scene, grid, window in progress(places, f"loading {part} scenes"):
        inputs, target = read_patch(dataset, scene, task, statistics, window)
        place = grid.window(window)
        loaded.append(EvaluationScene(scene["scene"], scene["mine"], place, inputs, target.numpy()))
    return loaded


def evaluation_windows(
    dataset: Dataset, part: str, crop: int
) -> list[tuple[pd.Series, Grid, Window]]:
    """List the scenes of a part with their grid and centre crop; `centre_window` may refuse one."""
    scenes = [(scene, dataset.grid(scene)) for _, scene in dataset.scenes_of(part).iterrows()]
    return [(scene, grid, centre_window(grid, crop, scene["scene"])) for scene, grid in scenes]


def centre_window(grid: Grid, crop: int, scene: str) -> Window:
    """Return the window of the centre crop, or of everything for 0."""
    if crop == 0:
        return Window(0, 0, grid.width, grid.height)
    if min(grid.height, grid.width) < crop:
        raise MinsegError(
            f"scene {scene!r} is {grid.height}×{grid.width} pixels, smaller than the test crop "
            f"of {crop}; evaluate whole scenes with --set test_crop=0"
        )
    return Window((grid.width - crop) // 2, (grid.height - crop) // 2, crop, crop)


def predict_scene(segmenter: Segmenter, inputs: Tensor, tiling: Tiling | None = None) -> np.ndarray:
    """Classify standardised inputs (bands, height, width), in tiles: a raster of the task."""

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = window.toslices()
        values = inputs[:, rows, columns].float().cpu().numpy()
        return values, np.ones(values.shape[1:], bool)

    height, width = inputs.shape[1:]
    strips = predict_strips(segmenter, read, height, width, tiling or Tiling())
    return np.concatenate([strip.classes(segmenter.task) for strip in strips])


def predict_scenes(segmenter: Segmenter, scenes: Sequence[EvaluationScene]) -> list[np.ndarray]:
    """Classify scenes: a list of rasters of the task (height, width)."""
    return [predict_scene(segmenter, scene.inputs) for scene in scenes]


def counts_table(
    predictions: Sequence[np.ndarray], scenes: Sequence[EvaluationScene], task: Task
) -> pd.DataFrame:
    """Count agreement, a row for each scene and class: scene, mine, class, tp, fp, fn, tn."""
    counts = scene_counts(predictions, [scene.target for scene in scenes], task)
    rows = [
        (scene.scene, scene.mine, name, *map(int, counts[i, k]))
        for i, scene in enumerate(scenes)
        for k, name in enumerate(task.target_names)
    ]
    return pd.DataFrame(rows, columns=["scene", "mine", "class", "tp", "fp", "fn", "tn"])
