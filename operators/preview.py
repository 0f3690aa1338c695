"""The live preview: a process that stays alive renders one scene of the recipe anew whenever a value changes.

The process belongs to the session, not to a file: it outlives the loading of
another one, and ends with Blender, however Blender ends. A timer compares what
the panels say with what was ordered last, so every way of changing a value
counts: a slider, an undo, the lamp in the 3D view, a script.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..fields import to_dict
from ..jobs.process import Child, host_command
from . import jobs, pictures, state, templates
from .base import Action

IMAGE = "Nanosynth preview"
TICK_S = 0.05


FOLLOWERS = []
"""Functions of the scene that are called whenever there is a new picture."""


class Live:
    """The preview's process, what it was told and what it has answered."""

    on = False
    child: Child | None = None
    desk: Path | None = None
    order: dict | None = None
    number = 0
    picture: dict | None = None
    pixels: np.ndarray | None = None
    error = ""

    @classmethod
    def finished(cls) -> bool:
        """Whether the newest order has been met in full, or cannot be."""
        if cls.error or not cls.on:
            return True
        return cls.picture is not None and cls.picture["number"] == cls.number and cls.picture["samples"] == cls.picture["of"]


def order_of(scene) -> dict:
    """What the preview of a scene shows now.

    Raises
    ------
    NanosynthError
        If the recipe is not valid.
    """
    window, tuning = scene.nanosynth, scene.nanosynth_tuning
    return {
        "recipe": to_dict(state.recipe_of(scene)),
        "index": window.scene_index,
        "side": window.preview_px,
        "light": tuning.light() if tuning.own_light else None,
        "device": window.device,
        "stamps": [_stamp(template) for template in scene.nanosynth_recipe.templates if template.mesh],
    }


def _stamp(template) -> int:
    """Tells whether a template's mesh was written anew."""
    try:
        return state.absolute(template.mesh).stat().st_mtime_ns
    except OSError:
        return 0


def scene_in_view() -> bpy.types.Scene:
    """The scene with the recipe that the window shows; a timer has no context of its own."""
    windows = bpy.context.window_manager.windows
    scene = windows[0].scene if windows else bpy.context.scene
    return scene.nanosynth_home or scene


def start():
    """Switch the preview on; it answers to changes from then on."""
    Live.on, Live.error, Live.order = True, "", None
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def _hire():
    Live.desk = Path(tempfile.mkdtemp(prefix="nanosynth-preview-"))
    try:
        Live.child = Child(host_command("previewer", "--out", Live.desk, "--json"), log=Live.desk / "log.txt", handshake_s=300.0)
    except NanosynthError:
        shutil.rmtree(Live.desk, ignore_errors=True)
        raise


def end(wait: bool = False):
    """Switch the preview off and end its process."""
    Live.on, Live.order = False, None
    child, desk, Live.child, Live.desk = Live.child, Live.desk, None, None
    if child is None:
        return

    def bury():
        child.end()
        shutil.rmtree(desk, ignore_errors=True)

    child.untether()
    if wait:
        bury()
    else:
        threading.Thread(target=bury, name="end of the preview", daemon=True).start()


def _tick():
    """The timer: take in what has come, order what has changed."""
    if not Live.on:
        return None
    step(scene_in_view())
    return TICK_S if Live.on else None


def step(scene):
    """One look at the answers and at the panels."""
    changed = _hear()
    if not Live.on:  # the process has died
        jobs.redraw()
        return
    try:
        order = order_of(scene)
        if order != Live.order:
            if Live.child is None:
                _hire()
            Live.order, Live.error = order, ""
            Live.number += 1
            Live.child.send(number=Live.number, **order)
            changed = True
    except NanosynthError as error:
        changed |= Live.error != str(error)
        Live.error = str(error)
    if changed:
        jobs.redraw()


def _hear() -> bool:
    """Take in the answers; True if there were any."""
    newest, heard = None, False
    while Live.child is not None:
        try:
            _, message = Live.child.inbox.get_nowait()
        except queue.Empty:
            break
        heard = True
        if message is None:
            _bury()
        elif message["kind"] == "artifact":
            if newest:
                Path(newest["path"]).unlink(missing_ok=True)
            newest = message
        elif message["kind"] == "error":
            if message.get("number", Live.number) == Live.number:
                Live.error = f"{message['message']} {message['remedy']}".rstrip()
        elif message["kind"] == "done":  # it has become too large: the next order gets a new one
            end()
            Live.on = True
    if newest:
        path = Path(newest["path"])
        pixels = np.load(path)
        path.unlink(missing_ok=True)
        first = Live.picture is None
        Live.picture, Live.pixels = newest, pixels
        show(first)
        for follow in FOLLOWERS:
            follow(scene_in_view())
    return heard


def _bury():
    """The process has ended on its own."""
    Live.error = str(Live.child.failure("The preview"))
    end()


def show(in_editor: bool = False):
    """Put the newest picture into the image 'Nanosynth preview'."""
    image = pictures.show_array(IMAGE, Live.pixels)
    image["nm_per_px"] = Live.picture["nm_per_pixel"]
    if in_editor or any(area.spaces.active.image == image for area in pictures.editors(bpy.context)):
        pictures.show(bpy.context, image, "result", Live.pixels.shape[1::-1])
    scene = scene_in_view()
    if not scene.nanosynth_tuning.own_light and Live.picture["number"] == Live.number:
        scene.nanosynth_tuning.take(Live.picture["light"])


def status() -> str:
    """What the preview does, in a few words."""
    picture = Live.picture
    if Live.child is not None and (picture is None or picture["number"] != Live.number):
        return "Rendering…" if picture else "Starting…"
    if picture is None:
        return ""
    return f"{picture['particles']} particles, {picture['samples'] or 1} of {picture['of']} samples"


def stop():
    """For unregistering."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    end(wait=True)
    Live.picture = Live.pixels = None
    Live.error = ""


class StartPreview(Action):
    bl_idname = "nanosynth.start_preview"
    bl_label = "Live Preview"
    bl_description = "Render the drawn scene, with noise and all, beside the reference, and anew whenever a value changes"

    wait = True

    def invoke(self, context, event):
        self.wait = bpy.app.background
        return self.execute(context)

    def act(self, context):
        scene = state.home(context)
        templates.freshen(scene)
        order_of(scene)  # says now what is wrong
        start()
        Live.picture = None
        if self.wait:
            step(scene)
            while not Live.finished():
                time.sleep(0.02)
                _hear()
            if Live.error:
                raise NanosynthError(Live.error)


class StopPreview(Action):
    bl_idname = "nanosynth.stop_preview"
    bl_label = "Stop Preview"
    bl_description = "End the live preview; its last picture stays"

    @classmethod
    def poll(cls, context):
        if not Live.on:
            cls.poll_message_set("The live preview is off")
            return False
        return True

    def act(self, context):
        end()
        jobs.redraw()


class ShowPreview(Action):
    bl_idname = "nanosynth.show_preview"
    bl_label = "Show Preview"
    bl_description = "Show the preview in the image editor"

    @classmethod
    def poll(cls, context):
        if IMAGE not in bpy.data.images:
            cls.poll_message_set("There is no preview yet")
            return False
        return True

    def act(self, context):
        pictures.show(context, bpy.data.images[IMAGE], "result")


@bpy.app.handlers.persistent
def _loaded(*_):
    """Another file: what it says is ordered, and shown in an image of its own."""
    Live.order = Live.picture = None


@bpy.app.handlers.persistent
def _undone(*_):
    """Undo may bring back an older state of the image: show the newest."""
    if Live.on and Live.pixels is not None and Live.picture is not None:
        show()


HANDLERS = (("load_post", _loaded), ("undo_post", _undone), ("redo_post", _undone))
OPERATORS = (StartPreview, StopPreview, ShowPreview)
