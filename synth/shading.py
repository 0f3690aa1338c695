"""The shaders of `materials` in NumPy, for pictures by the thousand from one set of rendered passes.

Not modelled: shadows that particles cast in the lamp's light, transparency, the
particles' own bumps (`bump`), charging and dirt.
"""

from __future__ import annotations

import numpy as np

from .sampling import LEAST_BRIGHT
from .substrate import relief, texture

PEAK = 0.541
"""As `materials.PEAK`; that module needs Blender."""
REACHES = (0.7, 3.5)
"""Reaches of the shadowing, in median radii, of which passes are rendered."""
GRAINS = (0.06, 0.18, 0.5)
"""The same of the surface texture's size, in particle radii."""


def _between(at, places):
    """Weights by which neighbouring members of a stack are mixed: log-linear in `at`, clipped at the ends."""
    position = np.interp(np.log(at), np.log(places), np.arange(len(places)))
    low = min(int(position), len(places) - 2)
    return low, position - low


def shade(passes, shader: dict, substrate: dict, light: dict, rng: np.random.Generator) -> np.ndarray:
    """The clean picture that `render.render_photo` would give, nearly.

    Parameters
    ----------
    passes : passes.Passes
    shader, substrate, light : dict
        Values drawn for the recipe's sections, as in `SceneSample.drawn`.
    rng : numpy.random.Generator
        For the substrate's texture.

    Returns
    -------
    numpy.ndarray
        float32 (n, n), white = 1.
    """
    table, size = passes.particles, passes.instances.shape[0]
    on = passes.instances > 0
    at = passes.instances[on].astype(int) - 1
    low, share = _between(shader["shadow_reach"], REACHES)
    open_ = (1 - share) * passes.openness[..., low] + share * passes.openness[..., low + 1]
    power = shader["shadowing"]
    collected = 1 + min(power, 1.0) * (open_ ** max(power, 1.0) - 1)

    azimuth, elevation = np.radians(light["azimuth"]), np.radians(light["elevation"])
    lamp = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], np.float32)

    pixel = passes.field_of_view / size
    # NumPy 1.24, of Blender 4.2, has no Generator.spawn.
    ground_rng, relief_rng = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=2))
    factor = 1 + substrate["texture"] * texture(size, substrate["grain"] / pixel, substrate["slope"], ground_rng)
    if substrate["relief"]:
        factor = factor + substrate["relief"] * relief(size, substrate["relief_size"] / pixel, substrate["relief_coverage"], relief_rng)
    lit = 1 - substrate["diffuse"] + substrate["diffuse"] * light["strength"] * lamp[2]
    image = np.maximum(factor, 0).astype(np.float32) * np.float32(substrate["relative_yield"] * shader["base"] * lit) * collected

    if on.any():
        radius = table["radius_nm"].astype(np.float32)[at]
        varied = np.maximum(1 + shader["variation"] * table["deviation"], LEAST_BRIGHT) * table["material"]
        low, share = _between(shader["grain"], GRAINS)
        # Mixed so that the contrast stays the same.
        bumps = np.cos(share * np.pi / 2) * passes.texture[on, low] + np.sin(share * np.pi / 2) * passes.texture[on, low + 1]
        look = shader["base"] * varied.astype(np.float32)[at] * (1 + shader["roughness"] * bumps) * collected[on]
        normal = passes.normal[on]
        least = np.minimum(np.sqrt(shader["edge_width"] / (2 * radius)) / PEAK, 1)
        tilt = 1 + shader["edge"] * (np.maximum(np.abs(normal[:, 2]), least) ** -shader["edge_exponent"] - 1)
        facing = np.maximum(normal @ lamp, 0)
        image[on] = look * (tilt * (1 - shader["diffuse"]) + shader["diffuse"] * light["strength"] * facing)
    return image
