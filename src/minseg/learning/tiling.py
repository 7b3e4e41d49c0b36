"""A raster of any size through a network of fixed size: overlapping tiles, blended in strips."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from minseg.data.labels import Task
from minseg.errors import MinsegError

STRIDE = 32
"""Encoders halve the image five times. Tiles that begin at multiples of this are halved alike."""

ReadWindow = Callable[[Window], tuple[np.ndarray, np.ndarray]]
"""Reads a window: standardised float32 inputs (bands, h, w) and a validity mask (h, w)."""


class Predictor(Protocol):
    """What a map is made with: a run's `Segmenter`, or a model that was exported."""

    @property
    def task(self) -> Task:
        """What it tells apart."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Channels of its inputs, in this order."""

    @property
    def device(self) -> torch.device:
        """Where its probabilities are."""

    @property
    def stride(self) -> int:
        """Pixels at whose multiples tiles begin, so that it sees them as it sees the whole."""

    def prepare(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Turn reflectance and dB (bands, h, w), where valid (h, w), into inputs, float32."""

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return class probabilities of inputs (batch, bands, h, w), whatever their size."""

    def digest(self) -> str:
        """Return a hash of all that its answers depend on."""

    def for_maps(self) -> Self:
        """Return it as it maps quickest; this one's digest stands for both."""


@dataclass(frozen=True)
class Tiling:
    """How a raster is cut."""

    tile: int = 512
    """Side of a tile, pixels."""
    overlap: int = 64
    """Pixels that neighbouring tiles share, at least. The outer quarters are dropped, since a
    network sees too little there; in between the result fades from one tile to the other."""
    batch_size: int = 1
    """Tiles per forward pass: 1 is fastest on a CPU, more fill a GPU."""

    def __post_init__(self) -> None:
        """Refuse an overlap that leaves no tile a pixel of its own."""
        if not 0 <= self.overlap < self.tile:
            raise MinsegError(
                f"tiling: an overlap of {self.overlap} in tiles of {self.tile} pixels; "
                "make it 0 or more and the tile larger, e.g. --tile 512"
            )
        if self.batch_size < 1:
            raise MinsegError(f"tiling: {self.batch_size} tiles at once; give 1 or more")


@dataclass(frozen=True)
class Strip:
    """Finished rows of the result, over the whole width."""

    row: int
    """First row."""
    probabilities: Tensor
    """float32 (outputs, rows, width), on the network's device."""
    valid: np.ndarray
    """bool (rows, width); elsewhere the image has no data, or the network's answer is no number."""

    def classes(self, task: Task) -> np.ndarray:
        """Return a raster of a task (rows, width).

        Of exclusive classes the most probable, of overlapping ones each that is there rather
        than not: with a probability above one half.
        """
        if task.overlapping:
            bits = torch.zeros_like(self.probabilities[0], dtype=torch.int32)
            for name, layer in zip(task.output_names, self.probabilities, strict=True):
                bits += (layer > 0.5) * task.value(name)
            return bits.cpu().numpy().astype(np.uint16)
        # Layer by layer, since argmax over the first axis is about ten times slower on a CPU.
        best = self.probabilities[0]
        chosen = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        for number, layer in enumerate(self.probabilities[1:], start=1):
            chosen = torch.where(layer > best, number, chosen).to(torch.uint8)
            best = torch.maximum(best, layer)
        return chosen.cpu().numpy()


def tile_starts(length: int, tile: int, overlap: int, stride: int = STRIDE) -> list[int]:
    """Return where tiles begin along one side: at multiples of a stride, as far as they may.

    A network that halves its input five times gives another answer where it is cut off this
    beat. So the last tile does not end flush with the raster. It is narrower, down to half a tile,
    where that saves work and leaves it its overlap.
    """
    if length <= tile:
        return [0]
    step = tile - overlap
    beat = stride if step >= stride else 1
    step = step // beat * beat
    last = -(-(length - tile) // beat) * beat  # the first that reaches the end
    starts = range(0, last, step)
    return [*starts, min(starts[-1] + step, max(last, (length - tile // 2) // beat * beat))]


def blending_weights(size: int, overlap: int, first: bool, last: bool) -> Tensor:
    """Return the weights of a tile's pixels along one side.

    The weight is 1 inside. Towards an inner edge it falls linearly over the middle half of the
    overlap to 0. Where two neighbours overlap by `overlap` their weights add up to 1.
    """
    dropped = overlap // 4
    distance = torch.arange(size) + 0.5
    rising = ((distance - dropped) / max(overlap - 2 * dropped, 1)).clamp(0, 1)
    weights = torch.ones(size)
    if not first:
        weights = rising
    if not last:
        weights = weights.minimum(rising.flip(0))
    return weights


def _shares(
    starts: list[int], length: int, tiling: Tiling, device: torch.device
) -> dict[int, Tensor]:
    """Return what each tile adds along one side: together 1, as no tile with data is left out."""
    weights = {
        start: blending_weights(
            min(tiling.tile, length - start), tiling.overlap, start == 0, start == starts[-1]
        )
        for start in starts
    }
    total = torch.zeros(length)
    for start, weight in weights.items():
        total[start : start + len(weight)] += weight
    return {
        start: (weight / total[start : start + len(weight)]).to(device)
        for start, weight in weights.items()
    }


def predict_strips(
    predictor: Predictor,
    read: ReadWindow,
    height: int,
    width: int,
    tiling: Tiling,
    first_row: int = 0,
) -> Iterator[Strip]:
    """Run a network over a raster, strip by strip from the top.

    Memory holds one row of tiles, whatever the raster's height. Tiles are read by a thread
    while the network works. Tiles without any valid pixel are skipped.
    """
    if first_row >= height:
        return
    device = predictor.device
    rows, columns = (
        tile_starts(side, tiling.tile, tiling.overlap, predictor.stride) for side in (height, width)
    )
    down = _shares(rows, height, tiling, device)
    across = _shares(columns, width, tiling, device)
    rows = [row for row in rows if row + len(down[row]) > first_row]  # that reach into it
    batches = [
        batch
        for row in rows
        for batch in _batches(
            [Window(column, row, len(across[column]), len(down[row])) for column in columns],
            tiling.batch_size,
        )
    ]
    outputs = len(predictor.task.output_names)
    blended = torch.zeros((outputs, min(tiling.tile, height), width), device=device)
    valid = torch.zeros(blended.shape[1:], dtype=torch.bool)
    for batch, inputs, masks in _read_ahead(read, batches):
        # NumPy's stops at the first that is valid.
        used = torch.tensor([mask.numpy().any() for mask in masks])  # (batch,)
        inputs = inputs if used.all() else inputs[used]
        parts = iter(predictor.probabilities(inputs.to(device)) if used.any() else ())
        for window, mask, has_data in zip(batch, masks, used, strict=True):
            if has_data:
                place = slice(0, window.height), window.toslices()[1]
                shares = down[window.row_off][:, None] * across[window.col_off]
                blended[:, *place].addcmul_(next(parts), shares)
                valid[place] |= mask
        if batch[-1].col_off == columns[-1]:
            row = batch[-1].row_off
            below = rows.index(row) + 1
            done = rows[below] - row if below < len(rows) else len(down[row])
            if row >= first_row:
                mean = blended[:, :done].clone()
                # One number that is not finite makes the softmax of all classes so.
                finite = mean[0].isfinite()
                mean = mean if finite.all() else mean.nan_to_num()
                yield Strip(row, mean, valid[:done].numpy() & finite.cpu().numpy())
            for strip in (blended, valid):
                _scroll(strip, done)


def _scroll(strip: Tensor, done: int) -> None:
    """Move unfinished rows up by `done`, in place, and clear the rest."""
    kept = strip.shape[-2] - done
    strip[..., :kept, :] = strip[..., done:, :].clone()
    strip[..., kept:, :] = 0


def _batches(row: list[Window], size: int) -> list[list[Window]]:
    """Group a row of tiles into batches; the last tile goes alone if it is narrower."""
    alike = [window for window in row if window.width == row[0].width]
    batches = [alike[k : k + size] for k in range(0, len(alike), size)]
    return batches if len(alike) == len(row) else [*batches, row[-1:]]


def _read_ahead(
    read: ReadWindow, batches: list[list[Window]]
) -> Iterator[tuple[list[Window], Tensor, Tensor]]:
    """Read each batch in a thread while the one before it is being worked on."""

    def read_batch(batch: list[Window]) -> tuple[Tensor, Tensor]:
        inputs, masks = zip(*(read(window) for window in batch), strict=True)
        return torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(masks))

    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(read_batch, batches[0])
        for k, batch in enumerate(batches):
            inputs, masks = following.result()
            if k + 1 < len(batches):
                following = reader.submit(read_batch, batches[k + 1])
            yield batch, inputs, masks
