"""Pretrained encoder weights: finding them, reading them, and fitting them to other bands.

segmentation-models-pytorch fits the first layer of a pretrained encoder to more channels by
position: channel 3 gets the red kernel again, channel 4 the green one, whatever the channels show,
so that the order of the bands decides how training starts. Here a band gets its own kernel where
the encoder was trained on it, else those of the bands nearest to it in wavelength, in whatever
order the bands come.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from segmentation_models_pytorch.encoders import encoders as SMP_ENCODERS
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from minseg.atomic import replace_when_done
from minseg.data.bands import BANDS, parse_bands
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError, first_line
from minseg.learning.options import Start, installed_version, named_start

PRETRAINED_BANDS: tuple[str, ...] = ("B04", "B03", "B02")
"""Red, green, blue: the bands that the input channels stand for where a file names no others."""

PICKLE_ENDINGS: tuple[str, ...] = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle")
"""File endings of pickles, which can run code when they are opened."""

_HEADS = ("_conv_head.", "_bn1.", "model.conv_head.", "model.bn2.", "model.classifier.")
"""What EfficientNets have behind their last feature: a file may have it or not."""


def load_pretrained(model: nn.Module, encoder: str, bands: Sequence[str], weights: str) -> None:
    """Replace the random encoder of a model by a pretrained one, fitted to its bands."""
    path, trained_on = pretrained_file(encoder, weights), PRETRAINED_BANDS
    if path is None:
        pretrained = _from_hub(encoder, weights)
    else:
        trained_on = tuple(trained_inputs(path))
        pretrained = _from_file(encoder, path, trained_on)
    if start := named_start(encoder, weights):
        version = installed_version(start.package)
        print(f"note: weights {start.name}, from {start.package} {version}", file=sys.stderr)
    state = pretrained.state_dict()
    for name in _input_tensors(encoder):
        state[name] = adapt_first_convolution(state[name], bands, trained_on)
    model.get_submodule("encoder").load_state_dict(state)


def pretrained_file(encoder: str, weights: str | None) -> Path | None:
    """Return the safetensors file of weights, a package's or a user's; None for all others."""
    if start := named_start(encoder, weights):
        if encoder != start.encoder:
            raise MinsegError(
                f"weights {start.name!r} belong to the encoder {start.encoder} and not to "
                f"{encoder}; use --set encoder={start.encoder} or other weights"
            )
        return _from_package(start, Path(torch.hub.get_dir()) / "minseg")
    if weights is not None and weights.lower().endswith((".safetensors", *PICKLE_ENDINGS)):
        require_safetensors(Path(weights))
        return Path(weights)
    return None


def adapt_first_convolution(
    weight: Tensor, bands: Sequence[str], trained_on: Sequence[str] = PRETRAINED_BANDS
) -> Tensor:
    """Fit the first convolution of an encoder to other bands than it was trained on.

    A band that it was trained on gets its own kernel. Another optical band gets the kernel
    interpolated linearly in wavelength between those of its neighbours, or that of the first or
    last one; another radar channel gets the mean of all. All kernels are scaled by the number of
    bands before over that after, so that the summed response keeps its size. For the bands that
    it was trained on, in any order, these are the pretrained kernels in that order.
    """
    if weight.ndim != 4 or weight.shape[1] != len(trained_on):
        raise MinsegError(
            f"first layer {tuple(weight.shape)} is no convolution of {len(trained_on)} channels "
            "and cannot be fitted to other bands; choose another encoder or a random start "
            "(weights=none)"
        )
    mix = np.stack([_kernel_shares(band, trained_on) for band in bands])  # (bands, channels)
    shares = torch.tensor(mix, dtype=weight.dtype, device=weight.device)
    return torch.einsum("bc,ochw->obhw", shares * (len(trained_on) / len(bands)), weight)


def _kernel_shares(band: str, trained_on: Sequence[str]) -> np.ndarray:
    """Return the share of each pretrained kernel in the kernel of a band."""
    own = np.eye(len(trained_on))  # a row for each channel, all of it that channel's kernel
    if band in trained_on:
        return own[trained_on.index(band)]
    wavelength_nm = BANDS[band].wavelength_nm
    optical = sorted(  # np.interp wants rising wavelengths
        (known_nm, place)
        for place, name in enumerate(trained_on)
        if (known_nm := BANDS[name].wavelength_nm) is not None
    )
    if wavelength_nm is None or not optical:
        return own.mean(axis=0)
    known, places = zip(*optical, strict=True)
    return np.array(
        [np.interp(wavelength_nm, known, own[list(places), k]) for k in range(len(own))]
    )


def describe_inputs(statistics: ChannelStatistics) -> dict[str, str]:
    """Return the metadata that tell a file's reader what the channels of its weights are."""
    channels = zip(statistics.bands, statistics.mean, statistics.deviation, strict=True)
    # One entry: several would be written in random order, and equal weights as unequal files.
    return {"bands": json.dumps({band: values for band, *values in channels})}


def trained_inputs(path: Path) -> dict[str, list[float]]:
    """Read the bands that a safetensors file's weights were trained on, from its metadata.

    Its entry `bands` is `B02,B03,…`, or JSON of each one's mean and deviation, as
    `describe_inputs` gives them; without it the channels are red, green and blue. A band comes
    with mean and deviation, or with nothing where they are not told.
    """
    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get("bands", ",".join(PRETRAINED_BANDS))
    try:
        channels = json.loads(told) if told.startswith("{") else {}
        for mean, deviation in channels.values():
            if not (math.isfinite(mean) and 0 < deviation < math.inf):
                raise ValueError(f"mean {mean} and deviation {deviation} standardise nothing")
        bands = parse_bands(",".join(channels) or told)
        return dict(zip(bands, channels.values() or [[]] * len(bands), strict=True))
    except (ValueError, TypeError, MinsegError) as error:
        raise MinsegError(
            f"{path}: its metadata must name the bands it was trained on, e.g. "
            f"safetensors.torch.save_file(state, path, {{'bands': 'B04,B03,B02'}}): {error}"
        ) from None


def standardised_as_trained(
    statistics: ChannelStatistics, encoder: str, weights: str | None
) -> ChannelStatistics:
    """Return how inputs are standardised: as the start's were, where it tells that of a band."""
    path = pretrained_file(encoder, weights)
    told = trained_inputs(path) if path else {}
    channels = zip(statistics.bands, statistics.mean, statistics.deviation, strict=True)
    mean, deviation = zip(*(told.get(band) or own for band, *own in channels), strict=True)
    return ChannelStatistics(statistics.bands, mean, deviation)


@lru_cache
def _from_package(start: Start, folder: Path) -> Path:
    """Return the converted weights of a package: out of the folder, or put there now."""
    installed = installed_version(start.package)
    if not installed:
        raise MinsegError(
            f"weights {start.name!r} come with the package {start.package}, which is not "
            "installed: run `pip install minseg[weights]`"
        )
    for cached in folder.glob(f"{start.name}-{start.sha256[:16]}-*.safetensors"):
        if cached.stem.endswith(_sha256(cached)[:16]):
            return cached
    files = [Path(str(distribution(start.package).locate_file(file))) for file in start.files]
    if not all(file.is_file() for file in files) or _sha256(*files) != start.sha256:
        raise MinsegError(
            f"weights {start.name!r}: {start.package} {installed} holds other weights than the "
            "version they are known from; run `pip install minseg[weights]`"
        )
    state, facts = _read_csmask(*files) if len(files) > 1 else _read_lite0(*files)
    content = save({name: tensor.contiguous() for name, tensor in state.items()}, facts)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{start.name}-{start.sha256[:16]}-{digest[:16]}.safetensors"
    with replace_when_done(path) as beside:
        beside.write_bytes(content)
    return path


def _sha256(*files: Path) -> str:
    """Return the hash of files, one after the other."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _read_lite0(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the package's EfficientNet-Lite0: its layers stand in timm's order, by other names."""
    given = torch.load(path, weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = {
        f"encoder.model.{name}": tensor for name, tensor in zip(names, given.values(), strict=True)
    }
    return state, {"bands": ",".join(PRETRAINED_BANDS)}


def _read_csmask(path: Path, about: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a U-Net of segmentation-models-pytorch from ONNX, and what its inputs are."""
    try:
        import onnx
    except ImportError as error:
        raise MinsegError(
            f"{path}: needs the package {error.name}: run `pip install minseg[weights]`"
        ) from None
    state = {
        tensor.name.removeprefix("model."): torch.tensor(onnx.numpy_helper.to_array(tensor)).float()
        for tensor in onnx.load(path).graph.initializer
    }
    told = json.loads(about.read_text(encoding="utf-8"))["data"]["dataset_statistics"]
    bands = parse_bands(",".join(told["band_names"]))
    return state, describe_inputs(ChannelStatistics(bands, *told["img"]))


def require_safetensors(path: Path) -> None:
    """Refuse a pickle, a file that is not there, and one of another format."""
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise MinsegError(
            f"{path}: a pickle can run code when it is opened, so it is refused; if you trust it, "
            "convert it once: safetensors.torch.save_file("
            f"torch.load({path.name!r}, weights_only=True), {path.stem + '.safetensors'!r})"
        )
    if not path.is_file():
        raise MinsegError(f"{path}: no such file; check the path of the weights")
    try:
        safe_open(path, "pt").__exit__(None, None, None)
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


def _from_file(encoder: str, path: Path, trained_on: Sequence[str]) -> nn.Module:
    """Return the encoder that a file holds, of as many channels as it was trained on."""
    state = load_file(path)
    inside = {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("encoder.")
    }
    pretrained = get_encoder(encoder, in_channels=len(trained_on))
    fresh = pretrained.state_dict()
    unused = {
        name: tensor
        for name, tensor in fresh.items()
        if name.startswith(_HEADS) or name.endswith("num_batches_tracked")
    }
    given = {
        name: tensor
        for name, tensor in (unused | (inside or state)).items()
        if name in fresh or not name.startswith(_HEADS)
    }
    try:
        # Encoders drop the classification head of published files themselves.
        pretrained.load_state_dict(given)
    except RuntimeError:
        mismatch = first_mismatch(fresh, given)
        raise MinsegError(
            f"{path}: does not fit the encoder {encoder} with the {len(trained_on)} channels "
            f"{', '.join(trained_on)}: {mismatch}"
        ) from None
    return pretrained


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
            f"fetched ({first_line(error)}); give the path of a .safetensors file "
            "(--set weights=FILE) or start at random (--set weights=none)"
        ) from None


def _require_reachable(encoder: str, weights: str) -> None:
    """Raise OSError at once if weights cannot be had: the hub's client tries for half a minute."""
    if encoder.startswith("tu-"):
        settings = timm.models.get_pretrained_cfg(encoder[3:])
        repository, revision = settings and settings.hf_hub_id, None
    else:
        source = SMP_ENCODERS[encoder]["pretrained_settings"][weights]
        repository, revision = source["repo_id"], source["revision"]
    file = "model.safetensors"
    if not repository or try_to_load_from_cache(repository, file, revision=revision):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=10)
    except EntryNotFoundError:
        return  # the hub answers; some of timm's weights lie there in another format
    except Exception as error:  # its transport's own exceptions differ between versions
        raise OSError(f"{repository}: {error}") from None


def _input_tensors(encoder: str) -> list[str]:
    """Name the tensors of an encoder that depend on its input channels: in MobileOne two."""
    three, four = (get_encoder(encoder, in_channels=n).state_dict() for n in (3, 4))
    return [name for name in three if three[name].shape != four[name].shape]
