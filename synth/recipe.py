"""The recipe: the one description of a synthetic data set.

Blender's property groups, the TOML file, its validation, the window's tooltips
and `docs/recipe.md` are all derived from the declarations below. Lengths are
nanometres, angles degrees. A pair [a, b] is the range from which each scene
draws its own value, uniformly unless said otherwise.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import NanosynthError
from ..fields import Range, chosen, flag, number, read_toml, section, span, table, text
from ..files import sha256

SCHEMA = 1
NM_PER_UNIT = 100.0
"""Nanometres per Blender unit."""

PRESETS = Path(__file__).resolve().parent.parent / "presets"


@dataclass
class Size:
    """Distribution of a template's size.

    The size is the diameter of the sphere of equal volume; of rods and wires their
    thickness, of hollow and core-shell spheres their outer diameter.
    """

    distribution: str = text("lognormal", "Kind of distribution.", choices=("lognormal", "normal", "uniform", "bimodal", "list"))
    median: float = number(100.0, "Median diameter (uniform: the middle; bimodal: of the first mode).", unit="nm", low=1.0, high=100_000.0)
    spread: float = number(
        1.1,
        "Log-normal and bimodal: geometric standard deviation; normal: standard deviation / median; uniform: half width / median.",
        low=0.0,
        high=5.0,
    )
    second_median: float = number(200.0, "Bimodal: median diameter of the second mode.", unit="nm", low=1.0, high=100_000.0)
    second_spread: float = number(1.1, "Bimodal: geometric standard deviation of the second mode.", low=1.0, high=5.0)
    second_share: float = number(0.5, "Bimodal: share of the second mode, by number.", low=0.0, high=1.0)
    measured: str = text("", "List: measured diameters in nm, separated by spaces, from which each particle takes one.")
    smallest: float = number(1.0, "Draws below this are drawn again.", unit="nm", low=0.1, high=100_000.0)
    largest: float = number(100_000.0, "Draws above this are drawn again.", unit="nm", low=1.0, high=1_000_000.0)

    def check(self):
        if self.distribution in ("lognormal", "bimodal") and self.spread < 1:
            yield (
                "spread",
                f"= {self.spread} is below 1, the lowest geometric standard deviation.",
                "Use 1.0 for equal sizes, 1.1 for 10 % spread.",
            )
        if self.distribution == "list":
            yield from self._check_list()
            return
        if self.smallest > self.median:
            yield "smallest", f"= {self.smallest} nm is above the median of {self.median} nm.", "Lower it below the median."
        if self.largest < self.median:
            yield "largest", f"= {self.largest} nm is below the median of {self.median} nm.", "Raise it above the median."

    def _check_list(self):
        try:
            sizes = self.sizes()
        except ValueError:
            yield "measured", f"= {self.measured[:40]!r} holds something that is no number.", "Give diameters in nm separated by spaces."
            return
        if not sizes:
            yield "measured", "is empty.", "Give diameters in nm separated by spaces, or choose another distribution."
        elif not all(self.smallest <= size <= self.largest for size in sizes):
            yield "measured", f"holds sizes outside {self.smallest} to {self.largest} nm.", "Widen smallest and largest, or take them out."

    def sizes(self) -> list[float]:
        """The measured diameters in nm."""
        return [float(word) for word in self.measured.replace(",", " ").split()]


@dataclass
class Template:
    """A particle that scenes duplicate, scale and turn."""

    name: str = text("sphere", "Name of the template, unique in the recipe.")
    shape: str = text(
        "sphere",
        "A built-in shape, or 'mesh' for a mesh of your own.",
        choices=("sphere", "rough_sphere", "hollow_sphere", "core_shell", "grain", "bipyramid", "cube", "platelet", "rod", "wire", "mesh"),
    )
    mesh: str = text("", "For 'mesh': a .blend, .obj, .ply or .stl file, relative to the recipe.")
    object: str = text("", "For a .blend file: name of the object (empty: its only mesh).")
    weight: float = number(1.0, "Share of this template among the particles, by number.", low=0.0, high=1e6)
    size: Size = section(Size, "Size distribution.")
    yield_factor: Range = span(
        1.0, 1.0, "Material contrast: SE yield relative to the recipe's other templates, drawn once for a scene.", low=0.0, high=20.0
    )
    stretch: Range = span(1.0, 1.0, "Ratio of the longest to the shortest axis of each particle.", low=1.0, high=5.0)
    variants: int = number(6, "Different forms of the template in a scene (shapes that are drawn at random).", low=1, high=100)
    aspect: Range = span(
        1.0,
        1.0,
        "Length / thickness of rods and wires, diameter / thickness of platelets, height / width of grains, bipyramids, cubes.",
        low=0.1,
        high=2000.0,
    )
    roundness: Range = span(0.3, 0.6, "Edges of faceted shapes and prismatic rods: 0 sharp, 1 round.", low=0.0, high=1.0)
    faces: Range = span(10, 20, "Number of faces of a grain.", low=6, high=60)
    irregularity: Range = span(0.0, 0.1, "Spread of a faceted shape's face distances, as a share.", low=0.0, high=0.5)
    relief: Range = span(0.0, 0.03, "Bumps on grains and rough spheres: their height in radii.", low=0.0, high=0.3)
    relief_waves: Range = span(2.0, 9.0, "Bumps: their number along a radius times 2 pi; about 2 makes bent and waisted grains.", low=0.5, high=30.0)
    sides: int = number(0, "Sides of the cross-section of rods and wires: 0 round, 5 for silver's twinned wires.", low=0, high=12)
    tip: Range = span(
        0.3, 1.0, "Length of the ends of rods and wires in half thicknesses: 0.1 blunt, 1 hemispherical, above pointed.", low=0.1, high=5.0
    )
    bend: Range = span(
        0.0,
        0.0,
        "Angle by which a rod turns from end to end; for a wire, the standard deviation of its turn over 20 thicknesses.",
        unit="degrees",
        low=0.0,
        high=180.0,
    )
    wall: Range = span(0.1, 0.3, "Wall of a hollow sphere, as a share of its radius.", low=0.01, high=0.9)
    opening: Range = span(0.0, 40.0, "Half angle of the hole in a hollow sphere.", unit="degrees", low=0.0, high=120.0)
    core: Range = span(0.4, 0.8, "Radius of a core-shell sphere's core, as a share of its radius.", low=0.05, high=0.99)
    core_contrast: Range = span(0.2, 0.8, "Brightness that a core-shell sphere's core adds, as a share.", low=-1.0, high=5.0)

    def check(self):
        if self.shape == "mesh" and not self.mesh:
            yield "mesh", "is empty.", "Name a .blend, .obj, .ply or .stl file."


@dataclass
class Arrangement:
    """Where particles lie: on the substrate and on each other."""

    coverage: Range = span(0.05, 0.4, "Share of the field of view that particles cover (sum of cross-sections).", low=0.0, high=3.0)
    most: int = number(2000, "Most particles in a scene (Blender's object index ends at 32,767).", low=1, high=32_767)
    clustering: Range = span(0.2, 0.9, "Probability that a particle is set beside one that lies there already.", low=0.0, high=1.0)
    stacking: Range = span(0.0, 0.15, "Probability that a particle is set on top of three others where it can rest.", low=0.0, high=1.0)
    alignment: Range = span(
        0.0, 1.0, "Spheres: probability that a particle of a cluster nestles between two neighbours.", low=0.0, high=1.0
    )
    agglomerate: Range = span(
        2.0,
        200.0,
        "Other shapes: most particles of a scene's agglomerates, drawn log-uniformly; each ends at a number between 1 and this.",
        low=1.0,
        high=10_000.0,
    )
    compactness: Range = span(
        0.0, 1.0, "Other shapes: how closely agglomerates gather around their middle: 0 loose, 1 dense.", low=0.0, high=1.0
    )
    chaining: Range = span(
        0.0, 1.0, "Other shapes: probability that an agglomerate grows on at its newest particle: 0 sheets, 1 chains.", low=0.0, high=1.0
    )
    tumbling: Range = span(
        0.0, 1.0, "Other shapes: probability that a particle of an agglomerate lies on no face of its own.", low=0.0, high=1.0
    )
    adhesion: Range = span(
        0.0,
        0.0,
        "Other shapes: probability that a particle set on others sticks where it touches them first, instead of moving down to a hollow.",
        low=0.0,
        high=1.0,
    )
    overlap: float = number(
        0.05,
        "Most that two particles may interpenetrate, as a share of the smaller one's radius (necks between sintered particles).",
        low=0.0,
        high=0.5,
    )
    gap: Range = span(0.0, 0.1, "Distance kept between neighbours in a cluster, as a share of the radius.", low=0.0, high=2.0)
    single: float = number(0.3, "Share of the scenes that are made of one template alone.", low=0.0, high=1.0)
    margin: float = number(0.1, "Particles are also laid outside the field of view, by this share of its side.", low=0.0, high=1.0)


@dataclass
class Shader:
    """How bright secondary electrons make a surface; all values relative to white = 1.

    The physics behind the fields and the source of each range: docs/contrast.md.
    """

    base: Range = span(0.3, 0.7, "Brightness of a particle seen head on.", low=0.0, high=1.0)
    edge: Range = span(0.02, 0.5, "Strength of the edge effect: the gain with tilt, relative to the tilt law.", low=0.0, high=2.0)
    edge_exponent: Range = span(
        0.9,
        1.1,
        "Exponent n of the tilt law sec(tilt)^n: 1 for ions, about 0.8 (heavy) to 1.2 (light elements) for electrons.",
        low=0.5,
        high=2.0,
    )
    edge_width: Range = span(
        0.5,
        10.0,
        "Escape depth of the secondary electrons, drawn log-uniformly: the bright edge peaks about this far inside the outline.",
        unit="nm",
        low=0.05,
        high=1000.0,
    )
    diffuse: Range = span(0.05, 0.4, "Share of the scene's light (the detector's direction) in a particle's brightness.", low=0.0, high=1.0)
    variation: Range = span(0.0, 0.2, "Spread of brightness from particle to particle, as a share.", low=0.0, high=1.0)
    patches: Range = span(0.0, 0.0, "Spread of brightness that neighbours share (clusters that charge), as a share.", low=0.0, high=2.0)
    shadowing: Range = span(0.3, 1.5, "Exponent of the collection efficiency (ambient occlusion): 0 none.", low=0.0, high=4.0)
    shadow_reach: Range = span(0.5, 4.0, "Reach of the shadowing, in median particle radii.", low=0.1, high=20.0)
    roughness: Range = span(0.0, 0.12, "Contrast of the particles' surface texture.", low=0.0, high=1.0)
    bump: Range = span(
        0.0, 0.0, "Roughness of the particles' surface: how far the texture tilts it, 1 by about 45 degrees.", low=0.0, high=2.0
    )
    grain: Range = span(0.05, 0.4, "Size of the surface texture, in particle radii, drawn log-uniformly.", low=0.01, high=5.0)
    transparency: Range = span(
        0.0, 0.0, "Thickness through which 1/e of what lies beneath still shows: 0 for opaque particles.", unit="nm", low=0.0, high=10_000.0
    )


@dataclass
class Substrate:
    """The flat sample holder under the particles."""

    relative_yield: Range = span(0.15, 0.8, "SE yield of the bare substrate relative to the particles' seen head on.", low=0.0, high=10.0)
    texture: Range = span(0.0, 0.08, "Contrast of the substrate's 1/f texture: its standard deviation, as a share.", low=0.0, high=1.0)
    grain: Range = span(5.0, 100.0, "Size of the texture's coarsest features, drawn log-uniformly.", unit="nm", low=0.1, high=100_000.0)
    slope: Range = span(0.8, 1.6, "Fall of the texture's amplitude with frequency: exponent of 1/f; 0 is white.", low=0.0, high=4.0)
    relief: Range = span(0.0, 0.0, "Contrast of thin steps and imprints, as on carbon films and pads.", low=0.0, high=2.0)
    relief_size: Range = span(40.0, 200.0, "Size across an imprint, drawn log-uniformly; steps are 2.5 times as coarse.", unit="nm", low=0.1, high=100_000.0)
    relief_coverage: Range = span(0.05, 0.5, "Share of the substrate that steps and imprints are on.", low=0.0, high=1.0)
    scratches: Range = span(0.0, 0.0, "Number of scratches in the field of view.", low=0.0, high=200.0)
    scratch_width: Range = span(2.0, 15.0, "Width of a scratch.", unit="nm", low=0.1, high=100_000.0)
    scratch_contrast: Range = span(
        0.1, 0.5, "Brightness change of a scratch relative to the substrate; each is bright or dark.", low=0.0, high=2.0
    )
    charging: Range = span(
        0.0, 0.0, "Brightness of the charging halo round particles relative to the substrate: below 0 a dark one.", low=-1.0, high=2.0
    )
    charging_reach: Range = span(1.0, 6.0, "Reach of the charging halo, in median particle radii.", low=0.1, high=100.0)
    diffuse: Range = span(0.0, 0.2, "Share of the scene's light in the substrate's brightness.", low=0.0, high=1.0)


@dataclass
class Light:
    """The lamp that stands for the detector's direction; randomised for every scene."""

    strength: Range = span(0.4, 1.6, "Brightness of the light.", low=0.0, high=10.0)
    azimuth: Range = span(0.0, 360.0, "Direction the light comes from, counter-clockwise from +x.", unit="degrees", low=-360.0, high=360.0)
    elevation: Range = span(25.0, 80.0, "Height of the light above the substrate.", unit="degrees", low=1.0, high=90.0)
    softness: float = number(30.0, "Angular diameter of the light.", unit="degrees", low=0.0, high=170.0)


@dataclass
class Dirt:
    """Contamination on the substrate: films, smears and specks, drawn anew for each scene."""

    probability: float = number(0.5, "Share of the scenes that have dirt.", low=0.0, high=1.0)
    strength: Range = span(0.05, 0.35, "Brightness change of the dirt; its sign is drawn too.", low=0.0, high=1.0)
    coverage: Range = span(0.05, 0.5, "Share of the substrate that films cover (a diamond-square texture).", low=0.0, high=1.0)
    roughness: Range = span(0.45, 0.8, "Diamond-square roughness: the amplitude kept from one level to the next.", low=0.1, high=1.0)
    smears: Range = span(0.0, 0.0, "Number of smears: patches drawn out in one direction.", low=0.0, high=200.0)
    smear_length: Range = span(0.1, 0.5, "Length of a smear, as a share of the field of view.", low=0.01, high=5.0)
    specks: Range = span(0.0, 0.0, "Number of specks: small blobs, bright or dark.", low=0.0, high=10_000.0)
    speck_size: Range = span(5.0, 40.0, "Diameter of a speck, drawn log-uniformly.", unit="nm", low=0.1, high=100_000.0)


@dataclass
class Camera:
    """An orthographic camera that looks straight down, as a scanned beam does."""

    field_of_view: Range = span(
        1970.0, 1970.0, "Side of the square field of view, drawn log-uniformly.", unit="nm", low=10.0, high=1_000_000.0
    )
    render_px: int = number(507, "Side of the photo render.", unit="px", low=32, high=8192)
    image_px: int = number(2031, "Side of the final micrograph and its labels.", unit="px", low=32, high=16384)
    samples: int = number(8, "Cycles samples per pixel of the photo render.", low=1, high=4096)


@dataclass
class Degradation:
    """From a clean render to a micrograph. Steps are applied in this order.

    The paper: bilinear upsampling to the final size, additive Gaussian noise.
    """

    blur: Range = span(0.0, 1.0, "Standard deviation of the probe's blur, in render pixels.", unit="px", low=0.0, high=50.0)
    probe: Range = span(
        0.0, 0.0, "Standard deviation of the probe's profile; adds to the blur in squares.", unit="nm", low=0.0, high=10_000.0
    )
    jitter: Range = span(0.0, 0.15, "Standard deviation of the scan lines' displacement, in render pixels.", unit="px", low=0.0, high=10.0)
    streaks: Range = span(0.0, 0.0, "Undershoot behind what is bright, along the scan line (the detector recovers).", low=0.0, high=1.0)
    streak_length: Range = span(
        0.02, 0.3, "Length over which a streak fades, as a share of the line, drawn log-uniformly.", low=0.001, high=10.0
    )
    lines: Range = span(0.0, 0.0, "Standard deviation of the brightness from scan line to scan line, as a share.", low=0.0, high=1.0)
    dose: Range = span(
        300.0, 30_000.0, "Ions or electrons per final pixel, drawn log-uniformly: compound Poisson noise; 0 for none.", low=0.0, high=1e6
    )
    yield_at_white: Range = span(
        0.5, 3.0, "Secondary electrons that one ion or electron frees where the image is white.", low=0.01, high=100.0
    )
    drift: Range = span(0.0, 0.1, "Brightness drift across the image, peak to peak.", low=0.0, high=1.0)
    gain: Range = span(0.8, 1.2, "Contrast: factor on the brightness.", low=0.0, high=10.0)
    offset: Range = span(-0.05, 0.1, "Brightness added.", low=-1.0, high=1.0)
    gamma: Range = span(0.8, 1.25, "Exponent of the brightness, drawn log-uniformly.", low=0.1, high=10.0)
    exposure: Range = span(
        0.0,
        0.0,
        "Brightness to which the operator's contrast brings the brightest thousandth of the image; the darkest tenth stays. 0: as rendered.",
        low=0.0,
        high=1.0,
    )
    shoulder: Range = span(
        1.0, 1.0, "Brightness above which the detector's response bends towards white, which it never reaches; 1: it clips.", low=0.0, high=1.0
    )
    noise: Range = span(0.01, 0.1, "Standard deviation of additive Gaussian noise.", low=0.0, high=1.0)
    noise_grain: Range = span(
        0.0,
        0.0,
        "Standard deviation of a blur of all noise along the line, in final pixels: the detector's bandwidth.",
        unit="px",
        low=0.0,
        high=50.0,
    )
    smoothing: Range = span(
        0.0,
        0.0,
        "Standard deviation of a blur of the finished image with its noise, in final pixels: a noise filter, a later resampling.",
        unit="px",
        low=0.0,
        high=50.0,
    )


@dataclass
class Label:
    """The training label made from the instance map."""

    erosion: float = number(
        3.0, "Radius by which borders between touching particles are opened, in final pixels.", unit="px", low=0.0, high=100.0
    )
    outline: bool = flag(False, "Erode the outline against the substrate too, as the paper's plain erosion does.")


@dataclass
class Look:
    """One of several looks that a recipe's scenes can have, such as those of several reference images.

    Its sections take the place of the recipe's in the scenes that draw it.
    """

    name: str = text("look", "Name of the look, unique in the recipe.")
    weight: float = number(1.0, "Share of the scenes that have this look.", low=0.0, high=1e6)
    field_of_view: Range = span(1970.0, 1970.0, "Side of the field of view, drawn log-uniformly.", unit="nm", low=10.0, high=1_000_000.0)
    arrangement: Arrangement = section(Arrangement, "Where particles lie.")
    shader: Shader = section(Shader, "How bright particles are.")
    substrate: Substrate = section(Substrate, "What they lie on.")
    light: Light = section(Light, "The light.")
    dirt: Dirt = section(Dirt, "Contamination.")
    degradation: Degradation = section(Degradation, "From render to micrograph.")


@dataclass
class Recipe:
    """A synthetic data set: what is in its scenes, how they look, how many."""

    schema: int = number(SCHEMA, "Version of this description.", low=1, high=1_000_000)
    name: str = text("recipe", "Name of the recipe.")
    seed: int = number(1, "Seed of all random draws.", low=0, high=2**31 - 1)
    count: int = number(180, "Number of scenes.", low=1, high=1_000_000)
    templates: list[Template] = table(lambda: [Template()], "Template particles.")
    arrangement: Arrangement = section(Arrangement, "Where particles lie.")
    shader: Shader = section(Shader, "How bright particles are.")
    substrate: Substrate = section(Substrate, "What they lie on.")
    light: Light = section(Light, "The light.")
    dirt: Dirt = section(Dirt, "Contamination.")
    camera: Camera = section(Camera, "The field of view and its sampling.")
    degradation: Degradation = section(Degradation, "From render to micrograph.")
    label: Label = section(Label, "The training label.")
    looks: list[Look] = table(list, "Looks of which each scene draws one; without any, the sections above hold.")

    def check(self):
        if self.schema > SCHEMA:
            yield "schema", f"= {self.schema} is newer than the schema {SCHEMA} that this Nanosynth knows.", "Update Nanosynth."
        names = [t.name for t in self.templates]
        if not names:
            yield "templates", "is empty.", "Add a [[templates]] section."
        elif len(set(names)) != len(names):
            yield "templates", "has two templates of the same name.", "Give each template a name of its own."
        elif not any(t.weight > 0 for t in self.templates):
            yield "templates", "all have weight 0.", "Give at least one template a weight above 0."
        names = [look.name for look in self.looks]
        if len(set(names)) != len(names):
            yield "looks", "has two looks of the same name.", "Give each look a name of its own."
        elif names and not any(look.weight > 0 for look in self.looks):
            yield "looks", "all have weight 0.", "Give at least one look a weight above 0."


def read_recipe(path) -> Recipe:
    """Read a recipe from a TOML file, or a preset by its bare name.

    Mesh files of templates are resolved against the recipe's folder.

    Raises
    ------
    NanosynthError
        Naming file, field, value, bound and unit.
    """
    file = Path(path)
    if not file.suffix and not file.is_file():  # a folder may have a preset's name: that of its data set
        file = PRESETS / f"{path}.toml"
        if not file.exists():
            known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
            raise NanosynthError(f"{path}: no such recipe file, and no preset of that name.", f"The presets are: {known}.")
    recipe = read_toml(Recipe, file)
    for template in recipe.templates:
        if template.mesh:
            mesh = (file.parent / template.mesh).resolve()
            if not mesh.is_file():
                raise NanosynthError(
                    f"{file}: templates {template.name!r}: mesh file {mesh} does not exist.", "Correct the path in the recipe."
                )
            template.mesh = str(mesh)
    return recipe


def fingerprint(recipe: Recipe, digest=sha256) -> str:
    """A hash of all that decides what a scene looks like: everything but the count.

    A template's mesh file enters by its content, not by its path. Defaults do not
    enter, so that a data set made before a field was added can still be read and
    gone on with: a new field's default must change no scene.

    Parameters
    ----------
    recipe : Recipe
    digest : callable
        The hash of the file at a path.
    """
    plain = chosen(recipe)
    plain.pop("count", None)
    for template in plain["templates"]:
        if "mesh" in template:
            template["mesh"] = digest(template["mesh"])
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
