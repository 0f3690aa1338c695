"""What is known of the scale of pictures, told and shown for confirmation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import NanosynthError
from ..reporting import Reporter
from .images import list_images, read_micrograph, write_grey
from .scalebar import Bar, find_bar
from .segmentation import output_names

MARK = (255, 40, 40)


def examine_scales(paths, *, bar_nm=None, out=None, reporter: Reporter | None = None) -> list[dict]:
    """Read the scale of pictures, and find and measure their scale bars.

    Parameters
    ----------
    paths : list of path-like
        Images and folders of images.
    bar_nm : float, optional
        What the bars stand for, in nm.
    out : path-like, optional
        Folder for a picture of each image in which the bar found is marked.
    reporter : Reporter, optional

    Returns
    -------
    list of dict
        For each image: `image`, `nm_per_px` (None where unknown), `source`,
        `bar` (None, or its `left`, `right`, `top`, `bottom`, `length_px` and
        `kind`), `marked` (path of the picture or None) and `notes`.

    Raises
    ------
    NanosynthError
        At the end, if an image could not be read, or has no bar although
        `bar_nm` is given; the others are done then.
    """
    reporter = reporter or Reporter()
    images = list_images(paths)
    found, failed = [], []
    for path, name in zip(images, output_names(images)):
        try:
            entry, grey, bar = _examine(path, bar_nm)
        except NanosynthError as error:
            failed.append(path.name)
            reporter.error(error.message, error.remedy, image=str(path))
            continue
        if out is not None and bar is not None:
            entry["marked"] = str(Path(out) / f"{name}.png")
            write_grey(entry["marked"], marked(grey, bar))
            reporter.artifact(entry["marked"], "scale bar", image=str(path))
        found.append(entry)
    if failed:
        raise NanosynthError(
            f"{len(failed)} of {len(images)} images could not be measured: {', '.join(failed)}.", "See the messages above."
        )
    return found


def _examine(path, bar_nm):
    cut = read_micrograph(path, bar_nm=bar_nm)
    whole = read_micrograph(path, crop_bottom=0) if cut.banner_px else cut
    bar = find_bar(whole.pixels, cut.banner_px)
    notes = list(cut.notes)
    if cut.nm_per_px is None:
        notes.append(
            "state what its scale bar stands for (--bar-nm)" if bar else "no scale bar was found; state the nm per pixel where it is needed"
        )
    entry = {
        "image": str(path),
        "nm_per_px": cut.nm_per_px,
        "source": cut.scale_source,
        "bar": None if bar is None else described(bar),
        "marked": None,
        "notes": notes,
    }
    return entry, whole.pixels, bar


def described(bar: Bar) -> dict:
    return {
        "left": round(bar.left, 2),
        "right": round(bar.right, 2),
        "top": bar.top,
        "bottom": bar.bottom,
        "length_px": round(bar.length_px, 2),
        "kind": bar.kind,
    }


def marked(grey, bar: Bar) -> np.ndarray:
    """A picture in colour in which a scale bar is framed and its two ends are drawn out.

    Parameters
    ----------
    grey : numpy.ndarray
        (H, W) in [0, 1].
    bar : Bar

    Returns
    -------
    numpy.ndarray
        (H, W, 3) uint8.
    """
    picture = np.repeat(np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    height, width = grey.shape
    gap, reach = 3, 8
    top, bottom = max(bar.top - gap, 0), min(bar.bottom + gap - 1, height - 1)
    left, right = (min(max(round(x), 0), width - 1) for x in (bar.left, bar.right - 1))
    for row in (top, bottom):
        picture[row, left : right + 1] = MARK
    for column in (left, right):
        picture[max(top - reach, 0) : top + 1, column] = MARK
        picture[bottom : bottom + reach + 1, column] = MARK
    return picture


def table(entries) -> str:
    """The scales as text, a paragraph for each image."""
    lines = []
    for entry in entries:
        scale = "scale unknown" if entry["nm_per_px"] is None else f"{entry['nm_per_px']:.6g} nm per pixel"
        lines.append(f"{entry['image']}: {scale} ({entry['source']})")
        bar = entry["bar"]
        if bar:
            lines.append(
                f"    scale bar: {bar['length_px']:g} px, from {bar['left']:g} to {bar['right']:g}, rows {bar['top']} to {bar['bottom'] - 1}"
                + (f", marked in {entry['marked']}" if entry["marked"] else "")
            )
        lines += [f"    {note}" for note in entry["notes"]]
    return "\n".join(lines)
