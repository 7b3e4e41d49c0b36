import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.errors import MinsegError
from minseg.learning.models import (
    ARCHITECTURES,
    ENCODERS,
    build_model,
    can_build,
    fold_normalisation,
    load_weights,
    network_anatomy,
    round_convolutions,
    save_weights,
)

RGB = BAND_CONFIGURATIONS["RGB"]
SEVEN_BANDS = BAND_CONFIGURATIONS["R+N+S"]
BEYOND = ("resnet18", "mobilenet_v2", "tu-mobilenetv3_small_050")
COMBINATIONS = [(name, encoder) for name in ARCHITECTURES for encoder in ENCODERS]


def shapes_alone(encoder):
    """Where networks have no numbers and cost no time; transformers need some to be built."""
    return torch.device("cpu" if encoder.startswith("mit") else "meta")


def shape_of(architecture, encoder):
    with shapes_alone(encoder):
        return build_model(architecture, encoder, SEVEN_BANDS, 3)


def output_of(model, image):
    with torch.no_grad():
        return model.eval()(image)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [*(c for c in COMBINATIONS if can_build(*c)), *(("unet", encoder) for encoder in BEYOND)],
)
def test_combinations_of_the_paper_and_others_map_seven_bands_to_logits_of_every_class(
    architecture, encoder
):
    model = shape_of(architecture, encoder)
    assert type(model).__name__ == ARCHITECTURES[architecture]
    assert output_of(model, torch.empty(1, 7, 64, 64, device="meta")).shape == (1, 3, 64, 64)
    assert isinstance(model.segmentation_head[-1].activation, nn.Identity)  # logits


def test_the_one_combination_of_the_paper_that_smp_refuses_is_the_one_we_refuse():
    refused = [c for c in COMBINATIONS if not can_build(*c)]
    assert refused == [("deeplabv3+", "vgg16")]
    with pytest.raises(ValueError, match="do not support dilated mode"), shapes_alone("vgg16"):
        smp.DeepLabV3Plus("vgg16", encoder_weights=None)
    with pytest.raises(MinsegError, match=r"deeplabv3\+ cannot be built.*use linknet, unet\+\+"):
        build_model("deeplabv3+", "vgg16", RGB, 2)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        *(("deeplabv3+", name) for name in ("vgg11", "densenet121", "xception", "mobilenet_v2")),
        *((name, "mit_b0") for name in ("deeplabv3+", "linknet", "unet++", "fpn")),
        ("fpn", "densenet121"),
    ],
)
def test_can_build_says_what_smp_does(architecture, encoder):
    try:
        with shapes_alone(encoder):
            getattr(smp, ARCHITECTURES[architecture])(encoder, encoder_weights=None)
        built = True
    except ValueError:
        built = False
    assert can_build(architecture, encoder) == built


@pytest.mark.parametrize(
    ("architecture", "encoder", "message"),
    [
        ("segnet", "resnet18", "unknown architecture 'segnet'; use one of linknet"),
        ("Unet", "resnet18", "unknown architecture 'Unet'"),
        ("unet", "resnet17", "unknown encoder 'resnet17'; use resnet50"),
        ("unet", "tu-resnet17", "unknown encoder 'tu-resnet17'"),
        ("deeplabv3+", "tu-vgg11", "cannot be built on encoder tu-vgg11; with this encoder use"),
        ("deeplabv3+", "tu-swin_tiny_patch4_window7_224", r"cannot be built.*output_stride"),
    ],
)
def test_unknown_names_and_impossible_combinations_are_refused(architecture, encoder, message):
    with pytest.raises(MinsegError, match=message):
        build_model(architecture, encoder, RGB, 2)


def test_saved_weights_come_back_bit_for_bit(tmp_path):
    model = build_model("fpn", "resnet18", SEVEN_BANDS, 3).to(memory_format=torch.channels_last)
    save_weights(model.state_dict(), tmp_path / "new" / "weights.safetensors")
    other = build_model("fpn", "resnet18", SEVEN_BANDS, 3)
    load_weights(other, tmp_path / "new" / "weights.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["weights.safetensors"]


def test_weights_of_another_build_are_refused_and_the_model_keeps_its_own(tmp_path):
    path, model = tmp_path / "weights.safetensors", build_model("unet", "resnet18", RGB, 3)
    state = build_model("unet", "resnet18", RGB, 3).state_dict() | {"extra": torch.zeros(1)}
    save_weights(state, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(MinsegError, match="extra is not in the model"):
        load_weights(model, path)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def anatomy(architecture, encoder="resnet18"):
    return network_anatomy(shape_of(architecture, encoder), 7, 64)


def links(stages):
    return {stage["name"]: stage["sources"] for stage in stages}


def shape(stage):
    return stage["channels"], stage["height"], stage["width"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stages_have_the_sizes_of_the_real_network_and_lead_to_its_output(architecture):
    network = build_model(architecture, "resnet18", SEVEN_BANDS, 3).eval()
    stages = network_anatomy(network, 7, 64)
    image = torch.rand(1, 7, 64, 64)
    with torch.no_grad():
        features, logits = network.encoder(image), network(image)
    assert shape(stages[0]) == tuple(image.shape[1:]) == (7, 64, 64)
    assert shape(stages[-1]) == tuple(logits.shape[1:]) == (3, 64, 64)
    encoder = [shape(stage) for stage in stages if stage["part"] == "encoder"]
    assert encoder == [tuple(feature.shape[1:]) for feature in features[1:]]
    known, used = set(), set()
    for stage in stages:
        assert set(stage["sources"]) <= known
        assert bool(stage["sources"]) == (stage["part"] != "input")
        known.add(stage["name"])
        used.update(stage["sources"])
    assert known - used == {"output"}
    assert len(known) == len(stages)


def test_skip_connections_are_those_of_each_architecture():
    unet, nested, deeplab = map(anatomy, ("unet", "unet++", "deeplabv3+"))
    found = links(unet)
    assert set(found["blocks.0"]) == {"encoder 5", "encoder 4"}
    for k in (1, 2, 3):
        assert set(found[f"blocks.{k}"]) == {f"blocks.{k - 1}", f"encoder {4 - k}"}
    assert (found["blocks.4"], found["output"]) == (["blocks.3"], ["blocks.4"])
    decoder = [shape(stage) for stage in unet if stage["part"] == "decoder"]
    assert decoder == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (32, 32, 32), (16, 64, 64)]
    # Zhou et al. 2018: a node sees all nodes before it on its scale, and the one below.
    found = links(nested)
    assert set(found["blocks.x_0_1"]) == {"encoder 3", "blocks.x_1_1", "blocks.x_0_0"}
    nodes = {"blocks.x_3_3", "blocks.x_2_3", "blocks.x_1_3", "blocks.x_0_2"}
    assert set(found["blocks.x_0_3"]) == {"encoder 1"} | nodes
    found = links(deeplab)  # one skip, at a quarter; the encoder ends at a sixteenth
    assert found["block1"] == ["encoder 2"]
    assert set(found["block2"]) == {"up", "block1"}
    assert [shape(s) for s in deeplab if s["name"] == "encoder 5"] == [(512, 4, 4)]


@pytest.mark.parametrize(
    ("architecture", "encoder", "names"),
    [
        ("unet", "vgg16", [f"encoder {k}" for k in range(6)]),  # features at full resolution
        ("fpn", "mit_b0", [f"encoder {k}" for k in range(2, 6)]),  # an empty feature at half
    ],
)
def test_features_beyond_the_usual_five(architecture, encoder, names):
    stages = [stage for stage in anatomy(architecture, encoder) if stage["part"] == "encoder"]
    assert [stage["name"] for stage in stages] == names
    assert min(stage["channels"] for stage in stages) > 0


def test_the_network_stays_as_it_is_and_so_does_chance():
    torch.manual_seed(0)
    network = build_model("fpn", "resnet18", SEVEN_BANDS, 3).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    chance = torch.get_rng_state()
    network_anatomy(network, 7, 512)
    assert network.training
    assert torch.equal(torch.get_rng_state(), chance)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_coarse_network_sees_means_of_squares_and_is_interpolated_back():
    torch.manual_seed(0)
    coarse = build_model("unet", "resnet18", RGB, 2, coarsen=2)
    fine = build_model("unet", "resnet18", RGB, 2)
    fine.load_state_dict(coarse.state_dict())  # the same weights under the same names
    image = torch.rand(1, 3, 64, 128)
    means = image.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    expected = torch.nn.functional.interpolate(output_of(fine, means), (64, 128), mode="bilinear")
    assert output_of(coarse, image).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert network_anatomy(coarse, 3, 64)[-1]["channels"] == 2


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnet_lite0", "efficientnet-b0"])
def test_depthwise_convolutions_train_in_float32_and_give_what_they_gave(encoder):
    torch.manual_seed(0)
    model, image = build_model("unet", encoder, RGB, 2).eval(), torch.rand(2, 3, 64, 64)
    plain = smp.Unet(encoder, encoder_weights=None, in_channels=3, classes=2).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(image), plain(image))
    kinds = []
    depthwise = [m for m in model.modules() if getattr(m, "groups", 1) > 1]
    for module in depthwise:
        module.register_forward_hook(lambda *call: kinds.append(call[-1].dtype))
    for training, kind in ((True, torch.float32), (False, torch.bfloat16)):
        kinds.clear()
        with torch.set_grad_enabled(training), torch.autocast("cpu", dtype=torch.bfloat16):
            model(image)
        assert kinds == [kind] * len(depthwise)


def as_after_training(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)


@pytest.mark.parametrize(
    ("architecture", "encoder", "coarsen"),
    [("unet", "resnet18", 1), ("linknet", "tu-test_resnet", 2), ("fpn", "efficientnet-b0", 1)],
)
def test_a_folded_network_answers_alike_and_normalises_less(architecture, encoder, coarsen):
    torch.manual_seed(0)
    model = build_model(architecture, encoder, RGB, 3, coarsen=coarsen).eval()
    as_after_training(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_normalisation(model, 3, 64 * coarsen)
    image = torch.randn(2, 3, 64 * coarsen, 96 * coarsen)
    torch.testing.assert_close(
        output_of(folded, image), output_of(model, image), rtol=1e-3, atol=1e-4
    )
    left, there = (sum(type(m) is nn.BatchNorm2d for m in one.modules()) for one in (folded, model))
    assert left < there / 2
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_a_network_that_cannot_be_folded_stays_as_it_is():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    twice = nn.Sequential(shared, nn.BatchNorm2d(3), nn.ReLU(), shared, nn.BatchNorm2d(3))
    as_after_training(twice)
    assert fold_normalisation(twice, 3, 64) is twice
    plain = nn.Conv2d(3, 2, 1)
    assert fold_normalisation(plain, 3, 64) is plain


@pytest.mark.parametrize(("architecture", "encoder"), [("unet", "resnet18"), ("fpn", "mit_b0")])
def test_rounded_convolutions_give_bit_for_bit_what_autocast_gives(architecture, encoder):
    torch.manual_seed(0)
    model = build_model(architecture, encoder, RGB, 3).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(image)
        round_convolutions(model)
        assert model(image).equal(before)
    kept = {
        type(m)
        for m in model.modules()
        for p in m.parameters(recurse=False)
        if p.dtype is torch.bfloat16
    }
    assert nn.Conv2d in kept
    assert nn.BatchNorm2d not in kept
