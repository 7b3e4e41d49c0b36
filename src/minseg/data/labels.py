"""The ten mining-area classes of the paper's Table 1, and the tasks (Models 1-4) built on them.

Labels are stored as a bit mask, because components overlap (an exploitation slope lies inside an
excavation): bit *k* is set where class *k* of Table 1 is present, and bit 10 where a whole mining
area was outlined and its parts were not. A task picks classes out of it: mutually exclusive ones,
with one class number a pixel (section 2.2), or ones that may overlap, with the bits themselves.
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
    """A set of classes that one model tells from the background, and from each other.

    A raster of a task, true or predicted, holds class numbers of exclusive classes (uint8: 0
    background, 1 … the classes, 255 ignore), and of overlapping ones the bits of a label raster
    (uint16: 0 none of them, 65535 ignore).
    """

    name: str
    """`model1` … `model4`, `all`, or the class names joined by commas, overlapping ones by +."""
    class_names: tuple[str, ...]
    """Classes of Table 1 that the task needs annotated."""
    merged_name: str | None = None
    """Name of the one target class if all classes are merged into it (Model 4), else None."""
    overlapping: bool = False
    """Whether a pixel may be of several classes: multi-label segmentation (section 2.2)."""

    @property
    def title(self) -> str:
        """The name for a reader: ``Model 1``, or the classes."""
        name = "all ten classes" if self == ALL else self.name
        return name.replace("model", "Model ").replace(",", ", ").replace("+", " + ")

    @property
    def ignore(self) -> int:
        """Value of the pixels of its rasters that neither train nor count."""
        return IGNORE_BITS if self.overlapping else IGNORE

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Number type of its rasters."""
        return np.uint16 if self.overlapping else np.uint8

    @property
    def output_names(self) -> tuple[str, ...]:
        """What a network has an output for: overlapping classes leave out the background."""
        return self.target_names[1:] if self.overlapping else self.target_names

    def value(self, name: str) -> int:
        """Return the value, or the bit, of a class or the background in its rasters."""
        place = self.target_names.index(name)
        return class_bit(name) if self.overlapping and place else place

    def mask(self, values: np.ndarray, name: str) -> np.ndarray:
        """Return where one of its rasters has a class, or none: bool, False where ignored."""
        value = self.value(name)
        return decode_bits(values, name) if self.overlapping and value else values == value

    def legend(self, value: int) -> tuple[str, str]:
        """Return name and colour of a value of its rasters; of several classes the uppermost's."""
        if not self.overlapping:
            return self.target_names[value], self.target_colours[value]
        names = [name for name in self.class_names if value & class_bit(name)]
        uppermost = max(names, key=PRIORITY.index, default=self.target_names[0])
        colour = self.target_colours[self.target_names.index(uppermost)]
        return " + ".join(names) or uppermost, colour

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the classes that are counted, of exclusive ones in the order of their numbers.

        The first is the background: none of the classes.
        """
        return ("background", *((self.merged_name,) if self.merged_name else self.class_names))

    @property
    def target_colours(self) -> tuple[str, ...]:
        """Colours of the `target_names`; the background is white."""
        return ("#FFFFFF", *(_BY_NAME[name].colour for name in self.target_names[1:]))

    @property
    def num_classes(self) -> int:
        """Number of classes that are counted, the background included."""
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
        """Return what labels can answer of `all` or a model of the paper: what was looked for.

        A task of single classes means just these, and Model 4 needs whole mining areas: they stay
        as they are, and so does a model of which nothing was looked for.
        """
        there = [name for name in self.class_names if name in annotated]
        fixed = self.name not in (*TASKS, ALL.name) or self.merged_name
        if fixed or len(there) in (0, len(self.class_names)):
            return self
        return parse_task(("+" if self.overlapping else ",").join(there))


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

ALL = Task("all", CLASS_NAMES, overlapping=True)
"""One network for all ten classes: the multi-label segmentation that section 2.2 calls most
suitable, and leaves for its cost."""


def parse_task(text: str) -> Task:
    """Find a task by name, or make one from class names.

    Parameters
    ----------
    text : str
        ``model1`` … ``model4``, ``all``, or class names of Table 1: with commas between, they
        exclude each other (where they meet, the later one in `PRIORITY` wins); with + between,
        they may overlap.

    Returns
    -------
    Task

    Raises
    ------
    MinsegError
        If a name is unknown or given twice, or commas and + are mixed.

    Examples
    --------
    >>> parse_task("model1").target_names
    ('background', 'excavation', 'preparatory work area')
    >>> parse_task("tailing storage facility, dam").name
    'dam,tailing storage facility'
    """
    named = TASKS | {ALL.name: ALL}
    if text.strip().lower() in named:
        return named[text.strip().lower()]
    overlapping = "+" in text
    if overlapping and "," in text:
        raise MinsegError(
            f"task {text!r}: classes joined by + may overlap, those with commas between exclude "
            "each other, and one network does the one or the other; use only + or only commas"
        )
    names = [name.strip().lower() for name in text.split("+" if overlapping else ",")]
    unknown = [name for name in names if name not in CLASS_NAMES]
    if unknown:
        raise MinsegError(
            f"task {text!r}: unknown {', '.join(map(repr, unknown))}; "
            f"use {', '.join(named)} or class names: {', '.join(CLASS_NAMES)}"
        )
    if len(set(names)) < len(names):
        raise MinsegError(f"task {text!r}: a class is named twice; name each class once")
    ordered = tuple(name for name in CLASS_NAMES if name in names)
    if overlapping:
        return ALL if ordered == CLASS_NAMES else Task("+".join(ordered), ordered, overlapping=True)
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
    """Combine a boolean mask (height, width) of each class into a bit mask, uint16.

    Examples
    --------
    >>> pit, dam = np.array([[True, True]]), np.array([[False, True]])
    >>> bits = encode_bits({"excavation": pit, "dam": dam})
    >>> bits.tolist(), decode_bits(bits, "dam").tolist()
    ([[1, 257]], [[False, True]])
    """
    bits = [np.where(mask, np.uint16(class_bit(name)), 0) for name, mask in masks.items()]
    return np.bitwise_or.reduce(bits)


def decode_bits(bits: np.ndarray, name: str) -> np.ndarray:
    """Return where a bit mask annotates one class as present; nobody's pixels are not."""
    return ((bits & class_bit(name)) > 0) & (bits != IGNORE_BITS)


def task_target(bits: np.ndarray, task: Task) -> np.ndarray:
    """Turn a bit mask into a task's target, a raster as `Task` says.

    Where exclusive classes meet, the one later in `PRIORITY` wins (section 2.2).
    """
    if task.overlapping:
        own = sum(class_bit(name) for name in task.class_names)
        return np.where(bits == IGNORE_BITS, bits, bits & own).astype(np.uint16)
    target = np.zeros(bits.shape, np.uint8)
    if task.merged_name:
        target[bits > 0] = 1
    else:
        for name in sorted(task.class_names, key=(EXTENT.name, *PRIORITY).index):
            target[decode_bits(bits, name)] = task.target_names.index(name)
    target[bits == IGNORE_BITS] = IGNORE
    return target


def uppermost(values: np.ndarray, task: Task) -> tuple[np.ndarray, Task]:
    """Return a task's raster as it is drawn, and its meaning: one class a pixel, by `PRIORITY`."""
    if not task.overlapping:
        return values, task
    drawn = Task(f"uppermost of {task.title}", task.class_names)
    return task_target(values, drawn), drawn


def overlapping_pixels(bits: np.ndarray, class_names: Iterable[str]) -> int:
    """Count pixels that carry more than one of the given classes."""
    present = sum(decode_bits(bits, name).astype(np.uint8) for name in class_names)
    return int(np.count_nonzero(np.asarray(present) > 1))
