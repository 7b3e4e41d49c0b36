"""The ten mining-area classes of the paper's Table 1, and the tasks (Models 1-4) built on them.

Labels are stored as a bit mask, because components overlap (an exploitation slope lies inside an
excavation): bit *k* is set where class *k* of Table 1 is present, and bit 10 where a whole mining
area was outlined and its parts were not. A task picks mutually exclusive classes out of it
(section 2.2) and turns the bits into one target per pixel.
"""

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minseg.errors import MinsegError

IGNORE_BITS = 65535
"""Value of a label pixel nobody annotated (all bits set)."""

IGNORE = 255
"""Value of a target pixel that neither trains nor counts."""


@dataclass(frozen=True)
class MineClass:
    """One row of Table 1."""

    id: int
    """Position in Table 1, and the bit that marks the class in a label raster."""
    name: str
    """Name exactly as in Table 1."""
    colour: str
    """Colour in figures and GIS files (Paul Tol's colour-blind-safe schemes)."""
    definition: str
    """Table 1's description in our words."""


with Path(__file__).with_name("classes.csv").open(encoding="utf-8", newline="") as _table:
    CLASSES = tuple(MineClass(id, **row) for id, row in enumerate(csv.DictReader(_table)))
"""The ten classes, in the order of Table 1."""

CLASS_NAMES: tuple[str, ...] = tuple(c.name for c in CLASSES)

EXTENT = MineClass(
    len(CLASSES),
    "total transformed area",
    "#EE7733",
    "All ground that mining has transformed, in one outline: nobody told its parts apart.",
)
"""What public outlines of whole mining areas are. No class of Table 1, but the one target of
Model 4, which alone can learn from it."""

ANNOTATED_NAMES: tuple[str, ...] = (*CLASS_NAMES, EXTENT.name)
"""What annotators may have looked for."""

_BY_NAME = {c.name: c for c in (*CLASSES, EXTENT)}

# Where two classes of one task meet on a pixel the later one wins. The paper calls its classes
# exclusive within a task and states no rule; real annotations touch at edges. Small and thin
# things lie on top of large ones, so that an overlap does not erase them.
PRIORITY: tuple[str, ...] = (
    "dumping ground",
    "excavation",
    "preparatory work area",
    "tailing storage facility",
    "infrastructure",
    "stockpile",
    "exploitation slope",
    "transportation slope",
    "settling pond",
    "dam",
)


@dataclass(frozen=True)
class Task:
    """A set of mutually exclusive classes that one model tells apart from the background."""

    name: str
    """`model1` … `model4`, or the class names joined by commas."""
    class_names: tuple[str, ...]
    """Classes of Table 1 that the task needs annotated."""
    merged_name: str | None = None
    """Name of the one target class if all classes are merged into it (Model 4), else None."""

    @property
    def title(self) -> str:
        """The name for a reader: ``Model 1``, or the classes."""
        return self.name.replace("model", "Model ").replace(",", ", ")

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the target values 0, 1, …; 0 is the background."""
        return ("background", *((self.merged_name,) if self.merged_name else self.class_names))

    @property
    def target_colours(self) -> tuple[str, ...]:
        """Colours of the target values 0, 1, …; the background is white."""
        merged = (EXTENT.colour,)
        own = tuple(_BY_NAME[name].colour for name in self.class_names)
        return ("#FFFFFF", *(merged if self.merged_name else own))

    @property
    def num_classes(self) -> int:
        """Number of target values, the background included."""
        return len(self.target_names)

    def not_annotated(self, annotated: Collection[str]) -> tuple[str, ...]:
        """Return the classes that the task needs and nobody looked for.

        Outlines of the whole area are all that a task needs that merges its classes into it; no
        other task can make use of them.
        """
        if self.merged_name in annotated:
            return ()
        return tuple(name for name in self.class_names if name not in annotated)

    def on(self, annotated: Collection[str]) -> "Task":
        """Return what labels can answer of a model of the paper: the classes that were looked for.

        A task of single classes means just these, and Model 4 needs whole mining areas: they stay
        as they are, and so does a model of which nothing was looked for.
        """
        there = [name for name in self.class_names if name in annotated]
        if self.name not in TASKS or self.merged_name or not there:
            return self
        return self if len(there) == len(self.class_names) else parse_task(",".join(there))


TASKS: dict[str, Task] = {
    "model1": Task("model1", ("excavation", "preparatory work area")),
    "model2": Task("model2", ("dumping ground",)),
    "model3": Task(
        "model3",
        (
            "stockpile",
            "settling pond",
            "infrastructure",
            "exploitation slope",
            "transportation slope",
            "dam",
            "tailing storage facility",
        ),
    ),
    "model4": Task("model4", CLASS_NAMES, merged_name=EXTENT.name),
}
"""The paper's Models 1-4 (section 2.2)."""


def parse_task(text: str) -> Task:
    """Find a task by name, or make one from class names.

    Parameters
    ----------
    text : str
        ``model1`` … ``model4``, or class names of Table 1 separated by commas.

    Returns
    -------
    Task

    Raises
    ------
    MinsegError
        If a name is unknown or given twice.
    """
    if text.strip().lower() in TASKS:
        return TASKS[text.strip().lower()]
    names = [name.strip().lower() for name in text.split(",")]
    unknown = [name for name in names if name not in CLASS_NAMES]
    if unknown:
        raise MinsegError(
            f"task {text!r}: unknown {', '.join(map(repr, unknown))}; "
            f"use {', '.join(TASKS)} or class names: {', '.join(CLASS_NAMES)}"
        )
    if len(set(names)) < len(names):
        raise MinsegError(f"task {text!r}: a class is named twice; name each class once")
    ordered = tuple(name for name in CLASS_NAMES if name in names)
    return Task(",".join(ordered), ordered)


def partial_answers(annotated: Collection[str]) -> list[str]:
    """Tell what labels answer of Models 1-4, a line each; nothing where they answer all of it."""
    lines = []
    for model in TASKS.values():
        task = model.on(annotated)
        never = ", ".join(name for name in model.class_names if name not in annotated)
        if not never:
            lines.append(f"{model.title} whole")
        elif task is not model:
            lines.append(f"{model.title} as {task.title} (nobody looked for {never})")
        elif task.not_annotated(annotated):
            lines.append(f"{model.title} not at all")
        elif set(annotated) == {EXTENT.name}:
            lines.append(f"{model.title} by outlines of whole mining areas")
        else:
            lines.append(
                f"{model.title} as the union of what was drawn, which misses what nobody looked for"
            )
    return lines if set(CLASS_NAMES) - set(annotated) else []


def class_bit(name: str) -> int:
    """Return the label value of one class: ``1 << id``."""
    if name not in _BY_NAME:
        raise MinsegError(f"unknown class {name!r}; the classes are: {', '.join(ANNOTATED_NAMES)}")
    return 1 << _BY_NAME[name].id


def encode_bits(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Combine a boolean mask (height, width) of each class into a bit mask, uint16."""
    shape = next(iter(masks.values())).shape
    bits = np.zeros(shape, np.uint16)
    for name, mask in masks.items():
        bits |= np.where(mask, class_bit(name), 0).astype(np.uint16)
    return bits


def decode_bits(bits: np.ndarray, name: str) -> np.ndarray:
    """Return where a bit mask annotates one class as present; nobody's pixels are not."""
    return ((bits & class_bit(name)) > 0) & (bits != IGNORE_BITS)


def task_target(bits: np.ndarray, task: Task) -> np.ndarray:
    """Turn a bit mask into a task's target, uint8: 0 background, 1 … its classes, 255 ignore.

    Where classes of the task overlap, the one later in `PRIORITY` wins (section 2.2).
    """
    target = np.zeros(bits.shape, np.uint8)
    if task.merged_name:
        target[bits > 0] = 1
    else:
        for name in sorted(task.class_names, key=(EXTENT.name, *PRIORITY).index):
            target[decode_bits(bits, name)] = task.target_names.index(name)
    target[bits == IGNORE_BITS] = IGNORE
    return target


def overlapping_pixels(bits: np.ndarray, class_names: Iterable[str]) -> int:
    """Count pixels that carry more than one of the given classes."""
    present = sum(decode_bits(bits, name).astype(np.uint8) for name in class_names)
    return int(np.count_nonzero(np.asarray(present) > 1))
