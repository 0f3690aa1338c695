"""Draw the instance label image of A01-1 from the outlines in A01-1.csv.

    python examples/silica/annotation/make_labels.py

Needs NumPy and imageio. The outline of a particle is a circle of `radius_px`,
or, where `elongation` is above 1, an ellipse of the same area whose longer axis
is `elongation` times the shorter and lies at `angle_deg` (from x towards y, y
pointing down). Coordinates are in pixels from the centre of the upper left
pixel.
"""

from pathlib import Path

import imageio.v3 as iio
import numpy as np

HERE = Path(__file__).resolve().parent
SHAPE = (1024, 1280)
BANNER_ROWS = 64


def draw(table, shape=SHAPE, banner=BANNER_ROWS):
    """Label image of elliptical outlines.

    Parameters
    ----------
    table : array_like, (N, 5)
        Columns x_px, y_px, radius_px, elongation, angle_deg.
    shape : tuple of int
        Rows and columns of the image.
    banner : int
        Rows at the bottom that belong to no particle.

    Returns
    -------
    ndarray, uint16, shape
        0 background, 1..N in the table's order. Where two outlines overlap, a
        pixel belongs to the particle that it lies deeper inside of, so the
        border of touching particles runs midway between their surfaces.
    """
    labels = np.zeros(shape, np.uint16)
    deepest = np.zeros((shape[0] - banner, shape[1]))
    for number, (x, y, radius, elongation, angle) in enumerate(table, 1):
        reach = radius * np.sqrt(elongation) + 1
        window = tuple(slice(max(int(centre - reach), 0), int(centre + reach) + 2) for centre in (y, x))
        rows, columns = np.indices(deepest[window].shape)
        down, right = rows + window[0].start - y, columns + window[1].start - x
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        long, short = right * cosine + down * sine, down * cosine - right * sine
        depth = radius - np.hypot(long / np.sqrt(elongation), short * np.sqrt(elongation))
        nearer = depth > deepest[window]
        labels[: len(deepest)][window][nearer] = number
        deepest[window][nearer] = depth[nearer]
    return labels


if __name__ == "__main__":
    iio.imwrite(HERE / "A01-1.png", draw(np.loadtxt(HERE / "A01-1.csv", delimiter=",", skiprows=1)))
