"""Segmentation networks for any bands: the architectures and encoders of section 2.4.3."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.encoders import encoders as SMP_ENCODERS
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.utils.fusion import fuse_conv_bn_weights

from minseg.atomic import replace_when_done
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.learning.weights import (
    describe_inputs,
    first_mismatch,
    load_pretrained,
    require_safetensors,
)

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
    coarsen: int = 1,
) -> nn.Module:
    """Build a network that maps (batch, bands, height, width) to logits of every class.

    With `coarsen` 2 or more it sees means of squares of that many pixels a side, and its logits
    are interpolated back: it looks as many times farther and computes as many times less, squared.
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
    _train_depthwise_in_float32(model)
    if coarsen > 1:
        model.register_forward_pre_hook(lambda _, given: F.avg_pool2d(given[0], coarsen))
        model.register_forward_hook(
            lambda _, __, logits: F.interpolate(
                logits.float(), scale_factor=coarsen, mode="bilinear"
            )
        )
    return model


class _InFloat32(nn.Conv2d):
    """A convolution that trains in float32 on a CPU, whatever the network around it does."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(inputs)
        with torch.autocast("cpu", enabled=False):
            return super().forward(inputs.float())


def _train_depthwise_in_float32(model: nn.Module) -> None:
    """Keep convolutions of single channels out of bfloat16 when they train on a CPU.

    Their gradients take four times as long in it there, and EfficientNets half as long again.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    depthwise = [one for one in convolutions if one.groups == one.in_channels > 1]
    # Some libraries' own convolutions pad in their own way, and go on doing so.
    kinds = {kind: type("Depthwise", (_InFloat32, kind), {}) for kind in {*map(type, depthwise)}}
    for convolution in depthwise:
        convolution.__class__ = kinds[type(convolution)]


@torch.inference_mode()
def fold_normalisation(network: nn.Module, in_channels: int, size: int) -> nn.Module:
    """Return a copy for evaluation in which convolutions do what a normalisation after them did.

    There a batch normalisation scales and shifts by constants, which the convolution before it
    can: a pass over the image less for each. A network that would then answer otherwise, as where
    two layers share a convolution, is returned as it is: an image of `size` pixels a side tells.
    """
    if not any(type(module) is nn.BatchNorm2d for module in network.modules()):
        return network
    # Tried on the CPU, since graphics cards round what they multiply.
    folded = copy.deepcopy(network).cpu().eval()
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the id of what came out, which is kept
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def leave(convolution: nn.Conv2d, _: tuple, output: Tensor) -> None:
        made[id(output)] = convolution, output

    def enter(normalisation: nn.BatchNorm2d, inputs: tuple) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], normalisation))

    names = {module: name for name, module in folded.named_modules()}
    hooks = [m.register_forward_hook(leave) for m in names if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(enter) for m in names if type(m) is nn.BatchNorm2d]
    random = torch.Generator().manual_seed(0)
    image = torch.randn((1, in_channels, size, size), generator=random)
    expected = folded(image)
    for hook in hooks:
        hook.remove()
    for conv, norm in pairs:
        mean, variance = norm.running_mean, norm.running_var
        if mean is not None and variance is not None:
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            folded.set_submodule(names[norm], nn.Identity())
    if not torch.allclose(folded(image), expected, rtol=1e-3, atol=1e-4):
        return network
    return folded.to(next(network.parameters()).device).to(memory_format=torch.channels_last)


def round_convolutions(network: nn.Module) -> None:
    """Keep the weights of convolutions in bfloat16, as autocast otherwise makes them each time."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.bfloat16()


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


def save_weights(
    state: Mapping[str, Tensor], path: Path, statistics: ChannelStatistics | None = None
) -> None:
    """Write a state, and what the inputs are, to a safetensors file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replace_when_done(path) as beside:
        save_file(plain, beside, describe_inputs(statistics) if statistics else None)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the weights that `save_weights` wrote into a model of the same build."""
    require_safetensors(path)
    state = load_file(path)
    mismatch = first_mismatch(model.state_dict(), state)
    if mismatch:
        raise MinsegError(
            f"{path}: does not fit this model: {mismatch}; "
            "build it with the architecture, encoder, bands and classes it was saved with"
        )
    model.load_state_dict(state)


def network_anatomy(network: nn.Module, in_channels: int, size: int) -> list[dict[str, Any]]:
    """Record what comes out of each part of a network, a stage, and what it is computed from.

    A stage is of the `part` input, encoder, decoder or output, with a `name` (``encoder 0`` …, in
    the decoder that of the module), `channels`, `height`, `width` and the names of its `sources`.
    """
    hollow = copy.deepcopy(network).to("meta").eval()
    image = torch.empty((1, in_channels, size, size), device="meta", requires_grad=True)
    outputs: list[tuple[str, str, Tensor]] = [("input", "input", image)]

    def record(name: str, part: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda *call: outputs.append((name, part, call[-1])))

    def record_features(_: nn.Module, __: tuple, features: Iterable[Tensor]) -> None:
        outputs.extend(
            (f"encoder {level}", "encoder", feature) for level, feature in enumerate(features)
        )

    hollow.get_submodule("encoder").register_forward_hook(record_features)
    for name, module in hollow.get_submodule("decoder").named_children():
        # Lists and dictionaries of blocks are no stages, and are never called.
        blocks = isinstance(module, nn.ModuleList | nn.ModuleDict)
        for inner, block in module.named_children() if blocks else [("", module)]:
            record(".".join(filter(None, (name, inner))), "decoder", block)
    record("output", "output", hollow.get_submodule("segmentation_head"))
    with torch.enable_grad():  # the links are read from the graph of the gradients
        hollow(image)
    return _stages(outputs)


def _stages(outputs: Iterable[tuple[str, str, Tensor]]) -> list[dict[str, Any]]:
    """Turn named outputs into stages, linked by the graph of their gradients."""
    stages = []
    names: dict[Node, str] = {}
    for name, part, output in outputs:
        # Mix Vision Transformers give an empty feature at half resolution.
        if output.shape[1] == 0 or not output.requires_grad:
            continue
        node = get_gradient_edge(output).node
        if node not in names:
            sources = _sources(node, names)
            names[node] = name
            channels, height, width = output.shape[1:]
            size = {"channels": channels, "height": height, "width": width}
            stages.append({"name": name, "part": part, **size, "sources": sources})
    return stages


def _sources(node: Node, names: Mapping[Node, str]) -> list[str]:
    """Return the named nodes that a node follows from, without those that lie behind them."""
    found, seen, ahead = set(), {node}, [node]
    while ahead:
        for following, _ in ahead.pop().next_functions:
            if following is None or following in seen:
                continue
            if following in names:
                found.add(names[following])
            else:
                seen.add(following)
                ahead.append(following)
    return [name for name in names.values() if name in found]
