"""What the window keeps in the .blend beside the recipe, and what lies on disk for it.

Paths are kept as the user sees them, relative to the .blend file (`//…`), so
that a project folder can be moved. Nothing here draws or computes.
"""

from __future__ import annotations

import functools
import json
import os
import time
import tomllib
from pathlib import Path

import bpy

from .. import properties
from ..errors import NanosynthError
from ..fields import default_of, specs
from ..files import sha256
from ..learn.images import Micrograph
from ..learn.segmentation import SegmentationOptions
from ..learn.settings import PRESETS as TRAINING_PRESETS
from ..synth.recipe import PRESETS, Recipe, fingerprint, read_recipe
from .base import RELATIVE

TUNED = ("threshold", "outline", "min_confidence", "min_area", "dynamic_share", "dynamic", "join")
"""The options of segmenting that can be changed afterwards, on the stored probability."""
CORES = os.cpu_count() or 1
WORKERS = min(CORES, max(2, min(CORES // 2, 8)))
"""Blender processes that render side by side unless the user says otherwise: each computes on several cores at times."""
DRAWING_S = 0.02
"""How long the panels take to be drawn."""
PRESET_NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))
FOLDERS = {"dataset": "//nanosynth/dataset", "run": "//nanosynth/run", "result": "//nanosynth/result"}


TRAINING = [(path.stem, path.stem.capitalize(), f"The preset {path.stem}") for path in sorted(TRAINING_PRESETS.glob("*.toml"))]
TRAINING.append(("file", "File", "Settings in a TOML file of your own"))


def _tuning_changed(self, context):
    from . import results

    results.changed(self.id_data, tuned=True)


def _result_changed(self, context):
    from . import results

    results.changed(self.id_data)


def _image_changed(self, context):
    from . import results

    results.changed(self.id_data, another=True)


def _folder_changed(self, context):
    from . import results

    if results.Quiet.now:  # the same folder, named otherwise
        return
    self.exported = self.reported = ""  # of other results


class Names:
    """The names that a menu shows; Blender reads them from here, so they must stay."""

    of_results: list = []


def _result_names(self, context):
    found = results(place(self.id_data, "result"))
    items = [(str(number), entry["name"], entry["image"], number) for number, entry in enumerate(found)]
    if items != Names.of_results:
        Names.of_results = items
    return Names.of_results


def _shown_number(self):
    return max(0, min(self.shown_result, len(results(place(self.id_data, "result"))) - 1))


def _show_number(self, number):
    self.shown_result = number


def _epoch_changed(self, context):
    from . import training

    training.changed(self.id_data)


def _shares(name):
    """A slider for one of the options of segmenting; all that is known of it comes from its declaration."""
    spec = next(spec for field, _, spec in specs(SegmentationOptions) if field == name)
    default = default_of(SegmentationOptions, name)
    if name == "threshold":
        default = 0.5  # the declaration's 0 means the training's own
    return bpy.props.FloatProperty(
        default=default,
        min=spec.low,
        max=spec.high,
        soft_max=0.3 if name == "dynamic" else 1.0,
        precision=3,
        description=spec.doc.replace(" 0: the threshold of the training.", ""),
        update=_tuning_changed,
    )


def _known_nm_per_px(self):
    return self.nm_per_px


def _type_nm_per_px(self, value):
    self.nm_per_px = value
    self.scale_source = "typed by the user" if value else "none: nobody has told it"


def _chosen_reference(self):
    return self.reference_index


def _choose_reference(self, number):
    self.reference_index = number


def _show_reference(self, context):
    from . import references

    references.show(context, self.id_data)


PIXEL_SIZE = {"name": "Pixel size", "description": "Width of a pixel; 0 where it is not known [nm]", "min": 0.0, "max": 1e6, "precision": 4}


class Reference(bpy.types.PropertyGroup):
    """A micrograph of the user's."""

    bl_idname = "NANOSYNTH_PG_reference"
    image: bpy.props.PointerProperty(type=bpy.types.Image, name="Image", description="The micrograph")
    path: bpy.props.StringProperty(name="File", description="The micrograph's file", subtype="FILE_PATH", options=RELATIVE)
    nm_per_px: bpy.props.FloatProperty(**PIXEL_SIZE)
    typed_nm_per_px: bpy.props.FloatProperty(get=_known_nm_per_px, set=_type_nm_per_px, update=_show_reference, **PIXEL_SIZE)
    scale_source: bpy.props.StringProperty(name="Source", description="Where the pixel size comes from")
    stated_nm_per_px: bpy.props.FloatProperty(name="Stated", description="Width of a pixel by the file itself; 0 if it tells none [nm]")
    size: bpy.props.IntVectorProperty(name="Size", description="Width and height, known without the image being read [px]", size=2)


def _detached():
    return bpy.props.BoolProperty(
        name="Detached",
        description="The work goes on when Blender is closed; the project shows it again when it is opened. Otherwise it ends with Blender",
        default=False,
    )


class Window(bpy.types.PropertyGroup):
    """The state of the workflow in this file."""

    bl_idname = "NANOSYNTH_PG_window"
    references: bpy.props.CollectionProperty(type=Reference)
    reference_index: bpy.props.IntProperty(name="Reference", description="The reference that is looked at")
    listed_reference: bpy.props.IntProperty(
        name="Reference",
        description="The reference that is looked at",
        get=_chosen_reference,
        set=_choose_reference,
        update=_show_reference,
    )
    template_index: bpy.props.IntProperty(name="Template", description="The template that is edited")

    preset: bpy.props.StringProperty(name="Preset", description="The preset that the recipe was taken from, whatever it is called now")
    recipe_file: bpy.props.StringProperty(
        name="Recipe", description="Where the recipe was loaded from or saved to", subtype="FILE_PATH", options=RELATIVE
    )
    dataset: bpy.props.StringProperty(
        name="Data set", description="Folder of the data set", subtype="DIR_PATH", options=RELATIVE, default=FOLDERS["dataset"]
    )
    run: bpy.props.StringProperty(
        name="Run", description="Folder of the training run", subtype="DIR_PATH", options=RELATIVE, default=FOLDERS["run"]
    )
    result: bpy.props.StringProperty(
        name="Results", description="Folder of the results", subtype="DIR_PATH", options=RELATIVE, default=FOLDERS["result"], update=_folder_changed
    )
    model: bpy.props.StringProperty(
        name="Model", description="Folder of a run or of a model; empty: the run of this file", subtype="DIR_PATH", options=RELATIVE
    )

    generate_detached: _detached()
    train_detached: _detached()
    segment_detached: _detached()

    scene_index: bpy.props.IntProperty(name="Scene", description="Number of the drawn scene to look at", min=0, max=999_999)
    preview_px: bpy.props.IntProperty(name="Preview", description="Side of the preview [px]", default=256, min=64, max=2048)
    workers: bpy.props.IntProperty(name="Workers", description="Blender processes that render side by side", default=WORKERS, min=1, max=64)
    device: bpy.props.EnumProperty(
        name="Device",
        description="What renders the micrographs",
        items=[("CPU", "CPU", "The processor"), ("GPU", "GPU", "The graphics card that is set up in Blender's preferences")],
    )
    training: bpy.props.EnumProperty(name="Settings", description="How the network is trained", items=TRAINING, default="compact")
    training_file: bpy.props.StringProperty(
        name="File", description="TOML file with training settings", subtype="FILE_PATH", options=RELATIVE
    )
    epochs: bpy.props.IntProperty(name="Epochs", description="Number of epochs; 0 takes the settings'", min=0, max=100_000)
    validate: bpy.props.BoolProperty(
        name="Watch references",
        description="Predict the references after each epoch, so that the best epoch can be chosen by eye",
        default=True,
    )
    annotations: bpy.props.StringProperty(
        name="Annotations",
        description="Folder with a label image for each reference, of the same name: each epoch then gets its F1. Empty: there are none",
        subtype="DIR_PATH",
        options=RELATIVE,
    )
    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch that is looked at", min=0, update=_epoch_changed)
    epoch_opacity: bpy.props.FloatProperty(
        name="Opacity",
        description="Of the network's answer over the micrograph",
        subtype="FACTOR",
        default=1.0,
        min=0.0,
        max=1.0,
        update=_epoch_changed,
    )

    shown_result: bpy.props.IntProperty(name="Image", description="The segmented image that is looked at", min=0, update=_image_changed)
    shown_name: bpy.props.EnumProperty(
        name="Image",
        description="The segmented image that is looked at",
        items=_result_names,
        get=_shown_number,
        set=_show_number,
    )
    shown: bpy.props.EnumProperty(
        name="Show",
        description="What of the result is shown",
        items=[
            ("overlay", "Particles", "The micrograph with its particles tinted and outlined"),
            ("outlines", "Outlines", "The micrograph with the particles' outlines"),
            ("instances", "Colours", "Each particle in a colour of its own"),
            ("mask", "Mask", "Particle or not"),
            ("probability", "Probability", "What the network says of each pixel"),
            ("histogram", "Sizes", "The size distribution"),
        ],
        update=_result_changed,
    )
    opacity: bpy.props.FloatProperty(
        name="Opacity",
        description="Of the result over the micrograph",
        subtype="FACTOR",
        default=1.0,
        min=0.0,
        max=1.0,
        update=_result_changed,
    )
    pick: bpy.props.IntVectorProperty(
        name="Particle",
        description="A pixel of the particle that is measured: column, row from the top [px]",
        size=2,
        default=(-1, -1),
        min=-1,
    )
    tuned: bpy.props.BoolProperty(
        name="Tuned", description="Whether the particles are those that the sliders find, not those that were segmented", default=False
    )
    facts: bpy.props.StringProperty(name="Facts", description="What was found in the picture that is shown")
    exported: bpy.props.StringProperty(name="Exported", description="What was exported last of these results, and where to")
    reported: bpy.props.StringProperty(name="Report", description="The last report on these results", subtype="FILE_PATH", options=RELATIVE)
    threshold: _shares("threshold")
    outline: _shares("outline")
    min_confidence: _shares("min_confidence")
    min_area: _shares("min_area")
    dynamic_share: _shares("dynamic_share")
    dynamic: _shares("dynamic")
    join: _shares("join")


CLASSES = (Reference, Window)


def register():
    bpy.types.Scene.nanosynth_recipe = bpy.props.PointerProperty(type=properties.GROUPS[Recipe])
    bpy.types.Scene.nanosynth_options = bpy.props.PointerProperty(type=properties.GROUPS[SegmentationOptions])
    bpy.types.Scene.nanosynth = bpy.props.PointerProperty(type=Window)
    # A drawn scene that was opened belongs to the scene that has its recipe.
    bpy.types.Scene.nanosynth_home = bpy.props.PointerProperty(type=bpy.types.Scene)


def unregister():
    for name in ("nanosynth_recipe", "nanosynth_options", "nanosynth", "nanosynth_home"):
        if hasattr(bpy.types.Scene, name):
            delattr(bpy.types.Scene, name)


def home(context) -> bpy.types.Scene:
    """The scene that holds recipe and state; an opened drawn scene belongs to another."""
    return context.scene.nanosynth_home or context.scene


def absolute(path: str, what: str = "path") -> Path:
    """A path of the user's as an absolute one.

    Raises
    ------
    NanosynthError
        If it is empty, or relative to a .blend that was never saved.
    """
    if not path:
        raise NanosynthError(f"No folder is chosen for the {what}.", "Choose one in its panel.")
    if path.startswith("//") and not bpy.data.filepath:
        raise NanosynthError(f"Save the .blend file first: the {what} is kept beside it.", "Or choose a folder elsewhere.")
    return Path(os.path.normpath(bpy.path.abspath(path)))


def relative(path, folder=None) -> str:
    """A path as it is kept in the .blend: relative to it, or to the folder that it will lie in, where that is possible."""
    if not (folder or bpy.data.filepath):
        return str(path)
    try:
        return bpy.path.relpath(str(path), start=folder and str(folder)).replace("\\", "/")
    except ValueError:  # another drive
        return str(path)


def paths(group):
    """The paths that a property group and what it lists keep, as pairs of their owner and its property."""
    for kept in group.bl_rna.properties:
        if kept.type == "STRING" and kept.subtype in {"FILE_PATH", "DIR_PATH"}:
            yield group, kept
        elif kept.type == "COLLECTION":
            for item in getattr(group, kept.identifier):
                yield from paths(item)


def place(scene, name: str) -> Path | None:
    """The folder of the data set, run or result of a scene; None if there is none yet to speak of."""
    try:
        return absolute(getattr(scene.nanosynth, name), name)
    except NanosynthError:
        return None


def recipe_of(scene) -> Recipe:
    """The recipe in the panels, with absolute mesh paths.

    Raises
    ------
    NanosynthError
        If it breaks a rule, or has no template yet.
    """
    recipe = properties.from_properties(Recipe, scene.nanosynth_recipe)
    for template in recipe.templates:
        if template.shape == "mesh":
            template.mesh = str(absolute(template.mesh, f"template {template.name}"))
            if not Path(template.mesh).is_file():
                raise NanosynthError(f"Template {template.name}: the mesh file {template.mesh} does not exist.", "Choose the file again.")
    return recipe


def put_recipe(scene, recipe: Recipe):
    """Show a recipe in the panels."""
    properties.to_properties(recipe, scene.nanosynth_recipe)
    for template in scene.nanosynth_recipe.templates:
        if template.mesh:
            template.mesh = relative(template.mesh)
    scene.nanosynth.template_index = 0


def put_preset(scene, name: str):
    """Show a preset in the panels."""
    put_recipe(scene, read_recipe(name))
    scene.nanosynth.preset = name


def preset_of(scene) -> str:
    """The preset that the recipe was taken from, or whose name it has; empty if there is none."""
    return next((name for name in (scene.nanosynth.preset, scene.nanosynth_recipe.name) if name in PRESET_NAMES), "")


# What is on disk, read again only when it has changed


def stamped(path: Path) -> tuple[str, int, int] | None:
    """What is another once a file has changed; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=32)
def _lines(stamp):
    found = []
    with open(stamp[0], encoding="utf-8") as file:
        for line in file:
            try:
                found.append(json.loads(line))
            except ValueError:  # a line that is being written
                break
    return found


@functools.lru_cache(maxsize=8)
def _count_lines(stamp):
    with open(stamp[0], "rb") as file:
        return sum(line.endswith(b"\n") for line in file)


@functools.lru_cache(maxsize=16)
def _json(stamp):
    try:
        with open(stamp[0], encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _tells(value, *names) -> bool:
    """Whether what was read is a section with these keys; a file of somebody else's may hold anything."""
    return isinstance(value, dict) and value.keys() >= set(names)


def made_pairs(folder: Path | None) -> int:
    """Finished pairs of a data set."""
    stamp = folder and stamped(folder / "manifest.jsonl")
    return _count_lines(stamp) if stamp else 0


@functools.lru_cache(maxsize=64)
def _digest_of(stamp):
    return sha256(stamp[0])


def _digest(path) -> str:
    """A file's hash, made again only when it has changed."""
    return _digest_of(stamped(Path(path)))


class Drawn:
    """The fingerprint of a scene's recipe, for the panels that are drawn one after another: (scene's name, until when it holds, it)."""

    recipe: tuple[str, float, str] = ("", 0.0, "")


def as_made(scene) -> bool:
    """Whether the data set was made of the recipe as the panels have it."""
    folder = place(scene, "dataset")
    stamp = folder and stamped(folder / "dataset.json")
    if not stamp:
        return False
    name, until, known = Drawn.recipe
    if name != scene.name or time.monotonic() > until:
        try:
            known = fingerprint(recipe_of(scene), _digest)
        except NanosynthError:  # its panel says so
            known = ""
        Drawn.recipe = scene.name, time.monotonic() + DRAWING_S, known
    info = _json(stamp)
    return isinstance(info, dict) and info.get("recipe") == known


def history(folder: Path | None) -> list[dict]:
    """The finished epochs of a run."""
    stamp = folder and stamped(folder / "history.jsonl")
    return [line for line in _lines(stamp) if _tells(line, "epoch", "loss")] if stamp else []


@functools.lru_cache(maxsize=8)
def _toml(stamp):
    try:
        with open(stamp[0], "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError):
        return {}


def trained(folder: Path | None) -> bool:
    """Whether a run has all the epochs that were asked for."""
    stamp = folder and stamped(folder / "settings.toml")
    lines = history(folder)
    return bool(lines and stamp) and lines[-1]["epoch"] >= _toml(stamp).get("epochs", 0)


def selected(folder: Path | None) -> int | None:
    """The selected epoch of a run."""
    stamp = folder and stamped(folder / "selected.json")
    chosen = _json(stamp) if stamp else None
    return chosen["epoch"] if _tells(chosen, "epoch") else None


def favourites(folder: Path | None) -> list[int]:
    """The epochs of a run that were marked as favourites."""
    stamp = folder and stamped(folder / "favourites.json")
    marked = _json(stamp) if stamp else None
    return marked if isinstance(marked, list) else []


def segmentation(folder: Path | None) -> dict:
    """What `segment` has written of its work into a folder."""
    stamp = folder and stamped(folder / "segmentation.json")
    record = _json(stamp) if stamp else None
    return record if _tells(record, "images") and isinstance(record["images"], list) else {}


def results(folder: Path | None) -> list[dict]:
    """The images that were segmented without an error."""
    return [entry for entry in segmentation(folder).get("images", []) if _tells(entry, "name", "image") and "error" not in entry]


def model_of(scene) -> Path | None:
    """The model that segments: the one named, or the run of this file once it has an epoch, or else the shipped model of the preset."""
    named = scene.nanosynth.model
    if named:
        return shipped(named) or place(scene, "model")
    run = place(scene, "run")
    return run if history(run) else shipped(preset_of(scene))


def shipped(name: str) -> Path | None:
    """The model of this name that comes with Nanosynth, or None."""
    from ..learn.model import MODELS

    return MODELS / name if name and (MODELS / name / "model.json").is_file() else None


def describe_reference(reference: Reference, micrograph: Micrograph):
    """Fill a reference from its file: where it is, its pixel size and where that comes from."""
    reference.name = micrograph.path.name
    reference.path = relative(micrograph.path)
    reference.nm_per_px = reference.stated_nm_per_px = micrograph.nm_per_px or 0.0
    reference.scale_source = micrograph.scale_source
    height, width = micrograph.pixels.shape
    reference.size = width, height + micrograph.banner_px
