"""Mine segmentation in Sentinel images: the MineCam study, runnable by anyone."""

from minseg.data.dataset import open_dataset
from minseg.errors import MinsegError
from minseg.study.study import open_study

__version__ = "0.1.0"

__all__ = ["MinsegError", "open_dataset", "open_study"]
