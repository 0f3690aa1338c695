"""Small pictures in panels, drawn when what they show has changed."""

from __future__ import annotations

import bpy
import bpy.utils.previews
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..fields import to_dict
from ..synth.sampling import draw_diameters

SIDE = 256
"""Of a picture, px: icons are square."""
DRAWS = 20_000
BAR, AXIS, WORDS = (91, 155, 232, 255), (150, 150, 150, 255), (200, 200, 200, 255)
_icons = _thumbnails = None
_shown: dict[str, object] = {}


def icon(name: str, key, make) -> int:
    """The icon of a picture for `layout.template_icon`.

    Parameters
    ----------
    name : str
        The place in the window that it is for.
    key
        What the picture depends on; it is made anew when this has changed.
    make : callable
        Without arguments; returns (H, W, 4) uint8, row 0 at the top.
    """
    global _icons
    if _icons is None:
        _icons = bpy.utils.previews.new()
    if name not in _icons:
        _icons.new(name)
        _shown.pop(name, None)
    if _shown.get(name) != key:
        pixels = make()
        _icons[name].image_size = pixels.shape[1], pixels.shape[0]
        _icons[name].image_pixels_float.foreach_set((pixels[::-1].astype(np.float32) / 255).ravel())
        _shown[name] = key
    return _icons[name].icon_id


THUMBNAILS = 64


def thumbnail(path: str) -> int:
    """The icon of an image file. Blender reads it beside its other work and draws it when it is there."""
    global _thumbnails
    if _thumbnails is None:
        _thumbnails = bpy.utils.previews.new()
    if path not in _thumbnails:
        if len(_thumbnails) >= THUMBNAILS:
            _thumbnails.clear()
        _thumbnails.load(path, path, "IMAGE")
    return _thumbnails[path].icon_id


def size_plot(size) -> np.ndarray:
    """The distribution of a template's sizes.

    Parameters
    ----------
    size : synth.recipe.Size

    Returns
    -------
    ndarray (H, W, 4) uint8
    """
    drawn = draw_diameters(size, DRAWS, np.random.default_rng(0))
    low, high = np.percentile(drawn, [0.1, 99.9])
    margin = max(0.08 * (high - low), 0.02 * high)
    low, high = max(low - margin, 0.0), high + margin
    width, height, sharp, letter = SIDE, SIDE * 7 // 8, 2, 22
    counts, _ = np.histogram(drawn, bins=64, range=(low, high))
    canvas = Image.new("RGBA", (sharp * width, sharp * height), (0, 0, 0, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(letter * sharp)
    bottom = sharp * (height - letter - 8)
    for k, share in enumerate(counts / counts.max()):
        x = sharp * width * k / len(counts)
        pen.rectangle([x, bottom - share * (bottom - 4 * sharp), x + sharp * width / len(counts) - 1, bottom], fill=BAR)
    pen.line([(0, bottom), (sharp * width, bottom)], fill=AXIS, width=sharp)
    for value, at, anchor in ((low, 0, "lb"), (float(np.median(drawn)), None, "mb"), (high, sharp * width, "rb")):
        at = sharp * width * (value - low) / (high - low) if at is None else at
        pen.text(
            (min(max(at, 80 * sharp), sharp * (width - 80)) if anchor == "mb" else at, sharp * height),
            f"{value:.3g}" + " nm" * (anchor == "mb"),
            fill=WORDS,
            font=font,
            anchor=anchor,
        )
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))


def size_icon(size) -> int:
    return icon("sizes", to_dict(size), lambda: size_plot(size))


def stop():
    """Forget all pictures; for unregistering."""
    global _icons, _thumbnails
    for collection in (_icons, _thumbnails):
        if collection is not None:
            bpy.utils.previews.remove(collection)
    _icons = _thumbnails = None
    _shown.clear()
