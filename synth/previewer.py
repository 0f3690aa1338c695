"""A worker that stays alive and shows, ever better, what one scene of a recipe will look like."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..fields import from_dict, to_dict
from ..files import written_whole
from .degrade import degrade
from .recipe import Recipe
from .render import render_photo
from .sampling import look_of, sample_scene
from .scene import build_scene
from .templates import load_shapes
from .worker import peak_memory_mb

FIRST_PX, PASS_SAMPLES = 256, 2
"""The first picture is a render of at most this side with half so many samples; later passes take about as long as all of them."""
RENEW_ABOVE_MB = 2000
"""A worker that has held so much memory ends when it is idle."""


def small(recipe: Recipe, side: int) -> Recipe:
    """The same recipe in fewer pixels: blur and other sizes in pixels shrink along."""
    share, chain = min(1.0, side / recipe.camera.render_px), recipe.degradation
    scaled = {"blur": share, "jitter": share, "noise_grain": min(1.0, side / recipe.camera.image_px)}
    return dataclasses.replace(
        recipe,
        camera=dataclasses.replace(recipe.camera, image_px=min(side, recipe.camera.image_px), render_px=min(side, recipe.camera.render_px)),
        degradation=dataclasses.replace(chain, **{name: tuple(v * by for v in getattr(chain, name)) for name, by in scaled.items()}),
    )


@dataclass(eq=False)
class Picture:
    """A state of the preview.

    Attributes
    ----------
    image : ndarray (N, N) uint8
        As the micrograph of `render.make_pair(small(recipe, side), index)`, its first states noisier or less sharp.
    samples, of : int
        Cycles samples taken for it, and those of the last picture; 0 samples for a first one of fewer pixels.
    nm_per_pixel : float
    drawn : dict
        The values drawn for the scene, the light as it was set.
    particles : int
    """

    image: np.ndarray
    samples: int
    of: int
    nm_per_pixel: float
    drawn: dict
    particles: int


class Previewer:
    """Renders scenes of recipes, and keeps the arrangement of the last one, which takes longest to draw."""

    def __init__(self):
        self.key = self.shapes = self.laid = None

    def sample(self, recipe, index):
        plain = to_dict(recipe)
        stamps = [Path(t.mesh).stat().st_mtime_ns for t in recipe.templates if t.mesh and Path(t.mesh).exists()]
        key = json.dumps([plain["templates"], stamps, plain["arrangement"], recipe.camera.field_of_view, recipe.seed, index])
        if key != self.key:
            self.key, self.shapes, self.laid = None, load_shapes(recipe), None
        sample = sample_scene(recipe, index, self.shapes, laid=self.laid)
        self.key, self.laid = key, sample
        return sample

    def pictures(self, recipe: Recipe, index: int, *, side: int, light: dict | None = None, device: str = "CPU"):
        """Yield a `Picture` of a scene, a better one at each step, the last with all samples.

        From Blender 4.4 on the last one is exactly the micrograph of `make_pair` for `small(recipe, side)`;
        older ones choose other directions for a sample if they do not take all at once.

        Parameters
        ----------
        recipe : Recipe
        index : int
        side : int
            Pixels of the picture's side.
        light : dict, optional
            `azimuth`, `elevation` and `strength` instead of the values drawn.
        device : str
        """
        recipe = small(look_of(recipe, index), side)
        camera = recipe.camera
        sample = self.sample(recipe, index)
        sample.drawn["light"].update(light or {})
        nm_per_pixel = sample.field_of_view / camera.image_px
        built = build_scene(recipe, sample)

        def picture(photo, samples):
            chain = dict(sample.drawn["degradation"])
            for name in ("blur", "jitter"):
                chain[name] *= len(photo) / camera.render_px
            image = degrade(photo, chain, camera.image_px, sample.generator("degradation"))
            return Picture(image, samples, camera.samples, nm_per_pixel, sample.drawn, len(built.particles))

        seed = index % 2**31
        try:
            if camera.render_px > FIRST_PX:
                yield picture(render_photo(built, FIRST_PX, PASS_SAMPLES // 2, seed, device), 0)
            step = max(1, round(PASS_SAMPLES * (FIRST_PX / camera.render_px) ** 2))
            ends = [*range(max(1, step // 2), camera.samples, step), camera.samples]
            total = 0.0
            for first, last in zip([0, *ends], ends):
                photo = render_photo(built, camera.render_px, camera.samples, seed, device, part=(first, last - first))
                total = total + photo.astype(float) * (last - first)
                yield picture((total / last).astype(np.float32), last)
        finally:
            built.remove()


def run_previewer(folder, orders, reporter):
    """Show what is ordered, the newest order first, until the parent is gone.

    Parameters
    ----------
    folder : path-like
        Where pictures are left, as NumPy files that the parent deletes.
    orders : queue
        Of dicts: `number`, `recipe` (as `fields.to_dict` gives it, with absolute mesh paths),
        `index`, `side`, `light` (dict or None), `device`.
    reporter : Reporter
        Gets an `artifact` of role "preview" for each picture, with the order's `number`, `samples`, `of`,
        `nm_per_pixel`, `light` (the values shown), `particles`, and `seconds` since the order came; an `error`, with its `number`,
        for an order that cannot be met.
    """
    previewer = Previewer()
    reporter.started("preview", blender=bpy.app.version_string)
    made = 0
    while (peak_memory_mb() or 0) < RENEW_ABOVE_MB:
        order = orders.get()
        while not orders.empty():
            order = orders.get()
        begun = time.monotonic()
        try:
            recipe = from_dict(Recipe, order["recipe"])
            for picture in previewer.pictures(recipe, order["index"], side=order["side"], light=order["light"], device=order["device"]):
                made += 1
                path = Path(folder, f"{made}.npy")
                with written_whole(path) as temporary:
                    np.save(temporary, picture.image)
                light = {name: picture.drawn["light"][name] for name in ("azimuth", "elevation", "strength")}
                reporter.artifact(
                    path,
                    "preview",
                    number=order["number"],
                    samples=picture.samples,
                    of=picture.of,
                    nm_per_pixel=picture.nm_per_pixel,
                    particles=picture.particles,
                    light=light,
                    seconds=time.monotonic() - begun,
                )
                if not orders.empty():
                    break
        except NanosynthError as error:
            reporter.error(error.message, error.remedy, number=order["number"])
    reporter.done()
