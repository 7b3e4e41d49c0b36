import pytest

from minseg import MinsegError
from minseg.study.config import PIXEL_FOREST, PROFILES, RunConfig, profile_config


def test_defaults_are_the_papers():
    config = RunConfig()
    network = (config.architecture, config.encoder, config.weights)
    assert network == ("unet++", "resnet50", "imagenet")
    assert (config.batch_size, config.learning_rate, config.crop) == (4, 3e-4, 512)
    assert (config.epochs, config.test_crop, config.schedule) == (150, 512, "constant")
    assert PROFILES["paper"] == config


def test_every_field_is_documented():
    assert [name for name, field in RunConfig.model_fields.items() if not field.description] == []


def test_command_line_values_become_numbers_and_none():
    config = profile_config("demo", epochs="5", learning_rate="1e-4", weights="none")
    assert (config.epochs, config.learning_rate, config.weights) == (5, 1e-4, None)
    assert config.replace(weight_decay="0.1").replace(weight_decay="none").weight_decay is None


def test_equal_runs_have_one_spelling():
    one = RunConfig(task="dam, excavation", bands="b04,B03,B2")
    assert one == RunConfig(task="excavation,dam", bands="RGB")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "setting epochs"),
        ({"score_epochs": (5, 0)}, r"setting score_epochs\.1 = 0: Input should be greater than 0"),
        ({"crop": 100}, "setting crop"),
        ({"loss": "hinge"}, "'jaccard', 'tversky', 'focal' or 'crossentropy'"),
        ({"optimiser": "lbfgs"}, "setting optimiser"),
        ({"class_weights": "balanced"}, "tversky weighs classes alike already; use crossentropy"),
        (
            {"class_weights": "balanced", "loss": "focal", "task": "all"},
            "a pixel of several classes has no one weight",
        ),
        ({"weight_decay": "-1"}, "setting weight_decay"),
        ({"task": "model5"}, "model5"),
    ],
)
def test_wrong_settings_are_one_clear_line(changes, message):
    with pytest.raises(MinsegError, match=message):
        profile_config("demo", **changes)


def test_baselines_of_different_networks_are_one_run():
    one = profile_config("demo", epochs=3, task="model2").baseline()
    other = profile_config("demo", architecture="fpn", task="model2").baseline()
    assert one == other
    assert one.architecture == one.title == PIXEL_FOREST
    assert one != profile_config("demo", task="model1").baseline()
