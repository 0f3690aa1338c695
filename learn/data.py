"""From a data set on disk to training batches, each a pure function of (seed, epoch, step)."""

from __future__ import annotations

import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import NanosynthError
from ..synth.labels import training_label
from .augmentation import Augmenter, Patch
from .preprocess import intensity_bounds, normalise
from .settings import TrainingSettings

WORKERS = min(max(2, (os.cpu_count() or 2) // 2), 8)
"""Threads that prepare batches: half the cores, since beside a GPU the patches are what a step waits for. Most of
their time is spent in NumPy, SciPy and Pillow, which let other threads run."""
LOOK_AHEAD = 3 * WORKERS
"""Batches prepared in advance."""
NIL_CANDIDATES = 8
"""A patch on the substrate is the emptiest of so many random places."""


class Joined:
    """Several data sets as one: their pairs in order, numbered anew.

    All particles come to the network at one scale, in nm, so the data sets should be of
    particles of about the same size.

    Parameters
    ----------
    datasets : sequence of synth.dataset.Dataset
    """

    in_nm = True

    def __init__(self, datasets):
        self.datasets = list(datasets)
        self.path = self.datasets[0].path
        self.info = {"recipe": "+".join(dataset.info["recipe"] for dataset in self.datasets)}
        self.places = [(dataset, index) for dataset in self.datasets for index in sorted(dataset.finished())]
        self.records = {k: {**dataset.records[index], "index": k} for k, (dataset, index) in enumerate(self.places)}

    def finished(self) -> set[int]:
        return set(self.records)

    def read(self, index: int):
        """As `synth.dataset.Dataset.read`."""
        dataset, own = self.places[index]
        return dataset.read(own)

    def ignored(self, index: int):
        dataset, own = self.places[index]
        return dataset.ignored(own)

    def described(self) -> str:
        """The recipes, one after the other."""
        return "\n".join(f"# {len(d.finished())} pairs of this recipe:\n{d.described()}" for d in self.datasets)


@dataclass(frozen=True)
class Sizes:
    """The particles of a data set at the network's scale.

    Attributes
    ----------
    diameter_px : float
        Median equivalent circular diameter, at the geometric mean of the zoom.
    log_sd : float
        Standard deviation of its natural logarithm in the data set, the zoom left out.
    nm_per_px : float
        Nanometres per network pixel, likewise at the mean zoom; 0 where not known.
    zoom_1_nm : float
        Nanometres per network pixel at zoom 1; 0 where each image keeps its own scale.
        Of data whose unit is not the nanometre, that unit per network pixel.
    """

    diameter_px: float
    log_sd: float
    nm_per_px: float
    zoom_1_nm: float

    def scale_of(self, record) -> float:
        """Network pixels per pixel of a record's image, at zoom 1: fields of view may differ from scene to scene."""
        return record["nm_per_pixel"] / self.zoom_1_nm if self.zoom_1_nm else 1.0


def particle_sizes(records, settings: TrainingSettings) -> Sizes:
    """Measure the particles from the manifest records of a data set.

    Those at least half visible count; hidden ones say little about the size of
    what the network is to find.
    """
    if not records:
        raise NanosynthError("The data set has no finished pairs.", "Run 'generate' first.")
    diameters, pixels = [], []
    for record in records:
        area = np.asarray(record["particles"]["area_px"], float)
        area = area[(area >= 0.5 * np.asarray(record["particles"]["full_area_px"])) & (area > 0)]
        diameters.append(np.sqrt(4 * area / np.pi) * record["nm_per_pixel"])
        pixels.append(record["nm_per_pixel"])
    diameter = np.concatenate(diameters)
    if not diameter.size:
        raise NanosynthError("The data set has no visible particles.", "Check its recipe: field of view, sizes and number of particles.")
    median = float(np.median(diameter))
    zoom_1_nm = median / settings.diameter_px if settings.diameter_px else 0.0
    nm_per_px = (zoom_1_nm or float(np.median(pixels))) / settings.mean_zoom
    return Sizes(median / nm_per_px, float(np.log(diameter).std()), nm_per_px, zoom_1_nm)


@dataclass(frozen=True)
class Scene:
    """A pair, perhaps reduced.

    Attributes
    ----------
    image : uint8 (N, N)
    instances : uint16 (N, N)
    scale : float
        Network pixels per pixel of these arrays, at zoom 1.
    field_px : int
        Side of the pair as it was read, before it was reduced.
    ignored : bool (N, N), optional
        Where the instances are not known.
    """

    image: np.ndarray
    instances: np.ndarray
    scale: float
    field_px: int
    ignored: np.ndarray | None = None


class Scenes:
    """The pairs of a data set at the network's scale: in memory if they fit, else read when asked for.

    Parameters
    ----------
    dataset : synth.dataset.Dataset or realpairs.RealPairs
    sizes : Sizes
    memory_gb : float
    progress : callable, optional
        Called with (done, total) while loading.
    """

    def __init__(self, dataset, sizes: Sizes, memory_gb: float, progress=None):
        self.dataset, self.sizes = dataset, sizes
        self.indices = sorted(dataset.finished())
        self.kept: dict[int, Scene] = {}
        first = self.load(self.indices[0])
        size = first.image.nbytes + first.instances.nbytes
        self.in_memory = size * len(self.indices) <= memory_gb * 1e9
        if self.in_memory:
            with ThreadPoolExecutor(WORKERS) as pool:
                for done, (index, scene) in enumerate(zip(self.indices, pool.map(self.load, self.indices), strict=True), 1):
                    self.kept[index] = scene
                    if progress:
                        progress(done, len(self.indices))

    def __getitem__(self, index: int) -> Scene:
        return self.kept[index] if self.in_memory else self.load(index)

    def load(self, index: int) -> Scene:
        """Read a pair and reduce it to the network's scale; it is never enlarged here."""
        image, _, instances = self.dataset.read(index)
        ignored = self.dataset.ignored(index)
        side = image.shape[0]
        scale = self.sizes.scale_of(self.dataset.records[index])
        small = round(side * scale)
        if small >= side:
            return Scene(image, instances, scale, side, ignored)
        # Pillow's box filter averages areas; ids are taken at the pixel centres.
        reduced = np.asarray(Image.fromarray(image).resize((small, small), Image.Resampling.BOX))
        centres = ((np.arange(small) + 0.5) * side / small).astype(int)
        near = np.ix_(centres, centres)
        return Scene(reduced, instances[near], scale * side / small, side, None if ignored is None else ignored[near])


class Batches:
    """Draws training batches from scenes.

    Parameters
    ----------
    scenes : Scenes
    settings : TrainingSettings
    diameter_px : float
        Typical particle diameter in network pixels.
    """

    def __init__(self, scenes: Scenes, settings: TrainingSettings, diameter_px: float):
        self.scenes, self.settings = scenes, settings
        self.augment = Augmenter(settings.augmentation, diameter_px, settings.seed)

    def batch(self, epoch: int, step: int):
        """The batch of a step: always the same for the same seed, epoch and step.

        Returns
        -------
        images : float32 (B, P, P, 1) in [0, 1]
        targets : float32 (B, P, P, 1), 0 or 1
        weights : float32 (B, P, P)
        """
        sequence = np.random.SeedSequence(self.settings.seed, spawn_key=(2, epoch, step))
        patches = [self.patch(np.random.default_rng(child)) for child in sequence.spawn(self.settings.batch)]
        images, targets, weights = (np.stack(arrays) for arrays in zip(*patches, strict=True))
        return images[..., None], targets[..., None], weights

    def patch(self, rng):
        """One patch: image float32, target float32, weight float32, each (P, P)."""
        s = self.settings
        patch = self.augment(self.cut(rng), rng)
        image = normalise(patch.image, s.preprocess, self.augment.bounds(*intensity_bounds(patch.image, s.preprocess), rng))
        particle = patch.instances > 0
        target = training_label(patch.instances, s.border_radius_px, s.border_outline)
        weight = np.where(particle & ~target, np.float32(s.border_weight), np.float32(1))
        weight[patch.ignored] = 0
        target = target & ~patch.hidden
        weight[patch.hidden] = 1
        return image, target.astype(np.float32), weight

    def cut(self, rng) -> Patch:
        """Cut a patch from a random scene at a random zoom."""
        s = self.settings
        index = self.scenes.indices[rng.integers(len(self.scenes.indices))]
        scene = self.scenes[index]
        low, high = s.augmentation.zoom
        zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
        side = scene.image.shape[0]
        # The window must lie in the image; a small image is enlarged until it does.
        window = min(s.patch_px / (scene.scale * zoom), side)
        free = side - window
        x, y = self.place(rng, index, scene, window, free)
        box = (x, y, x + window, y + window)
        resample = Image.Resampling.BILINEAR
        image = Image.fromarray(scene.image).resize((s.patch_px, s.patch_px), resample, box=box)
        centres = (np.arange(s.patch_px) + 0.5) * window / s.patch_px
        rows, columns = (np.minimum((start + centres).astype(int), side - 1) for start in (y, x))
        near = np.ix_(rows, columns)
        ignored = None if scene.ignored is None else scene.ignored[near]
        return Patch(np.asarray(image, np.float32) / 255, renumber(scene.instances[near]), ignored)

    def place(self, rng, index, scene, window, free):
        """Upper left corner (x, y) of a window, in pixels of the scene."""
        s = self.settings
        choice = rng.random()
        if choice < s.on_particle:
            particles = self.scenes.dataset.records[index]["particles"]
            if particles["x_nm"]:
                chosen = rng.integers(len(particles["x_nm"]))
                side = scene.image.shape[0]
                field_nm = self.scenes.dataset.records[index]["nm_per_pixel"] * scene.field_px
                x = (particles["x_nm"][chosen] / field_nm + 0.5) * side
                y = (0.5 - particles["y_nm"][chosen] / field_nm) * side
                corner = np.array([x, y]) - rng.uniform(0.15, 0.85, 2) * window
                return np.clip(corner, 0, free)
        corners = rng.uniform(0, free, (NIL_CANDIDATES, 2))
        if choice > 1 - s.on_substrate:
            step = max(1, int(window / 32))
            corners = sorted(
                corners, key=lambda c: np.count_nonzero(scene.instances[int(c[1]) : int(c[1] + window) : step, int(c[0]) : int(c[0] + window) : step])
            )
        return corners[0]

    def stream(self, epoch: int, first: int, last: int):
        """Yield the batches of steps `first` to `last` - 1 in order, prepared ahead by threads."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="patches") as pool:
            waiting = deque()
            try:
                for step in range(first, last):
                    waiting.append(pool.submit(self.batch, epoch, step))
                    if len(waiting) > LOOK_AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def renumber(instances):
    """Number the instances of a patch 1..n in the order of their ids, without gaps; int32."""
    present = np.zeros(int(instances.max()) + 1, bool)
    present[instances] = True
    present[0] = False
    return np.cumsum(present, dtype=np.int32)[instances] * (instances > 0)
