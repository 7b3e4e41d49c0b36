"""A raster of any size through a network of fixed size: overlapping tiles, blended in strips."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from minseg.errors import MinsegError

ReadWindow = Callable[[Window], tuple[np.ndarray, np.ndarray]]
"""Reads a window: standardised float32 inputs (bands, h, w) and a validity mask (h, w)."""

Probabilities = Callable[[Tensor], Tensor]
"""Network from inputs (batch, bands, h, w) to class probabilities (batch, num_classes, h, w)."""


@dataclass(frozen=True)
class Tiling:
    """How a raster is cut."""

    tile: int = 512
    """Side of a tile, pixels."""
    overlap: int = 64
    """Pixels that neighbouring tiles share; there the result fades from one to the other."""
    batch_size: int = 1
    """Tiles per forward pass: 1 is fastest on a CPU, more fill a GPU."""

    def __post_init__(self) -> None:
        """Refuse an overlap that leaves no tile a pixel of its own."""
        if not 0 <= self.overlap < self.tile:
            raise MinsegError(
                f"tiling: an overlap of {self.overlap} in tiles of {self.tile} pixels; "
                "make it 0 or more and smaller than the tile"
            )


@dataclass(frozen=True)
class Strip:
    """Finished rows of the result, over the whole width."""

    row: int
    """First row."""
    probabilities: Tensor
    """float32 (num_classes, rows, width), on the network's device."""
    valid: np.ndarray
    """bool (rows, width); elsewhere the image has no data."""

    def classes(self) -> np.ndarray:
        """Return the most probable class of each pixel: uint8 (rows, width)."""
        # Layer by layer, since argmax over the first axis is about ten times slower on a CPU.
        best = self.probabilities[0]
        chosen = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        for number, layer in enumerate(self.probabilities[1:], start=1):
            chosen = torch.where(layer > best, number, chosen).to(torch.uint8)
            best = torch.maximum(best, layer)
        return chosen.cpu().numpy()


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along one side; the last ends flush with the raster.

    Parameters
    ----------
    length : int
        Pixels along the side.
    tile, overlap : int
        Pixels.

    Returns
    -------
    list of int
    """
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, tile - overlap))
    return [*starts, length - tile]


def blending_weights(tile: int, overlap: int) -> Tensor:
    """Return each pixel's weight in a tile: 1 inside, falling linearly across the overlap.

    The weights of two neighbours add up to 1 wherever they overlap by `overlap`.

    Returns
    -------
    float32 Tensor (tile, tile)
    """
    distance = torch.arange(tile).minimum(torch.arange(tile).flip(0)) + 0.5
    ramp = (distance / max(overlap, 1)).clamp(max=1)
    return ramp[:, None] * ramp[None, :]


def predict_strips(
    read: ReadWindow,
    height: int,
    width: int,
    probabilities: Probabilities,
    num_classes: int,
    tiling: Tiling,
    device: torch.device,
) -> Iterator[Strip]:
    """Run a network over a raster, strip by strip from the top.

    Memory holds one row of tiles, whatever the raster's height. Tiles are read by a thread
    while the network works. Tiles without any valid pixel are skipped.

    Parameters
    ----------
    read : ReadWindow
    height, width : int
        Size of the raster, pixels.
    probabilities : Probabilities
    num_classes : int
    tiling : Tiling
    device : torch.device
        Where the network is.

    Yields
    ------
    Strip
    """
    rows = tile_starts(height, tiling.tile, tiling.overlap)
    columns = tile_starts(width, tiling.tile, tiling.overlap)
    tile_height, tile_width = min(tiling.tile, height), min(tiling.tile, width)
    weights = blending_weights(tiling.tile, tiling.overlap).to(device)[:tile_height, :tile_width]
    windows = [Window(column, row, tile_width, tile_height) for row in rows for column in columns]
    blended = torch.zeros((num_classes, tile_height, width), device=device)
    weight = torch.zeros((tile_height, width), device=device)
    valid = torch.zeros((tile_height, width), dtype=torch.bool)
    for batch, inputs, masks in _read_ahead(
        read, _batches(windows, len(columns), tiling.batch_size)
    ):
        used = masks.any(dim=(1, 2))  # (batch,)
        parts = iter(probabilities(inputs[used].to(device)) if used.any() else ())
        for window, mask, has_data in zip(batch, masks, used, strict=True):
            across = slice(int(window.col_off), int(window.col_off) + tile_width)
            if has_data:
                blended[:, :, across] += next(parts) * weights
                weight[:, across] += weights
                valid[:, across] |= mask
        if batch[-1].col_off == columns[-1]:
            row = int(batch[-1].row_off)
            below = rows.index(row) + 1
            done = rows[below] - row if below < len(rows) else tile_height
            mean = blended[:, :done] / weight[:done].clamp(min=1e-12)  # 0 where a tile was skipped
            yield Strip(row, mean, valid[:done].numpy().copy())
            for strip in (blended, weight, valid):
                _scroll(strip, done)


def _scroll(strip: Tensor, done: int) -> None:
    """Move unfinished rows up by `done`, in place, and clear the rest."""
    kept = strip.shape[-2] - done
    strip[..., :kept, :] = strip[..., done:, :].clone()
    strip[..., kept:, :] = 0


def _batches(windows: list[Window], per_row: int, size: int) -> list[list[Window]]:
    """Group windows into batches that do not cross a row of tiles."""
    rows = [windows[k : k + per_row] for k in range(0, len(windows), per_row)]
    return [row[k : k + size] for row in rows for k in range(0, len(row), size)]


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
