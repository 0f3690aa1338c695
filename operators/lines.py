"""Lines that the user draws over images: along a scale bar, along an intensity profile.

A line is kept as shares of the image's sides, (x, y) of its start and its end
from the upper left corner, so that it stays where it is when the preview is
made in another size.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..errors import NanosynthError
from ..learn.profiles import checked_length
from . import jobs, pictures, preview, state
from .base import Action, Hint

TARGETS = {"scale": (1.0, 0.85, 0.1, 1.0), "reference": (0.95, 0.5, 0.15, 1.0), "preview": (0.2, 0.6, 1.0, 1.0)}
"""What lines are for, and the colour of each."""
NEAR_PX = 4
"""A mouse that has moved less between press and release has clicked: the line's end is the next click."""
TICK_PX = 7
"""Half the length of the strokes at a line's ends."""
_handles = []


def _line(what):
    return bpy.props.FloatVectorProperty(
        name=f"Line {what}",
        description="Start x, y and end x, y as shares of the image's width and height from its upper left corner",
        size=4,
    )


class Lines(bpy.types.PropertyGroup):
    """The lines of the project; one of length 0 is not shown."""

    bl_idname = "NANOSYNTH_PG_lines"
    scale: _line("over the scale bar")
    reference: _line("over the reference")
    preview: _line("over the preview")
    scale_image: bpy.props.StringProperty(name="Image", description="The image that the line over the scale bar belongs to")
    reference_image: bpy.props.StringProperty(name="Image", description="The image that the line over the reference belongs to")
    preview_image: bpy.props.StringProperty(name="Image", description="The image that the line over the preview belongs to")
    width: bpy.props.FloatProperty(
        name="Width", description="Intensities are averaged across a band of this width [px]", default=3.0, min=1.0, max=200.0
    )


def chosen_reference(scene):
    """The reference that is looked at, or None."""
    window = scene.nanosynth
    return window.references[window.reference_index] if 0 <= window.reference_index < len(window.references) else None


def image_of(scene, target: str) -> bpy.types.Image | None:
    """The image that a line lies over."""
    if target == "preview":
        return bpy.data.images.get(preview.IMAGE)
    reference = chosen_reference(scene)
    return reference.image if reference else None


def in_pixels(line, image) -> tuple[tuple[float, float], tuple[float, float]]:
    """Start and end of a line in px of an image."""
    width, height = image.size
    return (line[0] * width, line[1] * height), (line[2] * width, line[3] * height)


def put(scene, target: str, start, end):
    """Draw a line over the image that it is for, between two places in px.

    Raises
    ------
    NanosynthError
        If there is no image, or the line is none.
    """
    image = image_of(scene, target)
    if image is None:
        remedy = "Start the preview first." if target == "preview" else "Load a micrograph first."
        raise NanosynthError("There is no image to draw a line over.", remedy)
    width, height = image.size
    checked_length(start, end, width, height)
    setattr(scene.nanosynth_lines, target, (start[0] / width, start[1] / height, end[0] / width, end[1] / height))
    setattr(scene.nanosynth_lines, f"{target}_image", image.name)


def drawn(scene, target: str) -> bool:
    """Whether there is a line over the image that is looked at now."""
    image, own = image_of(scene, target), scene.nanosynth_lines
    return image is not None and any(getattr(own, target)) and getattr(own, f"{target}_image") == image.name


def _paint():
    """Draw the lines over the image editor that Blender draws now."""
    context = bpy.context
    image = context.space_data.image
    if image is None:
        return
    import gpu
    from gpu_extras.batch import batch_for_shader

    scene = state.home(context)
    for target, colour in TARGETS.items():
        if image_of(scene, target) != image:
            continue
        line = DrawLine.at_work.get(target) or (drawn(scene, target) and getattr(scene.nanosynth_lines, target))
        if not line:
            continue
        start, end = (np.array(context.region.view2d.view_to_region(line[i], 1 - line[i + 1], clip=False)) for i in (0, 2))
        along = (end - start) / (np.hypot(*(end - start)) or 1.0)
        across = np.array([-along[1], along[0]])
        strokes = [(start, end), *((at - TICK_PX * across, at + TICK_PX * across) for at in (start, end))]
        # Filled, by a shader that Blender draws itself with: that of its wide lines would be compiled at the first of them.
        shader = gpu.shader.from_builtin("UNIFORM_COLOR")
        gpu.state.blend_set("ALPHA")
        shader.bind()
        for width, shade in ((6.0, (0.0, 0.0, 0.0, 0.25)), (4.5, (0.0, 0.0, 0.0, 0.5)), (2.8, (*colour[:3], 0.5)), (2.0, colour)):
            shader.uniform_float("color", shade)
            batch_for_shader(shader, "TRIS", {"pos": np.concatenate([_filled(*stroke, width) for stroke in strokes])}).draw(shader)
        gpu.state.blend_set("NONE")


def _filled(start, end, width) -> np.ndarray:
    """The two triangles of a wide line, (6, 2) float32."""
    along = (end - start) / (np.hypot(*(end - start)) or 1.0) * width / 2
    side = np.array([-along[1], along[0]])
    a, b, c, d = start - side, start + side, end + side, end - side
    return np.array([a, b, c, a, c, d], np.float32)


class DrawLine(Action):
    bl_idname = "nanosynth.draw_line"
    bl_label = "Draw Line"
    bl_description = "Draw a line over an image: press at its start and release at its end, or click both. Esc ends it"
    bl_options = {"REGISTER", "UNDO"}

    at_work: dict = {}
    """The line of each target that is being drawn."""

    target: bpy.props.EnumProperty(
        name="For",
        description="What the line is for",
        items=[
            ("scale", "Scale", "Along the scale bar of the reference"),
            ("reference", "Reference", "Intensity profile of the reference"),
            ("preview", "Preview", "Intensity profile of the preview"),
        ],
    )
    start: bpy.props.FloatVectorProperty(
        name="Start", description="x, y from the upper left corner of the image [px]", size=2, options={"SKIP_SAVE"}
    )
    end: bpy.props.FloatVectorProperty(
        name="End", description="x, y from the upper left corner of the image [px]", size=2, options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context):
        scene = state.home(context)
        if chosen_reference(scene) is None and preview.IMAGE not in bpy.data.images:
            cls.poll_message_set("Load a micrograph, or start the preview, first")
            return False
        return True

    def act(self, context):
        put(state.home(context), self.target, self.start, self.end)
        jobs.redraw()

    def invoke(self, context, event):
        if bpy.app.background:
            return self.execute(context)
        scene = state.home(context)
        image = image_of(scene, self.target)
        if image is None:
            self.report({"ERROR"}, "There is no image to draw over. Load a micrograph, or start the preview, first.")
            return {"CANCELLED"}
        place = "result" if self.target == "preview" else "reference"
        pictures.show(context, image, place)
        areas = pictures.editors(context)
        if not areas:
            self.report({"ERROR"}, "There is no image editor. Open the Nanosynth workspace first.")
            return {"CANCELLED"}
        self.area = areas[0 if place == "reference" else -1]
        self.region = next(region for region in self.area.regions if region.type == "WINDOW")
        self.image, self.first, self.pressed = image, None, None
        context.window.cursor_modal_set("CROSSHAIR")
        self.hint = Hint(context, "Draw from one end of the line to the other in the image editor, Esc: leave it")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self.cancel(context)
            return {"CANCELLED"}
        inside = 0 <= event.mouse_x - self.region.x < self.region.width and 0 <= event.mouse_y - self.region.y < self.region.height
        if event.type == "MOUSEMOVE" and self.first:
            self.at_work[self.target] = [*self.first, *self.place(event)]
            self.area.tag_redraw()
            return {"RUNNING_MODAL"}
        if event.type == "LEFTMOUSE":
            if event.value == "PRESS" and not inside and not self.first:
                return {"RUNNING_MODAL"}
            if event.value == "PRESS" and not self.first:
                self.first, self.pressed = self.place(event), (event.mouse_x, event.mouse_y)
                return {"RUNNING_MODAL"}
            moved = self.pressed and np.hypot(event.mouse_x - self.pressed[0], event.mouse_y - self.pressed[1]) > NEAR_PX
            if self.first and moved:
                return self.finish(context, [*self.first, *self.place(event)])
            return {"RUNNING_MODAL"}
        return {"PASS_THROUGH"} if inside and event.type in {"WHEELUPMOUSE", "WHEELDOWNMOUSE", "MIDDLEMOUSE"} else {"RUNNING_MODAL"}

    def place(self, event) -> tuple[float, float]:
        """The mouse as shares of the image, kept inside it."""
        x, y = self.region.view2d.region_to_view(event.mouse_x - self.region.x, event.mouse_y - self.region.y)
        return min(max(x, 0.0), 1.0), min(max(1 - y, 0.0), 1.0)

    def cancel(self, context):
        """It has ended, or Blender ends it because another file is opened."""
        self.at_work.pop(self.target, None)
        context.window.cursor_modal_restore()
        self.hint.clear(context)
        jobs.redraw()

    def finish(self, context, line):
        self.cancel(context)
        self.start, self.end = in_pixels(line, self.image)
        answer = self.execute(context)
        if self.target == "scale" and answer == {"FINISHED"}:
            bpy.ops.nanosynth.set_scale("INVOKE_DEFAULT")
        return answer


def begin():
    if not bpy.app.background:
        import gpu_extras.batch  # noqa: F401  now, not while Blender draws

        _handles.append(bpy.types.SpaceImageEditor.draw_handler_add(_paint, (), "WINDOW", "POST_PIXEL"))


def stop():
    while _handles:
        bpy.types.SpaceImageEditor.draw_handler_remove(_handles.pop(), "WINDOW")
    DrawLine.at_work.clear()


POINTERS = (("nanosynth_lines", Lines),)
OPERATORS = (Lines, DrawLine)
