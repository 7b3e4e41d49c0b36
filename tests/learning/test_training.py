import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from minseg import MinsegError
from minseg.data.labels import TASKS
from minseg.data.radiometry import training_statistics
from minseg.learning import training
from minseg.learning.inference import Segmenter, load_scenes, predict_scenes
from minseg.learning.models import build_model
from minseg.learning.options import TrainingOptions
from minseg.learning.patches import TrainingPatches
from minseg.learning.training import (
    HISTORY_COLUMNS,
    build_loss,
    build_optimiser,
    learning_rate,
    train,
)
from minseg.scoring.metrics import scene_counts
from tests.conftest import names

MODEL1 = TASKS["model1"]
BANDS = ("B02", "B04", "VV")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def patches(dataset):
    """Three batches of four crops."""
    return TrainingPatches(
        dataset, MODEL1, training_statistics(dataset, BANDS), crop=32, batch_size=4, resident=True
    )


def options_of(**settings):
    return TrainingOptions(**{"crop": 32, "epochs": 4, "precision": "32-true"} | settings)


def fabric_of(precision="32-true"):
    return Fabric(accelerator="cpu", devices=1, precision=precision)


def small_network(seed=0):
    """A network with all that has a state: convolutions, batch norm, dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 3, 1),
    )


def real_network():
    torch.manual_seed(0)
    return build_model("unet", "resnet18", BANDS, MODEL1.num_classes)


def validation_of(dataset, precision="32-true"):
    """The real validation on the whole validation scenes."""
    statistics = training_statistics(dataset, BANDS)
    scenes = load_scenes(dataset, "validation", MODEL1, statistics, crop=0)

    def validate(network):
        segmenter = Segmenter(network, MODEL1, statistics, CPU, precision)
        targets = [scene.target for scene in scenes]
        return scene_counts(predict_scenes(segmenter, scenes), targets, MODEL1)

    return validate


def scripted(*ious, seen=None):
    """A validation that gives these IoUs and notes the weights that it is shown."""
    coming = iter(ious)

    def validate(network):
        network.eval()
        if seen is not None:
            seen.append({name: t.clone() for name, t in network.state_dict().items()})
        hits = next(coming)
        foreground = [0, 0, 0, 100] if np.isnan(hits) else [hits, 0, 100 - hits, 0]
        return np.array([[[0, 0, 0, 100], foreground, [0, 0, 0, 100]]], np.int64)

    return validate


def interrupted_after(epochs, validate):
    """A validation during which the program is stopped once so many epochs are finished."""
    calls = itertools.count()

    def interrupting(network):
        if next(calls) == epochs:
            raise KeyboardInterrupt
        return validate(network)

    return interrupting


def trained(patches, validate, path, network=None, **settings):
    """Train a small network, or another; its history."""
    options = options_of(**settings)
    return train(network or small_network(), patches, validate, options, path, fabric_of())


@pytest.fixture
def checkpoint(patches, tmp_path, monkeypatch):
    """What is left by a training that was stopped after two epochs, of which the first is best."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    path, seen = tmp_path / "c.safetensors", []
    with pytest.raises(KeyboardInterrupt):
        trained(patches, interrupted_after(2, scripted(80, 10, seen=seen)), path)
    return path, seen


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_real_network_learns_the_easy_dataset(dataset, patches, tmp_path):
    validate, path = validation_of(dataset), tmp_path / "c.safetensors"
    history = trained(patches, validate, path, real_network(), epochs=8, learning_rate=1e-3)
    assert list(history.columns) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == list(range(1, 9))
    assert (history["seconds"] > 0).all()
    losses = history["train_loss"]
    assert losses.iloc[-1] < 0.6 * losses.iloc[0]
    # All excavation would score 0.08: the class covers a sixth, the other is missed.
    assert history["validation_iou"].max() > 0.3


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "sgd", "learning_rate": 0.05},
        {"optimiser": "adam"},
        {"optimiser": "adamw", "schedule": "cosine"},
        {"optimiser": "adam", "precision": "bf16-mixed"},
        {"optimiser": "sgd", "learning_rate": 0.05, "checkpoint": "last", "loss": "focal"},
    ],
    ids=str,
)
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    dataset, patches, tmp_path, monkeypatch, settings
):
    options = options_of(**{"learning_rate": 3e-3} | settings)
    validate = validation_of(dataset, options.precision)
    fabric, path = fabric_of(options.precision), tmp_path / "checkpoint.safetensors"
    whole = small_network()
    expected = train(whole, patches, validate, options, tmp_path / "none", fabric)
    assert names(tmp_path) == ["history.csv"]

    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    stopping = interrupted_after(2, validate)
    with pytest.raises(KeyboardInterrupt):
        train(small_network(), patches, stopping, options, path, fabric)
    assert names(tmp_path) == ["checkpoint.safetensors", "history.csv"]
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2

    resumed = small_network(seed=99)  # its start must not matter
    torch.rand(17)  # nor what was drawn before
    found = train(resumed, patches, interrupted_after(2, validate), options, path, fabric)
    assert found.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    assert (tmp_path / "history.csv").read_text() == found.to_csv(index=False)
    assert same_weights(resumed.state_dict(), whole.state_dict())
    assert len(expected["train_loss"].unique()) == 4


@pytest.mark.parametrize(("settings", "later"), [({}, [50, 79]), ({"patience": 2}, [50])])
def test_epochs_before_the_interruption_may_be_the_best_and_count_as_patience(
    patches, checkpoint, settings, later
):
    (path, seen), network = checkpoint, small_network(1)
    history = trained(patches, scripted(*later), path, network, **settings)
    assert history["validation_iou"].tolist() == [0.8, 0.1, *(iou / 100 for iou in later)]
    assert same_weights(network.state_dict(), seen[0])


@pytest.mark.parametrize(
    ("rule", "ious", "kept"),
    [
        ("best", (20, 80, 50), 1),
        ("best", (80, 80, 20), 0),  # of equal ones the first
        ("best", (float("nan"), 0, float("nan")), 1),
        ("last", (80, 20, 50), 2),
        ("last", (80, 20, float("nan")), 2),
    ],
)
def test_weights_of_the_epoch_asked_for_are_kept(patches, tmp_path, rule, ious, kept):
    network, validate = small_network(), scripted(*ious, seen=(seen := []))
    trained(patches, validate, tmp_path / "c.safetensors", network, epochs=3, checkpoint=rule)
    assert [same_weights(network.state_dict(), state) for state in seen].index(True) == kept


@pytest.mark.parametrize(
    ("patience", "ious"),
    [
        (1, (20, 80, 50)),
        (2, (80, 80, 50)),  # as good is no better
        (2, (20, 10, 30, 25, 29)),
        (2, (float("nan"), 1, float("nan"), float("nan"))),
    ],
)
def test_a_training_ends_when_validation_no_longer_rises(patches, tmp_path, patience, ious):
    path, validate = tmp_path / "c.safetensors", scripted(*ious)  # which fails if asked for more
    history = trained(patches, validate, path, epochs=9, patience=patience)
    assert history["validation_iou"].to_numpy() * 100 == pytest.approx(ious, nan_ok=True)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_loss_that_is_no_number_is_refused_with_the_way_to_mend_it(patches, tmp_path, optimiser):
    validate, path = scripted(1, 1, 1, 1), tmp_path / "c.safetensors"
    with pytest.raises(MinsegError, match=r"epoch \d: the training loss is .*--set learning_rate"):
        trained(patches, validate, path, learning_rate=1e30, optimiser=optimiser)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_checkpoint_is_a_training_from_the_beginning(patches, checkpoint, share):
    path, _ = checkpoint
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])  # as a power cut may leave it
    found = trained(patches, scripted(1, 2, 3, 4), path)
    assert found["validation_iou"].tolist() == [0.01, 0.02, 0.03, 0.04]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0, "nesterov": False}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "weight_decay": 0}),
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999), "weight_decay": 0.01}),
    ],
)
def test_optimisers_are_the_three_of_the_paper(name, kind, expected):
    network = small_network()
    optimiser = build_optimiser(network, options_of(optimiser=name, learning_rate=0.02))
    assert type(optimiser) is kind
    (group,) = optimiser.param_groups
    assert group["lr"] == 0.02
    assert {key: group[key] for key in expected} == expected
    assert len(group["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("encoder_rate", [1, 0.5])
def test_weights_decay_as_asked(optimiser, encoder_rate):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = nn.Linear(1, 1), nn.Linear(1, 1)

    network = Network()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 2)
        parameter.grad = torch.full_like(parameter, 0.5)
    options = options_of(
        optimiser=optimiser, learning_rate=0.1, weight_decay=0.3, encoder_rate=encoder_rate
    )
    build_optimiser(network, options).step()
    # Adam's first step is the rate whatever the gradient is; AdamW takes its share before it.
    expected = {"sgd": 2 - 0.1 * (0.5 + 0.3 * 2), "adam": 1.9, "adamw": 2 * (1 - 0.1 * 0.3) - 0.1}
    for parameter in network.parameters():
        assert parameter.item() == pytest.approx(expected[optimiser], rel=1e-5)


def test_balanced_weights_change_what_is_learned(patches, tmp_path):
    path, settings = tmp_path / "c.safetensors", {"epochs": 1, "learning_rate": 1e-9}
    for choice, weights in (("none", None), ("balanced", patches.class_weights())):
        history = trained(patches, scripted(1), path, class_weights=choice, **settings)
        network, loss = small_network(), build_loss("crossentropy", MODEL1, weights)
        network.to(memory_format=torch.channels_last)
        torch.manual_seed(hash((0, 0)))
        expected = [loss(network(inputs), target).item() for inputs, target in patches.batches(0)]
        assert history["train_loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_rate_is_constant_or_follows_the_cosine_of_pytorch():
    constant = options_of(learning_rate=0.02)
    assert {learning_rate(constant, step, 3) for step in range(12)} == {0.02}
    options = options_of(learning_rate=0.02, schedule="cosine")
    optimiser = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.02)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=4 * 3)
    for step in range(12):
        assert learning_rate(options, step, 3) == pytest.approx(oracle.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        oracle.step()


@pytest.fixture
def rates(monkeypatch):
    """The rates of the groups of weights at each step of SGD, as they are taken."""
    taken, step = [], torch.optim.SGD.step

    def watched(self, *arguments, **named):
        taken.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    return taken


def test_every_step_takes_the_rate_of_the_schedule_and_every_epoch_crops_of_its_own(
    patches, tmp_path, monkeypatch, rates
):
    epochs, modes, batches = [], [], patches.batches

    def validate(network):
        modes.append(network.training)  # again after a validation, which changes it
        return scripted(50)(network)

    monkeypatch.setattr(patches, "batches", lambda epoch: epochs.append(epoch) or batches(epoch))
    path = tmp_path / "c.safetensors"
    options = options_of(epochs=2, optimiser="sgd", schedule="cosine")
    history = train(small_network(), patches, validate, options, path, fabric_of())
    assert (epochs, modes) == ([0, 1], [True, True])
    assert rates == [[learning_rate(options, k, 3)] for k in range(6)]
    assert history["learning_rate"].tolist() == [*rates[2], *rates[5]]


def test_an_encoder_learns_at_its_own_rate(patches, tmp_path, rates):
    network = real_network()
    options = options_of(epochs=1, optimiser="sgd", encoder_rate=0.25, learning_rate=0.1)
    optimiser = build_optimiser(network, options)
    sizes = [sum(p.numel() for p in group["params"]) for group in optimiser.param_groups]
    assert sum(sizes) == sum(p.numel() for p in network.parameters())
    assert sizes[1] == sum(p.numel() for p in network.encoder.parameters())
    train(network, patches, scripted(1), options, tmp_path / "c.safetensors", fabric_of())
    assert {encoder / others for others, encoder in rates} == {0.25}


def test_a_frozen_encoder_stays_as_it_starts_and_the_rest_learns(patches, tmp_path):
    network = real_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    options = options_of(epochs=1, encoder_rate=0)
    train(network, patches, scripted(1), options, tmp_path / "c.safetensors", fabric_of())
    changed = {
        name.split(".")[0]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"decoder", "segmentation_head"}
