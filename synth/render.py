"""The two renders of a scene, and the finished pair of micrograph and label."""

from __future__ import annotations

import platform
import signal
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..files import written_whole
from .degrade import degrade
from .labels import training_label
from .recipe import Recipe
from .sampling import look_of, sample_scene
from .scene import BuiltScene, build_scene
from .shapes import rotation_matrix
from .templates import load_shapes


@dataclass(eq=False)
class Pair:
    """A micrograph with its error-free labels.

    Attributes
    ----------
    image : ndarray (N, N) uint8
    instances : ndarray (N, N) uint16
        0 background, else the particle's id, whole particles.
    label : ndarray (N, N) uint8
        0 or 255: binary, opened where particles touch.
    record : dict
        What the data set's manifest keeps of it.
    """

    image: np.ndarray
    instances: np.ndarray
    label: np.ndarray
    record: dict


def use_device(scene, device: str):
    """Set CPU or GPU for a scene's Cycles.

    Raises
    ------
    NanosynthError
        If no GPU of that kind is usable.
    """
    scene.render.engine = "CYCLES"
    if device == "CPU":
        scene.cycles.device = "CPU"
        return
    preferences = bpy.context.preferences.addons["cycles"].preferences
    kinds = ["OPTIX", "CUDA", "HIP", "METAL", "ONEAPI"] if device == "GPU" else [device]
    for kind in kinds:
        try:
            preferences.compute_device_type = kind
        except TypeError:  # this build of Blender lacks the kind
            continue
        preferences.get_devices()
        usable = [d for d in preferences.devices if d.type == kind]
        if usable:
            for d in preferences.devices:
                d.use = d.type == kind
            scene.cycles.device = "GPU"
            return
    raise NanosynthError(f"--device {device}: Blender finds no such device.", "Use --device CPU, or install the graphics driver.")


@contextmanager
def signals_after():
    """Put off signals that Python handles to the end of the block.

    Blender takes an exception that is raised while it renders for the engine's and goes on, KeyboardInterrupt too.
    """
    caught, handlers = [], {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: caught.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if caught:
        handlers[caught[0]](caught[0], None)


def _render(scene, size: int) -> np.ndarray:
    """Render to a square of linear float values (size, size, channels), row 0 at the top. What is grey is so in every channel."""
    render = scene.render
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.use_border = False
    render.use_compositing = render.use_sequencer = False
    render.use_motion_blur = False
    render.dither_intensity = 0.0
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # Blender 5.0 and later
        settings.media_type = "IMAGE"
    settings.file_format = "OPEN_EXR"
    settings.color_mode = "RGB"
    settings.color_depth = "32"
    settings.exr_codec = "NONE"
    filepath = render.filepath
    with tempfile.TemporaryDirectory(prefix="nanosynth-") as folder:
        path = Path(folder) / "render.exr"
        render.filepath = str(path)
        with signals_after():
            bpy.ops.render.render(write_still=True, scene=scene.name)
        render.filepath = filepath
        if not path.exists():
            raise NanosynthError("Blender rendered no image.", "See the log above for its message.")
        image = bpy.data.images.load(str(path))
        try:
            image.colorspace_settings.name = "Non-Color"
            channels = image.channels
            pixels = np.empty(size * size * channels, np.float32)
            image.pixels.foreach_get(pixels)
        finally:
            bpy.data.images.remove(image)
    return pixels.reshape(size, size, channels)[::-1]


def _plain_cycles(scene):
    """What both renders have in common: no bounces, no denoiser, no adaptive sampling."""
    cycles = scene.cycles
    cycles.use_denoising = False
    cycles.use_adaptive_sampling = False
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = 0
    cycles.transmission_bounces = cycles.volume_bounces = 0
    cycles.transparent_max_bounces = 16  # what lies beneath thin particles shows through them
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.use_animated_seed = False
    scene.render.use_persistent_data = False
    scene.render.film_transparent = False


def render_photo(
    built: BuiltScene, size: int, samples: int, seed: int, device: str = "CPU", part: tuple[int, int] | None = None
) -> np.ndarray:
    """The first render: the clean micrograph.

    Parameters
    ----------
    part : (first, count), optional
        Take only some of the samples; the mean of all parts is the whole (before Blender 4.4, but for the noise).

    Returns
    -------
    ndarray (size, size) float32
        Linear brightness, white = 1.
    """
    scene = built.scene
    use_device(scene, device)
    _plain_cycles(scene)
    scene.cycles.samples = samples
    scene.cycles.seed = seed
    scene.cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    scene.cycles.filter_width = 1.5
    if part is not None:
        scene.cycles.sample_offset = part[0]
        if hasattr(scene.cycles, "use_sample_subset"):
            scene.cycles.use_sample_subset = True
            scene.cycles.sample_subset_length = part[1]
        else:
            scene.cycles.samples = part[1]
    return _render(scene, size)[..., 0]


def render_label(built: BuiltScene, size: int) -> np.ndarray:
    """The second render: every pixel gets the id of the particle seen at its centre.

    Returns
    -------
    ndarray (size, size) uint16
    """
    values = render_centres(built, built.label, size)[..., 0]
    instances = np.rint(values)
    if np.abs(values - instances).max() > 1e-3 or instances.max() > len(built.particles):
        raise NanosynthError("The label render holds values that are no particle ids.", "Remove shaders or world light that shine through the particles.")
    return instances.astype(np.uint16)


def render_centres(built: BuiltScene, material: bpy.types.Material, size: int, samples: int = 1) -> np.ndarray:
    """What is seen at each pixel's centre with all surfaces of one material.

    Cycles' first sample goes through the pixel's centre, and a box filter narrower than
    a pixel keeps all there, so one sample is exact. All settings are restored.

    Parameters
    ----------
    samples : int
        More than one only helps against the noise of a material that draws at random.

    Returns
    -------
    ndarray (size, size, channels) float32
    """
    scene, layer = built.scene, built.scene.view_layers[0]
    changed = [(scene.cycles, name) for name in ("samples", "seed", "pixel_filter_type", "filter_width", "device")]
    changed += [(scene.render, "resolution_x"), (scene.render, "resolution_y"), (layer, "material_override")]
    kept = [getattr(owner, name) for owner, name in changed]
    try:
        scene.render.engine = "CYCLES"
        _plain_cycles(scene)
        scene.cycles.device = "CPU"
        scene.cycles.samples = samples
        scene.cycles.seed = 0
        scene.cycles.pixel_filter_type = "BOX"
        scene.cycles.filter_width = 0.01
        layer.material_override = material
        return _render(scene, size)
    finally:
        for (owner, name), value in zip(changed, kept, strict=True):
            setattr(owner, name, value)


def make_pair(recipe: Recipe, index: int, *, device: str = "CPU", save_blend=None) -> Pair:
    """Build, render twice and degrade scene `index` of a recipe.

    Parameters
    ----------
    recipe : Recipe
    index : int
    device : str
        'CPU', or 'GPU' (or CUDA, OPTIX, HIP, METAL, ONEAPI) for the photo render.
    save_blend : path-like, optional
        Also keep the scene in this .blend file.

    Returns
    -------
    Pair
    """
    recipe = look_of(recipe, index)
    sample = sample_scene(recipe, index, load_shapes(recipe))
    built = build_scene(recipe, sample)
    try:
        camera = recipe.camera
        photo = render_photo(built, camera.render_px, camera.samples, index % 2**31, device)
        instances = render_label(built, camera.image_px)
        if save_blend is not None:
            _keep(built.scene, save_blend)
    finally:
        built.remove()
    image = degrade(photo, sample.drawn["degradation"], camera.image_px, sample.generator("degradation"))
    label = training_label(instances, recipe.label.erosion, recipe.label.outline)
    return Pair(image, instances, np.where(label, 255, 0).astype(np.uint8), _record(recipe, sample, instances))


def _keep(scene, path):
    with written_whole(path) as temporary:
        try:
            bpy.data.libraries.write(str(temporary), {scene}, fake_user=True)
        except (OSError, RuntimeError) as error:  # Blender's own, without an error number
            raise NanosynthError(f"{path}: Blender cannot write it ({error}).", "Choose a folder you can write to.") from error


def _record(recipe, sample, instances) -> dict:
    from .. import __version__

    table = sample.particles
    count = len(table["x_nm"])
    particles = {"id": list(range(1, count + 1)), "template": [recipe.templates[t].name for t in table["template"]]}
    for name in ("x_nm", "y_nm", "z_nm", "radius_nm", "stretch", "qw", "qx", "qy", "qz", "brightness", "on_substrate"):
        particles[name] = table[name].tolist()
    particles["area_px"] = np.bincount(instances.ravel(), minlength=count + 1)[1 : count + 1].tolist()
    pixel = sample.field_of_view / recipe.camera.image_px
    shadows = [
        sample.forms[table["form"][k]].shadow(rotation_matrix([table[q][k] for q in ("qw", "qx", "qy", "qz")]), table["stretch"][k])
        for k in range(count)
    ]
    particles["full_area_px"] = np.round(np.array(shadows) * (table["radius_nm"] / pixel) ** 2, 2).tolist()
    return {
        "index": sample.index,
        "seed": recipe.seed,
        "nm_per_pixel": float(round(sample.field_of_view / recipe.camera.image_px, 9)),
        "versions": {"nanosynth": __version__, "blender": bpy.app.version_string, "numpy": np.__version__, "machine": platform.machine()},
        "drawn": sample.drawn,
        "particles": particles,
    }
