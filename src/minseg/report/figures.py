"""Charts drawn from tables: class shares, mines on a map, learning curves, scores by mine."""

import json
import math
from importlib.resources import files
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from minseg.data.mines import RAW_MATERIALS
from minseg.report.style import ReportFigure, in_style, mark_synthetic

PART_STYLES: dict[str, tuple[str, str]] = {
    "train": ("#0072B2", "o"),
    "validation": ("#E69F00", "s"),
    "test": ("#D55E00", "^"),
}
"""Colour and marker of a part, in every figure the same."""
