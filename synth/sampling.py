"""What is drawn for a scene: a pure function of recipe and index."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from ..fields import specs
from . import arrangement, columns
from .forms import draw_forms
from .recipe import Recipe, Size
from .shapes import resting_rotation, rotation_matrix, rounded

STREAMS = ("arrangement", "look", "dirt", "degradation")
"""The children of a scene's seed sequence, in this order for ever: append, never reorder."""

LOG_DRAWN = {"field_of_view", "gamma", "grain", "edge_width", "relief_size", "speck_size", "streak_length", "dose", "agglomerate"}
"""Ranges that are drawn log-uniformly: quantities that matter by their ratio."""

LEAST_BRIGHT = 0.3
"""The brightness of a particle is never varied below this share."""


@dataclass(eq=False)
class SceneSample:
    """All that tells scene `index` of a recipe from the others.

    Attributes
    ----------
    index : int
    field_of_view : float
        Side of the image, nm.
    particles : dict of str to ndarray
        Equally long columns: `template` (int), `form` (int), `x_nm y_nm z_nm radius_nm`,
        `stretch`, the unit quaternion `qw qx qy qz`, `brightness` (the factor on
        its yield, made of `material` and the particle's own `deviation` in units of the
        recipe's variation), `on_substrate` (bool).
    forms : list of shapes.Shape
        The shapes of the particles, to which `form` points.
    drawn : dict
        The values drawn for shader, substrate, light, dirt and degradation.
    streams : dict of str to numpy.random.SeedSequence
        Where what is not a number (dirt texture, noise) takes its randomness from.
    """

    index: int
    field_of_view: float
    particles: dict
    forms: list
    drawn: dict
    streams: dict

    def generator(self, stream: str) -> np.random.Generator:
        return np.random.default_rng(self.streams[stream])


def stream(parent: np.random.SeedSequence, name: str) -> np.random.Generator:
    """The generator of the draw called `name`: it depends on nothing that is drawn beside it."""
    key = (*parent.spawn_key, zlib.crc32(name.encode()))
    return np.random.default_rng(np.random.SeedSequence(parent.entropy, spawn_key=key))


def draw_range(name: str, ends, rng) -> float:
    """One value of the range of the field `name`."""
    low, high = ends
    u = rng.random()
    if name in LOG_DRAWN and low > 0:
        value = low * (high / low) ** u
    else:
        value = low + (high - low) * u
    return float(rounded(value, 6))


def draw_section(settings, parent: np.random.SeedSequence, section: str) -> dict:
    """Draw every range of a recipe's section; plain numbers pass through.

    Each field draws from a stream of its own, so that a new field shifts no other.
    """
    drawn = {}
    for name, _, _ in specs(type(settings)):
        value = getattr(settings, name)
        drawn[name] = draw_range(name, value, stream(parent, f"{section}.{name}")) if isinstance(value, tuple) else value
    return drawn


def draw_brightness(drawn: dict, particles: dict, look) -> dict:
    """Columns `brightness` (the factor on a particle's yield) and its parts `material` and `deviation`."""
    count = len(particles["x_nm"])
    shader = drawn["shader"]
    deviation = stream(look, "particles.deviation").standard_normal(count).clip(-3, 3)
    own = np.array(drawn["yield_factors"])[particles["template"]] if count else np.ones(0)
    if shader["patches"] and count:
        own = own * np.exp(shader["patches"] * shared_field(particles, stream(look, "particles.patches")))
    own, deviation = rounded(own, 4), rounded(deviation, 4)
    return {"material": own, "deviation": deviation, "brightness": rounded(own * np.maximum(1 + shader["variation"] * deviation, LEAST_BRIGHT), 4)}


def shared_field(particles, rng) -> np.ndarray:
    """A smooth random field of unit spread at the particles: neighbours within a few diameters have alike values."""
    place = np.stack([particles[c] for c in ("x_nm", "y_nm", "z_nm")], 1) / (6 * np.median(particles["radius_nm"]))
    waves, phase = rng.standard_normal((64, 3)), rng.uniform(0, 2 * np.pi, 64)
    return np.cos(place @ waves.T + phase).sum(1) * np.sqrt(2 / 64)


def draw_diameters(size: Size, count: int, rng) -> np.ndarray:
    """Diameters in nm; what falls outside smallest..largest is drawn again."""
    diameters = np.empty(count)
    left = np.arange(count)
    for _ in range(1000):
        new = _diameters(size, len(left), rng)
        diameters[left] = new
        left = left[(new < size.smallest) | (new > size.largest)]
        if not len(left):
            return diameters
    return diameters.clip(size.smallest, size.largest)


def _diameters(size: Size, count: int, rng):
    if size.distribution == "list":
        return rng.choice(size.sizes(), count)
    if size.distribution == "uniform":
        return size.median * (1 + size.spread * rng.uniform(-1, 1, count))
    if size.distribution == "normal":
        return size.median * (1 + size.spread * rng.standard_normal(count))
    median, spread = np.full(count, size.median), np.full(count, size.spread)
    if size.distribution == "bimodal":
        second = rng.random(count) < size.second_share
        median[second], spread[second] = size.second_median, size.second_spread
    return median * np.exp(np.log(spread) * rng.standard_normal(count))


def look_of(recipe: Recipe, index: int) -> Recipe:
    """The recipe of scene `index` alone: with the sections of the look that it draws, and without looks."""
    if not recipe.looks:
        return recipe
    weights = np.array([look.weight for look in recipe.looks])
    draw = stream(np.random.SeedSequence(recipe.seed, spawn_key=(index,)), "look")
    look = recipe.looks[draw.choice(len(weights), p=weights / weights.sum())]
    own = {name: getattr(look, name) for name in ("arrangement", "shader", "substrate", "light", "dirt", "degradation")}
    return replace(recipe, looks=[], camera=replace(recipe.camera, field_of_view=look.field_of_view), **own)


def sample_scene(recipe: Recipe, index: int, shapes: dict | None = None, *, laid: SceneSample | None = None) -> SceneSample:
    """Draw scene `index` of a recipe.

    Parameters
    ----------
    recipe : Recipe
    index : int
    shapes : dict of template name to shapes.Shape, optional
        The templates that are meshes of the user's own; see `templates.load_shapes`.
    laid : SceneSample, optional
        An earlier sample whose templates, arrangement, field of view, seed and index are the
        same: its particles are kept, and only the look is drawn.

    Returns
    -------
    SceneSample
        The same for the same recipe, seed and index, whatever was drawn before.
    """
    recipe = look_of(recipe, index)
    root = np.random.SeedSequence(recipe.seed, spawn_key=(index,))
    streams = dict(zip(STREAMS, root.spawn(len(STREAMS))))
    look = streams["look"]
    field_of_view = draw_section(recipe.camera, look, "camera")["field_of_view"]
    drawn = {name: draw_section(getattr(recipe, name), look, name) for name in ("shader", "substrate", "light", "dirt", "degradation")}
    drawn["dirt"]["present"] = bool(stream(look, "dirt.present").random() < recipe.dirt.probability)
    drawn["dirt"]["sign"] = float(stream(look, "dirt.sign").choice([-1.0, 1.0]))
    drawn["degradation"]["drift_angle"] = float(rounded(stream(look, "degradation.drift_angle").uniform(0, 360), 3))
    drawn["degradation"]["field_of_view"] = field_of_view
    drawn["cores"] = [
        {f: draw_range(f, getattr(t, f), stream(look, f"templates.{t.name}.{f}")) for f in ("core", "core_contrast")} if t.shape == "core_shell" else None
        for t in recipe.templates
    ]
    drawn["yield_factors"] = [draw_range("yield_factor", t.yield_factor, stream(look, f"templates.{t.name}.yield_factor")) for t in recipe.templates]

    rng = np.random.default_rng(streams["arrangement"])
    drawn["arrangement"] = draw_section(recipe.arrangement, streams["arrangement"], "arrangement")
    if laid is None:
        particles, forms = draw_particles(recipe, drawn["arrangement"], field_of_view, shapes or {}, rng)
    else:
        particles, forms = laid.particles, laid.forms
    particles = {**particles, **draw_brightness(drawn, particles, look)}
    return SceneSample(index, field_of_view, particles, forms, drawn, streams)


def draw_particles(recipe, how, field_of_view, meshes, rng):
    """Draw templates, sizes, forms and orientations, and arrange them.

    Returns
    -------
    particles : dict
        See `SceneSample.particles`, without brightness.
    forms : list of Shape
    """
    templates = recipe.templates
    weights = np.array([t.weight for t in templates], float)
    weights /= weights.sum()
    if rng.random() < how["single"]:
        weights = np.eye(len(templates))[rng.choice(len(templates), p=weights)]
    side = field_of_view * (1 + 2 * how["margin"])
    most = how["most"]
    kind = rng.choice(len(templates), size=most, p=weights)
    radius = np.empty(most)
    stretch = np.empty(most)
    form = np.empty(most, int)
    forms = []
    for t, template in enumerate(templates):
        mine = kind == t
        count = int(mine.sum())
        radius[mine] = draw_diameters(template.size, count, rng) / 2
        stretch[mine] = rng.uniform(*template.stretch, count)
        own = [] if not count else [meshes[template.name]] if template.shape == "mesh" else draw_forms(template, rng)
        form[mine] = len(forms) + rng.integers(max(len(own), 1), size=count)
        forms += own
    target_area = how["coverage"] * side**2
    # Enough particles for the coverage, with some to spare for those that find no place.
    enough = int(np.searchsorted(np.cumsum(np.pi * radius**2), target_area)) + 1
    most = min(most, enough + 200)
    radius, stretch = rounded(radius[:most], 3), rounded(stretch[:most], 4)
    if all(templates[t].shape in ("sphere", "core_shell") for t in np.unique(kind[:most])):
        placed = _pile_spheres(forms, form, radius, stretch, side / 2, target_area, how, rng)
    else:
        drafts = [columns.Draft(templates[kind[i]], forms[form[i]], radius[i], stretch[i]) for i in range(most)]
        placed = columns.arrange(drafts, half=side / 2, target_area=target_area, how=how, rng=rng)
    chosen = np.array([p["index"] for p in placed], int)
    form = form[chosen]
    for k, p in enumerate(placed):
        if "shape" in p:
            form[k] = len(forms)
            forms.append(p["shape"])
    centre = rounded([p["centre"] for p in placed], 3).reshape(-1, 3)
    quaternion = np.array([p["quaternion"] for p in placed], float).reshape(-1, 4)
    particles = {
        "template": kind[chosen],
        "form": form,
        "x_nm": centre[:, 0],
        "y_nm": centre[:, 1],
        "z_nm": centre[:, 2],
        "radius_nm": radius[chosen],
        "stretch": stretch[chosen],
        **{name: quaternion[:, k] for k, name in enumerate(("qw", "qx", "qy", "qz"))},
        "on_substrate": np.array([p["on_substrate"] for p in placed], bool),
    }
    return particles, forms


def _pile_spheres(forms, form, radius, stretch, half, target_area, how, rng):
    """Spheres and ellipsoids, by the exact contacts of spheres."""
    quaternions, bodies = [], []
    for i in range(len(radius)):
        shape = forms[form[i]]
        quaternion = rounded(resting_rotation(shape, stretch[i], rng), 6)
        quaternions.append(quaternion)
        bodies.append((radius[i] * shape.reach(stretch[i]), radius[i] * shape.height(rotation_matrix(quaternion), stretch[i])))
    names = ("overlap", "clustering", "stacking", "alignment", "gap")
    placed = arrangement.arrange(bodies, half=half, target_area=target_area, rng=rng, **{name: how[name] for name in names})
    return [{"index": i, "centre": centre, "quaternion": quaternions[i], "on_substrate": floor} for i, centre, floor in placed]
