import pytest

from nanosynth.errors import NanosynthError
from nanosynth.fields import to_toml
from nanosynth.learn.settings import PRESETS, Augmentation, TrainingSettings, read_settings

VARIED = ("zoom", "contrast", "gamma", "noise")
"""Beside flips and turns, what the paper varies: zoom, intensities, Gaussian noise."""


def test_preset_paper_has_the_papers_values():
    settings = read_settings("paper")
    assert (settings.base_width, settings.depth, settings.batch_norm) == (64, 4, True)
    assert (settings.patch_px, settings.batch) == (400, 2)
    assert (settings.iterations_per_epoch, settings.epochs) == (150, 500)
    assert (settings.learning_rate, settings.schedule, settings.adam_epsilon) == (0.001, "constant", 1e-8)
    assert settings.threshold == 0.51
    assert settings.border_weight == 1  # plain cross-entropy
    assert settings.preprocess.clahe
    assert settings.augmentation.flip
    for name in Augmentation.__dataclass_fields__:
        value = getattr(settings.augmentation, name)
        if name in VARIED:
            assert value not in (0, (0, 0), (1, 1)), name
        elif name != "flip":
            assert value in (0, (0, 0)), name


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_presets_come_back_from_toml_as_they_were(name, tmp_path):
    settings = read_settings(name)
    (tmp_path / "settings.toml").write_text(to_toml(settings), encoding="utf-8")
    assert read_settings(tmp_path / "settings.toml") == settings
    assert not list(settings.check())


def test_learning_rate_by_step():
    constant = TrainingSettings(schedule="constant", epochs=2, iterations_per_epoch=10)
    assert {constant.learning_rate_at(step) for step in range(20)} == {0.001}
    tail = TrainingSettings(schedule="linear_tail", epochs=2, iterations_per_epoch=10)
    rates = [tail.learning_rate_at(step) for step in range(20)]
    assert rates[:11] == [0.001] * 11
    assert rates[15] == pytest.approx(0.0005)
    assert rates[19] == pytest.approx(0.0001)


@pytest.mark.parametrize(
    "text, named, remedy",
    [
        ("patch_px = 70\ndepth = 3", "patch_px = 70 px is no multiple of 8", "64 or 72"),
        ("on_particle = 0.7\non_substrate = 0.5", "on_substrate", "Lower"),
        ("epochs = 0", "epochs = 0 is below its lowest value 1", "Raise"),
        ("epoch = 3", "unknown key epoch", "Did you mean epochs?"),
        ("[augmentation]\nzoom = [2.0, 1.0]", "augmentation.zoom", "[1.0, 2.0]"),
        ("schedule = 'linear'", "schedule = 'linear' is not one of", "linear_tail"),
    ],
)
def test_settings_that_cannot_be_are_refused(text, named, remedy, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NanosynthError) as caught:
        read_settings(path)
    assert named in caught.value.message and str(path) in caught.value.message
    assert remedy in caught.value.remedy


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(NanosynthError, match="compact, paper"):
        read_settings("papr")
