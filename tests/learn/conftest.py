"""A small data set of shaded discs in the documented format, for all tests of the training."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nanosynth.learn.settings import Augmentation, Preprocess, TrainingSettings
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import read_recipe

SIDE, NM_PER_PX = 160, 5.0


def disc_pair(index: int, count: int = 14):
    """A pair of shaded discs, with the record that a rendered one has."""
    rng = np.random.default_rng([7, index])
    radius = rng.uniform(6, 14, count)
    x, y = rng.uniform(8, SIDE - 8, (2, count))
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    instances = np.zeros((SIDE, SIDE), np.uint16)
    image = np.full((SIDE, SIDE), 60.0)
    for k in range(count):
        away = np.hypot(column - x[k], row - y[k]) / radius[k]
        instances[away < 1] = k + 1
        image = np.where(away < 1, 130 + 80 * away**2, image)
    image = np.uint8(np.clip(image + rng.normal(0, 6, image.shape), 0, 255))
    area = np.bincount(instances.ravel(), minlength=count + 1)[1:]
    particles = {
        "id": list(range(1, count + 1)),
        "x_nm": ((x - SIDE / 2) * NM_PER_PX).tolist(),
        "y_nm": ((SIDE / 2 - y) * NM_PER_PX).tolist(),
        "radius_nm": (radius * NM_PER_PX).tolist(),
        "area_px": area.tolist(),
        "full_area_px": (np.pi * radius**2).tolist(),
    }
    record = {"index": index, "seed": 7, "nm_per_pixel": NM_PER_PX, "versions": {}, "drawn": {}, "particles": particles}
    return SimpleNamespace(image=image, instances=instances, label=np.uint8(instances > 0) * 255, record=record)


def make_dataset(path, count=4):
    recipe = read_recipe("sio2")
    recipe.camera.image_px = SIDE
    recipe.count = count
    dataset = Dataset.create(path, recipe)
    for index in range(count):
        dataset.append(dataset.write_pair(disc_pair(index)))
    return path


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("discs") / "dataset")


@pytest.fixture(scope="session")
def second_dataset_path(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("more discs") / "dataset", count=2)


@pytest.fixture(scope="session")
def tiny():
    """Settings of a training that takes seconds."""
    return TrainingSettings(
        base_width=2, depth=2, patch_px=32, batch=2, iterations_per_epoch=3, epochs=5, learning_rate=0.01, schedule="linear_tail", diameter_px=12.0,
        border_weight=3.0, on_particle=0.5, keep="all", preprocess=Preprocess(clahe_kernel_px=16), augmentation=Augmentation(clutter=0.3, lettering=0.3, jpeg=0.3),
    )  # fmt: skip


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """An image that stands for a real one, and its annotation: (path, path)."""
    folder, pair = tmp_path_factory.mktemp("real images"), disc_pair(90)
    Image.fromarray(pair.image).save(folder / "réal.png")
    Image.fromarray(pair.instances).save(folder / "labels.png")
    return folder / "réal.png", folder / "labels.png"


@pytest.fixture(scope="session")
def trained(dataset_path, tiny, real, tmp_path_factory):
    """The run of an uninterrupted training."""
    from nanosynth.learn.training import train

    return train(dataset_path, tiny, tmp_path_factory.mktemp("trained") / "run", validation=real[:1], truth=real[1:], command="nanosynth train …")
