import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.encoders import encoders, get_encoder

from minseg.data.bands import BAND_CONFIGURATIONS, BANDS
from minseg.errors import MinsegError
from minseg.learning.models import build_model
from minseg.learning.weights import adapt_first_convolution, read_safetensors

RGB = BAND_CONFIGURATIONS["RGB"]
ALL_BANDS = BAND_CONFIGURATIONS["M+S"]


def random_kernels(seed=0):
    """Return kernels (8, 3, 3, 3) of red, green, blue."""
    return torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(seed))


def randomized_state(module, seed=0):
    """Return a state dict of the module's shapes that no initialisation could have produced."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        values = 0.05 * torch.rand(tensor.shape, generator=generator) + 0.02
        state[name] = values if tensor.is_floating_point() else tensor
    return state


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(randomized_state(get_encoder("resnet18")), path)
    return path


@pytest.fixture
def cut_off(monkeypatch, tmp_path):
    """Switch the hub's client to offline, with an empty cache; return the cache's folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_rgb_in_any_order_gets_exactly_the_pretrained_kernels():
    kernels = random_kernels()
    assert torch.equal(adapt_first_convolution(kernels, RGB), kernels)
    assert torch.equal(adapt_first_convolution(kernels, RGB[::-1]), kernels.flip(1))
    assert torch.equal(
        adapt_first_convolution(kernels, ("B03", "B04", "B02")), kernels[:, [1, 0, 2]]
    )


@pytest.mark.parametrize("bands", BAND_CONFIGURATIONS.values(), ids=BAND_CONFIGURATIONS.keys())
def test_kernels_follow_the_rule_band_by_band(bands):
    kernels = random_kernels().double()
    red, green, blue = kernels.unbind(1)
    adapted = adapt_first_convolution(kernels, bands)
    assert adapted.shape == (8, len(bands), 3, 3)
    for position, band in enumerate(bands):
        wavelength = BANDS[band].wavelength_nm
        if wavelength is None:
            expected = (red + green + blue) / 3
        elif wavelength <= 492.4:
            expected = blue
        elif wavelength >= 664.6:
            expected = red
        elif wavelength <= 559.8:
            expected = torch.lerp(blue, green, (wavelength - 492.4) / (559.8 - 492.4))
        else:
            expected = torch.lerp(green, red, (wavelength - 559.8) / (664.6 - 559.8))
        assert torch.allclose(adapted[:, position], expected * 3 / len(bands), atol=1e-12)


def test_a_wavelength_between_two_colours_mixes_their_kernels(monkeypatch):
    _, green, blue = random_kernels().unbind(1)
    between = BANDS["B02"].__class__("cyan", (492.4 + 559.8) / 2, 10, "half way to green")
    monkeypatch.setitem(BANDS, "cyan", between)
    adapted = adapt_first_convolution(random_kernels(), ("cyan",))
    assert torch.allclose(adapted[:, 0], 3 * (green + blue) / 2)


def test_unknown_bands_and_layers_of_other_channels_are_refused():
    with pytest.raises(MinsegError, match="unknown band 'B10'"):
        adapt_first_convolution(random_kernels(), ("B04", "B10"))
    with pytest.raises(MinsegError, match="no convolution of 3 channels"):
        adapt_first_convolution(torch.zeros(8, 4, 3, 3), RGB)


def test_a_local_file_fills_the_encoder_and_only_the_first_layer_is_adapted(encoder_file):
    model = build_model("unet", "resnet18", ALL_BANDS, 3, weights=str(encoder_file))
    given, found = load_file(encoder_file), model.encoder.state_dict()
    assert found.keys() == given.keys()
    assert [name for name in given if not torch.equal(found[name], given[name])] == ["conv1.weight"]
    expected = adapt_first_convolution(given["conv1.weight"], ALL_BANDS)
    assert torch.equal(found["conv1.weight"], expected)


def test_rgb_in_another_order_gives_the_output_of_the_pretrained_rgb_model(encoder_file):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    outputs = []
    for bands, order in ((RGB, [0, 1, 2]), (("B02", "B04", "B03"), [2, 0, 1])):
        torch.manual_seed(0)  # the decoder starts at random
        model = build_model("fpn", "resnet18", bands, 2, weights=str(encoder_file)).eval()
        with torch.no_grad():
            outputs.append(model(image[:, order]))
    plain = get_encoder("resnet18")
    plain.load_state_dict(load_file(encoder_file))
    torch.manual_seed(0)
    reference = build_model("fpn", "resnet18", RGB, 2).eval()
    reference.encoder = plain.eval()
    with torch.no_grad():
        expected = reference(image)
    assert torch.equal(outputs[0], expected)
    assert torch.allclose(outputs[1], expected, atol=1e-5)
    assert expected.std() > 0


def test_the_encoder_of_a_whole_model_file_is_used(encoder_file, tmp_path):
    whole = build_model("linknet", "resnet18", RGB, 2)
    whole.encoder.load_state_dict(load_file(encoder_file))
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    model = build_model(
        "unet", "resnet18", ALL_BANDS, 3, weights=str(tmp_path / "whole.safetensors")
    )
    given, found = load_file(encoder_file), model.encoder.state_dict()
    assert all(torch.equal(found[name], given[name]) for name in given if name != "conv1.weight")


def test_a_published_file_with_its_classification_head_fits(encoder_file, tmp_path):
    state = {**load_file(encoder_file), "fc.weight": torch.ones(5, 512), "fc.bias": torch.ones(5)}
    save_file(state, tmp_path / "published.safetensors")
    model = build_model("unet", "resnet18", RGB, 2, weights=str(tmp_path / "published.safetensors"))
    assert torch.equal(model.encoder.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize("encoder", ["tu-resnet18", "mobileone_s0", "efficientnet-b0", "mit_b0"])
def test_first_layers_of_all_kinds_are_adapted(encoder, tmp_path):
    state = randomized_state(get_encoder(encoder))
    save_file(state, tmp_path / "encoder.safetensors")
    bands = ("B08", "B04", "VV", "B02")
    model = build_model("unet", encoder, bands, 2, weights=str(tmp_path / "encoder.safetensors"))
    for name, tensor in model.encoder.state_dict().items():
        given = state[name]
        is_first = given.shape != tensor.shape
        expected = adapt_first_convolution(given, bands) if is_first else given
        assert torch.equal(tensor, expected), name


def test_a_named_start_is_found_in_the_cache_without_a_network(cut_off, encoder_file):
    source = encoders["resnet18"]["pretrained_settings"]["imagenet"]
    folder = cut_off / f"models--{source['repo_id'].replace('/', '--')}"
    snapshot = folder / "snapshots" / source["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(encoder_file.read_bytes())
    model = build_model("unet", "resnet18", ("B08", *RGB), 2, weights="imagenet")
    given, found = load_file(encoder_file), model.encoder.state_dict()
    assert torch.equal(found["layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])
    expected = adapt_first_convolution(given["conv1.weight"], ("B08", *RGB))
    assert torch.equal(found["conv1.weight"], expected)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_a_named_start_without_network_is_an_error_and_never_random(cut_off, encoder):
    with pytest.raises(
        MinsegError, match=r"could not be fetched.*offline mode.*--set weights=none"
    ) as caught:
        build_model("unet", encoder, RGB, 2, weights="imagenet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "weights", "known"),
    [
        ("resnet18", "imagenett", "imagenet, ssl, swsl, none"),
        ("resnet18", "models/mine", "imagenet"),
        ("tu-resnet18", "ssl", "imagenet, none"),
        ("tu-resnet50t", "imagenet", "none"),
    ],
)
def test_unknown_weights_are_refused_with_the_known_names(encoder, weights, known):
    with pytest.raises(MinsegError, match=f"weights '{weights}'.*use {known}"):
        build_model("unet", encoder, RGB, 2, weights=weights)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".PTH", ".bin"])
def test_pickles_are_refused_unopened_with_the_way_to_convert_them(ending, tmp_path):
    path = tmp_path / f"encoder{ending}"  # is not even there: the name alone decides
    with pytest.raises(MinsegError, match=r"can run code.*safetensors\.torch\.save_file\("):
        build_model("unet", "resnet18", RGB, 2, weights=str(path))


def test_missing_and_damaged_files_are_told_apart(tmp_path):
    with pytest.raises(MinsegError, match="no such file"):
        read_safetensors(tmp_path / "none.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"\x80\x02 not a header")
    with pytest.raises(MinsegError, match="cannot be read as safetensors"):
        read_safetensors(tmp_path / "damaged.safetensors")


def test_a_file_of_another_encoder_is_refused_by_its_first_misfit(encoder_file):
    with pytest.raises(MinsegError, match=r"does not fit the encoder resnet50.*: layer1"):
        build_model("unet", "resnet50", RGB, 2, weights=str(encoder_file))


def test_a_file_for_other_bands_is_refused(tmp_path):
    save_file(randomized_state(get_encoder("resnet18", in_channels=4)), tmp_path / "4.safetensors")
    with pytest.raises(MinsegError, match=r"conv1\.weight is \(64, 4, 7, 7\), not \(64, 3, 7, 7\)"):
        build_model("unet", "resnet18", ("B08", *RGB), 2, weights=str(tmp_path / "4.safetensors"))


def test_an_incomplete_file_is_refused(encoder_file, tmp_path):
    state = load_file(encoder_file)
    del state["layer3.0.bn1.running_mean"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(MinsegError, match=r"layer3\.0\.bn1\.running_mean is missing"):
        build_model("unet", "resnet18", RGB, 2, weights=str(tmp_path / "part.safetensors"))
