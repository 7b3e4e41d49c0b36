"""Segmentation networks for any bands: the architectures and encoders of section 2.4.3."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import encoders as SMP_ENCODERS
from torch import Tensor, nn

from minseg.atomic import replace_when_done
from minseg.errors import MinsegError
from minseg.learning.weights import first_mismatch, load_pretrained, read_safetensors

ARCHITECTURES: dict[str, str] = {
    "linknet": "Linknet",
    "unet++": "UnetPlusPlus",
    "deeplabv3+": "DeepLabV3Plus",
    "fpn": "FPN",
    "unet": "Unet",
}
"""Our name to the class of segmentation-models-pytorch, in the order of section 2.4.3."""

ENCODERS: tuple[str, ...] = ("resnet50", "vgg16", "efficientnet-b0")
"""The encoders of section 2.4.3. The paper does not say which EfficientNet: b0 is our choice."""

_MAX_POOLING = ("vgg", "densenet", "inceptionresnetv2", "inceptionv4", "xception")
_UNEVEN = ("mit_b",)


def can_build(architecture: str, encoder: str) -> bool:
    """Tell whether segmentation-models-pytorch can join an architecture and an encoder.

    Of the 15 combinations of section 2.4.3 it can join all but one, ``deeplabv3+`` with
    ``vgg16``: DeepLabV3+ keeps the last stage at 1/16 of the input by dilated convolutions, and
    encoders that downsample by max pooling (VGG, DenseNet, Inception, Xception) have no stride to
    trade for dilation. Beyond the paper's encoders, ``linknet`` and ``unet++`` refuse the Mix
    Vision Transformers (``mit_b…``), which have no features at half resolution.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    encoder : str
        Any encoder name; encoders outside these families are taken to work.

    Returns
    -------
    bool
    """
    refused = {"deeplabv3+": _MAX_POOLING, "linknet": _UNEVEN, "unet++": _UNEVEN}
    family = encoder.removeprefix("tu-")
    return architecture in ARCHITECTURES and not family.startswith(refused.get(architecture, ()))


def build_model(
    architecture: str,
    encoder: str,
    bands: Sequence[str],
    num_classes: int,
    weights: str | None = None,
) -> nn.Module:
    """Build a network that maps (batch, bands, height, width) to logits of every class.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    encoder : str
        One of `ENCODERS`, or another of segmentation-models-pytorch, ``tu-…`` included.
    bands : sequence of str
        Names of the input channels, in order (`minseg.data.bands.BANDS`).
    num_classes : int
        Number of classes, the background included.
    weights : str, optional
        Start of the encoder: None = random; a name such as ``imagenet`` = published weights; a
        path that ends in ``.safetensors`` = a local file (`minseg.learning.weights`). The decoder
        always starts at random.

    Returns
    -------
    Module
        Takes float images whose height and width are multiples of 32; gives logits (batch,
        num_classes, height, width).

    Raises
    ------
    MinsegError
        If a name is unknown, the two do not go together, or the weights cannot be had or do not
        fit. A start that was asked for is never replaced by a random one.
    """
    require_known(architecture, encoder)
    try:
        model = getattr(smp, ARCHITECTURES[architecture])(
            encoder, encoder_weights=None, in_channels=len(bands), classes=num_classes
        )
    # What smp and timm raise where an encoder lacks what the architecture needs.
    except (ValueError, TypeError, AssertionError, RuntimeError, NotImplementedError) as error:
        raise MinsegError(
            f"{architecture} cannot be built on encoder {encoder} ({error or 'unsupported'}); "
            "choose another of the two"
        ) from None
    if weights is not None:
        load_pretrained(model, encoder, bands, weights)
    return model


def require_known(architecture: str, encoder: str) -> None:
    """Refuse unknown names and combinations that are known not to work."""
    if architecture not in ARCHITECTURES:
        raise MinsegError(
            f"unknown architecture {architecture!r}; use one of {', '.join(ARCHITECTURES)}"
        )
    by_timm = encoder.startswith("tu-") and timm.is_model(encoder[3:])
    if not by_timm and encoder not in SMP_ENCODERS:
        raise MinsegError(
            f"unknown encoder {encoder!r}; use {', '.join(ENCODERS)} or another encoder of "
            "segmentation-models-pytorch, those of timm as tu-NAME"
        )
    if not can_build(architecture, encoder):
        others = ", ".join(name for name in ARCHITECTURES if can_build(name, encoder))
        raise MinsegError(
            f"{architecture} cannot be built on encoder {encoder}; with this encoder use {others}"
        )


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all weights of a model to a safetensors file, whole or not at all.

    Parameters
    ----------
    model : Module
        On any device.
    path : Path
        File to write; one that is there is replaced.

    Raises
    ------
    MinsegError
        If the folder cannot be written to.
    """
    save_state(model.state_dict(), path)


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors to a safetensors file, whole or not at all; see `save_weights`."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replace_when_done(path) as beside:
        save_file(plain, beside)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the weights that `save_weights` wrote into a model of the same build.

    Parameters
    ----------
    model : Module
        Keeps its device and number type.
    path : Path
        Safetensors file.

    Raises
    ------
    MinsegError
        If the file cannot be read or a tensor does not fit (the first one is named); the model is
        then unchanged.
    """
    state = read_safetensors(path)
    mismatch = first_mismatch(model.state_dict(), state)
    if mismatch:
        raise MinsegError(
            f"{path}: does not fit this model: {mismatch}; "
            "build it with the architecture, encoder, bands and classes it was saved with"
        )
    model.load_state_dict(state)
