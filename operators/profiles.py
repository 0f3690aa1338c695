"""Intensity profiles of reference and preview, plotted together."""

from __future__ import annotations

import functools
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..files import write_text
from ..learn.images import read_micrograph
from ..learn.profiles import SIZE, profile_picture, profile_text, sample_line
from . import lines, pictures, preview, state
from .base import RELATIVE, Action, Gradual, aside

PROFILE = "Nanosynth profile"
LARGEST = (800, 500)
"""Of the plot, px: a larger one would keep the window waiting."""


@functools.lru_cache(maxsize=4)
def _read(path, stamp):
    return read_micrograph(path, crop_bottom=0).pixels


def _reading(scene):
    """The reference being read, where that has not been done yet, beside whatever Blender does."""
    if lines.drawn(scene, "reference"):
        return aside(_read, *_file_of(scene))


def _file_of(scene):
    path = state.absolute(lines.chosen_reference(scene).path)
    return path, path.stat().st_mtime_ns if path.exists() else 0


def grey_of(scene, target: str) -> tuple[np.ndarray, float, str]:
    """Pixels (H, W) in [0, 1], nm per pixel (0: not known) and name of the reference or the preview."""
    if target == "reference":
        reference = lines.chosen_reference(scene)
        return _read(*_file_of(scene)), reference.nm_per_px, reference.name
    image = bpy.data.images[preview.IMAGE]
    pixels = pictures.array_of(image)
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    return grey / np.float32(255), image.get("nm_per_px", 0.0), "preview"


def curves_of(scene):
    """What is plotted.

    Returns
    -------
    curves : list of (name, distance (n,), intensity (n,))
    unit : str
        Of the distances: nm, or px where a scale is missing.

    Raises
    ------
    NanosynthError
        If no line is drawn.
    """
    found = []
    for target in ("reference", "preview"):
        if not lines.drawn(scene, target):
            continue
        line = getattr(scene.nanosynth_lines, target)
        pixels, nm, name = grey_of(scene, target)
        height, width = pixels.shape
        start, end = (line[0] * width, line[1] * height), (line[2] * width, line[3] * height)
        found.append((name, nm, *sample_line(pixels, start, end, width_px=scene.nanosynth_lines.width)))
    if not found:
        raise NanosynthError("No line is drawn yet.", "Draw one over the reference or the preview.")
    in_nm = all(nm for _, nm, _, _ in found)
    return [(name, distance * (nm if in_nm else 1.0), values) for name, nm, distance, values in found], "nm" if in_nm else "px"


class PlotProfile(Gradual):
    bl_idname = "nanosynth.plot_profile"
    bl_label = "Plot Profiles"
    bl_description = "Plot the intensity along the lines over reference and preview together, into the image 'Nanosynth profile'"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        scene = state.home(context)
        if not (lines.drawn(scene, "reference") or lines.drawn(scene, "preview")):
            cls.poll_message_set("Draw a line over the reference or the preview first")
            return False
        return True

    def steps(self, context):
        yield _reading(state.home(context))
        curves, unit = curves_of(state.home(context))
        yield
        image = _draw(context, curves, unit)
        pictures.show(context, image, "result")
        if unit == "px":
            self.report({"WARNING"}, "The scale of an image is not known: distances are in pixels")


def _draw(context, curves, unit):
    """The plot's image, of the size at which it is shown."""
    size = tuple(map(min, pictures.room(context, "result") or SIZE, LARGEST))
    return pictures.show_array(PROFILE, profile_picture(curves, unit=unit, size=size))


def follow(scene):
    """There is a new preview: plot it, where the plot is looked at."""
    plot = bpy.data.images.get(PROFILE)
    if plot is None or all(area.spaces.active.image != plot for area in pictures.editors(bpy.context)):
        return
    try:
        curves, unit = curves_of(scene)
    except NanosynthError:  # a line or an image has gone
        return
    _draw(bpy.context, curves, unit)


class ExportProfile(Action):
    bl_idname = "nanosynth.export_profile"
    bl_label = "Export Profiles"
    bl_description = "Write the intensity along the lines to a CSV file"

    filepath: bpy.props.StringProperty(name="Table", description="CSV file", subtype="FILE_PATH", options={"SKIP_SAVE"} | RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.csv", options={"HIDDEN"})

    poll = PlotProfile.poll

    def invoke(self, context, event):
        self.filepath = bpy.path.abspath("//profile.csv") if bpy.data.filepath else "profile.csv"
        _reading(state.home(context))  # while the user chooses a file
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        curves, unit = curves_of(state.home(context))
        path = Path(state.absolute(self.filepath, "table"))
        write_text(path, profile_text(curves, unit=unit))
        self.report({"INFO"}, f"{sum(len(d) for _, d, _ in curves)} points are in {path}")


preview.FOLLOWERS.append(follow)
OPERATORS = (PlotProfile, ExportProfile)
