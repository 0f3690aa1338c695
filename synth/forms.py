"""The built-in shapes: what a template's form is drawn from.

Faceted shapes are smoothed Wulff constructions: with faces of unit normals n_k
at the distances h_k from the centre, the surface lies in direction d at

    r(d) = (sum_k (max(n_k . d, 0) / h_k)^p)^(-1/p),

the intersection of the half-spaces for p to infinity, with rounder edges the
smaller p is. Rods and wires are swept tubes.

Faceted grains and rough spheres have the volume of the unit sphere, rods and
wires half thickness 1, hollow and core-shell spheres outer radius 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from .recipe import Template
from .shapes import Shape, icosphere, normalised

ANATASE = np.radians(68.3)
"""Angle between the {101} faces of anatase and its basal plane (from a = 0.3785 nm, c = 0.9514 nm)."""


SHARP = 15.0
"""Exponent of the smoothed Wulff construction above which edges are sharp."""
CLOSED = 0.55
"""Least cosine between any direction and the nearest face of a grain: else faces meet in a far tip, or not at all."""
AROUND = 30
"""Vertices around a rod or wire: a multiple of 5, 6 and 3, so that most prisms' edges are among them."""


def draw_forms(template: Template, rng: np.random.Generator) -> list[Shape]:
    """The forms that a scene's particles of a built-in template share.

    Perfect spheres and wires have one: a sphere has nothing to draw, and each wire gets
    a form of its own where it is laid.
    """
    if template.shape in ("sphere", "core_shell", "wire"):
        return [sphere()]
    make = {"rough_sphere": rough_sphere, "hollow_sphere": hollow_sphere, "rod": rod}.get(template.shape, faceted)
    return [make(template, rng) for _ in range(template.variants)]


@lru_cache
def sphere() -> Shape:
    # 82k triangles, shared by all particles: the silhouette is within 4e-5 radii of the circle.
    vertices, triangles = icosphere(6)
    return Shape(vertices, triangles, sphere=True)


def faceted(template: Template, rng) -> Shape:
    """A grain, bipyramid, cube or platelet: see the module's head."""
    aspect = rng.uniform(*template.aspect)
    normals, distances = FACES[template.shape](template, aspect, rng)
    distances = distances * np.clip(1 + rng.uniform(*template.irregularity) * rng.standard_normal(len(distances)), 0.5, 1.5)
    sharpness = sharpness_of(rng.uniform(*template.roundness))
    # Sharp edges need a finer mesh than round ones.
    directions, triangles = icosphere(5 if sharpness > SHARP else 4)
    # Each direction's own largest term is taken out of the sum: no power overflows.
    terms = np.maximum(directions @ normals.T, 0) / distances
    largest = terms.max(1)
    radius = 1 / (largest * ((terms / largest[:, None]) ** sharpness).sum(1) ** (1 / sharpness))
    if template.shape == "grain":
        radius = radius * relief(template, directions, rng)
    resting = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    share = 1 / distances**2  # a near face is a large one
    return normalised(directions * radius[:, None], triangles, template.name, rests=(resting, share / share.sum()))


def sharpness_of(roundness: float) -> float:
    """The exponent p of the smoothed Wulff construction: 75 at roundness 0, 2.5 at 1."""
    return 2.5 * 30.0 ** (1 - roundness)


def _grain(template, aspect, rng):
    count = int(rng.integers(int(template.faces[0]), int(template.faces[1]) + 1))
    offsets, turn = rng.standard_normal((count, 3)), Rotation.random(random_state=rng)
    for disorder in (0.35, 0.25, 0.15, 0.0):
        normals = evenly(count) + disorder * offsets
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        if (icosphere(3)[0] @ normals.T).max(1).min() > CLOSED:
            break
    return _stretched(turn.apply(normals), np.ones(count), aspect)


def _bipyramid(template, aspect, rng):
    turn = np.arange(4) * np.pi / 2
    side = np.stack([np.sin(ANATASE) * np.cos(turn), np.sin(ANATASE) * np.sin(turn), np.full(4, np.cos(ANATASE))], 1)
    normals = np.concatenate([side, side * [1, 1, -1], [[0, 0, 1], [0, 0, -1]]])
    apex = 1 / np.cos(ANATASE)
    distances = np.append(np.ones(8), apex * rng.uniform(0.35, 0.95, 2))  # truncated to a different height at each end
    return _stretched(normals, distances, aspect)


def _cube(template, aspect, rng):
    return _stretched(np.concatenate([np.eye(3), -np.eye(3)]), np.ones(6), aspect)


def _platelet(template, aspect, rng):
    turn = np.arange(6) * np.pi / 3
    normals = np.concatenate([np.stack([np.cos(turn), np.sin(turn), np.zeros(6)], 1), [[0, 0, 1], [0, 0, -1]]])
    return _stretched(normals, np.ones(8), 1 / aspect)


def _stretched(normals, distances, factor):
    """The faces of a polyhedron after lengthening it along z."""
    moved = normals / [1, 1, factor]
    length = np.linalg.norm(moved, axis=1)
    return moved / length[:, None], distances / length


FACES = {"grain": _grain, "bipyramid": _bipyramid, "cube": _cube, "platelet": _platelet}
"""Functions (template, aspect, rng) -> unit normals (K, 3) and distances (K,)."""


def evenly(count: int) -> np.ndarray:
    """Directions (count, 3) spread evenly over the sphere: the golden spiral."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)


def relief(template: Template, directions, rng) -> np.ndarray:
    """Bumps on the surface: factors (V,) on the radius, a sum of plane waves through the sphere."""
    strength = rng.uniform(*template.relief)
    waves = rng.standard_normal((16, 3)) * rng.uniform(*template.relief_waves, 16)[:, None]
    phase = rng.uniform(0, 2 * np.pi, 16)
    # Single precision is enough for bumps, and ten times as fast.
    angle = directions.astype(np.float32) @ waves.T.astype(np.float32) + phase.astype(np.float32)
    return np.maximum(1 + strength * np.cos(angle).sum(1, dtype=float) / np.sqrt(8), 0.3)


def rough_sphere(template: Template, rng) -> Shape:
    directions, triangles = icosphere(6)
    radius = relief(template, directions, rng)
    return normalised(directions * radius[:, None], triangles, template.name, rests=(evenly(40), np.full(40, 1 / 40)))


def hollow_sphere(template: Template, rng) -> Shape:
    """A shell with a hole around the pole, a surface of revolution of outer radius 1."""
    opening = np.radians(rng.uniform(*template.opening))
    inner = 1 - rng.uniform(*template.wall)
    polar = np.linspace(np.pi, opening, 96)
    outside = np.stack([np.sin(polar), np.cos(polar)], 1)
    profile = np.concatenate([outside[1:], inner * outside[:0:-1]])  # out to the rim, and back on the inner wall
    vertices, triangles = lathe(profile, -1.0, -inner, 128)
    return Shape(vertices, triangles, rests=(evenly(40), np.full(40, 1 / 40)))


def lathe(profile, first: float, last: float, sides: int):
    """A closed surface of revolution about z.

    Parameters
    ----------
    profile : ndarray (n, 2)
        Distance from the axis and height of each ring.
    first, last : float
        Heights of the two poles.
    """
    turn = np.arange(sides) * 2 * np.pi / sides
    rings = np.stack([profile[:, :1] * np.cos(turn), profile[:, :1] * np.sin(turn), np.repeat(profile[:, 1:], sides, 1)], -1)
    return _skin(rings, [0, 0, first], [0, 0, last])


def _skin(rings, first, last):
    """Vertices and outward triangles of a tube (n, m, 3) of rings that turn counter-clockwise about its way, closed by two poles."""
    n, m, _ = rings.shape
    vertices = np.concatenate([rings.reshape(-1, 3), [first], [last]])
    here = np.arange(n * m).reshape(n, m)
    there = np.roll(here, -1, axis=1)
    a, b, c, d = here[:-1].ravel(), there[:-1].ravel(), there[1:].ravel(), here[1:].ravel()
    walls = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    start = np.stack([np.full(m, n * m), there[0], here[0]], 1)
    end = np.stack([np.full(m, n * m + 1), here[-1], there[-1]], 1)
    return vertices, np.concatenate([walls, start, end])


def cross_section(template: Template, rng):
    """Outline of a rod or wire: angles (m,) and distances (m,), of the area of the unit circle, and its faces' angles."""
    angle = np.arange(AROUND) * 2 * np.pi / AROUND
    sides = template.sides
    if sides < 3:
        return angle, np.ones(AROUND), np.arange(12) * np.pi / 6
    faces = np.arange(sides) * 2 * np.pi / sides
    sharpness = sharpness_of(rng.uniform(*template.roundness))
    outline = (np.maximum(np.cos(angle[:, None] - faces), 0) ** sharpness).sum(1) ** (-1 / sharpness)
    return angle, outline / np.sqrt((outline**2).mean()), faces


def tube(centreline, template: Template, rng):
    """A rod's or wire's mesh around a line, of half thickness 1.

    Parameters
    ----------
    centreline : callable
        From distances (n,) along the line, between -L and L, to points (n, 3), unit tangents
        (n, 3) and unit normals (n, 3) of the line. L is `centreline.half_length`, and
        `centreline.ring_step` the distance between rings that its bends need.

    Returns
    -------
    vertices, triangles, rings (n, m, 3) of the vertices but the two poles, angles of the cross-section's faces
    """
    half = centreline.half_length
    cap = min(rng.uniform(*template.tip), 0.9 * half)
    angle, outline, faces = cross_section(template, rng)
    slope = np.linspace(0, np.pi / 2, 9)[1:-1]  # the ends are half ellipsoids
    body = np.linspace(-(half - cap), half - cap, max(2, int(np.ceil(2 * (half - cap) / centreline.ring_step))))
    along = np.concatenate([-(half - cap) - cap * np.cos(slope), body, half - cap + cap * np.cos(slope[::-1])])
    thick = np.concatenate([np.sin(slope), np.ones(len(body)), np.sin(slope[::-1])])
    points, tangents, normals = centreline(along)
    binormals = np.cross(tangents, normals)
    ring = thick[:, None] * outline
    across, up = ring * np.cos(angle), ring * np.sin(angle)
    # Coordinate by coordinate: NumPy is slow along a last axis of three.
    rings = np.stack([points[:, k, None] + across * normals[:, k, None] + up * binormals[:, k, None] for k in range(3)], -1)
    ends, _, _ = centreline(np.array([-half, half]))
    return *_skin(rings, *ends), rings, faces


class Arc:
    """A line along z, bent in the xz plane to a circle's arc that turns by `bend` radians."""

    ring_step = 0.8

    def __init__(self, half_length: float, bend: float):
        self.half_length, self.bend = half_length, bend

    def __call__(self, along):
        turn = self.bend * along / (2 * self.half_length)
        if abs(self.bend) < 1e-6:
            x, z = np.zeros_like(along), along
        else:
            radius = 2 * self.half_length / self.bend
            x, z = radius * (1 - np.cos(turn)), radius * np.sin(turn)
        zero = np.zeros_like(along)
        return np.stack([x, zero, z], 1), np.stack([np.sin(turn), zero, np.cos(turn)], 1), np.stack([np.cos(turn), zero, -np.sin(turn)], 1)


def rod(template: Template, rng) -> Shape:
    """A rod along z, round or prismatic, straight or bent, that lies on its side."""
    arc = Arc(rng.uniform(*template.aspect), np.radians(rng.uniform(*template.bend)))
    vertices, triangles, rings, faces = tube(arc, template, rng)
    between = [rings[:-1] + share * (rings[1:] - rings[:-1]) for share in (0, 0.25, 0.5, 0.75)]
    cover = np.concatenate([*(b.reshape(-1, 3) for b in between), vertices[-2:]])
    middle = vertices.mean(0)
    if arc.bend > 0.1:  # a bent rod lies flat
        faces = np.array([0.5, 1.5]) * np.pi
    sides = np.stack([np.cos(faces), np.sin(faces), np.zeros(len(faces))], 1)
    return Shape(vertices - middle, triangles, rests=(sides, np.full(len(sides), 1 / len(sides))), elongated=True, cover=cover - middle)
