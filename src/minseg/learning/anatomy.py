"""The stages of a network as it is built, for the drawing of it (Figure 4).

Nothing is computed: a copy of the network without values is run on an input without values, so
that a large network costs milliseconds, and the network itself is not touched.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge


class Stage(TypedDict):
    """What comes out of one part of a network."""

    name: str
    """``input``, ``encoder 0`` …, a name within the decoder, or ``output``."""
    part: str
    """``input``, ``encoder``, ``decoder`` or ``output``."""
    channels: int
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    sources: list[str]
    """Names of the stages that it is computed from."""


def network_anatomy(network: nn.Module, in_channels: int, size: int) -> list[Stage]:
    """Record the stages of a network and what each is computed from.

    Parameters
    ----------
    network : Module
        Of segmentation-models-pytorch, with an encoder, a decoder and a segmentation head; keeps
        its state.
    in_channels : int
        Number of input channels.
    size : int
        Height and width of the input, pixels; a multiple of 32.

    Returns
    -------
    list of Stage
        In the order of computation: input, features of the encoder, decoder, logits. Stages that
        hand on what they were given are left out.
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


def _stages(outputs: Iterable[tuple[str, str, Tensor]]) -> list[Stage]:
    """Turn named outputs into stages, linked by the graph of their gradients."""
    stages: list[Stage] = []
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
            stages.append(
                Stage(
                    name=name,
                    part=part,
                    channels=channels,
                    height=height,
                    width=width,
                    sources=sources,
                )
            )
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
