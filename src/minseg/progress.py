"""Progress bars: in a terminal and in a notebook someone watches; in logs, lines if asked for."""

import logging
import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(
    items: Iterable[T], description: str, total: int | None = None, initial: int = 0
) -> "tqdm[T]":
    """Wrap an iterable in a progress bar on standard error.

    The bar shows when standard error is a terminal or the code runs in a notebook kernel. Set
    ``MINSEG_PROGRESS=off`` (batch runs of notebooks do) to hide it there too.
    """
    watched = sys.stderr.isatty() or _in_kernel()
    hidden = not watched or os.environ.get("MINSEG_PROGRESS") == "off"
    return tqdm(
        items, description, total, initial=initial, disable=hidden, leave=False, mininterval=0.5
    )


def show_log() -> None:
    """Print on standard error what is logged where no bar shows: of a training, a line an epoch."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logging.getLogger("minseg").setLevel(logging.INFO)


def _in_kernel() -> bool:
    """Tell whether this is a notebook's process, and not one that only starts notebooks."""
    interactive = sys.modules.get("IPython")
    return interactive is not None and hasattr(interactive.get_ipython(), "kernel")
