"""Intensity along a line, as Figure S7 of Mill et al. 2021: to compare renders with micrographs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import NanosynthError

COLOURS = ((226, 122, 34), (30, 110, 190), (60, 150, 80), (150, 80, 170))
"""Of the curves, RGB."""
SIZE = (720, 420)
"""Width and height of the picture, px."""


def sample_line(pixels, start, end, *, width_px: float = 1.0):
    """The intensity along a line, a value for about each pixel.

    Parameters
    ----------
    pixels : ndarray (H, W) float
    start, end : (x, y)
        Ends of the line in px from the upper left corner of the image: the middle of pixel
        (row i, column j) is at (j + 0.5, i + 0.5).
    width_px : float
        The mean across a band of this width is taken.

    Returns
    -------
    distance_px : ndarray (n,)
        From the start; the last is the line's length.
    intensity : ndarray (n,)
        Interpolated bilinearly.

    Raises
    ------
    NanosynthError
        If the line is shorter than 1 px or reaches outside the image.
    """
    pixels = np.asarray(pixels, dtype=float)
    height, width = pixels.shape
    (x0, y0), (x1, y1) = start, end
    length = checked_length(start, end, width, height)
    steps = np.linspace(0, 1, int(np.ceil(length - 1e-4)) + 1)
    across = np.arange(max(1, round(width_px))) - (max(1, round(width_px)) - 1) / 2
    x = x0 + (x1 - x0) * steps[:, None] - (y1 - y0) / length * across
    y = y0 + (y1 - y0) * steps[:, None] + (x1 - x0) / length * across
    values = ndimage.map_coordinates(pixels, [y - 0.5, x - 0.5], order=1, mode="nearest")
    return steps * length, values.mean(1)


def checked_length(start, end, width: int, height: int) -> float:
    """The length of a line in px; raises a `NanosynthError` as `sample_line` does."""
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if not length >= 1:
        raise NanosynthError(f"The line is {length:.2g} px long.", "Draw a longer one.")
    for x, y in (start, end):
        if not (0 <= x <= width and 0 <= y <= height):
            raise NanosynthError(f"The line's end ({x:g}, {y:g}) lies outside the image of {width} x {height} px.", "Draw it inside.")
    return length


def profile_text(curves, *, unit: str = "nm") -> str:
    """The curves as CSV: one row for each point.

    Parameters
    ----------
    curves : list of (name, distance, intensity)
    unit : str
        Of the distances.
    """
    rows = [f"curve,distance_{unit},intensity"]
    for name, distance, intensity in curves:
        quoted = '"' + name.replace('"', '""') + '"'
        rows += [f"{quoted},{d:.4f},{v:.5f}" for d, v in zip(distance, intensity)]
    return "\n".join(rows) + "\n"


def profile_picture(curves, *, unit: str = "nm", size=SIZE) -> np.ndarray:
    """Draw intensity curves over one another, with letters that are meant to be seen pixel by pixel.

    Parameters
    ----------
    curves : list of (name, distance (n,), intensity (n,))
        Intensities in [0, 1].
    unit : str
        Of the distances.

    Returns
    -------
    ndarray (height, width, 3) uint8
    """
    from PIL import Image, ImageDraw, ImageFont

    sharp = 2  # drawn larger and then reduced, for smooth lines
    width, height = (sharp * side for side in size)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13 * sharp)
    left, right, top, bottom = 58 * sharp, width - 16 * sharp, 36 * sharp, height - 46 * sharp
    reach = max(float(distance[-1]) for _, distance, _ in curves)
    highest = max(1e-6, *(float(np.max(values)) for _, _, values in curves))
    highest = np.ceil(highest * 10.5) / 10

    def place(distance, value):
        return left + (right - left) * np.asarray(distance) / reach, bottom - (bottom - top) * np.asarray(value) / highest

    for value in ticks(highest):
        _, y = place(0, value)
        draw.line([(left, y), (right, y)], fill="#e3e3e3", width=sharp)
        draw.text((left - 8 * sharp, y), f"{value:g}", fill="#333333", font=font, anchor="rm")
    for distance in ticks(reach):
        x, _ = place(distance, 0)
        draw.line([(x, bottom), (x, bottom + 5 * sharp)], fill="#333333", width=sharp)
        draw.text((x, bottom + 8 * sharp), f"{distance:g}", fill="#333333", font=font, anchor="mt")
    draw.line([(left, top), (left, bottom), (right, bottom)], fill="#333333", width=sharp)
    draw.text(((left + right) / 2, height - 6 * sharp), f"distance / {unit}", fill="#333333", font=font, anchor="mb")
    upright = Image.new("L", (height, 20 * sharp), 0)
    ImageDraw.Draw(upright).text((height / 2, 10 * sharp), "intensity", fill=255, font=font, anchor="mm")
    canvas.paste("#333333", (3 * sharp, 0), upright.rotate(90, expand=True))
    beside = left
    for number, (name, distance, values) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        x, y = place(distance, np.clip(values, 0, highest))
        draw.line(list(zip(x.tolist(), y.tolist())), fill=colour, width=2 * sharp, joint="curve")
        draw.line([(beside, 15 * sharp), (beside + 24 * sharp, 15 * sharp)], fill=colour, width=3 * sharp)
        draw.text((beside + 32 * sharp, 15 * sharp), name, fill="#333333", font=font, anchor="lm")
        beside += 56 * sharp + draw.textlength(name, font=font)
    return np.asarray(canvas.resize(size, Image.Resampling.BOX))


def ticks(highest: float, most: int = 6) -> list[float]:
    """Round values from 0 to `highest`, at most so many."""
    step = highest / most
    power = 10.0 ** np.floor(np.log10(step))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= step * 0.999)
    return [float(f"{k * step:.6g}") for k in range(int(highest / step * 1.0001) + 1)]
