"""Particles' shapes as plain triangle meshes, and what arranging them needs to know.

A shape is centred on its centroid and scaled so that its volume is that of the
unit sphere: a particle's `radius_nm` is then half its volume-equivalent diameter.
(Rods, wires and hollow spheres are scaled otherwise; see `forms`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..errors import NanosynthError

UNIT_VOLUME = 4 / 3 * np.pi


@dataclass(frozen=True, eq=False)
class Shape:
    """A closed triangle mesh around its centroid.

    Parameters
    ----------
    vertices : ndarray (V, 3) float64
    triangles : ndarray (T, 3) int64
        Counter-clockwise seen from outside.
    sphere : bool
        Whether the mesh stands for a perfect sphere, for which contacts are exact.
    rests : (ndarray (F, 3), ndarray (F,)) or None
        Outward normals of the sides that the shape can lie on, and how often it lies on
        each. None: the faces of its convex hull, by their area.
    elongated : bool
        Whether it is a rod along z, which tilts where it lies across others.
    smooth : bool
        Whether its normals are those of a curved surface.
    cover : ndarray (N, 3) or None
        Points that cover the surface more evenly than the vertices do.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    sphere: bool = False
    rests: tuple | None = None
    elongated: bool = False
    smooth: bool = True
    cover: np.ndarray | None = None

    @cached_property
    def hull(self):
        from scipy.spatial import ConvexHull

        return ConvexHull(self.vertices)

    @cached_property
    def surface(self) -> np.ndarray:
        """Points (N, 3) that cover the surface, about 2500 to a compact shape."""
        if self.cover is not None:
            return self.cover
        if self.smooth:
            # An icosphere's first vertices are those of a coarser one.
            return self.vertices[:2562] if len(self.vertices) in (10_242, 40_962) else self.vertices
        corners = self.vertices[self.triangles]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        fixed = np.random.default_rng(0)  # these points stand for the mesh: they are part of no scene's draws
        chosen = fixed.choice(len(area), 4000, p=area / area.sum())
        u, v = np.sort(fixed.random((2, 4000)), axis=0)
        inside = corners[chosen, 0] * u[:, None] + corners[chosen, 1] * (v - u)[:, None] + corners[chosen, 2] * (1 - v)[:, None]
        return np.concatenate([self.vertices, inside])

    @cached_property
    def hull_vertices(self) -> np.ndarray:
        """The vertices that can touch a plane, (H, 3)."""
        # The hull of a built-in shape's many vertices takes longer than it saves.
        return self.vertices if self.smooth else self.vertices[self.hull.vertices]

    @cached_property
    def faces_to_rest_on(self):
        """Outward normals (F, 3) of the sides to lie on and the share of each (F,)."""
        if self.rests is not None:
            return self.rests
        hull = self.hull
        corners = self.vertices[hull.simplices]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        normals, where = np.unique(np.round(hull.equations[:, :3], 4), axis=0, return_inverse=True)
        share = np.bincount(where.ravel(), area, len(normals))
        return normals, share / share.sum()

    @cached_property
    def sides(self):
        """The sides to lie on and, for drawing one, the share of those up to each (F,)."""
        normals, share = self.faces_to_rest_on
        upto = np.cumsum(share)
        return normals, upto / upto[-1]

    @cached_property
    def _reach(self) -> float:
        return 1.0 if self.sphere else float(np.sqrt((self.vertices**2).sum(1).max()))

    def reach(self, stretch: float) -> float:
        """Radius of a sphere around the origin that holds the stretched shape."""
        return self._reach * float(max(stretching(stretch)))

    def height(self, rotation: np.ndarray, stretch: float) -> float:
        """How far the turned and stretched shape reaches below its centre.

        Parameters
        ----------
        rotation : ndarray (3, 3)
        stretch : float
        """
        down = -rotation[2] * stretching(stretch)
        if self.sphere:  # support function of an ellipsoid
            return float(np.linalg.norm(down))
        return float((self.hull_vertices @ down).max())

    def shadow(self, rotation: np.ndarray, stretch: float) -> float:
        """Area of the projection along z of the turned and stretched shape.

        Exact where no part of it hides another part's front; else the smaller of two upper
        bounds: the projected area of all faces seen from above, and that of the convex hull.
        """
        from scipy.spatial import ConvexHull

        turned = rotation * stretching(stretch)
        if self.sphere:
            # An ellipsoid M u casts the ellipse whose matrix is the xy block of M M^T.
            return float(np.pi * np.sqrt(np.linalg.det((turned @ turned.T)[:2, :2])))
        flat = self.vertices @ turned[:2].T
        a, b, c = flat[self.triangles.T]
        u, v = b - a, c - a
        fronts = float(np.maximum(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0], 0).sum() / 2)
        return fronts if self.smooth else min(fronts, float(ConvexHull(self.hull_vertices @ turned[:2].T).volume))


def stretching(stretch: float) -> np.ndarray:
    """Scale factors (3,) along a template's axes: volume kept, z longer by `stretch`."""
    return np.array([stretch ** (-1 / 3), stretch ** (-1 / 3), stretch ** (2 / 3)])


def normalised(vertices, triangles, name="mesh", **properties) -> Shape:
    """Centre a closed mesh and scale it to the volume of the unit sphere.

    Raises
    ------
    NanosynthError
        If the mesh has no volume.
    """
    vertices = np.asarray(vertices, float)
    triangles = np.asarray(triangles, np.int64)
    a, b, c = (vertices.T[:, triangles[:, i]] for i in range(3))  # each coordinate in one piece: faster
    signed = (a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])) / 6
    volume = signed.sum()
    extent = np.ptp(vertices, axis=0).max() if len(vertices) else 0.0
    if abs(volume) <= 1e-6 * extent**3:
        raise NanosynthError(f"Template {name!r}: the mesh encloses no volume.", "Close its holes and make its normals consistent (Mesh > Normals > Recalculate Outside).")
    if volume < 0:
        triangles, volume, signed = triangles[:, ::-1], -volume, -signed
    centroid = ((a + b + c) / 4 * signed).sum(1) / volume
    return Shape((vertices - centroid) * (UNIT_VOLUME / volume) ** (1 / 3), triangles, **properties)


@lru_cache
def icosphere(subdivisions: int):
    """Vertices on the unit sphere (10 * 4**n + 2, 3) and triangles (20 * 4**n, 3)."""
    golden = (1 + 5**0.5) / 2
    corners = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    vertices = np.array([np.roll(c, k) for k in range(3) for c in corners], float)
    from scipy.spatial import ConvexHull

    triangles = ConvexHull(vertices).simplices
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    inward = np.einsum("ij,ij->i", a, np.cross(b, c)) < 0
    triangles[inward] = triangles[inward, ::-1]
    for _ in range(subdivisions):
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        unique, where = np.unique(edges, axis=0, return_inverse=True)
        middle = where.reshape(3, -1) + len(vertices)
        vertices = np.concatenate([vertices, vertices[unique].mean(1)])
        p, q, r = triangles.T
        pq, qr, rp = middle
        triangles = np.concatenate([np.stack(t, 1) for t in ((p, pq, rp), (pq, q, qr), (rp, qr, r), (pq, qr, rp))])
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), triangles


def rotation_matrix(quaternion) -> np.ndarray:
    """Rotation matrix (3, 3) of a unit quaternion (w, x, y, z)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rounded(values, decimals):
    """Rounded, so that small differences between machines do not grow."""
    return np.round(np.asarray(values, float), decimals) + 0.0  # + 0.0: no negative zero


def resting_rotation(shape: Shape, stretch: float, rng) -> np.ndarray:
    """A quaternion (4,) w, x, y, z that lays a shape on one of its sides, turned at random."""
    from scipy.spatial.transform import Rotation

    if shape.sphere:
        return np.roll(Rotation.random(random_state=rng).as_quat(), 1)
    normals, upto = shape.sides
    normal = normals[np.searchsorted(upto, rng.random(), side="right")] / stretching(stretch)
    x, y, z = normal / np.linalg.norm(normal)
    # The shortest turn of the normal to straight down, (1 + n . d, n x d) but for its length; then a spin about z.
    down = np.array([1 - z, -y, x, 0.0]) if z < 1 - 1e-12 else np.array([0.0, 1.0, 0.0, 0.0])
    down /= np.linalg.norm(down)
    angle = rng.uniform(0, 2 * np.pi) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * down[0] - sin * down[3], cos * down[1] - sin * down[2], cos * down[2] + sin * down[1], cos * down[3] + sin * down[0]])
