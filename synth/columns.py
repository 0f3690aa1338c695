"""Laying particles of any shape: the ground as columns of height on a grid.

A particle is let down vertically until it meets what lies below it: with the
ground's height H over the grid and the depth B of the particle's underside below
its centre, the centre comes to z = max(H + B) over the cells that it covers. That
holds for every shape and orientation, and what it cannot do is reach under an
overhang. Agglomerates grow particle by particle: beside a member, at the nearest
place where the newcomer still lies on the substrate, or on top, from where it
moves downhill to the nearest hollow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .forms import tube
from .shapes import Shape, resting_rotation, rotation_matrix, rounded, stretching

CELLS = 14
"""Cells across a particle of median size."""
TRIES = 12
"""Places tried for a particle before it is given up."""
PATIENCE = 40
"""Particles given up in a row before the scene counts as full."""
STEEPEST = 0.8
"""Slope above which a rod does not stay where it leans."""
STIFFNESS = 0.08
"""Largest curvature of a wire that hangs over others, in reciprocal half thicknesses."""


@dataclass(eq=False)
class Body:
    """A turned and scaled particle as columns.

    Attributes
    ----------
    below, above : ndarray (h, w) float32
        Depth of its underside below its centre and height of its upper side above it, nm;
        -inf in cells that it does not cover.
    row, column : int
        Cell of [0, 0] relative to the cell of its centre.
    floor : float
        Height of its centre when it lies on the substrate, nm.
    reach : float
        Largest horizontal distance from its centre, nm.
    area : float
        Projected area, nm^2.
    """

    below: np.ndarray
    above: np.ndarray
    row: int
    column: int
    floor: float
    reach: float
    area: float


def body_of(vertices: np.ndarray, pitch: float, shrink: float = 1.0) -> Body:
    """Columns of a particle with these vertices relative to its centre (V, 3), nm.

    `shrink` scales the particle horizontally and from below for contacts: neighbours
    then interpenetrate by what it lacks.
    """
    x, y, z = vertices.T
    rows, columns = (np.rint(v * (shrink / pitch)).astype(np.int64) for v in (x, y))
    row, column = int(rows.min()), int(columns.min())
    size = int(rows.max()) - row + 1, int(columns.max()) - column + 1
    cells = (rows - row) * size[1] + (columns - column)
    height = np.round(z, 2).astype(np.float32)
    above = np.full(size[0] * size[1], -np.inf, np.float32)
    np.maximum.at(above, cells, height)
    below = np.full(size[0] * size[1], -np.inf, np.float32)
    np.maximum.at(below, cells, np.float32(-shrink) * height)
    reach = float(np.sqrt((x**2 + y**2).max()))
    area = float(np.isfinite(above).sum() * pitch**2)
    return Body(below.reshape(size), above.reshape(size), row, column, -float(z.min()), reach, area)


class Ground:
    """The height of what lies already.

    Cell (i, j) is centred at x = (i - middle) pitch, y = (j - middle) pitch.
    """

    def __init__(self, half: float, pitch: float, margin: float):
        self.half, self.pitch = half, pitch
        self.middle = int(np.ceil((half + margin) / pitch)) + 2
        self.height = np.zeros((2 * self.middle + 1,) * 2, np.float32)

    def cell(self, x: float, y: float):
        return int(round(x / self.pitch)) + self.middle, int(round(y / self.pitch)) + self.middle

    def place(self, cell):
        return (cell[0] - self.middle) * self.pitch, (cell[1] - self.middle) * self.pitch

    def inside(self, cell) -> bool:
        return max(abs(cell[0] - self.middle), abs(cell[1] - self.middle)) * self.pitch <= self.half

    def under(self, body: Body, cell) -> np.ndarray:
        """The part of the ground that the body covers, a view."""
        i, j = cell[0] + body.row, cell[1] + body.column
        return self.height[i : i + body.below.shape[0], j : j + body.below.shape[1]]

    def rest(self, body: Body, cell) -> float:
        """Height at which the body's centre comes to rest."""
        return max(float((self.under(body, cell) + body.below).max()), body.floor)

    def add(self, body: Body, cell, z: float):
        under = self.under(body, cell)
        np.maximum(under, body.above + np.float32(z), out=under)

    def settle(self, body: Body, cell):
        """Move downhill to the nearest place from which every way leads up."""
        z = self.rest(body, cell)
        step = max(1, int(body.reach / self.pitch / 2))
        while True:
            around = [(cell[0] + step * a, cell[1] + step * b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
            around = [c for c in around if self.inside(c)]
            heights = [self.rest(body, c) for c in around]
            if heights and min(heights) < z - 1e-3:
                k = int(np.argmin(heights))
                cell, z = around[k], heights[k]
            elif step > 1:
                step //= 2
            else:
                return cell, z

    def beside(self, body: Body, start, angle: float, far: float):
        """The nearest cell to `start` in a direction where the body still lies on the substrate, within `far` nm; None without one."""
        direction = np.array([np.cos(angle), np.sin(angle)]) / self.pitch

        def at(distance):
            return int(round(start[0] + direction[0] * distance)), int(round(start[1] + direction[1] * distance))

        def free(cell):
            return self.rest(body, cell) <= body.floor * 1.001

        low, high = 0.0, far
        if not self.inside(at(high)) or not free(at(high)):
            return None
        while high - low > self.pitch / 2:
            middle = (low + high) / 2
            low, high = (low, middle) if free(at(middle)) else (middle, high)
        return at(high)


@dataclass(eq=False)
class Agglomerate:
    """Where an agglomerate's members lie, and how many it may get."""

    most: float
    heading: float
    cells: list = field(default_factory=list)
    reaches: list = field(default_factory=list)
    total: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, cell, reach):
        self.cells.append(cell)
        self.reaches.append(reach)
        self.total += cell

    @property
    def open(self) -> bool:
        """Whether it may get another member."""
        return len(self.cells) < self.most

    @property
    def middle(self):
        return self.total / len(self.cells)


@dataclass(eq=False)
class Draft:
    """A particle that is to be laid: its shape and size.

    Attributes
    ----------
    template : recipe.Template
    shape : shapes.Shape
    radius : float
        nm.
    stretch : float
    """

    template: object
    shape: Shape
    radius: float
    stretch: float

    @property
    def wire(self) -> bool:
        return self.template.shape == "wire"

    def vertices(self, quaternion) -> np.ndarray:
        """Vertices relative to the centre, nm; of a dense mesh as many as its columns need."""
        turned = rotation_matrix(quaternion) * (self.radius * stretching(self.stretch))
        return (turned @ self.shape.surface.T).T  # each coordinate lies in one piece: `body_of` is faster

    def orientation(self, lying: bool, rng) -> np.ndarray:
        """A quaternion: on one of its sides, or any."""
        if lying or self.shape.elongated:
            return rounded(resting_rotation(self.shape, self.stretch, rng), 6)
        return rounded(Rotation.random(random_state=rng).as_quat()[[3, 0, 1, 2]], 6)

    def axis(self, quaternion) -> np.ndarray:
        """Horizontal direction (2,) of a rod."""
        along = rotation_matrix(quaternion)[:2, 2]
        return along / max(np.linalg.norm(along), 1e-12)

    def tilt(self, quaternion, slope) -> np.ndarray:
        """The orientation of a rod after raising its front end."""
        along = self.axis(quaternion)
        turn = Rotation.from_rotvec(np.arctan(slope) * np.array([along[1], -along[0], 0.0]))
        return rounded((turn * Rotation.from_quat(quaternion[[1, 2, 3, 0]])).as_quat()[[3, 0, 1, 2]], 6)


def lean(ground: Ground, body: Body, cell, axis):
    """Height and slope at which a rod along `axis` (2,) rests on what it lies across, or None if it slides off.

    The rod leans on the edge, over its centre, of the upper hull of the heights that its
    parts ask for.
    """
    asked = ground.under(body, cell) + body.below
    rows, columns = np.nonzero(np.isfinite(asked))
    along = ((rows + body.row) * axis[0] + (columns + body.column) * axis[1]) * ground.pitch
    height = np.maximum(asked[rows, columns], body.floor)
    station = np.rint(along / ground.pitch).astype(int)
    first = station.min()
    need = np.full(station.max() - first + 1, -np.inf)
    np.maximum.at(need, station - first, height)
    s = (np.arange(len(need)) + first) * ground.pitch
    left, right = (s <= 0) & np.isfinite(need), (s >= 0) & np.isfinite(need)
    if not left.any() or not right.any():
        return None
    a, b = s[left][:, None], s[right][None]
    za, zb = need[left][:, None], need[right][None]
    width = np.maximum(b - a, 1e-9)
    over = np.where(b > a, (za * b - zb * a) / width, np.maximum(za, zb))
    k = np.unravel_index(np.argmax(over), over.shape)
    slope = float((zb - za)[k] / width[k]) if (b - a)[k] > 0 else 0.0
    return (float(over[k]), slope) if abs(slope) <= STEEPEST else None


def arrange(drafts, *, half, target_area, how, rng):
    """Lay particles until a share of the square is covered or no more fit.

    Parameters
    ----------
    drafts : list of Draft
        The particles to come.
    half : float
        Half the side of the square, nm.
    target_area : float
        Sum of the particles' projected areas to stop at, nm^2.
    how : dict
        The drawn values of `recipe.Arrangement`.
    rng : numpy.random.Generator

    Returns
    -------
    list of dict
        `index, centre (3,), quaternion (4,), on_substrate`, and for a wire its `shape`.
    """
    median = float(np.median([draft.radius for draft in drafts]))
    margin = max(3 * draft.radius if draft.wire else draft.radius * draft.shape.reach(draft.stretch) for draft in drafts)
    ground = Ground(half, 2 * median / CELLS, margin)
    growing: list[Agglomerate] = []
    placed, area, given_up = [], 0.0, 0
    for index, draft in enumerate(drafts):
        if area >= target_area or given_up >= PATIENCE:
            break
        found = None
        if draft.wire:
            found = lay_wire(ground, draft, rng)
        else:
            for _ in range(TRIES):
                found = _find(ground, growing, draft, how, rng)
                if found:
                    break
        if not found:
            given_up += 1
            continue
        given_up = 0
        area += found.pop("area")
        placed.append({"index": index, **found})
    return placed


def _find(ground, growing, draft, how, rng):
    """One try at a place for a particle, in one of the growing agglomerates or alone; lays it there and tells where, or None."""
    joins = bool(growing) and rng.random() < how["clustering"]
    on_top = bool(growing) and rng.random() < how["stacking"]
    lying = not (joins or on_top) or rng.random() >= how["tumbling"]
    quaternion = draft.orientation(lying, rng)
    body = body_of(draft.vertices(quaternion), ground.pitch, 1 - how["overlap"] * rng.random())
    group = growing[int(rng.integers(len(growing)))] if on_top or joins else None
    if on_top:
        k = int(rng.integers(len(group.cells)))
        spread = group.reaches[k] / ground.pitch * rng.standard_normal(2)
        if how["compactness"] > rng.random():  # onto the middle of the heap
            spread = spread / 2 + (group.middle - group.cells[k]) * rng.random()
        cell = tuple(int(round(c + s)) for c, s in zip(group.cells[k], spread))
        if not ground.inside(cell):
            return None
        if rng.random() < how["adhesion"]:
            z = ground.rest(body, cell)
        else:
            cell, z = ground.settle(body, cell)
    elif joins:
        cell = _join(ground, group, body, how, rng)
        if cell is None:
            return None
        z = body.floor
    else:
        cell = ground.cell(*rng.uniform(-ground.half, ground.half, 2))
        z = ground.rest(body, cell)
        if z > body.floor * 1.001 and not draft.shape.elongated:
            return None
    if z > body.floor * 1.001 and draft.shape.elongated:
        leaning = lean(ground, body, cell, draft.axis(quaternion))
        if leaning is None or (group is None and rng.random() >= how["stacking"]):
            return None
        quaternion, z = draft.tilt(quaternion, leaning[1]), leaning[0]
        body = body_of(draft.vertices(quaternion), ground.pitch)
        z = max(z, body.floor)
    ground.add(body, cell, z)
    if group is None:
        group = Agglomerate(how["agglomerate"] ** rng.random(), rng.uniform(0, 2 * np.pi))
        growing.append(group)
    group.add(cell, body.reach)
    if not group.open:
        growing.remove(group)
    x, y = ground.place(cell)
    return {"centre": (x, y, z), "quaternion": quaternion, "on_substrate": z <= body.floor * 1.001, "area": body.area}


def _join(ground, group, body, how, rng):
    """A cell on the substrate beside a member of an agglomerate."""
    chain = rng.random() < how["chaining"]
    k = len(group.cells) - 1 if chain else int(rng.integers(len(group.cells)))
    far = 1.3 * (group.reaches[k] + body.reach)
    gap = int(round(how["gap"] * rng.random() * body.reach / ground.pitch))
    if chain:
        angles = [group.heading + 0.6 * rng.standard_normal()]
    else:
        angles = rng.uniform(0, 2 * np.pi, 1 + int(round(5 * how["compactness"])))
    found = []
    for angle in angles:
        cell = ground.beside(body, group.cells[k], angle, far)
        if cell is not None:
            found.append((float(np.hypot(*(cell - group.middle))), cell, angle))
    if not found:
        if chain:
            group.heading = rng.uniform(0, 2 * np.pi)
        return None
    _, cell, group.heading = min(found)
    if gap:
        shifted = (cell[0] + int(round(gap * np.cos(group.heading))), cell[1] + int(round(gap * np.sin(group.heading))))
        if ground.inside(shifted) and ground.rest(body, shifted) <= body.floor * 1.001:
            cell = shifted
    return cell


class Path:
    """A wire's line in space, in units of its half thickness, from -half_length to half_length."""

    ring_step = 2.0
    """Between rings `STIFFNESS` lets a wire's skin leave its true place by 0.04 half thicknesses."""

    def __init__(self, points: np.ndarray):
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        self.half_length = along[-1] / 2
        self.along, self.points = along - self.half_length, points
        tangents = np.gradient(points, axis=0)
        self.tangents = tangents / np.linalg.norm(tangents, axis=1, keepdims=True)

    def __call__(self, along):
        points, tangents = (np.stack([np.interp(along, self.along, v[:, k]) for k in range(3)], 1) for v in (self.points, self.tangents))
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        normals = np.stack([-tangents[:, 1], tangents[:, 0], np.zeros(len(along))], 1)
        return points, tangents, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def lay_wire(ground: Ground, draft: Draft, rng):
    """Lay a wire through the square, bent over what lies there already; None if too little of it is inside."""
    template, radius = draft.template, draft.radius
    step = 0.7 * radius
    length = 2 * radius * rng.uniform(*template.aspect)
    # The heading wanders: its change over 20 thicknesses has the template's standard deviation.
    per_step = np.radians(rng.uniform(*template.bend)) * np.sqrt(step / (40 * radius))
    start, heading, part = rng.uniform(-ground.half, ground.half, 2), rng.uniform(0, 2 * np.pi), rng.random()
    limit = (ground.middle - 2) * ground.pitch - 2 * radius
    ways = []
    for share, sign in ((part, 1.0), (1 - part, -1.0)):
        count = min(int(length * share / step), int(4 * limit / step))
        turns = heading + np.cumsum(per_step * rng.standard_normal(count))
        way = start + sign * step * np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), axis=0)
        outside = np.flatnonzero(np.abs(way).max(1) > limit)
        ways.append(way[: outside[0] if len(outside) else None])
    flat = np.concatenate([ways[1][::-1], [start], ways[0]])
    if len(flat) < 8:
        return None

    # The height that a ball of the wire's radius asks for at each point, then the lowest line
    # above it that bends no more than a wire does.
    cells = np.rint(flat / ground.pitch).astype(int) + ground.middle
    n = int(radius / ground.pitch)
    a, b = np.mgrid[-n : n + 1, -n : n + 1]
    ball = np.hypot(a, b) * ground.pitch <= radius
    lift = np.sqrt(radius**2 - (np.hypot(a, b)[ball] * ground.pitch) ** 2).astype(np.float32)
    height = ground.height.reshape(-1)  # a view, whose cells have one number: NumPy is fast with these only
    under = cells @ [ground.height.shape[1], 1] + (a[ball] * ground.height.shape[1] + b[ball])[:, None]
    asked = (height[under] + lift[:, None]).max(0)
    sag = STIFFNESS / (2 * radius) * step**2
    far = int(np.sqrt((asked.max() - asked.min()) / sag)) + 1
    z = ndimage.grey_dilation(asked, structure=-sag * np.arange(-far, far + 1) ** 2, mode="constant", cval=-np.inf).clip(radius)
    points = rounded(np.column_stack([flat, z]), 3)
    vertices, triangles, _, _ = tube(Path(points / radius), template, rng)
    centre = rounded(points[len(points) // 2], 3)
    np.maximum.at(height, under.ravel(), (points[:, 2] + lift[:, None]).astype(np.float32).ravel())
    return {
        "centre": tuple(centre),
        "quaternion": np.array([1.0, 0.0, 0.0, 0.0]),
        "on_substrate": bool(asked.min() <= radius * 1.01),
        "area": 2 * radius * step * len(flat),
        "shape": Shape(vertices - centre / radius, triangles, elongated=True),
    }
