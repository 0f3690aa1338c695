"""Laying particles on the substrate and on each other.

Particles come one by one and stay where they are put. A particle lies either
on the substrate (alone, beside one that lies there, or nestled between two) or
on three others in a position where it cannot roll off. Contacts are those of
spheres around the particles: exact for spheres, on the safe side for others.
"""

from __future__ import annotations

import numpy as np

TRIES = 30
"""Positions tried for a particle before it is given up."""
PATIENCE = 40
"""Particles given up in a row before the scene counts as full."""


class Pile:
    """Particles that lie already, in a grid that finds neighbours fast.

    Parameters
    ----------
    half : float
        Half the side of the square that may be covered, nm.
    cell : float
        Side of the grid's cells, nm: at least the largest particle's diameter.
    overlap : float
        Most interpenetration, as a share of the smaller radius.
    """

    def __init__(self, half: float, cell: float, overlap: float, capacity: int):
        self.half, self.cell, self.overlap = half, cell, overlap
        self.centre = np.empty((capacity, 3))
        self.reach = np.empty(capacity)
        self.on_floor = []
        self.count = 0
        self.grid: dict[tuple[int, int], list[int]] = {}

    def add(self, centre, reach, on_floor):
        i = self.count
        self.centre[i], self.reach[i] = centre, reach
        if on_floor:
            self.on_floor.append(i)
        self.grid.setdefault(self._key(centre), []).append(i)
        self.count += 1

    def _key(self, centre):
        return int(centre[0] // self.cell), int(centre[1] // self.cell)

    def near(self, centre) -> np.ndarray:
        """Indices of all particles that one at `centre` might touch."""
        i, j = self._key(centre)
        found = [k for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1) for k in self.grid.get((a, b), ())]
        return np.array(found, int)

    def fits(self, centre, reach) -> bool:
        """Whether a particle is inside the square and interpenetrates no other by more than allowed."""
        if abs(centre[0]) > self.half or abs(centre[1]) > self.half:
            return False
        near = self.near(centre)
        if not len(near):
            return True
        distance = np.linalg.norm(self.centre[near] - centre, axis=1)
        least = self.reach[near] + reach - self.overlap * np.minimum(self.reach[near], reach)
        return bool((distance >= least - 1e-9 * reach).all())

    def contact(self, i, reach, gap: float, rng) -> float:
        """Distance of centres at which a particle is set against particle i."""
        smaller = min(self.reach[i], reach)
        return self.reach[i] + reach + smaller * (gap * rng.random() - self.overlap * rng.random())


def beside_one(pile: Pile, reach, height, gap, rng):
    """A position on the substrate in contact with a random particle that lies there."""
    i = pile.on_floor[rng.integers(len(pile.on_floor))]
    distance = pile.contact(i, reach, gap, rng)
    rise = pile.centre[i, 2] - height
    if abs(rise) >= distance:
        return None
    angle = rng.uniform(0, 2 * np.pi)
    flat = np.sqrt(distance**2 - rise**2)
    return np.array([pile.centre[i, 0] + flat * np.cos(angle), pile.centre[i, 1] + flat * np.sin(angle), height])


def between_two(pile: Pile, reach, height, gap, rng):
    """A position on the substrate in contact with two neighbours that lie there."""
    i = pile.on_floor[rng.integers(len(pile.on_floor))]
    near = pile.near(pile.centre[i])
    flat = np.linalg.norm(pile.centre[near, :2] - pile.centre[i, :2], axis=1)
    near = near[(near != i) & (flat < pile.reach[i] + pile.reach[near] + 1.6 * reach) & (pile.centre[near, 2] < 1.01 * pile.reach[near] + height)]
    if not len(near):
        return None
    j = near[rng.integers(len(near))]
    return _circles_meet(pile, (i, j), reach, height, gap, rng)


def _circles_meet(pile, pair, reach, height, gap, rng):
    distances = []
    for k in pair:
        distance, rise = pile.contact(k, reach, gap, rng), pile.centre[k, 2] - height
        if abs(rise) >= distance:
            return None
        distances.append(np.sqrt(distance**2 - rise**2))
    a, b = pile.centre[pair[0], :2], pile.centre[pair[1], :2]
    across = np.linalg.norm(b - a)
    if across < 1e-9:
        return None
    along = (distances[0] ** 2 - distances[1] ** 2 + across**2) / (2 * across)
    square = distances[0] ** 2 - along**2
    if square < 0:
        return None
    unit = (b - a) / across
    side = rng.choice([-1.0, 1.0]) * np.sqrt(square)
    x, y = a + along * unit + side * np.array([-unit[1], unit[0]])
    return np.array([x, y, height])


def upon_three(pile: Pile, reach, rng):
    """A position on three particles, in contact with each, from which a sphere cannot roll off."""
    i = int(rng.integers(pile.count))
    near = pile.near(pile.centre[i])
    distance = np.linalg.norm(pile.centre[near] - pile.centre[i], axis=1)
    near = near[(near != i) & (distance < pile.reach[i] + pile.reach[near] + 1.2 * reach)]
    if len(near) < 2:
        return None
    three = [i, *rng.choice(near, 2, replace=False)]
    return _trilaterate(pile.centre[three], np.array([pile.contact(k, reach, 0.0, rng) for k in three]))


def _trilaterate(centres, distances):
    """The upper of the two points at given distances from three centres, if it rests stably on them."""
    a, b, c = centres
    across = np.linalg.norm(b - a)
    ex = (b - a) / across
    i = ex @ (c - a)
    ey = c - a - i * ex
    length = np.linalg.norm(ey)
    if length < 1e-6 * across:
        return None
    ey /= length
    j = ey @ (c - a)
    x = (distances[0] ** 2 - distances[1] ** 2 + across**2) / (2 * across)
    y = (distances[0] ** 2 - distances[2] ** 2 + i**2 + j**2) / (2 * j) - i / j * x
    square = distances[0] ** 2 - x**2 - y**2
    if square <= 0:
        return None
    ez = np.cross(ex, ey)
    ez *= np.sign(ez[2]) or 1.0
    centre = a + x * ex + y * ey + np.sqrt(square) * ez
    # Stable where the centre stands above the triangle of its supports and above all three.
    if centre[2] <= centres[:, 2].max():
        return None
    turn = [_cross(q - p, centre[:2] - p) for p, q in ((a[:2], b[:2]), (b[:2], c[:2]), (c[:2], a[:2]))]
    return centre if min(turn) > 0 or max(turn) < 0 else None


def _cross(u, v):
    return u[0] * v[1] - u[1] * v[0]


def arrange(bodies, *, half, target_area, overlap, clustering, stacking, alignment, gap, rng):
    """Lay particles until a share of the square is covered or no more fit.

    Parameters
    ----------
    bodies : sequence of (reach, height) pairs
        For each particle to come: radius of the sphere around it and how far it reaches
        below its centre as it lies, nm.
    half : float
        Half the side of the square, nm.
    target_area : float
        Sum of the particles' cross-sections to stop at, nm^2.
    overlap, clustering, stacking, alignment, gap : float
        See `recipe.Arrangement`.
    rng : numpy.random.Generator

    Returns
    -------
    list of (index into bodies, centre ndarray (3,), bool on the substrate)
    """
    largest = max(reach for reach, _ in bodies)
    pile = Pile(half, 2.2 * largest, overlap, len(bodies))
    placed, area, given_up = [], 0.0, 0
    for index, (reach, height) in enumerate(bodies):
        if area >= target_area or given_up >= PATIENCE:
            break
        for tried in range(TRIES):
            on_floor = True
            # Where none can stand on three others, as in the beginning, it comes to lie on the substrate.
            if pile.count > 2 and tried < TRIES // 2 and rng.random() < stacking:
                centre, on_floor = upon_three(pile, reach, rng), False
            elif pile.on_floor and rng.random() < clustering:
                how = between_two if rng.random() < alignment else beside_one
                centre = how(pile, reach, height, gap, rng)
            else:
                centre = np.array([*rng.uniform(-half, half, 2), height])
            if centre is not None and centre[2] >= height - 1e-9 and pile.fits(centre, reach):
                pile.add(centre, reach, on_floor)
                placed.append((index, centre, on_floor))
                area += np.pi * reach**2
                given_up = 0
                break
        else:
            given_up += 1
    return placed
