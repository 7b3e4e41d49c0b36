"""How a model is trained: every choice, with the paper's value as the default."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate; the paper names one rate, so it stays constant."""
    checkpoint: Literal["best", "last"] = "best"
    """Weights that are kept: of the epoch with the best validation IoU, or of the last one."""
    encoder_rate: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Learning rate of the encoder as a multiple of the rest's; 0 keeps it frozen as it starts."""
    colour: float = Field(0.0, ge=0, lt=1)
    """Largest random change of brightness and colour of a training crop (`change_colours`)."""
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    """Number format: bfloat16 where the device has instructions for it, else float32."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Start of all randomness: weights, order of scenes, crops, flips."""
