"""What is drawn for a scene: a pure function of recipe and index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..fields import specs
from . import shapes as shapes_module
from .arrangement import arrange
from .recipe import Recipe, Size

STREAMS = ("arrangement", "look", "dirt", "degradation")
"""The children of a scene's seed sequence, in this order for ever: append, never reorder."""

LOG_DRAWN = {"field_of_view", "gamma", "grain"}
"""Ranges that are drawn log-uniformly: quantities that matter by their ratio."""


@dataclass(eq=False)
class SceneSample:
    """All that tells scene `index` of a recipe from the others.

    Attributes
    ----------
    index : int
    field_of_view : float
        Side of the image, nm.
    particles : dict of str to ndarray
        Equally long columns: `template` (int), `x_nm y_nm z_nm radius_nm`,
        `stretch`, the unit quaternion `qw qx qy qz`, `brightness` (a factor),
        `on_substrate` (bool).
    drawn : dict
        The values drawn for shader, substrate, light, dirt and degradation.
    streams : dict of str to numpy.random.SeedSequence
        Where what is not a number (dirt texture, noise) takes its randomness from.
    """

    index: int
    field_of_view: float
    particles: dict
    drawn: dict
    streams: dict

    def generator(self, stream: str) -> np.random.Generator:
        return np.random.default_rng(self.streams[stream])


def rounded(values, decimals):
    return np.round(np.asarray(values, float), decimals) + 0.0  # + 0.0: no negative zero


def draw_section(settings, rng) -> dict:
    """Draw every range of a recipe's section; plain numbers pass through."""
    drawn = {}
    for name, _, _ in specs(type(settings)):
        value = getattr(settings, name)
        if isinstance(value, tuple):
            low, high = value
            u = rng.random()
            if name in LOG_DRAWN and low > 0:
                value = low * (high / low) ** u
            else:
                value = low + (high - low) * u
            value = float(rounded(value, 6))
        drawn[name] = value
    return drawn


def draw_diameters(size: Size, count: int, rng) -> np.ndarray:
    """Diameters in nm; what falls outside smallest..largest is drawn again."""
    diameters = np.empty(count)
    left = np.arange(count)
    for _ in range(1000):
        if size.distribution == "lognormal":
            new = size.median * np.exp(np.log(size.spread) * rng.standard_normal(len(left)))
        elif size.distribution == "normal":
            new = size.median * (1 + size.spread * rng.standard_normal(len(left)))
        else:
            new = size.median * (1 + size.spread * rng.uniform(-1, 1, len(left)))
        diameters[left] = new
        left = left[(new < size.smallest) | (new > size.largest)]
        if not len(left):
            return diameters
    return diameters.clip(size.smallest, size.largest)


def resting_rotation(shape, stretch, rng) -> np.ndarray:
    """A quaternion (4,) w, x, y, z that lays a shape on one of its faces, turned at random."""
    if shape.sphere:
        return np.roll(Rotation.random(random_state=rng).as_quat(), 1)
    normals, share = shape.faces_to_rest_on
    normal = normals[rng.choice(len(normals), p=share)] / shapes_module.stretching(stretch)
    down, _ = Rotation.align_vectors([[0, 0, -1]], [normal / np.linalg.norm(normal)])
    spin = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
    return np.roll((spin * down).as_quat(), 1)


def sample_scene(recipe: Recipe, index: int, shapes: dict | None = None, *, particles=None) -> SceneSample:
    """Draw scene `index` of a recipe.

    Parameters
    ----------
    recipe : Recipe
    index : int
    shapes : dict of template name to shapes.Shape, optional
        Needed where a template is a mesh of the user's own; see `templates.load_shapes`.

    Returns
    -------
    SceneSample
        The same for the same recipe, seed and index, whatever was drawn before.
    """
    root = np.random.SeedSequence(recipe.seed, spawn_key=(index,))
    streams = dict(zip(STREAMS, root.spawn(len(STREAMS))))
    look = np.random.default_rng(streams["look"])
    field_of_view = draw_section(recipe.camera, look)["field_of_view"]
    drawn = {
        "shader": draw_section(recipe.shader, look),
        "substrate": draw_section(recipe.substrate, look),
        "light": draw_section(recipe.light, look),
        "dirt": draw_section(recipe.dirt, look),
        "degradation": draw_section(recipe.degradation, look),
    }
    drawn["dirt"]["present"] = bool(look.random() < recipe.dirt.probability)
    drawn["dirt"]["sign"] = float(look.choice([-1.0, 1.0]))
    drawn["substrate"]["offset"] = rounded(look.uniform(0, 1000, 3), 3).tolist()
    drawn["degradation"]["drift_angle"] = float(rounded(look.uniform(0, 360), 3))

    rng = np.random.default_rng(streams["arrangement"])
    drawn["arrangement"] = draw_section(recipe.arrangement, rng)
    if particles is None:
        shapes = shapes or {t.name: shapes_module.built_in(t.shape) for t in recipe.templates}
        particles = draw_particles(recipe, drawn["arrangement"], field_of_view, shapes, rng)
    particles = dict(particles)
    count = len(particles["x_nm"])
    variation = drawn["shader"]["variation"]
    particles["brightness"] = rounded(np.clip(1 + variation * look.standard_normal(count), 0.3, 2.0), 4)
    return SceneSample(index, field_of_view, particles, drawn, streams)


def draw_particles(recipe, how, field_of_view, shapes, rng) -> dict:
    """Draw templates, sizes and orientations, and arrange them; see `SceneSample.particles`."""
    templates = recipe.templates
    weights = np.array([t.weight for t in templates], float)
    weights /= weights.sum()
    if rng.random() < recipe.arrangement.single:
        weights = np.eye(len(templates))[rng.choice(len(templates), p=weights)]
    side = field_of_view * (1 + 2 * how["margin"])
    most = how["most"]
    kind = rng.choice(len(templates), size=most, p=weights)
    radius = np.empty(most)
    stretch = np.empty(most)
    for t, template in enumerate(templates):
        mine = kind == t
        radius[mine] = draw_diameters(template.size, int(mine.sum()), rng) / 2
        stretch[mine] = rng.uniform(*template.stretch, int(mine.sum()))
    target_area = how["coverage"] * side**2
    # Enough particles for the coverage, with some to spare for those that find no place.
    enough = int(np.searchsorted(np.cumsum(np.pi * radius**2), target_area)) + 1
    most = min(most, enough + 200)
    radius, stretch = rounded(radius[:most], 3), rounded(stretch[:most], 4)
    quaternion = np.empty((most, 4))
    bodies = []
    for i in range(most):
        shape = shapes[templates[kind[i]].name]
        quaternion[i] = rounded(resting_rotation(shape, stretch[i], rng), 6)
        turn = shapes_module.rotation_matrix(quaternion[i])
        bodies.append((radius[i] * shape.reach(stretch[i]), radius[i] * shape.height(turn, stretch[i])))
    placed = arrange(
        bodies,
        half=side / 2,
        target_area=target_area,
        overlap=how["overlap"],
        clustering=how["clustering"],
        stacking=how["stacking"],
        alignment=how["alignment"],
        gap=how["gap"],
        rng=rng,
    )
    chosen = np.array([i for i, _, _ in placed], int)
    centre = rounded([c for _, c, _ in placed], 3).reshape(-1, 3)
    return {
        "template": kind[chosen],
        "x_nm": centre[:, 0],
        "y_nm": centre[:, 1],
        "z_nm": centre[:, 2],
        "radius_nm": radius[chosen],
        "stretch": stretch[chosen],
        **{name: quaternion[chosen, k] for k, name in enumerate(("qw", "qx", "qy", "qz"))},
        "on_substrate": np.array([f for _, _, f in placed], bool),
    }
