"""Mine segmentation in Sentinel images: the MineCam study, runnable by anyone.

Data flows down the rooms, and a room imports only from rooms above it: `minseg.data` (what a scene
is), `minseg.synthetic` (mines that a program draws), `minseg.fetching` (real scenes from a
catalogue), `minseg.recipes` (public outlines for it), `minseg.learning` (how a model is made),
`minseg.maps` (what an analyst takes away), `minseg.study` (what was tried), `minseg.audit` (what
the paper says, checked), `minseg.report` (what a reader sees), `minseg.cli` (the same, from a
shell).
"""

from minseg.data.dataset import open_dataset
from minseg.errors import MinsegError
from minseg.study.study import open_study

__version__ = "0.1.0"

__all__ = ["MinsegError", "open_dataset", "open_study"]
