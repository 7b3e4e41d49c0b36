"""Training batches: random crops of the train scenes, flipped and turned on the training device."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import psutil
import torch
from rasterio.windows import Window
from torch import Tensor

from minseg.data.bands import BANDS
from minseg.data.dataset import Dataset
from minseg.data.labels import Task
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.progress import progress

BATCHES_AHEAD = 4
"""Batches read from disk while the model works on one."""


def read_patch(
    dataset: Dataset,
    scene: pd.Series,
    task: Task,
    statistics: ChannelStatistics,
    window: Window | None = None,
) -> tuple[Tensor, Tensor]:
    """Read a scene, or a window of it, as a model sees it: inputs and target.

    Inputs are float16 (bands, height, width), standardised, missing pixels 0: half precision keeps
    three digits, far below the sensor's noise. The target (height, width) is a raster of the task,
    ignored where not annotated or the image is missing; uint8, or int32 in place of uint16, which
    torch knows but in part.
    """
    inputs, valid = dataset.read_inputs(scene, statistics.bands, window)
    target = dataset.read_target(scene, task, window)
    target[~valid] = task.ignore
    target = target.astype(np.int32) if task.overlapping else target
    standard = statistics.standardise(inputs, valid).clip(-1e4, 1e4)  # float16 ends at 65504
    return torch.from_numpy(standard.astype(np.float16)), torch.from_numpy(target)


class TrainingPatches:
    """Batches of random crops of the train scenes (section 2.4).

    Scenes that fit in the memory of the training device (`room_for_scenes`, or as `resident` says)
    are kept there, standardised, so that a crop is a slice; otherwise each crop is read from disk
    by threads, ahead of its use. Both give the same batches: an epoch's randomness follows from
    the seed and the epoch's number.

    `share` is the number of this process and of all that train together: each gets its part of
    every batch, whose size is a multiple of the number of processes.
    """

    def __init__(
        self,
        dataset: Dataset,
        task: Task,
        statistics: ChannelStatistics,
        *,
        crop: int,
        batch_size: int,
        crops_per_scene: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        resident: bool | None = None,
        share: tuple[int, int] = (0, 1),
        colour: float = 0.0,
    ) -> None:
        self.colour = colour
        self.optical = torch.tensor([BANDS[b].wavelength_nm is not None for b in statistics.bands])
        self.dataset, self.task, self.statistics = dataset, task, statistics
        self.crop, self.batch_size, self.crops_per_scene = crop, batch_size, crops_per_scene
        self.seed, self.device, self.share = seed, torch.device(device), share
        self.scenes = [scene for _, scene in dataset.scenes_of("train").iterrows()]
        self.sizes = train_sizes(dataset, crop)
        pixels = sum(height * width for height, width in self.sizes)
        # Bytes: float16 inputs, uint8 or int32 target.
        needed = pixels * (2 * len(statistics.bands) + (4 if task.overlapping else 1))
        if resident is None:
            resident = needed < room_for_scenes(self.device)
        self.resident = None
        if resident:
            numbers = progress(range(len(self.scenes)), "loading train scenes")
            self.resident = [[part.to(device) for part in self._patch(k)] for k in numbers]
        if not any((target != task.ignore).any() for target in self._targets()):
            raise MinsegError(f"{dataset.path}: no train pixel is annotated; nothing can be learnt")

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last is filled up with more crops."""
        return -(-len(self.scenes) * self.crops_per_scene // self.batch_size)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs, float32 (batch, bands, crop, crop), and targets of one epoch."""
        random = np.random.default_rng((self.seed, epoch))
        order = np.concatenate(
            [random.permutation(len(self.scenes)) for _ in range(self.crops_per_scene)]
        )
        order = np.resize(order, len(self) * self.batch_size)
        corners = [self._corner(index, random) for index in order]
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        colours = torch.Generator().manual_seed(generator.initial_seed() ^ 1)
        mine = slice(self.share[0], None, self.share[1])
        for patches in self._read(order[mine], corners[mine]):
            inputs = torch.stack([patch for patch, _ in patches])  # (batch, bands, crop, crop)
            target = torch.stack([target for _, target in patches])  # (batch, crop, crop)
            inputs = inputs.to(self.device, non_blocking=True)
            target = target.to(self.device, non_blocking=True)
            # Drawn on the CPU, so that every device gets the same.
            turns = (torch.rand((3, self.batch_size, 1, 1), generator=generator) < 0.5)[:, mine]
            inputs, target = augment(inputs, target, turns.to(self.device))
            if self.colour:
                drawn = torch.rand((2, self.batch_size, 1 + inputs.shape[1]), generator=colours)
                change = self.colour * (2 * drawn - 1)[:, mine]
                inputs = change_colours(inputs, change.to(self.device), self.optical)
            yield inputs.to(torch.float32, memory_format=torch.channels_last), target

    def class_weights(self) -> Tensor:
        """Return the weight of each class in a `balanced` loss: see `TrainingOptions`."""
        numbers = torch.zeros(256, dtype=torch.int64)
        for target in self._targets():
            numbers += target.flatten().bincount(minlength=256).cpu()
        numbers = numbers[: self.task.num_classes]  # without those to ignore
        share = numbers.sum() / (numbers > 0).sum() / numbers.clamp(min=1)
        return share.float().to(self.device)

    def _targets(self) -> Iterator[Tensor]:
        """Yield the target of each whole scene."""
        for index in range(len(self.scenes)):
            yield (self.resident[index] if self.resident else self._patch(index))[1]

    def _corner(self, index: int, random: np.random.Generator) -> Window:
        """Draw where a crop lies in its scene."""
        row, column = (int(random.integers(side - self.crop + 1)) for side in self.sizes[index])
        return Window(column, row, self.crop, self.crop)

    def _read(
        self, order: Iterable[int], places: Iterable[Window]
    ) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Yield the crops of one batch after the other, from memory or read ahead from disk."""
        jobs = list(zip(order, places, strict=True))
        size = self.batch_size // self.share[1]
        steps = [jobs[k : k + size] for k in range(0, len(jobs), size)]
        if self.resident is not None:
            scenes = self.resident
            for step in steps:
                yield [
                    (scenes[index][0][:, *place.toslices()], scenes[index][1][place.toslices()])
                    for index, place in step
                ]
            return
        with ThreadPoolExecutor() as pool:
            waiting: list[list[Future]] = []
            for step in steps:
                waiting.append([pool.submit(self._patch, *job) for job in step])
                if len(waiting) > BATCHES_AHEAD:
                    yield [future.result() for future in waiting.pop(0)]
            for futures in waiting:
                yield [future.result() for future in futures]

    def _patch(self, index: int, window: Window | None = None) -> tuple[Tensor, Tensor]:
        """Read a scene, or a window of it."""
        return read_patch(self.dataset, self.scenes[index], self.task, self.statistics, window)


def augment(inputs: Tensor, target: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Flip and turn the crops of a batch (section 2.4), as `turns` (3, batch, 1, 1) says of each.

    A horizontal flip, a vertical flip and a transposition, each with probability one half, make
    all eight orientations of a square: both flips and every rotation by 90°.
    """
    horizontal, vertical, transposed = turns  # each (batch, 1, 1)
    for chosen, turn in (
        (horizontal, lambda image: image.flip(-1)),
        (vertical, lambda image: image.flip(-2)),
        (transposed, lambda image: image.transpose(-1, -2)),
    ):
        inputs = torch.where(chosen[:, None], turn(inputs), inputs)
        target = torch.where(chosen, turn(target), target)
    return inputs, target


def change_colours(inputs: Tensor, change: Tensor, optical: Tensor) -> Tensor:
    """Stretch and shift the standardised optical bands (`optical`, bool) of the crops of a batch.

    `change` (2, batch, 1 + bands) holds stretches and shifts, those of all bands together and then
    each band's own: the mean of the two is applied, so that a crop becomes brighter or duller as
    a whole and its bands against each other. A stretch of 0.1 is 1.1 times the contrast, a shift
    of 0.1 a tenth of the spread over the train scenes. Missing pixels stay 0, radar stays as it is.
    """
    stretch, shift = ((change[..., :1] + change[..., 1:]) / 2)[..., None, None]
    changed = inputs * (1 + stretch) + shift
    kept = ~optical.to(inputs.device)[:, None, None] | (inputs == 0)
    return torch.where(kept, inputs, changed.to(inputs.dtype))


def train_sizes(dataset: Dataset, crop: int) -> list[tuple[int, int]]:
    """Return height and width of each train scene, refusing one that a crop does not fit into."""
    sizes = []
    for _, scene in dataset.scenes_of("train").iterrows():
        grid = dataset.grid(scene)
        if min(grid.height, grid.width) < crop:
            fitting = min(grid.height, grid.width) // 32 * 32
            mend = f"use a smaller one, e.g. --set crop={fitting}" if fitting else "leave it out"
            raise MinsegError(
                f"scene {scene['scene']!r} is {grid.height}×{grid.width} pixels, smaller than the "
                f"crop of {crop} (a multiple of 32); {mend}"
            )
        sizes.append((grid.height, grid.width))
    return sizes


def room_for_scenes(device: torch.device) -> float:
    """Return how much memory of a device this process may fill with scenes, bytes.

    A quarter of what is free. Of processes that share the cores of a machine, as workers do, each
    takes the less the fewer threads it has: together no more than half.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 4
    share = min(0.25, torch.get_num_threads() / (os.cpu_count() or 1) / 2)
    return psutil.virtual_memory().available * share
