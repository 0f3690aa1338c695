"""Annotated micrographs in place of a synthetic data set, for the training of the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import NanosynthError
from ..files import sha256
from .images import read_labels, read_mask, read_micrograph


@dataclass(frozen=True)
class Annotated:
    """A micrograph with its annotation.

    Attributes
    ----------
    name : str
    image, truth : pathlib.Path
        The micrograph, and its label image.
    valid : pathlib.Path or None
        A mask; where it is 0 nothing is known.
    nm_per_px : float or None
        The user's word, which goes before the file's.
    """

    name: str
    image: Path
    truth: Path
    valid: Path | None = None
    nm_per_px: float | None = None

    def identity(self) -> dict:
        """Name and hashes of its files."""
        return {
            "name": self.name,
            "image": sha256(self.image),
            "truth": sha256(self.truth),
            "valid": sha256(self.valid) if self.valid else None,
            "nm_per_px": self.nm_per_px,
        }


class RealPairs:
    """Annotated micrographs, cut into squares, as `training.train` takes a data set.

    A square spans the shorter side of its image; along the longer side there are
    as many as cover it, overlapping evenly. Patches are cut and changed from
    them exactly as from rendered scenes.

    Micrographs seldom share a magnification, and what they state of it is often
    wrong. So each is scaled by the median diameter of its own annotated
    particles, unless `in_nm`. An image that is only predicted has no part in this.

    Parameters
    ----------
    items : sequence of Annotated
    in_nm : bool
        Scale by the nm per pixel, which then every image must state.

    Attributes
    ----------
    records : dict
        By index what a manifest says of a pair. Where not `in_nm`, the unit in
        its `nm_per_pixel` is the image's median particle diameter.
    path : pathlib.Path
        Folder of the first micrograph.

    Raises
    ------
    NanosynthError
        If a file is damaged, two differ in size, nothing is annotated, or a scale is missing.
    """

    def __init__(self, items, *, in_nm: bool = False):
        self.items, self.in_nm = list(items), in_nm
        self.path = self.items[0].image.parent
        # What the training asks of a data set beside its pairs.
        self.info = {"recipe": f"annotated micrographs: {', '.join(item.name for item in self.items)}"}
        self.records, self.squares = {}, {}
        for item in self.items:
            pixels, truth, ignored, nm_per_px = read_annotated(item)
            area = np.bincount(truth.ravel())
            area[0] = 0
            if not area.any():
                raise NanosynthError(f"{item.truth}: no particle is annotated.", "Leave this image out, or annotate it.")
            if in_nm and not nm_per_px:
                raise NanosynthError(f"{item.image}: its nm per pixel is not known.", "State it, or let the scale be searched.")
            unit = nm_per_px if in_nm else 1 / float(np.median(np.sqrt(4 / np.pi * area[area > 0])))
            bytes_ = np.round(pixels * 255).astype(np.uint8)
            for box in squares(truth.shape):
                index = len(self.records)
                self.squares[index] = (bytes_[box], truth[box], ignored[box] if ignored.any() else None)
                self.records[index] = {
                    "index": index,
                    "image": item.name,
                    "nm_per_pixel": unit,
                    "sha256": {**item.identity(), "corner": [box[0].start, box[1].start]},
                    "particles": particle_columns(truth[box], area, unit),
                }

    def finished(self) -> set[int]:
        return set(self.records)

    def read(self, index: int):
        """Image uint8 (N, N), None in place of a rendered label, instances int32 (N, N)."""
        image, instances, _ = self.squares[index]
        return image, None, instances

    def ignored(self, index: int):
        """Where the annotation says nothing: bool (N, N), or None for nowhere."""
        return self.squares[index][2]

    def described(self) -> str:
        """For the record of a training, in place of a recipe."""
        return "# " + self.info["recipe"] + "\n"


def read_annotated(item: Annotated):
    """Micrograph float32 (H, W), annotation int32 (H, W), what it leaves open bool (H, W), nm per pixel or None; banners cut off."""
    micrograph = read_micrograph(item.image, nm_per_px=item.nm_per_px)
    height, width = micrograph.pixels.shape
    shapes = {(height, width), (height + micrograph.banner_px, width)}
    truth = read_labels(item.truth)
    known = np.ones(truth.shape, bool) if item.valid is None else read_mask(item.valid)
    for path, values in ((item.truth, truth), (item.valid, known)):
        if values.shape not in shapes:
            raise NanosynthError(
                f"{path}: {values.shape[1]} x {values.shape[0]} px, but its image {item.image.name} has {width} x {height + micrograph.banner_px} px.",
                "Give the one that belongs to it.",
            )
    return micrograph.pixels, truth[:height], ~known[:height], micrograph.nm_per_px


def squares(shape) -> list[tuple[slice, slice]]:
    """Boxes as large as the shorter side that cover an image, overlapping evenly."""
    height, width = shape
    side = min(shape)
    count = -(-max(shape) // side)
    starts = np.round(np.linspace(0, max(shape) - side, count)).astype(int)
    return [(slice(s, s + side), slice(0, side)) if height > width else (slice(0, side), slice(s, s + side)) for s in starts.tolist()]


def particle_columns(labels, whole_area, unit: float) -> dict:
    """Of the particles in a square what a manifest says of rendered ones: place and areas."""
    rows, columns = np.nonzero(labels)
    values = labels[rows, columns]
    area = np.bincount(values, minlength=1)
    ids = np.flatnonzero(area)
    x, y = (np.bincount(values, at, minlength=1)[ids] / area[ids] + 0.5 for at in (columns, rows))
    half = len(labels) / 2
    return {
        "id": ids.tolist(),
        "x_nm": ((x - half) * unit).tolist(),
        "y_nm": ((half - y) * unit).tolist(),
        "area_px": area[ids].tolist(),
        "full_area_px": whole_area[ids].tolist(),
    }
