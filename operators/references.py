"""The user's micrographs."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import bpy

from ..errors import NanosynthError
from ..fields import canonical
from ..files import write_text
from ..learn.images import SUFFIXES, list_images, read_micrograph
from ..learn.scalebar import find_bar
from . import jobs, lines, pictures, state
from .base import RELATIVE, Action, Gradual, aside, browse


class LoadReferences(Gradual):
    bl_idname = "nanosynth.load_references"
    bl_label = "Load Micrographs"
    bl_description = (
        "Load micrographs: to compare scenes with, to watch the training, and to be segmented. The pixel size is read from their metadata"
    )
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(name="File", description="A micrograph", subtype="FILE_PATH", options={"SKIP_SAVE"} | RELATIVE)
    directory: bpy.props.StringProperty(
        name="Folder", description="Folder of the files", subtype="DIR_PATH", options={"SKIP_SAVE"} | RELATIVE
    )
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    at_work: tuple[int, int] | None = None
    """How many are read, of how many."""
    browsing = False

    def invoke(self, context, event):
        if self.files or self.filepath:  # dropped
            return super().invoke(context, event)
        self.browsing = True
        return browse(self, context)

    def execute(self, context):
        if not self.browsing:
            return super().execute(context)
        # The file browser has an operator act at once: another one takes its time.
        files = [{"name": file.name} for file in self.files]
        bpy.ops.nanosynth.load_references("INVOKE_DEFAULT", True, filepath=self.filepath, directory=self.directory, files=files)
        return {"CANCELLED"}

    def paths(self) -> list[Path]:
        if any(file.name for file in self.files):
            folder = state.absolute(self.directory, "micrographs")
            return [folder / file.name for file in self.files]
        return list_images([state.absolute(self.filepath or self.directory, "micrographs")])

    def steps(self, context):
        paths, failures = self.paths(), []
        try:
            for number, path in enumerate(paths):
                LoadReferences.at_work = (number, len(paths))
                jobs.redraw()
                reading = aside(read_micrograph, path)
                yield reading
                try:
                    _add(state.home(context).nanosynth, reading.result())
                except NanosynthError as error:
                    failures.append(str(error))
        finally:
            LoadReferences.at_work = None
        if len(failures) == len(paths):
            raise NanosynthError(failures[0])
        for failure in failures:
            self.report({"WARNING"}, failure)
        show(context, state.home(context))


def _add(window, micrograph):
    path = micrograph.path
    at = next((i for i, r in enumerate(window.references) if r.path and state.absolute(r.path) == path), len(window.references))
    reference = window.references[at] if at < len(window.references) else window.references.add()
    state.describe_reference(reference, micrograph)
    reference.image = pictures.image_of(path)
    window.reference_index = at


def show(context, scene):
    """The chosen reference in the image editor, and to scale in the 3D view."""
    window = scene.nanosynth
    if not 0 <= window.reference_index < len(window.references):
        return
    reference = window.references[window.reference_index]
    if reference.image is not None:
        pictures.lay_out(scene, reference, None, reference.nm_per_px, window.opacity)
        pictures.frame(context)
        pictures.show(context, reference.image, "reference", reference.size)


class ShowReference(Action):
    bl_idname = "nanosynth.show_reference"
    bl_label = "Show Micrograph"
    bl_description = "Show the chosen micrograph in the image editor and, to scale, in the 3D view"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        scene = state.home(context)
        if lines.chosen_reference(scene) is None:
            cls.poll_message_set("Choose a micrograph in the list first" if scene.nanosynth.references else "Load a micrograph first")
            return False
        return True

    def act(self, context):
        show(context, state.home(context))


class RemoveReference(Action):
    bl_idname = "nanosynth.remove_reference"
    bl_label = "Remove Micrograph"
    bl_description = "Take the chosen micrograph off the list; its file stays"
    bl_options = {"REGISTER", "UNDO"}

    poll = ShowReference.poll

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        pictures.put_away(context, lines.chosen_reference(scene).image)
        window.references.remove(window.reference_index)
        window.reference_index = max(0, min(window.reference_index, len(window.references) - 1))
        show(context, scene)


class SetScale(Action):
    bl_idname = "nanosynth.set_scale"
    bl_label = "Set Scale"
    bl_description = "Take the pixel size of the chosen micrograph from the line over its scale bar and the length printed beside it"
    bl_options = {"REGISTER", "UNDO"}

    width_px = 400
    """Of the question."""

    length_nm: bpy.props.FloatProperty(
        name="Length (nm)", description="What the line stands for; 1 µm is 1000 nm [nm]", default=0.0, min=0.0, max=1e9, precision=4
    )
    others: bpy.props.BoolProperty(
        name="Others too",
        description="Give the same nm per pixel to all loaded micrographs of the same width and height that have none",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        scene = state.home(context)
        if lines.chosen_reference(scene) is None or not lines.drawn(scene, "scale"):
            cls.poll_message_set("Draw a line over the scale bar first")
            return False
        return True

    def invoke(self, context, event):
        wide = self.width_px * context.preferences.system.ui_scale
        editors = pictures.editors(context)
        if editors and event.mouse_x + wide / 2 > editors[0].x > wide:  # it opens under the mouse: beside the line, not over it
            context.window.cursor_warp(int(editors[0].x - 0.55 * wide), event.mouse_y)
        return context.window_manager.invoke_props_dialog(self, width=self.width_px)

    def draw(self, context):
        scene = state.home(context)
        self.layout.label(text=f"{lines.chosen_reference(scene).name}: the yellow line is {_scale_px(scene):.4g} px long.")
        self.layout.label(text="Type the length printed beside the bar, in nm (1 µm is 1000 nm):")
        self.layout.activate_init = True  # so that it can be typed at once
        self.layout.prop(self, "length_nm")
        count = len(_alike(scene.nanosynth, lines.chosen_reference(scene)))
        if count:
            self.layout.prop(self, "others", text=f"The same for {count} more of this size that {'have' if count > 1 else 'has'} no scale")

    def act(self, context):
        scene = state.home(context)
        reference, length_px = lines.chosen_reference(scene), _scale_px(scene)
        if not self.length_nm:
            raise NanosynthError("The length of the scale bar was not told.", "Type the number that is printed beside it.")
        reference.nm_per_px = float(f"{self.length_nm / length_px:.6g}")  # as where a bar's length is told to `read_micrograph`
        reference.scale_source = f"scale bar, {length_px:.4g} px for {self.length_nm:g} nm"
        for other in _alike(scene.nanosynth, reference) if self.others else ():
            other.nm_per_px, other.scale_source = reference.nm_per_px, f"{reference.scale_source}, in {reference.name}"
        jobs.redraw()
        show(context, scene)
        self.report({"INFO"}, f"{reference.name}: {reference.nm_per_px:.4g} nm per pixel")


def _alike(window, reference) -> list:
    """The other micrographs of a reference's size whose scale is not known."""
    return [r for r in window.references if r != reference and not r.nm_per_px and tuple(r.size) == tuple(reference.size)]


def _scale_px(scene) -> float:
    (x0, y0), (x1, y1) = lines.in_pixels(scene.nanosynth_lines.scale, lines.chosen_reference(scene).image)
    return ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5


class FindScaleBar(Gradual):
    bl_idname = "nanosynth.find_scale_bar"
    bl_label = "Find Scale Bar"
    bl_description = "Look for the scale bar in the chosen micrograph and lay a line over it; then tell the length printed beside it"
    bl_options = {"REGISTER", "UNDO"}

    poll = ShowReference.poll

    def steps(self, context):
        path = state.absolute(lines.chosen_reference(state.home(context)).path)
        looking = aside(_bar_in, path)
        yield looking
        bar, scene = looking.result(), state.home(context)
        reference = lines.chosen_reference(scene)
        if reference is None or state.absolute(reference.path) != path:  # another one was chosen meanwhile
            return
        if bar is None:
            raise NanosynthError(f"{reference.name}: no scale bar was found.", "Draw a line over it yourself.")
        middle = (bar.top + bar.bottom) / 2
        lines.put(scene, "scale", (bar.left, middle), (bar.right, middle))
        jobs.redraw()
        show(context, scene)
        self.report({"INFO"}, f"{reference.name}: a scale bar of {bar.length_px:.4g} px")
        if self.timer:
            bpy.ops.nanosynth.set_scale("INVOKE_DEFAULT")


def _bar_in(path):
    return find_bar(read_micrograph(path, crop_bottom=0).pixels, read_micrograph(path).banner_px)


def drawn_scales(references, images) -> dict[str, float]:
    """File name -> nm per pixel of the references among these images, if one is not what its file says: drawn, found, or typed."""
    known = {path: r for r in references if r.nm_per_px and (path := state.absolute(r.path)) in images}
    if all(math.isclose(r.stated_nm_per_px, r.nm_per_px, rel_tol=1e-5) for r in known.values()):
        return {}
    return {path.name: canonical(r.nm_per_px) for path, r in known.items()}


def scale_flags(flag: str, scales: dict[str, float], folder) -> list[str]:
    """A flag with the file, written into this folder, that tells these pixel sizes; nothing without any."""
    if not scales:
        return []
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image", "nm_per_px"])
    rows.writerows(scales.items())
    write_text(Path(folder) / "references.csv", table.getvalue())
    return [flag, str(Path(folder) / "references.csv")]


class MicrographFileHandler(bpy.types.FileHandler):
    bl_idname = "NANOSYNTH_FH_micrograph"
    bl_label = "Nanosynth micrograph"
    bl_import_operator = "nanosynth.load_references"
    bl_file_extensions = ";".join(SUFFIXES)

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type in {"VIEW_3D", "IMAGE_EDITOR"}


OPERATORS = (LoadReferences, ShowReference, RemoveReference, SetScale, FindScaleBar, MicrographFileHandler)
