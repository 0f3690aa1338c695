"""Outlines of particles along the corners of their pixels, so that filling them gives the same pixels back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

RIGHT, DOWN, LEFT, UP = range(4)
STEP = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(labels) -> Iterator[tuple[int, list]]:
    """Trace every particle of a label image.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.

    Yields
    ------
    label : int
        In rising order.
    parts : list of list of numpy.ndarray
        For each 4-connected part of the particle, in reading order: its outer
        outline, clockwise on the screen, then the outlines of its holes,
        anticlockwise. None meets itself, two may touch at a corner: valid
        polygons for programs that ask for it (OGC Simple Features). Each is
        int (n, 2): x, y of its corners, (0, 0) being the upper left corner of
        the upper left pixel; the first is not repeated.
    """
    labels = np.asarray(labels)
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        shape = labels[box] == label
        marked, number = ndimage.label(shape)
        origin = np.array([box[1].start, box[0].start])
        yield label, [[loop + origin for loop in _loops(marked == part if number > 1 else shape)] for part in range(1, number + 1)]


def _loops(shape):
    """The closed outlines of a 4-connected mask, its outer one first."""
    padded = np.pad(shape, 1)
    edges = {}
    for direction, (inside, outside, dx, dy) in enumerate(
        # The edge of a pixel towards `outside`, walked with the pixel on the right hand, begins at (x + dx, y + dy).
        (
            (padded[1:-1, 1:-1], padded[:-2, 1:-1], 0, 0),
            (padded[1:-1, 1:-1], padded[1:-1, 2:], 1, 0),
            (padded[1:-1, 1:-1], padded[2:, 1:-1], 1, 1),
            (padded[1:-1, 1:-1], padded[1:-1, :-2], 0, 1),
        )
    ):
        y, x = np.nonzero(inside & ~outside)
        for start in zip((x + dx).tolist(), (y + dy).tolist()):
            edges.setdefault(start, []).append(direction)
    loops = []
    while edges:
        start = min(edges, key=lambda corner: (corner[1], corner[0])) if not loops else next(iter(edges))
        position, direction = start, edges[start][0]
        corners, first, previous = [], direction, None
        while True:
            ways = edges[position]
            if previous is not None:
                # Where two pixels meet at a corner only, keep to the one on the right hand: they are not connected.
                direction = (previous + 1) % 4 if (previous + 1) % 4 in ways else ways[0]
            ways.remove(direction)
            if not ways:
                del edges[position]
            if direction != previous:
                corners.append(position)
            position = position[0] + STEP[direction][0], position[1] + STEP[direction][1]
            previous = direction
            if position == start and (start not in edges or (previous + 1) % 4 not in edges[start]):
                break
        loops += _simple(corners[1:] if previous == first else corners)
    return sorted(loops, key=area, reverse=True)  # one alone is positive: the outer one


def _simple(corners):
    """Part an outline where it comes to a corner for the second time; what it went round there is a hole."""
    rings, path, places = [], [], {}
    for corner in corners:
        if corner in places:
            start = places[corner]
            rings.append(np.array(path[start:]))
            for passed in path[start:]:
                del places[passed]
            del path[start:]
        places[corner] = len(path)
        path.append(corner)
    return [*rings, np.array(path)]


def without_holes(loops) -> np.ndarray:
    """One outline in place of an outer one and its holes, for programs that know no holes.

    Each hole is joined to the outer outline by a cut without width along the
    pixels' corners, walked to and fro, which encloses nothing.

    Parameters
    ----------
    loops : list of numpy.ndarray
        A part as `outlines` gives it.

    Returns
    -------
    numpy.ndarray
        int (n, 2).
    """
    outer, *holes = loops
    joined = [outer]
    x, y = outer[0]
    for hole in holes:
        corner = np.array([[x, hole[0][1]]])
        joined += [outer[:1], corner, hole, hole[:1], corner]
    return np.concatenate(joined)


def area(loop) -> float:
    """The area inside an outline, positive if it is walked clockwise on the screen."""
    x, y = np.asarray(loop, dtype=np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
