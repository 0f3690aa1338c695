"""What the bare substrate looks like: texture, steps and imprints, scratches, halos, dirt.

Everything is painted once into a small image that covers the field of view, so that
it costs the render nothing. Row 0 is at the top, as in the micrograph.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from .degrade import upsample
from .dirt import film, smears, specks
from .sampling import SceneSample, stream
from .shapes import rotation_matrix, stretching


def substrate_map(sample: SceneSample, side: int) -> np.ndarray:
    """Paint the substrate of a drawn scene.

    Parameters
    ----------
    sample : SceneSample
    side : int
        Pixels along the field of view.

    Returns
    -------
    ndarray (side, side, 2) float32
        First the factor on the substrate's yield (1: even), then the brightness that dirt adds.
    """
    drawn, pixel = sample.drawn["substrate"], sample.field_of_view / side
    source = sample.streams["dirt"]
    factor = np.ones((side, side), np.float32)
    if drawn["texture"]:
        factor += drawn["texture"] * texture(side, drawn["grain"] / pixel, drawn["slope"], stream(source, "texture"))
    if drawn["relief"]:
        factor += drawn["relief"] * relief(side, drawn["relief_size"] / pixel, drawn["relief_coverage"], stream(source, "relief"))
    scratch(factor, round(drawn["scratches"]), drawn["scratch_width"] / pixel, drawn["scratch_contrast"], stream(source, "scratches"))
    if drawn["charging"] and len(sample.particles["x_nm"]):
        factor += drawn["charging"] * halo(sample, side, drawn["charging_reach"])
    added = np.zeros((side, side), np.float32)
    dirt = sample.drawn["dirt"]
    if dirt["present"]:
        thickness = film(dirt["coverage"], dirt["roughness"], stream(source, "film"))
        added += dirt["sign"] * dirt["strength"] * upsample(thickness, side)
        smears(added, round(dirt["smears"]), dirt["smear_length"] * side, dirt["strength"], stream(source, "smears"))
        specks(added, round(dirt["specks"]), dirt["speck_size"] / pixel, dirt["strength"], stream(source, "specks"))
    return np.stack([np.maximum(factor, 0), added], -1)


def map_side(render_px: int) -> int:
    """Side of the map for a render: a power of two, so that renders of about the same size show the same pattern."""
    return int(np.clip(2 ** np.ceil(np.log2(render_px / 1.5)), 512, 4096))


def frequencies(side: int) -> np.ndarray:
    """Spatial frequency of each Fourier coefficient of a real (side, side) image, in cycles per pixel."""
    return np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]).astype(np.float32)


def field(amplitude: np.ndarray, rng) -> np.ndarray:
    """A Gaussian random field of mean 0 and standard deviation 1 with a given amplitude spectrum (side, side // 2 + 1)."""
    side = amplitude.shape[0]
    amplitude[0, 0] = 0
    noise = fft.irfft2(fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) * amplitude, s=(side, side))
    return noise / max(noise.std(), 1e-12)


def texture(side: int, grain: float, slope: float, rng) -> np.ndarray:
    """1/f noise: the amplitude falls as f^-slope above the frequency of the coarsest features, which are `grain` pixels large."""
    return field((frequencies(side) ** 2 + (0.5 / grain) ** 2) ** (-slope / 2), rng)


def relief(side: int, size: float, coverage: float, rng) -> np.ndarray:
    """Steps of a film and outlines of imprints, about `size` pixels across, as a detector at one side sees them.

    Both are the lines of one level of a band-limited random field. Those of a high level
    close to rings, those of a middle level, of a field that is coarser, wander. They are thin
    and jagged, bright where they face the detector, and have a shadow where they do not.

    Returns
    -------
    ndarray (side, side) float32
        Standard deviation about 1 where the structure is, 0 elsewhere.
    """
    f, peak, angle = frequencies(side), 0.5 / size, rng.uniform(0, 2 * np.pi)
    where = field(np.exp(-((f / (0.4 * peak)) ** 2)), rng)
    covered = _step(where - np.quantile(where, 1 - coverage), 1.2)
    strength = np.clip(0.6 + 0.4 * field(np.exp(-((f / peak) ** 2)), rng), 0.1, 1.5)
    rings, wandering = (size, rng.uniform(0.6, 1.8), 1.0), (2.5 * size, rng.uniform(-0.5, 1.0), rng.uniform(0.2, 1.0))
    shape = np.zeros((side, side), np.float32)
    for across, level, weight in (rings, wandering):
        away, facing = _contour(side, across, level, angle, rng)
        lines = np.exp(-(away**2)) * (0.3 + 0.7 * np.maximum(facing, 0))
        shadows = np.exp(-(((away - 1.7) / 1.3) ** 2)) * np.maximum(-facing, 0)
        shape += weight * (lines - 0.3 * shadows)
    shape *= strength * covered
    inside = covered > 0.5
    return (shape / max(shape[inside].std() if inside.any() else 0.0, 1e-6)).astype(np.float32)


def _contour(side, size, level, angle, rng):
    """The distance of each pixel from the lines of a level of a random field, in widths of a line, and how far it faces `angle` there, -1 to 1."""
    f, peak = frequencies(side), 0.5 / size
    width, spread, jags = rng.uniform(0.45, 0.8), rng.uniform(0.5, 1.2), rng.uniform(0.05, 0.35)
    hills = field(np.exp(-(((f - peak) / (spread * peak)) ** 2)), rng)
    hills = hills + jags * field((f**2 + peak**2) ** -0.75 * np.exp(-((f / 0.25) ** 2)), rng)
    down, right = np.gradient(hills)
    slope = np.hypot(down, right)
    # In pixels, so that a line is as thin round a large ring as round a small one.
    away = (hills - level) / np.maximum(slope, 0.3 / size) / width
    facing = (np.cos(angle) * right + np.sin(angle) * down) / np.maximum(slope, 1e-9)
    return away, ndimage.gaussian_filter(facing, 1.0, mode="wrap")


def _step(value, width):
    """0 below, 1 above 0, smooth over `width`."""
    t = np.clip(value / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def scratch(image: np.ndarray, count: int, width: float, contrast: float, rng):
    """Draw scratches of about `width` pixels into an image: most along one direction, slightly curved, fading at their ends."""
    side = image.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    common = rng.uniform(0, np.pi)
    for _ in range(count):
        angle = common + rng.normal(0, 0.15) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        middle, bend = rng.uniform(0, side, 2), rng.normal(0, 0.1) / side
        length = side * min(rng.exponential(0.5) + 0.1, 2.0)
        mine = width * rng.uniform(0.5, 1.5) / 2.355
        # A scratch narrower than a pixel is drawn a pixel wide and as much fainter.
        sigma = max(mine, 0.5)
        along = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
        across = (y - middle[1]) * np.cos(angle) - (x - middle[0]) * np.sin(angle) - bend * along**2
        ends = _step(length / 2 - np.abs(along), 0.3 * length)
        sign = 1.0 if rng.random() < 0.6 else -1.0
        image += np.float32(sign * contrast * mine / sigma) * ends * np.exp(-(across**2) / np.float32(2 * sigma**2))


def halo(sample: SceneSample, side: int, reach: float) -> np.ndarray:
    """How much the charge of particles changes the substrate's yield: 1 at the rim of a lone particle of median size.

    It fades exponentially, to 5 % within `reach` median radii. Each particle adds a share
    proportional to its projected area; together they saturate at 2.

    Returns
    -------
    ndarray (side, side) float32
    """
    # A coarse grid wide enough for the particles beside the field of view.
    cells, wide = 192, 1.5
    table, pixel = sample.particles, wide * sample.field_of_view / cells
    charge = np.zeros((cells, cells))
    for at, area in _projected(sample, 200):
        column = (at[:, 0] / pixel + cells / 2).astype(int)
        row = (cells / 2 - at[:, 1] / pixel).astype(int)
        inside = (row >= 0) & (row < cells) & (column >= 0) & (column < cells)
        np.add.at(charge, (row[inside], column[inside]), area / pixel**2 / len(at))
    radius = float(np.median(table["radius_nm"])) / pixel
    scale = reach * radius / 3
    spread = (1 + (2 * np.pi * scale * frequencies(cells)) ** 2) ** -1.5  # the transform of exp(-r / scale)
    across = fft.fftfreq(cells, 1 / cells)
    lone = (np.hypot(across[:, None], across[None, :]) <= max(radius, 0.6)).astype(float)
    lone *= np.pi * radius**2 / lone.sum()
    rim = fft.irfft2(fft.rfft2(lone) * spread, s=lone.shape)[0, min(round(radius), cells // 2)]
    strength = 2 * np.tanh(np.maximum(fft.irfft2(fft.rfft2(charge) * spread, s=charge.shape), 0) / rim / 2)
    axis = ((np.arange(side) + 0.5) / side - 0.5) * cells / wide + (cells - 1) / 2
    return ndimage.map_coordinates(strength, np.meshgrid(axis, axis, indexing="ij"), order=1).astype(np.float32)


def _projected(sample, most):
    """Yield points (n, 2) in nm spread over each particle's projection, and its area in nm^2 if it were a sphere's."""
    table = sample.particles
    for k in range(len(table["x_nm"])):
        vertices = sample.forms[table["form"][k]].vertices
        vertices = vertices[:: max(len(vertices) // most, 1)]
        turn = rotation_matrix([table[q][k] for q in ("qw", "qx", "qy", "qz")])
        shape = vertices * stretching(table["stretch"][k]) @ turn.T
        radius = table["radius_nm"][k]
        extent = np.ptp(shape[:, :2], axis=0)
        yield radius * shape[:, :2] + [table["x_nm"][k], table["y_nm"][k]], radius**2 * np.pi / 4 * float(extent.prod())
