"""How a model is trained: every choice, with the paper's value as the default; named starts."""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class TrainingOptions(BaseModel):
    """Choices of one training, defaults as in section 2.4 where the paper states them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    crop: int = Field(512, ge=32, multiple_of=32)
    """Side of the random training crop, pixels."""
    batch_size: int = Field(4, ge=1)
    """Crops per step."""
    learning_rate: float = Field(3e-4, gt=0, allow_inf_nan=False)
    """Step size; its unit is the optimiser's."""
    epochs: int = Field(150, ge=1)
    """Passes over the training scenes."""
    crops_per_scene: int = Field(1, ge=1)
    """Crops taken from each scene in an epoch (the paper: one, scenes being about crop-sized)."""
    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    """Not stated for the band and split experiments; Table 5 prefers adam and adamw."""
    loss: Literal["jaccard", "tversky", "focal", "crossentropy"] = "crossentropy"
    """Not stated for the band and split experiments; Table 5 prefers focal and crossentropy."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the true classes in crossentropy and focal: none, or inverse to their pixels.

    A pixel of a class counts n / (k · n_c): n annotated train pixels, n_c of them of this class, k
    classes that occur (scikit-learn's `balanced`). A batch's loss is the mean by these weights, as
    PyTorch's. In jaccard and tversky all classes weigh alike already.
    """
    weight_decay: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Added to the gradient per weight by sgd and adam, decoupled from it in adamw; none for
    PyTorch's own default, which is 0, and 0.01 in adamw."""
    patience: int = Field(0, ge=0)
    """Epochs in a row without a better validation IoU that end a training early; 0 = never."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate; the paper names one rate, so it stays constant."""
    checkpoint: Literal["best", "last"] = "best"
    """Weights that are kept: of the epoch with the best validation IoU, or of the last one."""
    encoder_rate: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Learning rate of the encoder as a multiple of the rest's; 0 keeps it frozen as it starts."""
    standardise: Literal["scenes", "start"] = "scenes"
    """Inputs by mean and spread of the training scenes, or as a pretrained start had them."""
    colour: float = Field(0.0, ge=0, lt=1)
    """Largest random change of brightness and colour of a training crop (`change_colours`)."""
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    """Number format: bfloat16 where the device has instructions for it, else float32."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Start of all randomness: weights, order of scenes, crops, flips."""

    @field_validator("class_weights")
    @classmethod
    def _weighs_pixels(cls, value: str, info: ValidationInfo) -> str:
        """Refuse weights for a loss of whole classes."""
        loss = info.data.get("loss")
        if value == "balanced" and loss in ("jaccard", "tversky"):
            raise ValueError(f"{loss} weighs classes alike already; use crossentropy or focal")
        return value

    def is_over(self, ious: Sequence[float]) -> bool:
        """Tell whether a training ends after the epochs that scored so on validation."""
        if len(ious) >= self.epochs:
            return True
        known = [-math.inf if math.isnan(iou) else iou for iou in ious]
        best = known.index(max(known)) if known else 0  # of equal ones the first
        return self.patience > 0 and len(known) - 1 - best >= self.patience


@dataclass(frozen=True)
class Start:
    """Pretrained weights that an ordinary package brings."""

    name: str
    package: str
    files: tuple[str, ...]
    """Weights, and what tells of their bands, within the folder of installed packages."""
    sha256: str
    """Of all files, one after the other: the name stands for this content and no other."""
    encoder: str
    """The one encoder that these weights belong to."""


_TABLE = tomllib.loads(Path(__file__).with_name("starts.toml").read_text(encoding="utf-8"))

STARTS: dict[str, Start] = {
    name: Start(name, **told | {"files": tuple(told["files"])}) for name, told in _TABLE.items()
}
"""Pretrained starts by name."""


def named_start(encoder: str, weights: str | None) -> Start | None:
    """Return the start that a name stands for; None for files, for the hub's names and for none.

    `imagenet` is that of a package where one for the encoder is installed.
    """
    lite0 = STARTS["imagenet-lite0"]
    if weights == "imagenet" and encoder == lite0.encoder and installed_version(lite0.package):
        return lite0
    return STARTS.get(weights or "")


def installed_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
