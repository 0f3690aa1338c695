"""The painter: pictures of trainings and results are made in a process beside Blender, so that the window never waits.

The process belongs to the session, like the preview's. It is told what is
wanted; of several requests of a kind it meets the newest. Pictures come back
as files that are packed into their image, so that they stay in the .blend; a
coarse one, which another follows, is only drawn over its image in the editor.
Without a window the same is done in place.
"""

from __future__ import annotations

import io
import queue
import shutil
import tempfile
import threading
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..jobs.process import Child, plain_command, plain_variables
from . import jobs, pictures

IMAGES = {
    "result": ("Nanosynth result", "result"),
    "epoch": ("Nanosynth epoch", "result"),
    "training": ("Nanosynth training", "result"),
    "gallery": ("Nanosynth epochs", "reference"),
}
"""What is painted -> its image, and the image editor that shows it."""
TICK_S = 0.03
SHADES = np.arange(256, dtype=np.float32) / 255
"""Of 8-bit values, what has to be drawn for them."""
if bpy.app.version < (5, 0, 0):  # which encodes what is drawn over an image as sRGB; later ones leave it as it is
    SHADES = np.where(SHADES <= 0.04045, SHADES / 12.92, ((SHADES + 0.055) / 1.055) ** 2.4).astype(np.float32)


class Studio:
    """The painter's process, what it was asked and what it has answered."""

    child: Child | None = None
    desk: Path | None = None
    number = painted = 0
    asked: dict[str, int] = {}
    then: dict = {}
    coarse: dict = {}
    """What is painted -> what lies over its image until the full picture is there: (h, w, 4) float32, row 0 at the bottom;
    once it was drawn, its texture."""
    plots: dict = {}
    errors: dict[str, str] = {}
    in_place = None

    @classmethod
    def busy(cls, what: str) -> bool:
        return what in cls.asked


def ask(context, request: dict, then=None, show: bool = True):
    """Have a picture painted and shown.

    Parameters
    ----------
    request : dict
        See `learn.painting.Painter.answer`.
    then : callable, optional
        Called in the main thread with the facts of each answer.
    show : bool
        Whether the picture's image editor is to show it now; otherwise only if it does already.

    Raises
    ------
    NanosynthError
        Without a window: if the request cannot be met.
    """
    what = request["what"]
    Studio.errors.pop(what, None)
    if bpy.app.background:
        from ..learn.painting import Painter, write_picture

        Studio.in_place = Studio.in_place or Painter()
        *_, last = Studio.in_place.answer(request)
        file = io.BytesIO()
        if last.picture is not None:
            write_picture(file, last.picture)
        _take(context, what, file.getvalue() or None, last.size, last.facts, last.plot, then, show)
        return
    if Studio.child is None:
        _hire()
    show |= what in Studio.asked and Studio.then[what][1]  # as a request was meant to that this one takes the place of
    Studio.number += 1
    Studio.asked[what] = Studio.number
    Studio.then[what] = (then, show)
    room = pictures.room(context, IMAGES[what][1]) if what in IMAGES else None
    Studio.child.send(number=Studio.number, **request, **({"room": room} if room else {}))
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK_S, persistent=True)


def _hire():
    Studio.desk = Path(tempfile.mkdtemp(prefix="nanosynth-painter-"))
    try:
        command = plain_command("painter", "--out", Studio.desk, "--json")
        Studio.child = Child(command, log=Studio.desk / "log.txt", handshake_s=120.0, variables=plain_variables())
    except NanosynthError:
        shutil.rmtree(Studio.desk, ignore_errors=True)
        raise


def _tick():
    """The timer: show one answer; another comes with the next tick, so that no tick takes long."""
    message = None
    while message is None and Studio.child is not None:
        try:
            _, message = Studio.child.inbox.get_nowait()
        except queue.Empty:
            break
        if message is None:
            _bury()
        else:
            message = message if _hear(message) else None
    return TICK_S if Studio.asked else None


def _fetch(message, inbox):
    """Read an answer's files, in a thread of its own, and put them among the messages."""
    picture, plot = (Path(path) if path else None for path in (message["path"], message["plot"]))
    try:
        data = picture.read_bytes() if picture else None
        coarse = None if data is None or message["facts"]["final"] else _texels(data)
        message.update(kind="fetched", data=data, coarse=coarse, drawn=np.load(plot) if plot else None)
    except OSError as error:  # the desk is cleared when the process ends; then nobody reads this
        message = {"kind": "error", "number": message["number"], "message": f"{picture or plot}: {error.strerror}.", "remedy": ""}
    inbox.put((None, message))
    for path in (picture, plot):
        if path is not None:
            path.unlink(missing_ok=True)


def _texels(data: bytes) -> np.ndarray:
    """A picture's file as what `gpu` makes a texture of."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as file:
        return SHADES[np.ascontiguousarray(np.asarray(file.convert("RGBA"))[::-1])]  # in one piece, as a texture is made of it


def _hear(message) -> bool:
    """Take in a message; True if a picture was shown."""
    kind, number = message["kind"], message.get("number")
    what = next((what for what, asked in Studio.asked.items() if asked == number), None)
    if kind == "artifact":
        threading.Thread(target=_fetch, args=(message, Studio.child.inbox), daemon=True).start()
    if kind == "fetched" and what is not None:
        then, show = Studio.then[what]
        if message["facts"]["final"]:
            del Studio.asked[what]
        try:
            if message["coarse"] is not None and _fits(what, message["coarse"]):
                Studio.coarse[what] = message["coarse"]
                _plot(what, message["drawn"])
            else:
                _take(bpy.context, what, message["data"], message["size"], message["facts"], message["drawn"], then, show)
        except NanosynthError as error:
            Studio.errors[what] = str(error)
        Studio.then[what] = (then, False)
        jobs.redraw()
        return True
    if kind == "error" and what is not None:
        Studio.coarse.pop(what, None)
        Studio.errors[what] = f"{message['message']} {message['remedy']}".rstrip()
        del Studio.asked[what]
        jobs.redraw()
    return False


def _bury():
    """The process has ended on its own."""
    error = str(Studio.child.failure("The painter"))
    Studio.errors.update(dict.fromkeys(Studio.asked, error))
    end()
    jobs.redraw()


def _fits(what, coarse) -> bool:
    """Whether a coarse picture has the proportions of the image that it is to lie over, and an editor shows that."""
    image = bpy.data.images.get(IMAGES[what][0])
    if image is None or not shown(bpy.context, image.name):
        return False
    (height, width), (across, up) = coarse.shape[:2], image.size
    return abs(width * up - height * across) <= 0.01 * width * up


def _paint():
    """Draw the coarse picture over its image in the editor that Blender draws now."""
    image, region = bpy.context.space_data.image, bpy.context.region
    what = next((what for what in Studio.coarse if image is not None and image.name == IMAGES[what][0]), None)
    if what is None:
        return
    import gpu
    from gpu_extras.presets import draw_texture_2d

    coarse = Studio.coarse[what]
    if isinstance(coarse, np.ndarray):
        data = gpu.types.Buffer("FLOAT", coarse.size, coarse.ravel())
        coarse = Studio.coarse[what] = gpu.types.GPUTexture(coarse.shape[1::-1], format="RGBA16F", data=data)
    (x0, y0), (x1, y1) = (region.view2d.view_to_region(corner, corner, clip=False) for corner in (0, 1))
    draw_texture_2d(coarse, (x0, y0), x1 - x0, y1 - y0)


def _plot(what, plot):
    if plot is not None:
        Studio.painted += 1
        Studio.plots[what] = (Studio.painted, plot)


def _take(context, what, data, size, facts, plot, then, show):
    if data is not None:
        Studio.coarse.pop(what, None)
        name, place = IMAGES[what]
        image = pictures.packed(name, data)
        if show or any(area.spaces.active.image == image for area in pictures.editors(context)):
            pictures.show(context, image, place, size)
    _plot(what, plot)
    if then:
        then(facts)


def shown(context, name: str) -> bool:
    """Whether an image editor shows the image of this name."""
    return any(area.spaces.active.image is not None and area.spaces.active.image.name == name for area in pictures.editors(context))


def end(wait: bool = False):
    """End the process; the next request starts another."""
    child, desk, Studio.child, Studio.desk = Studio.child, Studio.desk, None, None
    Studio.asked, Studio.then, Studio.coarse = {}, {}, {}
    if child is None:
        return

    def bury():
        child.end()
        shutil.rmtree(desk, ignore_errors=True)

    child.untether()
    if wait:
        bury()
    else:
        threading.Thread(target=bury, name="end of the painter", daemon=True).start()


_handles = []


def begin():
    """For registering."""
    if not bpy.app.background:
        _handles.append(bpy.types.SpaceImageEditor.draw_handler_add(_paint, (), "WINDOW", "POST_PIXEL"))


def stop():
    """For unregistering."""
    while _handles:
        bpy.types.SpaceImageEditor.draw_handler_remove(_handles.pop(), "WINDOW")
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    end(wait=True)
    Studio.plots, Studio.errors, Studio.in_place = {}, {}, None


@bpy.app.handlers.persistent
def _another_file(*_):
    """What was asked for another file is not shown in this one."""
    Studio.asked, Studio.then, Studio.coarse, Studio.plots, Studio.errors = {}, {}, {}, {}, {}


HANDLERS = (("load_pre", _another_file),)
