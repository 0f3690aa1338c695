"""Batches are pure functions of (seed, epoch, step), and image, label and weight belong together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.learn.data import Batches, Joined, Scenes, Sizes, particle_sizes, renumber
from nanosynth.learn.settings import Augmentation, Preprocess, TrainingSettings
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.labels import training_label
from nanosynth.synth.recipe import read_recipe

PLAIN = Augmentation(flip=False, zoom=(1.0, 1.0), contrast=0.0, gamma=(1.0, 1.0), noise=(0.0, 0.0))
VARIED = Augmentation(flip=True, zoom=(0.7, 1.4), noise=(0.0, 0.05), clutter=0.5, lettering=0.5, jpeg=0.5, scan_lines=0.5, substrate_texture=0.3)
SETTINGS = TrainingSettings(
    base_width=2, depth=2, patch_px=48, batch=3, seed=11, diameter_px=15.0, augmentation=VARIED, on_particle=0.4, on_substrate=0.2,
    preprocess=Preprocess(clahe_kernel_px=16),
)  # fmt: skip


@pytest.fixture
def data(dataset_path):
    return Dataset.open(dataset_path)


def batches(data, settings, **changes):
    settings = replace(settings, **changes)
    sizes = particle_sizes([data.records[i] for i in sorted(data.finished())], settings)
    return Batches(Scenes(data, sizes, settings.memory_gb), settings, sizes.diameter_px)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_depends_on_seed_epoch_and_step_alone(data):
    first, second = batches(data, SETTINGS), batches(data, SETTINGS)
    wanted = first.batch(3, 5)
    second.batch(1, 0)  # what came before does not matter
    second.batch(3, 4)
    assert same(wanted, second.batch(3, 5))
    for other in (second.batch(3, 6), second.batch(4, 5), batches(data, SETTINGS, seed=12).batch(3, 5)):
        assert not np.array_equal(wanted[0], other[0])
    assert not np.array_equal(wanted[0][0], wanted[0][1])


def test_several_data_sets_are_one(data, second_dataset_path):
    other = Dataset.open(second_dataset_path)
    both = Joined([data, other])
    assert both.finished() == set(range(6)) and [both.records[k]["index"] for k in range(6)] == list(range(6))
    for k, (alone, index) in enumerate([*((data, i) for i in range(4)), *((other, i) for i in range(2))]):
        assert same(both.read(k), alone.read(index)) and both.ignored(k) is None
        assert both.records[k]["particles"] == alone.records[index]["particles"]
    assert same(batches(both, SETTINGS).batch(1, 0), batches(both, SETTINGS, memory_gb=0.0).batch(1, 0))
    assert batches(both, SETTINGS).scenes.indices == list(range(6))
    assert "4 pairs" in both.described() and "2 pairs" in both.described()


def test_threads_and_the_disk_change_nothing(data):
    drawn = batches(data, SETTINGS)
    streamed = list(drawn.stream(2, 0, 9))
    assert len(streamed) == 9
    for step in (0, 4, 8):
        assert same(streamed[step], drawn.batch(2, step))
    from_disk = batches(data, SETTINGS, memory_gb=0.0)
    assert not from_disk.scenes.in_memory and drawn.scenes.in_memory
    assert same(streamed[4], from_disk.batch(2, 4))
    assert same(streamed[7], next(drawn.stream(2, 7, 8)))


def test_what_goes_wrong_in_a_thread_is_raised(data, monkeypatch):
    drawn = batches(data, SETTINGS)

    def broken(epoch, step):
        raise NanosynthError("images/000001.png: not a readable image.")

    monkeypatch.setattr(drawn, "batch", broken)
    with pytest.raises(NanosynthError, match="000001.png"):
        next(drawn.stream(1, 0, 3))


def test_shapes_types_and_ranges(data):
    for augmentation in (VARIED, PLAIN):
        drawn = batches(data, SETTINGS, augmentation=augmentation, border_weight=5.0)
        for step in range(6):
            images, targets, weights = drawn.batch(1, step)
            assert images.shape == targets.shape == (3, 48, 48, 1) and weights.shape == (3, 48, 48)
            assert images.dtype == targets.dtype == weights.dtype == np.float32
            assert np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1
            assert set(np.unique(targets)) <= {0, 1} and set(np.unique(weights)) <= {0, 1, 5}


def test_image_and_instances_lie_on_each_other(data):
    """The discs are brighter than 120 and the ground darker, so a shift between the two would show."""
    drawn = batches(data, SETTINGS, augmentation=replace(PLAIN, zoom=(0.6, 1.8)))

    def agreement(patch, shift):
        bright = np.roll(patch.image > 100 / 255, shift, (0, 1))
        return (bright == (patch.instances > 0))[4:-4, 4:-4].mean()

    rng = np.random.default_rng(5)
    patches = [drawn.cut(rng) for _ in range(12)]
    aligned = np.mean([agreement(patch, (0, 0)) for patch in patches])
    assert aligned > 0.97
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert np.mean([agreement(patch, shift) for patch in patches]) < aligned


def test_target_and_weight_follow_from_the_instances(data, monkeypatch):
    drawn = batches(data, SETTINGS, augmentation=PLAIN, border_radius_px=2.0, border_weight=4.0)
    cuts = [drawn.cut(np.random.default_rng(seed)) for seed in range(20)]
    cut = max(cuts, key=lambda patch: patch.instances.max())
    monkeypatch.setattr(drawn, "cut", lambda rng: cut)
    instances = cut.instances.copy()
    _, target, weight = drawn.patch(np.random.default_rng(0))
    label = training_label(instances, 2.0)
    np.testing.assert_array_equal(target, label)
    border = (instances > 0) & ~label
    assert border.any()
    np.testing.assert_array_equal(weight, np.where(border, 4, 1))


def test_boxes_hide_particles_and_strokes_on_particles_are_ignored(data, monkeypatch):
    drawn = batches(data, SETTINGS, augmentation=PLAIN, border_weight=4.0)
    cut = drawn.cut(np.random.default_rng(3))
    particle = cut.instances > 0
    cut.hidden[:20] = True
    cut.ignored[20:30] = particle[20:30]
    assert particle[:20].any() and cut.ignored.any()
    monkeypatch.setattr(drawn, "cut", lambda rng: cut)
    _, target, weight = drawn.patch(np.random.default_rng(0))
    assert not target[:20].any() and (weight[:20] == 1).all()
    assert (weight[20:30][particle[20:30]] == 0).all()
    assert (weight[20:][~particle[20:]] > 0).all()


def test_sizes_are_those_of_visible_particles_at_the_mean_zoom():
    particles = {"area_px": [100, 100, 100, 10, 0], "full_area_px": [100, 100, 150, 400, 50]}
    records = [{"nm_per_pixel": 2.0, "particles": particles}, {"nm_per_pixel": 4.0, "particles": {"area_px": [25], "full_area_px": [25]}}]
    diameter = np.sqrt(4 * 100 / np.pi)  # px of 2 nm; all visible ones have the same size in nm
    zoomed = replace(PLAIN, zoom=(0.5, 0.5))
    own = particle_sizes(records, TrainingSettings(augmentation=zoomed))
    assert own.zoom_1_nm == 0 and own.scale_of(records[1]) == 1
    assert own.diameter_px * own.nm_per_px == pytest.approx(2 * diameter)
    assert own.log_sd == pytest.approx(0, abs=1e-9)
    scaled = particle_sizes(records, TrainingSettings(diameter_px=40.0, augmentation=zoomed))
    assert scaled.diameter_px == pytest.approx(20)
    assert scaled.nm_per_px == pytest.approx(2 * diameter / 20)
    assert scaled.scale_of(records[1]) == pytest.approx(2 * scaled.scale_of(records[0]))
    assert 40 / diameter == pytest.approx(scaled.scale_of(records[0]))


def test_a_data_set_without_visible_particles_is_refused():
    records = [{"nm_per_pixel": 2.0, "particles": {"area_px": [], "full_area_px": []}}]
    with pytest.raises(NanosynthError, match="no visible particles"):
        particle_sizes(records, SETTINGS)
    with pytest.raises(NanosynthError, match="no finished pairs"):
        particle_sizes([], SETTINGS)


def test_scenes_are_reduced_to_the_networks_scale_and_never_enlarged(data):
    image, _, instances = data.read(0)

    def scene(zoom_1_nm):
        return Scenes(data, Sizes(15.0, 0.2, 5.0, zoom_1_nm), 1.0)[0]

    half = scene(10.0)
    assert half.image.shape == half.instances.shape == (80, 80) and half.scale == 1
    assert half.image.mean() == pytest.approx(image.mean(), abs=0.6)
    np.testing.assert_array_equal(half.instances, instances[1::2, 1::2])
    double = scene(2.5)
    assert double.scale == 2
    np.testing.assert_array_equal(double.image, image)


def test_places_of_patches(data):
    def covered(**changes):
        drawn = batches(data, SETTINGS, augmentation=PLAIN, patch_px=32, diameter_px=25.0, **changes)
        return [(drawn.cut(rng).instances > 0).mean() for rng in map(np.random.default_rng, range(40))]

    anywhere, particle, ground = covered(on_particle=0.0, on_substrate=0.0), covered(on_particle=1.0, on_substrate=0.0), covered(on_particle=0.0, on_substrate=1.0)
    assert np.mean(ground) < 0.6 * np.mean(anywhere) < 0.6 * np.mean(particle)


def test_a_patch_on_a_particle_holds_it(tmp_path):
    """One particle in the upper right corner: x to the right and y up in nm, rows downwards in pixels."""
    recipe = read_recipe("sio2")
    recipe.camera.image_px, recipe.count = 100, 1
    data = Dataset.create(tmp_path / "one", recipe)
    instances = np.zeros((100, 100), np.uint16)
    instances[8:12, 85:95] = 1
    particles = {"x_nm": [40 * 3.0], "y_nm": [40 * 3.0], "area_px": [40], "full_area_px": [40]}
    record = {"index": 0, "seed": 1, "nm_per_pixel": 3.0, "versions": {}, "drawn": {}, "particles": particles}
    image = np.uint8(instances * 100 + 50)
    data.append(data.write_pair(SimpleNamespace(image=image, label=np.uint8(instances * 255), instances=instances, record=record)))
    drawn = batches(data, SETTINGS, augmentation=PLAIN, patch_px=32, diameter_px=0.0, on_particle=1.0, on_substrate=0.0)
    assert all((drawn.cut(np.random.default_rng(seed)).instances > 0).any() for seed in range(30))


def test_a_scene_smaller_than_the_patch_is_enlarged(data):
    drawn = batches(data, SETTINGS, augmentation=PLAIN, patch_px=256, diameter_px=0.0)
    patch = drawn.cut(np.random.default_rng(0))
    assert patch.image.shape == patch.instances.shape == (256, 256)
    assert patch.instances.max() == len(np.unique(patch.instances)) - 1


def test_renumber():
    np.testing.assert_array_equal(renumber(np.array([[0, 7, 7], [3, 0, 900]], np.uint16)), [[0, 2, 2], [1, 0, 3]])
    np.testing.assert_array_equal(renumber(np.zeros((2, 2), np.uint16)), np.zeros((2, 2)))
