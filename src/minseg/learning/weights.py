"""Pretrained encoder weights: finding them, reading them, and fitting them to other bands.

Pretrained encoders take red, green and blue. segmentation-models-pytorch fits their first layer to
more channels by position: channel 3 gets the red kernel again, channel 4 the green one, whatever
the channels show, so that the order of the bands decides how training starts. Here a band gets
the kernels of the colours nearest to it in wavelength, in whatever order the bands come.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import encoders as SMP_ENCODERS
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from minseg.data.bands import BANDS
from minseg.errors import MinsegError

PRETRAINED_BANDS: tuple[str, ...] = ("B04", "B03", "B02")
"""Red, green, blue: the bands that the three input channels of pretrained encoders stand for."""

PICKLE_ENDINGS: tuple[str, ...] = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle")
"""File endings of pickles, which can run code when they are opened."""


def load_pretrained(model: nn.Module, encoder: str, bands: Sequence[str], weights: str) -> None:
    """Replace the random encoder of a model by a pretrained one, fitted to its bands."""
    if str(weights).lower().endswith((".safetensors", *PICKLE_ENDINGS)):
        rgb_encoder = _from_file(encoder, Path(weights))
    else:
        rgb_encoder = _from_hub(encoder, weights)
    state = rgb_encoder.state_dict()
    for name in _input_tensors(encoder):
        state[name] = adapt_first_convolution(state[name], bands)
    model.get_submodule("encoder").load_state_dict(state)


def adapt_first_convolution(weight: Tensor, bands: Sequence[str]) -> Tensor:
    """Fit the first convolution of an RGB encoder to other bands, by wavelength.

    An optical band gets the kernel interpolated linearly in wavelength between those of blue
    (B02), green (B03) and red (B04); below blue the blue one, above red the red one. A radar
    channel gets the mean of the three. All kernels are scaled by 3 / number of bands, so that the
    summed response keeps its size. For red, green and blue alone, in any order, these are the
    pretrained kernels in that order.
    """
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise MinsegError(
            f"first layer {tuple(weight.shape)} is no convolution of 3 channels and cannot be "
            "fitted to other bands; choose another encoder or a random start (weights=none)"
        )
    mix = torch.tensor(np.stack([_colour_shares(band) for band in bands]), dtype=weight.dtype)
    mix = mix.to(weight.device) * (3 / len(bands))  # (bands, 3)
    return torch.einsum("bc,ochw->obhw", mix, weight)


def _colour_shares(band: str) -> np.ndarray:
    """Return the shares (3,) of the red, green and blue kernel in the kernel of a band."""
    if band not in BANDS:
        raise MinsegError(f"unknown band {band!r}; the bands are: {', '.join(BANDS)}")
    wavelength_nm = BANDS[band].wavelength_nm
    if wavelength_nm is None:
        return np.full(3, 1 / 3)
    colours_nm = np.array([BANDS[name].wavelength_nm for name in PRETRAINED_BANDS], float)
    order = np.argsort(colours_nm)  # np.interp wants rising wavelengths
    return np.array([np.interp(wavelength_nm, colours_nm[order], row[order]) for row in np.eye(3)])


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a ``.safetensors`` file; no other format is opened."""
    path = Path(path)
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise MinsegError(
            f"{path}: a pickle can run code when it is opened, so it is refused; if you trust it, "
            "convert it once: safetensors.torch.save_file("
            f"torch.load({path.name!r}, weights_only=True), {path.stem + '.safetensors'!r})"
        )
    if not path.is_file():
        raise MinsegError(f"{path}: no such file; check the path of the weights")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MinsegError(f"{path}: cannot be read as safetensors ({error})") from None


def first_mismatch(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Name the first tensor that keeps `given` from fitting `expected`; empty if all fit."""
    for name, tensor in expected.items():
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
    return next((f"{name} is not in the model" for name in given if name not in expected), "")


def _from_file(encoder: str, path: Path) -> nn.Module:
    """Return the RGB encoder that a file holds."""
    state = read_safetensors(path)
    inside = {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("encoder.")
    }
    rgb_encoder = get_encoder(encoder, in_channels=3)
    given = inside or state
    try:
        # Encoders drop the classification head of published files themselves.
        rgb_encoder.load_state_dict(given)
    except RuntimeError:
        mismatch = first_mismatch(rgb_encoder.state_dict(), given)
        raise MinsegError(
            f"{path}: does not fit the encoder {encoder} with its 3 channels red, green, blue: "
            f"{mismatch}"
        ) from None
    return rgb_encoder


def _from_hub(encoder: str, weights: str) -> nn.Module:
    """Return the RGB encoder with weights published under a name, from the cache or the hub."""
    by_timm = encoder.startswith("tu-")
    names = ["imagenet"] if by_timm else list(SMP_ENCODERS[encoder]["pretrained_settings"])
    if by_timm and not timm.models.is_model_pretrained(encoder[3:]):
        names = []
    if weights not in names:
        raise MinsegError(
            f"weights {weights!r} of encoder {encoder}: use {', '.join([*names, 'none'])} or the "
            "path of a .safetensors file"
        )
    try:
        _require_reachable(encoder, weights)
        # timm knows its weights by the encoder's name alone, and takes a flag here.
        return get_encoder(encoder, in_channels=3, weights=True if by_timm else weights)
    except OSError as error:
        raise MinsegError(
            f"weights {weights!r} of encoder {encoder} are not on this machine and could not be "
            f"fetched ({str(error).splitlines()[0]}); give the path of a .safetensors file "
            "(--set weights=FILE) or start at random (--set weights=none)"
        ) from None


def _require_reachable(encoder: str, weights: str) -> None:
    """Raise OSError at once if weights are neither cached nor to be had from the hub.

    The hub's own client tries for half a minute when there is no network.
    """
    repository, revision = _hub_address(encoder, weights)
    file = "model.safetensors"
    if not repository or try_to_load_from_cache(repository, file, revision=revision):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=10)
    except EntryNotFoundError:
        return  # the hub answers; some of timm's weights lie there in another format
    except Exception as error:  # its transport's own exceptions differ between versions
        raise OSError(f"{repository}: {error}") from None


def _hub_address(encoder: str, weights: str) -> tuple[str, str | None]:
    """Return repository and revision of published weights; no repository if kept elsewhere."""
    if encoder.startswith("tu-"):
        settings = timm.models.get_pretrained_cfg(encoder[3:])
        return (settings and settings.hf_hub_id) or "", None
    source = SMP_ENCODERS[encoder]["pretrained_settings"][weights]
    return source["repo_id"], source["revision"]


def _input_tensors(encoder: str) -> list[str]:
    """Name the tensors of an encoder that depend on its number of input channels.

    One convolution in most, two side by side in MobileOne.
    """
    three, four = (get_encoder(encoder, in_channels=n).state_dict() for n in (3, 4))
    return [name for name in three if three[name].shape != four[name].shape]
