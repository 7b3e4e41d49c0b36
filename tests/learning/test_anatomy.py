import json

import pytest
import torch

from minseg.learning.anatomy import network_anatomy
from minseg.learning.models import ARCHITECTURES, build_model

SEVEN_BANDS = ("B04", "B03", "B02", "B08", "VV", "VH", "VV/(10·VH)")


def anatomy(architecture, encoder="resnet18", size=64, num_classes=3):
    network = build_model(architecture, encoder, SEVEN_BANDS, num_classes)
    return network_anatomy(network, len(SEVEN_BANDS), size)


def links(stages):
    return {stage["name"]: stage["sources"] for stage in stages}


def shape(stage):
    return stage["channels"], stage["height"], stage["width"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_input_output_and_encoder_have_the_sizes_of_the_real_network(architecture):
    network = build_model(architecture, "resnet18", SEVEN_BANDS, 3).eval()
    stages = network_anatomy(network, 7, 64)
    image = torch.rand(1, 7, 64, 64)
    with torch.no_grad():
        features, logits = network.encoder(image), network(image)
    assert shape(stages[0]) == tuple(image.shape[1:]) == (7, 64, 64)
    assert shape(stages[-1]) == tuple(logits.shape[1:]) == (3, 64, 64)
    encoder = [shape(stage) for stage in stages if stage["part"] == "encoder"]
    assert encoder == [tuple(feature.shape[1:]) for feature in features[1:]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_stage_follows_from_earlier_ones_and_leads_to_the_output(architecture):
    stages = anatomy(architecture)
    known, used = set(), set()
    for stage in stages:
        assert set(stage["sources"]) <= known
        assert bool(stage["sources"]) == (stage["part"] != "input")
        known.add(stage["name"])
        used.update(stage["sources"])
    unused = known - used - {"output"}
    assert unused == set()
    assert len(known) == len(stages)


def test_unet_joins_each_scale_with_its_own_skip_connection():
    stages = anatomy("unet")
    assert links(stages) == {
        "input": [],
        "encoder 1": ["input"],
        "encoder 2": ["encoder 1"],
        "encoder 3": ["encoder 2"],
        "encoder 4": ["encoder 3"],
        "encoder 5": ["encoder 4"],
        "blocks.0": ["encoder 4", "encoder 5"],
        "blocks.1": ["encoder 3", "blocks.0"],
        "blocks.2": ["encoder 2", "blocks.1"],
        "blocks.3": ["encoder 1", "blocks.2"],
        "blocks.4": ["blocks.3"],
        "output": ["blocks.4"],
    }
    decoder = [shape(stage) for stage in stages if stage["part"] == "decoder"]
    assert decoder == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (32, 32, 32), (16, 64, 64)]


def test_nested_skip_connections_of_unetplusplus():
    # Zhou et al. 2018: a node sees all nodes before it on its scale, and the one below.
    found = links(anatomy("unet++"))
    assert set(found["blocks.x_0_1"]) == {"encoder 3", "blocks.x_1_1", "blocks.x_0_0"}
    assert set(found["blocks.x_0_3"]) == {
        "encoder 1",
        "blocks.x_3_3",
        "blocks.x_2_3",
        "blocks.x_1_3",
        "blocks.x_0_2",
    }


def test_deeplab_takes_one_skip_at_a_quarter_and_keeps_a_sixteenth():
    stages = {stage["name"]: stage for stage in anatomy("deeplabv3+")}
    assert shape(stages["encoder 5"]) == (512, 4, 4)
    assert stages["block1"]["sources"] == ["encoder 2"]
    assert set(stages["block2"]["sources"]) == {"up", "block1"}


def test_features_at_full_resolution_are_a_stage_of_vgg():
    stages = anatomy("unet", "vgg16")
    assert shape(stages[1]) == (64, 64, 64)
    assert stages[1]["name"] == "encoder 0"


def test_the_empty_feature_of_vision_transformers_is_no_stage():
    stages = anatomy("fpn", "mit_b0")
    names = [stage["name"] for stage in stages if stage["part"] == "encoder"]
    assert names == ["encoder 2", "encoder 3", "encoder 4", "encoder 5"]
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


def test_anatomy_survives_json():
    stages = anatomy("linknet", size=96)
    assert json.loads(json.dumps(stages)) == stages
