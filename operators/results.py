"""Segmenting the references; looking at what was found, tuning it, taking it away."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import bpy

from .. import properties
from ..errors import NanosynthError
from ..fields import default_of, walk
from ..files import read_json, sha256, write_json
from ..learn.images import list_images
from ..learn.model import MODELS
from ..learn.segmentation import SegmentationOptions
from ..learn.tuning import settings_of
from . import jobs, painter, pictures, state
from .base import RELATIVE, Action, Hint, Work
from .references import drawn_scales, scale_flags


class SegmentImages(Work):
    kind = "segment"
    bl_idname = "nanosynth.segment_images"
    bl_label = "Segment"
    bl_description = "Find the particles in the references, in the training environment"

    model: bpy.props.StringProperty(name="Model", description="Run or model; empty: the panels'", subtype="DIR_PATH", options=RELATIVE)
    images: bpy.props.StringProperty(
        name="Images", description="An image or a folder of images; empty: the references", subtype="FILE_PATH", options=RELATIVE
    )
    directory: bpy.props.StringProperty(
        name="Results", description="Folder of the results; empty: the panels'", subtype="DIR_PATH", options=RELATIVE
    )

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        model = state.absolute(self.model, "model") if self.model else state.model_of(scene)
        if model is None:
            raise NanosynthError("There is no model yet.", "Train a network first, or name a model.")
        if self.images:
            images = list_images([state.absolute(self.images, "images")])
        else:
            images = [state.absolute(r.path) for r in window.references]
        if not images:
            raise NanosynthError("There is no micrograph to segment.", "Load one under References.")
        out = state.absolute(self.directory or window.result, "results")
        flags = option_flags(scene.nanosynth_options)
        if not {"--nm-per-px", "--scale-file", "--scale-bar-nm"} & set(flags):
            # In the results' folder, so that the same call again finds the same options.
            flags += scale_flags("--scale-file", drawn_scales(window.references, images), out)
        home = scene.name

        def then():
            found = bpy.data.scenes.get(home)
            if found is not None and state.place(found, "result") == out:  # another file may have been opened meanwhile
                with quiet():
                    found.nanosynth.shown_result, found.nanosynth.pick = 0, (-1, -1)
                    found.nanosynth.exported = found.nanosynth.reported = ""
                    set_back(found)
                show_micrograph(bpy.context, found)
                refresh(bpy.context, found)
                if not bpy.app.background:  # else an undo later would set the sliders back to what they were before
                    bpy.ops.ed.undo_push(message=SegmentImages.bl_label)

        return jobs.perform(
            self, self.kind, lambda desk: jobs.learn_command("segment", model, *images, "--out", out, *flags), out, then=then
        )


class UseModel(Action):
    bl_idname = "nanosynth.use_model"
    bl_label = "Use Model"
    bl_description = "Segment with a model that comes with Nanosynth, or with the network trained in this file"
    bl_options = {"REGISTER", "UNDO"}

    model: bpy.props.EnumProperty(
        name="Model",
        description="What segments",
        items=[(path.parent.name, path.parent.name, "A model that comes with Nanosynth") for path in sorted(MODELS.glob("*/model.json"))]
        + [("RUN", "The Run of This File", "The network that was trained in this file")],
        default="RUN",
    )

    def act(self, context):
        state.home(context).nanosynth.model = "" if self.model == "RUN" else self.model


def option_flags(group) -> list[str]:
    """The flags of the command line for the options that are not at their defaults."""
    options = properties.from_properties(SegmentationOptions, group)
    flags = []
    for name, hint, _, default in walk(SegmentationOptions):
        value = getattr(options, name)
        if value == default:
            continue
        flag = "--" + name.replace("_", "-")
        flags += ([flag] if value else ["--no-" + flag[2:]]) if hint is bool else [flag, str(value)]
    return flags


def entries(scene) -> list[dict]:
    return state.results(state.place(scene, "result"))


def entry_of(scene) -> dict:
    """The result that is looked at.

    Raises
    ------
    NanosynthError
        If there is none.
    """
    found = entries(scene)
    if not found:
        raise NanosynthError("There is no result yet.", "Segment a micrograph first.")
    return found[min(scene.nanosynth.shown_result, len(found) - 1)]


def relink(scene):
    """Tell the results where their micrographs are now, if the project was moved: found among the references by name and content."""
    if Path(entry_of(scene)["image"]).is_file():
        return
    path = state.absolute(scene.nanosynth.result, "results") / "segmentation.json"
    record = read_json(path)
    there = [file for r in scene.nanosynth.references if (file := state.absolute(r.path)).is_file()]
    for entry in record["images"]:
        if not Path(entry["image"]).is_file():
            name = PureWindowsPath(entry["image"]).name  # it splits paths of either kind
            same = (file for file in there if file.name == name and entry.get("sha256") in (None, sha256(file)))
            entry["image"] = str(next(same, entry["image"]))
    write_json(path, record)


def request_of(scene, **more) -> dict:
    """What the painter is told of the result that is looked at: the image, and the sliders once they were moved."""
    relink(scene)
    window, entry = scene.nanosynth, entry_of(scene)
    return {
        "folder": str(state.absolute(window.result, "results")),
        "name": entry["name"],
        "values": {name: getattr(window, name) for name in state.TUNED} if window.tuned else None,
        **more,
    }


class Shown:
    """What the painter was asked for last."""

    request: dict | None = None


def refresh(context, scene, *, longest_px: int | None = None, show: bool = True):
    """Show the result as the panel says: in the image editor and over its micrograph in the 3D view."""
    window = scene.nanosynth
    pick = tuple(window.pick) if window.pick[0] >= 0 else None
    request = request_of(scene, what="result", shown=window.shown, opacity=window.opacity, pick=pick, longest_px=longest_px)
    Shown.request = request
    name, entry = scene.name, entry_of(scene)

    def then(facts):
        found = bpy.data.scenes.get(name)
        if found is not None:
            if facts["final"]:
                found.nanosynth.facts = json.dumps(facts)
                lay_over(found, entry)

    painter.ask(context, request, then, show)


def reference_of(scene, entry):
    """The loaded micrograph that a result is of, or None."""
    return next((r for r in scene.nanosynth.references if r.image and str(state.absolute(r.path)) == entry["image"]), None)


def show_micrograph(context, scene):
    """The micrograph of the shown result in the upper image editor, where the pictures of epochs may have been."""
    reference = reference_of(scene, entry_of(scene))
    if reference is not None:
        pictures.show(context, reference.image, "reference", reference.size)


def lay_over(scene, entry):
    """The picture of a result over its micrograph in the 3D view."""
    image = bpy.data.images.get(painter.IMAGES["result"][0])
    reference = reference_of(scene, entry)
    if image is not None and reference is not None:
        over = None if scene.nanosynth.shown == "histogram" else image  # which is no picture of the micrograph
        pictures.lay_out(scene, reference, over, entry["nm_per_px"] or 0.0, 1.0)


def facts_of(scene) -> dict:
    """What is known of the picture that is shown: `count`, `median`, `unit`, `particle`."""
    try:
        return json.loads(scene.nanosynth.facts)
    except ValueError:
        return {}


class ShowResult(Action):
    bl_idname = "nanosynth.show_result"
    bl_label = "Show Result"
    bl_description = (
        "Show what was found, as it was segmented, in the image editor and over its micrograph in the 3D view; sets the sliders back"
    )
    bl_options = {"REGISTER", "UNDO"}

    kind: bpy.props.StringProperty(
        name="Show", description="overlay, outlines, instances, mask, probability or histogram; empty: the panel's choice"
    )

    @classmethod
    def poll(cls, context):
        if not entries(state.home(context)):
            cls.poll_message_set("Segment a micrograph first")
            return False
        return True

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        if self.kind and self.kind not in window.bl_rna.properties["shown"].enum_items:
            raise NanosynthError(
                f"There is no picture {self.kind!r}.", f"Use one of {', '.join(window.bl_rna.properties['shown'].enum_items.keys())}."
            )
        with quiet():
            window.shown = self.kind or window.shown
            window.pick = (-1, -1)
            set_back(scene)
        show_micrograph(context, scene)
        refresh(context, scene)


def set_back(scene):
    """Set the sliders to what the result was made with."""
    made, folder = entry_of(scene).get("options", {}), state.place(scene, "result")
    for name in state.TUNED:
        value = made.get(name, default_of(SegmentationOptions, name))
        if name == "threshold" and not value:
            value = settings_of(state.segmentation(folder), folder).threshold
        setattr(scene.nanosynth, name, value)
    scene.nanosynth.tuned = False


class TuneSegmentation(Action):
    bl_idname = "nanosynth.tune_segmentation"
    bl_label = "Find Particles Anew"
    bl_description = "Find the particles anew in the stored probability, with the sliders as they are"
    bl_options = {"REGISTER", "UNDO"}

    longest_px: bpy.props.IntProperty(
        name="Longest side", description="Answer in an image of this size at most; 0: the full size [px]", default=0, min=0
    )

    poll = ShowResult.poll

    def act(self, context):
        scene = state.home(context)
        with quiet():
            scene.nanosynth.tuned = True
        refresh(context, scene, longest_px=self.longest_px or None)
        if bpy.app.background:
            self.report({"INFO"}, f"{facts_of(scene)['count']} particles")


class PickParticle(Action):
    bl_idname = "nanosynth.pick_particle"
    bl_label = "Pick Particle"
    bl_description = "Measure the particle at a pixel of the result and mark it in the picture; a pixel without one marks none"
    bl_options = {"REGISTER", "UNDO"}

    x: bpy.props.IntProperty(name="Column", description="From the left [px]", default=-1, min=-1)
    y: bpy.props.IntProperty(name="Row", description="From the top [px]", default=-1, min=-1)

    poll = ShowResult.poll

    def act(self, context):
        scene = state.home(context)
        with quiet():
            scene.nanosynth.pick = (self.x, self.y)
        refresh(context, scene)
        if bpy.app.background:
            particle = facts_of(scene)["particle"]
            self.report({"INFO"}, f"Particle {particle['label']}" if particle else "There is no particle")


class ClickParticles(Action):
    bl_idname = "nanosynth.click_particles"
    bl_label = "Click Particles"
    bl_description = "Click particles in the image editor to see their measures; Esc or the right button ends it"

    @classmethod
    def poll(cls, context):
        if bpy.app.background:
            cls.poll_message_set("There is no window")
            return False
        return ShowResult.poll.__func__(cls, context)

    def invoke(self, context, event):
        if Clicking.now:  # the button again: no more
            Clicking.now = False
            return {"FINISHED"}
        try:
            refresh(context, state.home(context))
        except NanosynthError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        Clicking.now = True
        context.window_manager.modal_handler_add(self)
        self.hint = Hint(context, "Click a particle in the image editor. Esc or the right button ends it.")
        jobs.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if not Clicking.now or event.type in {"ESC", "RIGHTMOUSE"}:
            self.cancel(context)
            return {"FINISHED"}
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            place = pixel_under(context, event)
            if place is not None:
                try:
                    bpy.ops.nanosynth.pick_particle("EXEC_DEFAULT", True, x=place[0], y=place[1])
                except RuntimeError as error:  # what it reports, it reports to its caller
                    self.report({"ERROR"}, str(error).strip().removeprefix("Error: "))
                return {"RUNNING_MODAL"}
        return {"PASS_THROUGH"}

    def cancel(self, context):
        """It has ended, or Blender ends it because another file is opened."""
        Clicking.now = False
        self.hint.clear(context)
        jobs.redraw()


class Clicking:
    """Whether clicks in the image editor pick particles."""

    now = False


def pixel_under(context, event):
    """The pixel (column, row from the top) of the shown result under the mouse, or None."""
    for area in pictures.editors(context):
        if painter.painted_in(area) != "result" or state.home(context).nanosynth.shown == "histogram":
            continue
        image = bpy.data.images[painter.IMAGES["result"][0]]
        region = next(region for region in area.regions if region.type == "WINDOW")
        x, y = event.mouse_x - region.x, event.mouse_y - region.y
        for other in area.regions:  # the sidebar and headers lie over it
            inside = other.x <= event.mouse_x < other.x + other.width and other.y <= event.mouse_y < other.y + other.height
            if other.type != "WINDOW" and inside and other.width > 1 and other.height > 1:
                return None
        across, up = region.view2d.region_to_view(x, y)
        if 0 <= x < region.width and 0 <= y < region.height and 0 <= across < 1 and 0 <= up < 1:
            return int(across * image.size[0]), int((1 - up) * image.size[1])
    return None


class ExportResults(Action):
    bl_idname = "nanosynth.export_results"
    bl_label = "Export"
    bl_description = "Write the particles as table, mask, label image, picture and size histogram, as they are found now"

    directory: bpy.props.StringProperty(name="Folder", description="Where the files go", subtype="DIR_PATH", options=RELATIVE)
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    poll = ShowResult.poll

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        request, name = request_of(scene, what="export", directory=str(state.absolute(self.directory, "export"))), scene.name

        def then(facts):
            found = bpy.data.scenes.get(name)
            if found is not None:
                found.nanosynth.exported = facts["text"]

        painter.ask(context, request, then)
        if bpy.app.background:
            self.report({"INFO"}, scene.nanosynth.exported)


@contextmanager
def quiet():
    """For the block, a change of a property shows nothing: the operator that makes it does."""
    before, Quiet.now = Quiet.now, True
    try:
        yield
    finally:
        Quiet.now = before


class Quiet:
    now = False


def changed(scene, tuned: bool = False, another: bool = False):
    """A slider was moved, or another picture or image chosen."""
    if bpy.app.background or Quiet.now or not entries(scene):
        return
    try:
        with quiet():
            scene.nanosynth.tuned = scene.nanosynth.tuned or tuned
            if not scene.nanosynth.tuned:  # another image may have been made with other values
                set_back(scene)
            if another:
                scene.nanosynth.pick = (-1, -1)
                show_micrograph(bpy.context, scene)
        refresh(bpy.context, scene)
    except NanosynthError as error:
        painter.Studio.errors["result"] = str(error)


@bpy.app.handlers.persistent
def _undone(*_):
    """Undo has set the sliders back: the picture follows."""
    scene = state.home(bpy.context)
    if bpy.app.background or Shown.request is None or not entries(scene):
        return
    try:
        refresh(bpy.context, scene, show=False)
    except NanosynthError:  # the result is gone; its panel says so
        pass


@bpy.app.handlers.persistent
def _another_file(*_):
    Shown.request, Clicking.now = None, False


def stop():
    """For unregistering."""
    _another_file()


HANDLERS = (("undo_post", _undone), ("redo_post", _undone), ("load_post", _another_file))
OPERATORS = (SegmentImages, UseModel, ShowResult, TuneSegmentation, PickParticle, ClickParticles, ExportResults)
