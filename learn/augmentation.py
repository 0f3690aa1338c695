"""Random changes to a training patch: what real micrographs have and renders have not.

A network that has only seen renders takes for a particle whatever is bright and
has an edge: letters, scale bars, scratches, a textured substrate. So a patch
gets them, drawn on the background and not labelled. The order follows the
microscope: the specimen (tone, shading, texture, clutter), the beam (gradient,
blur, charging, noise), the file (lettering, compression).

Strengths and chances are `settings.Augmentation`; what they scale is below.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from .settings import Augmentation

TEXTURE_PX, TEXTURES = 512, 12
"""Side and number of the 1/f textures kept ready; patches take random cuts of them."""
TEXTURE_SLOPE = (0.6, 2.2)
"""Exponent b of the textures' amplitude spectrum 1/f^b: fine grain to clouds."""
CHARACTERS = "0123456789abcdefghnmkuxABCDEFGHIKMSTVXZ().:,=-+ "
UNITS = ("nm", "um", "mm", "kV", "kx", "KX", "Pa", "WD", "SE", "HV", "mag")


@dataclass
class Patch:
    """A training patch under change.

    Attributes
    ----------
    image : float32 (N, N)
        About [0, 1]; may leave it.
    instances : integers (N, N)
        0 background, each other value a particle.
    hidden : bool (N, N)
        Opaque boxes cover these pixels: background, whatever lies beneath.
    ignored : bool (N, N)
        Letters cover a particle here, or nobody knows what is here: no part in the loss.
    """

    image: np.ndarray
    instances: np.ndarray
    ignored: np.ndarray = None
    hidden: np.ndarray = field(init=False)

    def __post_init__(self):
        self.hidden = np.zeros(self.image.shape, bool)
        if self.ignored is None:
            self.ignored = np.zeros(self.image.shape, bool)


class Augmenter:
    """Changes patches at random; holds the textures that all patches are cut from.

    Parameters
    ----------
    settings : Augmentation
    diameter_px : float
        Typical particle diameter in network pixels: the measure of clutter and letters.
    seed : int
        Seed of the textures.
    """

    def __init__(self, settings: Augmentation, diameter_px: float, seed: int):
        self.settings = settings
        self.diameter_px = diameter_px
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        self.textures = [fractal(rng, TEXTURE_PX, rng.uniform(*TEXTURE_SLOPE)) for _ in range(TEXTURES)]

    def __call__(self, patch: Patch, rng) -> Patch:
        """Change a patch; every draw comes from `rng`."""
        s = self.settings
        if s.flip:
            turn(patch, rng)
        mask = patch.instances > 0
        # Edges in the image are soft; changes confined to one side must be, too.
        soft = _blurred(mask.astype(np.float32), 0.8)
        self.specimen(patch, mask, soft, rng)
        self.beam(patch, soft, rng)
        if rng.random() < s.lettering:
            letter(patch, self.diameter_px, rng)
        if rng.random() < s.jpeg:
            patch.image = jpeg(patch.image, int(rng.integers(35, 90)))
        gamma = _log_uniform(rng, *s.gamma)
        if gamma != 1.0:
            patch.image = np.clip(patch.image, 0, 1) ** np.float32(gamma)
        return patch

    def bounds(self, low, high, rng):
        """Bounds for the normalisation, wider than the patch's own by a random share on either side."""
        width = high - low
        # Squared: mostly a little, now and then much.
        below, above = rng.random(2) ** 2 * self.settings.contrast
        return low - below * width, high + above * width

    def texture(self, shape, rng):
        """A random cut of a random texture, mean 0 and spread 1, enlarged up to three times."""
        texture = self.textures[rng.integers(TEXTURES)]
        zoom = _log_uniform(rng, max(1.0, max(shape) / TEXTURE_PX), max(3.0, max(shape) / TEXTURE_PX))
        height, width = (side / zoom for side in shape)
        x, y = rng.uniform(0, TEXTURE_PX - width), rng.uniform(0, TEXTURE_PX - height)
        cut = Image.fromarray(texture).resize(shape[::-1], Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))
        cut = np.asarray(cut)
        return cut.T if shape[0] == shape[1] and rng.random() < 0.5 else cut

    # -- the specimen ---------------------------------------------------------------------------------------------

    def specimen(self, patch, mask, soft, rng):
        s, image = self.settings, patch.image
        particles, substrate = _levels(image, mask)
        if s.particle_brightness:
            gains = 1 + rng.uniform(-s.particle_brightness, s.particle_brightness, int(patch.instances.max()) + 1).astype(np.float32)
            gains[0] = 1
            image *= _blurred(gains[patch.instances], 0.7)
        if rng.random() < s.particle_shading and mask.any():
            shade(image, patch.instances, soft, particles, rng)
        if rng.random() < s.substrate_tone:
            # From black to slightly brighter than the particles' middle.
            level = rng.uniform(0.0, 1.1) * particles
            flat = level + (image - substrate) * rng.uniform(0.2, 1.5)
            image += (flat - image) * (1 - soft)
        if s.substrate_texture:
            contrast = _mostly_low(rng, 0, s.substrate_texture)
            image += (1 - soft) * contrast * 0.5 * self.texture(image.shape, rng) * max(particles, 0.2)
        if s.grain_texture:
            contrast = _mostly_low(rng, 0, s.grain_texture)
            image += soft * contrast * 0.5 * self.texture(image.shape, rng) * max(particles, 0.2)
        if s.clutter:
            self.clutter(image, soft, max(particles, 0.3), rng)

    def clutter(self, image, soft, level, rng):
        """Things on the substrate that are no particles: specks, smears, flakes and scratches."""
        chance, size = self.settings.clutter, self.diameter_px
        side = image.shape[0]
        layer = np.zeros_like(image)
        if rng.random() < chance:  # specks, far smaller than a particle
            canvas, draw = _canvas(side)
            clustered = rng.random() < 0.5
            centre, spread = rng.uniform(0, side, 2), rng.uniform(0.5, 3) * size
            for _ in range(rng.integers(3, 60)):
                x, y = rng.normal(centre, spread) if clustered else rng.uniform(0, side, 2)
                a, b = rng.uniform(0.015, 0.07, 2) * size
                draw.ellipse((x - a, y - b, x + a, y + b), fill=float(rng.uniform(0.3, 1)))
            layer += _blurred(np.asarray(canvas), rng.uniform(0.4, 1.2)) * rng.choice((-0.5, 0.6, 0.9)) * level
        if rng.random() < chance:  # smears and out-of-focus things, without an edge
            y, x = np.mgrid[:side, :side].astype(np.float32)
            for _ in range(rng.integers(1, 6)):
                cx, cy = rng.uniform(0, side, 2)
                a, b = rng.uniform(0.25, 2.0, 2) * size
                blob = np.exp(-(((x - cx) / a) ** 2) - ((y - cy) / b) ** 2)
                layer += blob * rng.uniform(-0.5, 0.5) * level
        if rng.random() < chance:  # flakes: ragged islands with a bright rim
            reach = rng.uniform(0.3, 1.5) * size
            cy, cx = rng.uniform(0, side, 2)
            y, x = np.mgrid[:side, :side].astype(np.float32)
            dome = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / reach**2)
            island = (dome * (1 + 0.8 * self.texture(image.shape, rng)) > 0.55).astype(np.float32)
            inner, outer = _blurred(island, 0.8), _blurred(island, 2.5)
            layer += (rng.uniform(-0.3, 0.5) * inner + rng.uniform(0, 1.2) * np.abs(inner - outer)) * level
        if rng.random() < chance:  # scratches, fibres and steps
            canvas, draw = _canvas(side)
            for _ in range(rng.integers(1, 6)):
                start = rng.uniform(-0.2 * side, 1.2 * side, 2)
                angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 6) * size
                bend = rng.normal(0, 0.25)
                points = [tuple(start)]
                for _ in range(8):
                    start = start + length / 8 * np.array([np.cos(angle), np.sin(angle)])
                    angle += bend * rng.random()
                    points.append(tuple(start))
                draw.line(points, fill=float(rng.choice((-1, 1)) * rng.uniform(0.3, 1)), width=int(rng.integers(1, max(2, int(size / 10)))), joint="curve")
            layer += _blurred(np.asarray(canvas), rng.uniform(0.4, 1.2)) * 0.6 * level
        image += layer * (1 - soft)

    # -- the beam -------------------------------------------------------------------------------------------------

    def beam(self, patch, soft, rng):
        s, image = self.settings, patch.image
        height, width = image.shape
        if s.gradient:
            size, angle = rng.uniform(0, s.gradient), rng.uniform(0, 2 * np.pi)
            image += (size * np.cos(angle) * np.linspace(-0.5, 0.5, width, dtype=np.float32))[None, :]
            image += (size * np.sin(angle) * np.linspace(-0.5, 0.5, height, dtype=np.float32))[:, None]
        sigma = rng.uniform(*s.blur_px)
        if rng.random() < s.sharpen:
            image += (image - _blurred(image, rng.uniform(0.8, 2.0))) * rng.uniform(0.5, 2.0)
        elif sigma > 0.2:
            image = _blurred(image, sigma)
        if rng.random() < s.scan_lines:
            image += scan_lines(soft, rng)
        deviation = _mostly_low(rng, *s.correlated_noise)
        if deviation:
            grain = rng.standard_normal(image.shape, np.float32)
            grain = _blurred(grain, rng.uniform(0.5, 1.5))
            image += grain * (deviation / max(grain.std(), 1e-6))
        deviation = _mostly_low(rng, *s.noise)
        if deviation:
            # Between constant and growing with the signal, as counted electrons have it.
            shot = np.sqrt(np.clip(image, 0.02, 1)) if rng.random() < 0.5 else 1.0
            image += rng.standard_normal(image.shape, np.float32) * deviation * shot
        patch.image = image.astype(np.float32, copy=False)


def turn(patch: Patch, rng):
    """One of the eight flips and turns by 90 degrees, each as likely."""
    quarter, mirror = rng.integers(4), rng.random() < 0.5
    for name in ("image", "instances", "ignored"):
        values = np.rot90(getattr(patch, name), quarter)
        setattr(patch, name, np.ascontiguousarray(values[:, ::-1] if mirror else values))


def fractal(rng, side: int, slope: float):
    """A periodic random texture of amplitude spectrum 1/f^slope; float32, mean 0, standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * frequency**-slope
    texture = np.fft.irfft2(spectrum, s=(side, side))
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)


def shade(image, instances, soft, level, rng):
    """Brighten, darken or flatten the particles' rims and middles, in place.

    Depth is the distance to the particle's edge over its largest value in that
    particle, so that particles of every size are shaded alike.
    """
    # Where two particles meet there is an edge as well.
    edge = np.zeros(instances.shape, bool)
    differs = instances[1:] != instances[:-1]
    edge[1:] |= differs
    differs = instances[:, 1:] != instances[:, :-1]
    edge[:, 1:] |= differs
    inside = (instances > 0) & ~edge
    distance = ndimage.distance_transform_edt(inside).astype(np.float32)
    largest = np.zeros(int(instances.max()) + 1, np.float32)
    np.maximum.at(largest, instances.ravel(), distance.ravel())
    depth = distance / np.maximum(largest, 1)[instances]
    if rng.random() < 0.5:
        image += (level - image) * soft * rng.uniform(0.3, 0.95)
    rim_width = _log_uniform(rng, 0.05, 0.4)
    rim, middle = rng.uniform(-0.25, 0.7), rng.uniform(-0.35, 0.25)
    image += soft * level * (rim * np.exp(-depth / rim_width) + middle * depth)


def scan_lines(soft, rng):
    """Brightness that jumps from line to line, and streaks to the right of particles that charge."""
    height, width = soft.shape
    lines = rng.standard_normal((height, 1), np.float32) * rng.uniform(0.005, 0.04)
    if rng.random() < 0.5:
        reach = rng.uniform(0.1, 0.6) * width
        fade = np.float32(np.exp(-1 / reach))
        charge = ndimage.uniform_filter1d(soft, 5, axis=0)
        trail = np.zeros_like(soft)
        run = np.zeros(height, np.float32)
        for column in range(width):
            run = run * fade + charge[:, column] * (1 - fade)
            trail[:, column] = run
        lines = lines + trail * (1 - soft) * rng.uniform(-0.4, 0.4)
    return lines.astype(np.float32)


def letter(patch: Patch, diameter_px: float, rng):
    """Burn in what microscopes and authors write on an image: labels, scale bars, banners."""
    side = patch.image.shape[0]
    mask = patch.instances > 0
    for _ in range(rng.integers(1, 4)):
        kind = rng.choice(("label", "bar", "banner"), p=(0.5, 0.4, 0.1))
        white = rng.random() < 0.65
        ink, paper = (1.0, 0.0) if white else (0.0, 1.0)
        ink = abs(ink - rng.uniform(0, 0.15))
        strokes, box = Image.new("L", (side, side)), Image.new("L", (side, side))
        pen, fill = ImageDraw.Draw(strokes), ImageDraw.Draw(box)
        height = float(np.clip(_log_uniform(rng, 0.2, 1.6) * diameter_px, 7, 0.4 * side))
        x, y = rng.uniform(-0.1 * side, 0.9 * side), rng.uniform(-0.05 * side, 0.95 * side)
        if kind == "banner":
            height = min(height, 0.12 * side)
            lines = int(rng.integers(1, 4))
            depth = (lines + 0.6) * 1.25 * height
            top = side - depth if rng.random() < 0.7 else 0.0
            fill.rectangle((0, top, side, top + depth), fill=255)
            for line in range(lines):
                x = rng.uniform(-0.3, 0.1) * side
                while x < side:
                    x += _write(pen, x, top + (line + 0.3) * 1.25 * height, height, rng) + rng.uniform(0.5, 3) * height
        elif kind == "bar":
            length, thick = rng.uniform(0.5, 4) * diameter_px, max(1.0, rng.uniform(0.06, 0.3) * height)
            bottom = y + height * 1.2
            extent = [x, y, x + length, bottom + thick]
            if rng.random() < 0.85:
                # Above the bar, below it, or to its right.
                place = rng.integers(3)
                tx, ty = ((x, y), (x, bottom + 1.5 * thick), (x + length + 0.3 * height, bottom - 0.6 * height))[place]
                width = _write(pen, tx, ty, height, rng, number=True)
                extent = [x, min(extent[1], ty), max(extent[2], tx + width), max(extent[3], ty + 1.2 * height)]
            pen.rectangle((x, bottom, x + length, bottom + thick), fill=255)
            if rng.random() < 0.3:  # end ticks
                for end in (x, x + length):
                    pen.rectangle((end - thick / 2, bottom - 2 * thick, end + thick / 2, bottom + 3 * thick), fill=255)
            if rng.random() < 0.25:
                pad = 0.3 * height
                fill.rectangle((extent[0] - pad, extent[1] - pad, extent[2] + pad, extent[3] + pad), fill=255)
        else:
            width = _write(pen, x, y, height, rng)
            if rng.random() < 0.3:
                pad = rng.uniform(0.1, 0.4) * height
                fill.rectangle((x - pad, y - pad, x + width + pad, y + 1.3 * height + pad), fill=255)
        for layer, value in ((box, paper), (strokes, ink)):
            share = np.asarray(layer, np.float32) / 255
            if rng.random() < 0.5:
                share = _blurred(share, rng.uniform(0.3, 0.9))
            patch.image = patch.image * (1 - share) + value * share
        boxed = np.asarray(box) > 127
        patch.hidden |= boxed
        patch.ignored |= (np.asarray(strokes) > 25) & mask & ~boxed


def _write(pen, x, y, height, rng, number=False):
    """Write random characters of a height in px at a corner; returns their width in px."""
    if number:
        text = f"{rng.choice((1, 2, 3, 5, 10, 20, 50, 100, 200, 300, 500, 1000))}{rng.choice(('', ' '))}{rng.choice(UNITS[:3])}"
    elif rng.random() < 0.5:
        text = rng.choice(("{}", "({})", "{})", "{}.")).format(CHARACTERS[rng.integers(10, 32)])
    else:
        text = "".join(CHARACTERS[i] for i in rng.integers(0, len(CHARACTERS), rng.integers(2, 12)))
        text = rng.choice(("", "", f"{rng.choice(UNITS)} ")) + text
    font = _font(round(height))
    bold = int(rng.integers(0, 1 + max(1, round(height / 14))))
    pen.text((x, y), text, fill=255, font=font, stroke_width=bold)
    return pen.textlength(text, font=font)


_FONTS: dict[int, ImageFont.FreeTypeFont] = {}


def _font(size):
    """Pillow's own font, so that patches do not depend on the fonts of the machine."""
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]


def jpeg(image, quality: int):
    """Compress and decompress; returns float32 in [0, 1]."""
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(image, 0, 1) * 255 + 0.5)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.float32) / 255


def _levels(image, mask):
    """Typical brightness of particles and of substrate; of the whole where there is only one."""
    share = mask.mean()
    whole = float(image.mean())
    if share < 0.01:
        return min(whole + 0.3, 0.8), whole
    if share > 0.99:
        return whole, 0.3 * whole
    return float(image[mask].mean()), float(image[~mask].mean())


def _canvas(side):
    canvas = Image.new("F", (side, side))
    return canvas, ImageDraw.Draw(canvas)


def _blurred(values, sigma):
    return ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=3.0)


def _mostly_low(rng, low, high):
    """Half of the draws lie in the lowest quarter of the range."""
    return low + (high - low) * rng.random() ** 2


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low
