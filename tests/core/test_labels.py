import numpy as np
import pytest

from nanosynth.synth.labels import training_label

RADII = (0, 0.5, 1, 1.42, 2, 2.9, 3, 5, 40.3)


def by_definition(instances, radius, outline):
    """Every pixel looks at every pixel."""
    rows, columns = np.mgrid[: instances.shape[0], : instances.shape[1]]
    label = instances > 0
    for y, x in np.argwhere(label):
        within = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        other = instances[within] != instances[y, x]
        if not outline:
            other &= instances[within] > 0
        label[y, x] = not other.any()
    return label


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_equals_its_definition(dtype):
    rng = np.random.default_rng(7)
    for _ in range(8):
        height, width = rng.integers(1, 25, 2)
        coarse = rng.integers(0, 4, (height // 3 + 1, width // 3 + 1))
        instances = np.kron(coarse, np.ones((3, 3), int))[:height, :width].astype(dtype)
        for radius in RADII:
            for outline in (False, True):
                expected = by_definition(instances, radius, outline)
                np.testing.assert_array_equal(training_label(instances, radius, outline), expected)


def test_only_the_meeting_line_opens():
    instances = np.zeros((9, 12), np.uint16)
    instances[2:7, 2:6], instances[2:7, 6:10] = 1, 65535
    label = training_label(instances, 1)
    removed = (instances > 0) & ~label
    assert removed[2:7, 5:7].all() and removed.sum() == 10
    assert training_label(instances, 1, outline=True).sum() == 2 * (3 * 2)


def test_the_image_edge_does_not_erode():
    assert training_label(np.ones((5, 5), np.uint16), 3, outline=True).all()


def test_the_map_itself_is_left_alone():
    instances = np.array([[1, 2, 0], [0, 3, 3]], np.uint16)
    before = instances.copy()
    training_label(instances, 2, outline=True)
    np.testing.assert_array_equal(instances, before)
