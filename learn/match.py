"""Match a recipe to reference images: estimate its ranges from what one to ten unannotated micrographs look like.

Needs Blender for a few quick renders of each reference's kind of scene; see `docs/match.md`
for the method and its rules.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import NanosynthError
from ..fields import from_dict, number, specs, to_dict, to_toml
from ..files import read_json, sha256, write_json, write_text
from ..reporting import Clock, Reporter
from ..synth.degrade import BRIGHTEST, NEAREST_WHITE, degrade
from ..synth.recipe import Look, Recipe, read_recipe
from ..synth.shading import shade
from .appearance import Outline, appearance, layout, rough_outline
from .images import list_images, read_micrograph, write_grey

MOST = 10
SECTIONS = ("shader", "substrate", "light", "degradation")
LEAST_CONTRAST = 0.02
"""Particles must be brighter than the substrate by this, or they are not seen."""
LEAST_PX = 8.0
"""Median diameter below which what a threshold parts is noise, or too small to show a look."""
POORLY = 2.5
"""How far a look may stay off before a warning, in units of what just matters."""


@dataclass
class MatchOptions:
    """How a recipe is matched to reference images."""

    field_px: int = number(256, "side of the quick fields that are rendered for a reference", unit="px", low=96, high=1024)
    steps: int = number(10, "most steps of the optimiser for a reference", low=1, high=200)
    spread: float = number(
        0.5, "half width of a look's ranges, in units of what the references scatter by; 0 only keeps the least width", low=0.0, high=5.0
    )
    least_spread: float = number(0.04, "least half width of a look's ranges, as a share of the span searched", low=0.0, high=0.5)
    nm_per_px: float = number(0.0, "pixel size of all references, if their files do not state it; 0: unknown", unit="nm", low=0.0, high=1e5)
    pictures: int = number(4, "references shown with a render before and after", low=1, high=MOST)
    seed: int = number(1, "seed of the quick fields", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class Knob:
    """A value that is searched: where it stands in the recipe, and between which ends.

    `per` tells what the ends are multiples of: 1, the median radius in nm, or a pixel in nm.
    """

    name: str
    low: float
    high: float
    log: bool = False
    per: str = ""

    def value(self, u: float, sizes: dict) -> float:
        low, high = self.low, self.high
        plain = low * (high / low) ** u if self.log else low + (high - low) * u
        return plain * sizes.get(self.per, 1.0)

    def place(self, value: float, sizes: dict | None = None) -> float:
        plain = value / (sizes or {}).get(self.per, 1.0)
        u = np.log(max(plain, 1e-9) / self.low) / np.log(self.high / self.low) if self.log else (plain - self.low) / (self.high - self.low)
        return float(np.clip(u, 0.02, 0.98))


KNOBS = (
    Knob("shader.base", 0.03, 1.0),
    Knob("shader.edge", 0.0, 1.2),
    Knob("shader.edge_width", 0.004, 0.6, True, "radius"),
    Knob("shader.diffuse", 0.0, 0.6),
    Knob("shader.shadowing", 0.0, 2.5),
    Knob("shader.shadow_reach", 0.7, 3.5, True),
    Knob("shader.variation", 0.0, 0.35),
    Knob("shader.roughness", 0.0, 0.4),
    Knob("shader.grain", 0.06, 0.5, True),
    Knob("substrate.relative_yield", 0.03, 3.0, True),
    Knob("substrate.texture", 0.0, 0.6),
    Knob("substrate.grain", 2.0, 60.0, True, "pixel"),
    Knob("substrate.slope", 0.3, 2.2),
    Knob("substrate.relief", 0.0, 0.3),
    Knob("degradation.blur", 0.0, 2.5),
    Knob("degradation.dose", 400.0, 100_000.0, True),
    Knob("degradation.shoulder", 0.3, 1.0),
    Knob("degradation.noise", 0.0, 0.2),
    Knob("degradation.noise_grain", 0.0, 1.5),
    Knob("degradation.smoothing", 0.0, 1.5),
)
NEUTRAL = {
    "shader": {"edge_exponent": 1.0, "bump": 0.0, "patches": 0.0, "transparency": 0.0},
    "substrate": {"relief_coverage": 0.7, "scratches": 0.0, "charging": 0.0, "diffuse": 0.0},
    "light": {"strength": 1.0, "elevation": 45.0},
    "degradation": {
        "probe": 0.0,
        "jitter": 0.0,
        "streaks": 0.0,
        "lines": 0.0,
        "yield_at_white": 1.0,
        "drift": 0.0,
        "gain": 1.0,
        "offset": 0.0,
        "gamma": 1.0,
    },
}
"""What is not searched, and its value while the rest is."""
POOR = 4
"""Power of the weight of looks that fit poorly."""
SAMPLES = 32
"""Samples of a pixel: rendered at the image's own pixels, outlines of fewer look frayed, as those of no micrograph do."""
ROUNDS = (3, 3)
"""How often scenes are rendered to see how particles lie in them, before and after the looks are fitted."""
SCENES = (3, 6)
"""Scenes rendered in a round, at least and at most, else one for each reference: one scene's layout is a draw."""
SCENE_PX = 768
"""Side of such a scene, at most."""
SCENE_COST = 100
"""Time of such a scene in quick pictures."""
LAYOUT_SAMPLES = 4
"""Samples of a pixel there: enough for a rough segmentation."""
APART = {"coverage": 0.12, "clustering": 0.25}
"""Differences in how particles lie that are told, where matching could not remove them."""
RELIEF_PX = 9.0
"""Size of the relief's ridges while the rest is searched."""
AROUND = {
    "degradation": {"gain": (0.95, 1.05), "offset": (-0.01, 0.01), "gamma": (0.95, 1.05), "drift": (0.0, 0.04), "jitter": (0.0, 0.1)},
    "shader": {"edge_exponent": (0.9, 1.1)},
    "light": {"strength": (0.85, 1.15), "elevation": (35.0, 60.0)},
}
"""Domain randomisation that a look keeps round the values above."""


@dataclass(eq=False)
class Reference:
    """A reference image and what is taken from it directly."""

    path: Path
    pixels: np.ndarray
    outline: Outline
    layout: dict
    statistics: np.ndarray
    nm_per_px: float | None

    def sizes(self, nm_per_px: float) -> dict:
        """What the ends of knobs are multiples of, nm."""
        return {"radius": self.outline.radius_px * nm_per_px, "pixel": nm_per_px}

    @property
    def azimuth(self) -> float:
        """The direction from which particles look lit, degrees."""
        right, up = np.nan_to_num(self.statistics[-2:])
        return float(np.degrees(np.arctan2(up, right)) % 360)


@dataclass(eq=False)
class Fit:
    """What was found for one reference: the knobs' places, and how far the look was off before and after."""

    places: np.ndarray
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Laid:
    """What scenes are asked for so that they show the references' layout.

    Attributes
    ----------
    zoom : float
        Factor on the references' nm per pixel.
    spread : float
        Geometric standard deviation of sizes.
    layouts : list of dict
        `coverage`, `clustering` and `cluster` for each reference.
    """

    zoom: float
    spread: float
    layouts: list

    def moved(self, seen: list[dict], wanted: list[dict]) -> Laid:
        """The same after what was seen in renders, of these references."""

        def ratio(name, low, high):  # wanted over seen
            return float(np.clip(np.exp(np.median([np.log(max(w[name], 1e-3) / max(s[name], 1e-3)) for s, w in zip(seen, wanted)])), low, high))

        def odds(share):
            share = np.clip(share, 0.02, 0.98)
            return np.log(share / (1 - share))

        wider = np.median([np.log(w["spread"]) for w in wanted]) / max(np.median([np.log(s["spread"]) for s in seen]), 0.02)
        shift = np.clip(np.median([odds(w["clustering"]) - odds(s["clustering"]) for s, w in zip(seen, wanted)]), -1.0, 1.0)
        fuller = float(np.clip(sum(w["coverage"] for w in wanted) / max(sum(s["coverage"] for s in seen), 1e-3), 0.6, 1.6))
        larger = ratio("cluster", 0.5, 2.0)
        return Laid(
            float(np.clip(self.zoom / ratio("diameter_px", 0.75, 1.33), 0.5, 2.0)),
            float(np.clip(np.exp(np.log(self.spread) * np.clip(wider, 0.7, 1.4)), 1.03, 1.8)),
            [
                {
                    **how,
                    "coverage": how["coverage"] * fuller,
                    "clustering": float(1 / (1 + np.exp(-odds(how["clustering"]) - shift))),
                    "cluster": how["cluster"] * larger,
                }
                for how in self.layouts
            ],
        )


def read_references(paths, options: MatchOptions, reporter) -> list[Reference]:
    """Read, outline and measure the references; those without particles are left out with a warning."""
    files = list_images(paths)
    if len(files) > MOST:
        raise NanosynthError(f"{len(files)} reference images are more than {MOST}.", "Name the most typical ones.")
    found = []
    for path in files:
        micrograph = read_micrograph(path, nm_per_px=options.nm_per_px or None)
        outline = rough_outline(micrograph.pixels)
        on = outline.labels > 0
        if not on.any() or np.median(micrograph.pixels[on]) - np.median(micrograph.pixels[~on & outline.valid]) < LEAST_CONTRAST:
            reporter.warning(f"{path.name}: no particles stand out from the substrate.", "It is left out.")
            continue
        how = layout(outline)
        if how["diameter_px"] < LEAST_PX:
            reporter.warning(
                f"{path.name}: what stands out from the substrate is {how['diameter_px']:.0f} px wide: noise, or particles too small to match.",
                "It is left out.",
            )
            continue
        statistics, _ = appearance(micrograph.pixels, outline)
        found.append(Reference(path, micrograph.pixels, outline, how, statistics, micrograph.nm_per_px))
    if not found:
        raise NanosynthError("In none of the reference images particles stand out from the substrate.", "Choose others.")
    return found


def scales(recipe: Recipe, references: list[Reference]) -> tuple[float, list[float]]:
    """The median diameter in nm, and the nm per pixel of each reference.

    If all references state their scale and agree on the size within a factor of 1.5, that is taken.
    Otherwise the recipe's size stays, and defines what a reference's pixel is.
    """
    diameters = [r.layout["diameter_px"] for r in references]
    if all(r.nm_per_px for r in references):
        own = [d * r.nm_per_px for d, r in zip(diameters, references)]
        if max(own) < 1.5 * min(own) or len(own) == 1:
            return float(np.exp(np.mean(np.log(own)))), [r.nm_per_px for r in references]
    median = median_size(recipe)
    return median, [median / d for d in diameters]


def median_size(recipe: Recipe) -> float:
    """The median diameter of the recipe's templates, nm: geometric mean by weight."""
    weights = np.array([t.weight for t in recipe.templates])
    sizes = [np.median(t.size.sizes()) if t.size.distribution == "list" else t.size.median for t in recipe.templates]
    return float(np.exp(np.average(np.log(sizes), weights=weights)))


def sized(recipe: Recipe, median: float, spread: float) -> Recipe:
    """The recipe with all templates of that log-normal size; rods and wires, whose thickness is not seen so, are only scaled."""
    factor, templates = median / median_size(recipe), []
    for template in recipe.templates:
        if template.shape in ("rod", "wire"):
            size = dataclasses.replace(template.size, **{k: getattr(template.size, k) * factor for k in ("median", "smallest", "largest")})
        else:
            size = dataclasses.replace(
                template.size,
                distribution="lognormal",
                median=median,
                spread=spread,
                smallest=median / spread**3,
                largest=median * spread**3,
            )
        templates.append(dataclasses.replace(template, size=size))
    return dataclasses.replace(recipe, templates=templates)


def arranged(recipe: Recipe, how: dict) -> object:
    """The recipe's arrangement with the ranges that a reference's layout tells."""
    coverage, clustering, cluster = how["coverage"], how["clustering"], how["cluster"]
    return dataclasses.replace(
        recipe.arrangement,
        coverage=(0.6 * coverage, min(1.5 * coverage, 3.0)),
        clustering=(max(clustering - 0.15, 0.0), min(clustering + 0.15, 1.0)),
        agglomerate=(max(0.7 * cluster, 2.0), max(1.5 * cluster, 4.0)),
    )


def exposure(reference: Reference) -> float:
    """The brightness of the brightest thousandth of a reference; 0 where the operator has let more than that turn white."""
    brightest = float(np.percentile(reference.pixels[reference.outline.valid], BRIGHTEST))
    return brightest if brightest < NEAREST_WHITE else 0.0


def quick_passes(recipe: Recipe, reference: Reference, how: dict, nm_per_px: float, options: MatchOptions, index: int):
    """Render the passes of a small field with particles of the reference's size, arranged as its are."""
    from ..synth.passes import render_passes
    from ..synth.sampling import sample_scene
    from ..synth.scene import build_scene
    from ..synth.templates import load_shapes

    px = int(np.clip(round(3.5 * reference.layout["diameter_px"]), 0.75 * options.field_px, 1.5 * options.field_px))
    how = arranged(recipe, {**how, "coverage": float(np.clip(how["coverage"], 0.2, 0.6))})
    quick = dataclasses.replace(
        recipe,
        seed=options.seed,
        arrangement=dataclasses.replace(how, margin=0.0),
        camera=dataclasses.replace(recipe.camera, field_of_view=(px * nm_per_px,) * 2),
    )
    sample = sample_scene(quick, index, load_shapes(quick))
    built = build_scene(quick, sample)
    try:
        return render_passes(built, sample, px)
    finally:
        built.remove()


def start(reference: Reference, sizes: dict) -> np.ndarray:
    """The direct estimates: grey levels, noise, texture, variation."""
    pixels, outline = reference.pixels, reference.outline
    core = float(np.median(pixels[outline.core])) if outline.core[0].size else 0.5
    bare = float(np.median(pixels[outline.bare])) if outline.bare[0].size else 0.5 * core
    noise, texture = 0.02, 0.05
    if outline.bare[0].size > 200:
        from scipy import ndimage

        fine = pixels - ndimage.gaussian_filter(pixels, 0.7)
        coarse = ndimage.gaussian_filter(pixels, 2.0) - ndimage.gaussian_filter(pixels, 12.0)
        noise = float(1.4826 * np.median(np.abs(fine[outline.bare]))) / 0.85
        texture = float(1.4826 * np.median(np.abs(coarse[outline.bare]))) / max(bare, 0.02)
    direct = {
        "shader.base": core,
        "shader.edge": 0.2,
        "shader.edge_width": 0.05 * sizes["radius"],
        "shader.diffuse": 0.15,
        "shader.shadowing": 0.6,
        "shader.shadow_reach": 1.5,
        "shader.variation": 0.08,
        "shader.roughness": 0.08,
        "shader.grain": 0.15,
        "substrate.relative_yield": bare / max(core, 0.02),
        "substrate.texture": texture,
        "substrate.grain": 10 * sizes["pixel"],
        "substrate.slope": 1.0,
        "substrate.relief": 0.02,
        "degradation.blur": 0.7,
        "degradation.dose": 5000.0,
        "degradation.shoulder": 0.7,
        "degradation.noise": noise,
        "degradation.noise_grain": 0.3,
        "degradation.smoothing": 0.3,
    }
    return np.array([knob.place(direct[knob.name], sizes) for knob in KNOBS])


class Bench:
    """The quick field of one reference: the image of any look of it, and its statistics."""

    def __init__(self, reference: Reference, passes, nm_per_px: float, seed):
        self.reference, self.passes, self.seed, self.px = reference, passes, seed, len(passes.instances)
        self.outline = Outline.of(passes.instances, radius_px=reference.outline.radius_px)
        self.sizes = reference.sizes(nm_per_px)
        self.azimuth = reference.azimuth
        self.seen = reference.statistics
        self.exposure = exposure(reference)

    def roughly(self, places) -> Bench:
        """The same with the outlines that the rough segmentation finds in its own image, as it did in the reference.

        It joins and cuts particles: what it takes for the texture of one may be the border of two.
        """
        found = rough_outline(self.image(places))
        if not (found.labels > 0).any():
            return self
        bench = copy.copy(self)
        bench.outline = Outline(found.labels, found.valid, self.outline.radius_px)
        return bench

    def drawn(self, places) -> dict:
        values = {name: dict(NEUTRAL[name]) for name in SECTIONS}
        for knob, u in zip(KNOBS, places):
            section, field = knob.name.split(".")
            values[section][field] = knob.value(float(u), self.sizes)
        values["light"]["azimuth"] = self.azimuth
        values["substrate"]["relief_size"] = RELIEF_PX * self.sizes["pixel"]
        values["degradation"] |= {"exposure": self.exposure, "drift_angle": 0.0, "field_of_view": self.passes.field_of_view}
        return values

    def image(self, places) -> np.ndarray:
        """The look as an image, float (px, px) in [0, 1]; the random draws are always the same."""
        drawn = self.drawn(places)
        textures, noises = (np.random.default_rng(s) for s in np.random.SeedSequence(self.seed).spawn(2))
        photo = shade(self.passes, drawn["shader"], drawn["substrate"], drawn["light"], textures)
        # The passes are of pixels' centres; a render's filter is about as wide as this.
        chain = {**drawn["degradation"], "blur": float(np.hypot(drawn["degradation"]["blur"], FILTER_PX))}
        return degrade(photo, chain, self.px, noises).astype(np.float32) / 255

    def residuals(self, places) -> np.ndarray:
        made, _ = appearance(self.image(places), self.outline)
        return np.nan_to_num(made - self.seen, nan=0.0, posinf=0.0, neginf=0.0)


FILTER_PX = 0.45
PULL = 0.3
"""Weight of the pull to the direct estimates, by which what cannot be told stays where it is."""


def fit(bench: Bench, before: np.ndarray | None, options: MatchOptions, step) -> Fit:
    """Search the look of one reference: once with the particles' true outlines, once more with those seen roughly.

    Parameters
    ----------
    before : numpy.ndarray, optional
        Statistics of the untuned recipe, for the record.
    step : callable
        Called before each picture.
    """
    from scipy.optimize import least_squares

    first = start(bench.reference, bench.sizes)

    def off(shifted, seen):
        step()
        places = shifted - 1
        return np.concatenate([seen.residuals(places), PULL * (places - first) / 0.25])

    # Trust-region least squares with bounds: the statistics change smoothly with the knobs while the
    # random draws stay the same, and one step costs a picture for each knob. Places are shifted to
    # 1..2, because the steps of its differences are relative.
    places, seen = first, bench
    for again in (False, True):
        if again:
            seen = bench.roughly(places)
        found = least_squares(
            off, places + 1, bounds=(1, 2), diff_step=0.03, loss="soft_l1", f_scale=2.0, max_nfev=options.steps, kwargs={"seen": seen}
        )
        places = found.x - 1
    return Fit(places, _size(before), _size(bench.residuals(places)))


def _median(layouts: list[dict], name: str) -> float:
    return float(np.median([how[name] for how in layouts]))


def _size(residuals):
    """Root mean square in units of what just matters, single outliers bounded."""
    return float(np.sqrt(np.mean(np.clip(residuals, -10, 10) ** 2)))


def untuned(bench: Bench, recipe: Recipe) -> np.ndarray:
    """The residuals of the middle of the untuned recipe's ranges, in the same field."""
    middles = {}
    for knob in KNOBS:
        section, field = knob.name.split(".")
        low, high = getattr(getattr(recipe, section), field)
        middles[knob.name] = knob.place(np.sqrt(low * high) if knob.log and low > 0 else (low + high) / 2, bench.sizes)
    return bench.residuals(np.array([middles[knob.name] for knob in KNOBS]))


def weights(fits: list[Fit]) -> np.ndarray:
    """How often each look is drawn: one that is further off its reference than the median look (charging, heaps taken for one particle) the more rarely."""
    off = np.array([f.after for f in fits])
    return np.minimum(np.median(off) / np.maximum(off, 1e-6), 1.0) ** POOR


def half_widths(fits: list[Fit], options: MatchOptions) -> np.ndarray:
    """Half width of the looks' ranges in knob places: a kernel density estimate over the references.

    The references' scatter times `spread` times n^(-1/5) (Silverman's power of the number),
    and at least `least_spread`.
    """
    places = np.array([f.places for f in fits])
    scatter = places.std(0, ddof=1) if len(fits) > 1 else np.zeros(places.shape[1])
    return np.maximum(options.spread * scatter * len(fits) ** -0.2, options.least_spread)


def look_for(recipe: Recipe, reference: Reference, found: Fit, widths, how: dict, nm_per_px: float, image_px: int, name: str, weight: float = 1.0) -> Look:
    """The ranges of one reference's look; what was not searched keeps the recipe's ranges or those of `AROUND`."""
    sizes = reference.sizes(nm_per_px)
    sections = {section: dict(AROUND.get(section, {})) for section in SECTIONS}
    bounds = {f"{s}.{field}": spec for s in SECTIONS for field, _, spec in specs(type(getattr(recipe, s)))}
    for knob, u, width in zip(KNOBS, found.places, widths):
        section, field = knob.name.split(".")
        spec = bounds[knob.name]
        ends = (knob.value(float(np.clip(p, 0, 1)), sizes) for p in (u - width, u + width))
        sections[section][field] = tuple(float(np.clip(e, spec.low, spec.high)) for e in ends)
    turn = 20 if np.hypot(*np.nan_to_num(reference.statistics[-2:])) > 1 else 180  # no direction is told where none just matters
    azimuth = (reference.azimuth + 180) % 360 - 180
    sections["light"]["azimuth"] = (azimuth - turn, azimuth + turn)
    sections["substrate"] |= {
        "relief_size": (0.7 * RELIEF_PX * nm_per_px, 1.5 * RELIEF_PX * nm_per_px),
        "relief_coverage": (0.4, 1.0),
        "scratches": (0.0, 0.6),
        "charging": (0.0, 0.0),
        "diffuse": (0.0, 0.0),
    }
    low, high = recipe.shader.patches  # the scatter of brightness is searched for as `variation`: neighbours share a little of it
    sections["shader"] |= {"bump": (0.0, 0.0), "transparency": (0.0, 0.0), "patches": (min(low, 0.1), min(high, 0.1))}
    bright = exposure(reference)
    sections["degradation"] |= {"exposure": (0.97 * bright, bright), **dict.fromkeys(("probe", "streaks", "lines"), (0.0, 0.0)), "yield_at_white": (1.0, 1.0)}
    level = sections["substrate"]["relative_yield"][0] * sections["shader"]["base"][0]
    view = nm_per_px * image_px
    return Look(
        name=name,
        weight=round(float(weight), 3),
        field_of_view=(view / 1.1, view * 1.1),
        arrangement=arranged(recipe, how),
        dirt=dataclasses.replace(recipe.dirt, probability=min(recipe.dirt.probability, 0.2), strength=(0.05 * level, 0.3 * level)),
        **{section: dataclasses.replace(getattr(recipe, section), **values) for section, values in sections.items()},
    )


def matched(recipe: Recipe, references, fits, widths, median, nm_per_px, laid: Laid) -> Recipe:
    """The recipe with a look for each reference, in images of the references' size in pixels."""
    side = int(np.clip(np.median([min(r.pixels.shape) for r in references]), 128, 1024))
    before = np.median(recipe.camera.field_of_view) / recipe.camera.image_px / median_size(recipe)
    after = np.median(nm_per_px) / median
    erosion = float(np.clip(recipe.label.erosion * before / after, 1.0, max(recipe.label.erosion, 1.0)))
    new = sized(recipe, median, laid.spread)
    names = [f"{i} {reference.path.stem}" for i, reference in enumerate(references, 1)]
    looks = [
        look_for(recipe, reference, found, widths, how, nm * laid.zoom, side, name, weight)
        for reference, found, how, nm, name, weight in zip(references, fits, laid.layouts, nm_per_px, names, weights(fits))
    ]
    new = dataclasses.replace(
        new,
        name=f"{recipe.name}-matched",
        looks=looks,
        camera=dataclasses.replace(recipe.camera, image_px=side, render_px=side, samples=max(recipe.camera.samples, SAMPLES)),
        label=dataclasses.replace(recipe.label, erosion=erosion),
    )
    return from_dict(Recipe, to_dict(new))


def scenes(references) -> int:
    """How many scenes a round renders."""
    return int(np.clip(len(references), *SCENES))


def lay_out(recipe: Recipe, references, fits, widths, median, nm_per_px, laid: Laid, rounds, step) -> tuple[Laid, list[dict]]:
    """Find by what sizes and arrangement the matched recipe's images, segmented roughly, show what the references do.

    The rough segmentation does not see what was laid: it cuts off what lies beneath, joins what
    it cannot part, and of touching particles sees those that still look apart. It does so in
    renders too, so scenes are rendered, and what was asked for is moved by what is missing.

    Parameters
    ----------
    laid : Laid
        What was asked for until now.
    rounds : sequence of int
        Numbers of the rounds; each renders scenes that no other round does.

    Returns
    -------
    laid : Laid
    seen : list of dict
        Of each round, the medians of what was seen in the renders.
    """
    medians, each = [], scenes(references)
    for round_ in rounds:
        new = matched(recipe, references, fits, widths, median, nm_per_px, laid)
        px, seen, wanted = min(new.camera.image_px, SCENE_PX), [], []
        for index in range(round_ * each, (round_ + 1) * each):
            step(SCENE_COST)
            which = index % len(references)
            look = dataclasses.replace(new, looks=[new.looks[which]], camera=dataclasses.replace(new.camera, samples=LAYOUT_SAMPLES))
            image = quick_render(look, px, nm_per_px[which] * laid.zoom * px, index)
            found = layout(rough_outline(image.astype(np.float32) / 255))
            if found["count"] >= 5:
                seen.append(found)
                wanted.append(references[which].layout)
        if len(seen) >= 2:
            laid = laid.moved(seen, wanted)
            medians.append({name: _median(seen, name) for name in seen[0]})
    return laid, medians


def lying_apart(confirmed, references) -> str:
    """What scenes of the matched recipe, segmented roughly, plainly show otherwise than the references; nothing if all is well."""
    if not confirmed:
        return ""
    (seen,) = confirmed
    wanted = {name: _median([r.layout for r in references], name) for name in APART}
    return " and ".join(f"{name} {seen[name]:.2f} instead of {wanted[name]:.2f}" for name, off in APART.items() if abs(seen[name] - wanted[name]) > off)


def spare(numbers, files):
    """Replace nothing but what an earlier `match` has written and nobody has changed since.

    Raises
    ------
    NanosynthError
        Naming the first file that would be lost.
    """
    record = read_json(numbers) if numbers.is_file() else {}
    known = record.get("sha256", {}) if isinstance(record, dict) else {}
    lost = [file for file in files if file.exists() and sha256(file) != known.get(file.name)]
    lost += [numbers] * (numbers.exists() and not known)
    if lost:
        raise NanosynthError(
            f"{lost[0]} exists and is not as an earlier match wrote it; it would be replaced.", "Choose another --out, or move that file away."
        )


def match(recipe, references, out, options: MatchOptions | None = None, *, reporter=None) -> dict:
    """Match a recipe to reference images.

    Parameters
    ----------
    recipe : Recipe, or path or name of one
    references : path-like or sequence of path-like
        One to ten images, or folders of them. Nothing else is read, no annotation either.
    out : path-like
        The matched recipe, a .toml file. Beside it: `.before.toml` (the recipe as it was),
        `.json` (the numbers), `.png` (references, before, after).
    options : MatchOptions
    reporter : Reporter

    Returns
    -------
    dict
        The content of the `.json` file.

    Raises
    ------
    NanosynthError
        If no reference can be used, there are more than ten, or a file would be replaced
        that is not an earlier match's own.
    KeyboardInterrupt
        When it is cancelled; nothing is written then.
    """
    options, reporter, out = options or MatchOptions(), reporter or Reporter(), Path(out)
    if out.suffix != ".toml":
        raise NanosynthError(f"{out}: not the name of a recipe.", "Let it end in .toml.")
    before_file, numbers, picture = (out.with_suffix(suffix) for suffix in (".before.toml", ".json", ".png"))
    spare(numbers, (out, before_file, picture))
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    plain = dataclasses.replace(recipe, looks=[])
    known = read_references(references, options, reporter)
    reporter.started("match", references=len(known), text=f"Matching {recipe.name} to {len(known)} image{'s' if len(known) > 1 else ''}")
    median, nm_per_px = scales(plain, known)
    each = 1 + 2 * options.steps * (len(KNOBS) + 1)
    total = each * len(known) + (sum(ROUNDS) + 1) * scenes(known) * SCENE_COST
    clock, done, text = Clock(total), 0, "how particles lie"

    def step(cost=1):
        nonlocal done
        done += cost
        if cost > 1 or done % 10 == 0:
            reporter.progress(min(done, total - 1), total, text, clock.seconds_left(done))

    # The sizes and the arrangement first, by looks that are only estimated: an edge is fitted rightly to particles of the right size.
    laid = Laid(1.0, _median([r.layout for r in known], "spread"), [r.layout for r in known])
    guesses = [Fit(start(r, r.sizes(nm)), 1.0, 1.0) for r, nm in zip(known, nm_per_px)]
    before, after = np.split(np.arange(sum(ROUNDS)), ROUNDS[:1])
    laid, rounds = lay_out(plain, known, guesses, half_widths(guesses, options), median, nm_per_px, laid, before, step)
    fits, sized_recipe, so_far = [], sized(plain, median, laid.spread), done
    for k, (reference, how, nm) in enumerate(zip(known, laid.layouts, nm_per_px)):
        text = f"reference {k + 1} of {len(known)}"
        passes = quick_passes(sized_recipe, reference, how, nm * laid.zoom, options, k)
        bench = Bench(reference, passes, nm * laid.zoom, [options.seed, k])
        found = fit(bench, untuned(bench, plain), options, step)
        fits.append(found)
        if found.after > POORLY:
            reporter.warning(
                f"{reference.path.name}: the look found stays off by {found.after:.1f}, in units of what just matters.",
                "Look at the picture; leave this reference out if it is not typical.",
            )
        done = so_far + (k + 1) * each
        reporter.progress(
            min(done, total - 1),
            total,
            f"{reference.path.name}: off by {found.before:.1f}, now {found.after:.1f}",
            clock.seconds_left(done),
        )
    text, widths = "how particles lie", half_widths(fits, options)
    laid, more = lay_out(plain, known, fits, widths, median, nm_per_px, laid, after, step)
    rounds += more
    _, confirmed = lay_out(plain, known, fits, widths, median, nm_per_px, laid, [sum(ROUNDS)], step)
    apart = lying_apart(confirmed, known)
    if apart:
        reporter.warning(
            f"Segmented roughly, scenes of the recipe show a {apart}.",
            "Look at the picture; set arrangement.stacking, which is not estimated, and the others there by hand.",
        )
    new = matched(plain, known, fits, widths, median, nm_per_px, laid)
    record = {
        "format": 1,
        "nanosynth": __version__,
        "options": to_dict(options),
        "recipe": recipe.name,
        "knobs": [knob.name for knob in KNOBS],
        "half_widths": widths.round(4).tolist(),
        "zoom": laid.zoom,
        "spread": laid.spread,
        "rounds": rounds,
        "confirmed": confirmed,
        "references": [
            {
                "file": r.path.name,
                "nm_per_px": nm,
                "layout": r.layout,
                "laid": how,
                "off_before": f.before,
                "off_after": f.after,
                "places": f.places.round(4).tolist(),
            }
            for r, f, how, nm in zip(known, fits, laid.layouts, nm_per_px)
        ],
    }
    sheet = show(plain, new, known, [nm * laid.zoom for nm in nm_per_px], options)
    write_text(before_file, to_toml(recipe))
    write_text(out, to_toml(new))
    write_grey(picture, sheet)
    record["sha256"] = {file.name: sha256(file) for file in (out, before_file, picture)}
    write_json(numbers, record)
    reporter.progress(total, total, "done")
    reporter.artifact(picture, "before and after")
    reporter.artifact(out, "recipe")
    offs = [np.mean([getattr(f, which) for f in fits]) for which in ("before", "after")]
    reporter.done(
        recipe=str(out),
        text=f"Statistics off by {offs[0]:.1f} before and {offs[1]:.1f} after, in units of what just matters. {out} holds the recipe.",
    )
    return record


def show(before: Recipe, after: Recipe, references: list[Reference], nm_per_px, options: MatchOptions) -> np.ndarray:
    """Rows of a reference, a render before and one after, each to scale: uint8 (H, W)."""
    gap, rows = 6, []
    px = min(options.field_px, *(min(reference.pixels.shape) for reference in references))
    chosen = np.unique(np.linspace(0, len(references) - 1, min(options.pictures, len(references))).round().astype(int))
    for i in chosen:
        look = dataclasses.replace(after, looks=[after.looks[i]])
        tiles = [middle_of(references[i], px)]
        for recipe in (before, look):
            tiles.append(quick_render(recipe, px, nm_per_px[i] * px, int(i)))
        rows.append(np.concatenate([np.pad(t, gap // 2, constant_values=255) for t in tiles], 1))
    return np.concatenate([heading(("reference", "before", "after"), px + gap), *rows])


def heading(titles, width: int) -> np.ndarray:
    """Words above columns of that width: uint8 (h, W), black on white."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("L", (width * len(titles), 30), 255)
    for k, title in enumerate(titles):
        ImageDraw.Draw(sheet).text((width * (k + 0.5), 15), title, fill=0, anchor="mm", font=ImageFont.load_default(18))
    return np.asarray(sheet)


def middle_of(reference: Reference, px: int) -> np.ndarray:
    """The square of a reference with most particles, uint8 (px, px)."""
    filled = np.cumsum(np.cumsum(np.pad(reference.outline.labels > 0, ((1, 0), (1, 0))), 0), 1)
    area = filled[px:, px:] - filled[:-px, px:] - filled[px:, :-px] + filled[:-px, :-px]
    row, column = np.unravel_index(np.argmax(area), area.shape)
    return np.uint8(np.round(reference.pixels[row : row + px, column : column + px] * 255))


def quick_render(recipe: Recipe, px: int, view: float, index: int) -> np.ndarray:
    """A true render of a scene with this field of view, uint8 (px, px)."""
    from ..synth.render import render_photo
    from ..synth.sampling import look_of, sample_scene
    from ..synth.scene import build_scene
    from ..synth.templates import load_shapes

    recipe = look_of(recipe, index)
    recipe = dataclasses.replace(recipe, camera=dataclasses.replace(recipe.camera, field_of_view=(view, view), image_px=px, render_px=px))
    sample = sample_scene(recipe, index, load_shapes(recipe))
    built = build_scene(recipe, sample)
    try:
        photo = render_photo(built, px, recipe.camera.samples, index)
    finally:
        built.remove()
    return degrade(photo, sample.drawn["degradation"], px, sample.generator("degradation"))
