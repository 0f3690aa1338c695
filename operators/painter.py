"""The painter: pictures of trainings and results are made in a process beside Blender, so that the window never waits.

The process belongs to the session, like the preview's. It is told what is
wanted; of several requests of a kind it meets the newest. Pictures come back
as files that are packed into their image, so that they stay in the .blend; a
coarse one, which another follows, is shown in the image's place in the editor.
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


class Studio:
    """The painter's process, what it was asked and what it has answered."""

    child: Child | None = None
    desk: Path | None = None
    number = painted = 0
    asked: dict[str, int] = {}
    then: dict = {}
    left: dict[int, tuple[float, float]] = {}
    """An image editor's address -> how far from its middle the image lay there that a coarse picture has taken the place of."""
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
        message.update(kind="fetched", data=data, drawn=np.load(plot) if plot else None)
    except OSError as error:  # the desk is cleared when the process ends; then nobody reads this
        message = {"kind": "error", "number": message["number"], "message": f"{picture or plot}: {error.strerror}.", "remedy": ""}
    inbox.put((None, message))
    for path in (picture, plot):
        if path is not None:
            path.unlink(missing_ok=True)


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
            if not message["facts"]["final"] and _fits(what, message["size"]):
                _show_coarse(what, message["data"], message["size"])
                _plot(what, message["drawn"])
            else:
                _take(bpy.context, what, message["data"], message["size"], message["facts"], message["drawn"], then, show)
        except NanosynthError as error:
            Studio.errors[what] = str(error)
        Studio.then[what] = (then, False)
        jobs.redraw()
        return True
    if kind == "error" and what is not None:
        if what in IMAGES:
            _put_back(what)
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


def _coarse(what) -> str:
    """Name of the image with a coarse picture."""
    return f"{IMAGES[what][0]}, coarse"


def _fits(what, size) -> bool:
    """Whether a picture of this size can take the place of its image: of the same proportions, and seen in an editor.

    Another coarse picture that has its place already is of the same size.
    """
    image, coarse = bpy.data.images.get(IMAGES[what][0]), bpy.data.images.get(_coarse(what))
    if image is None or not (pictures.showing(coarse) if coarse else pictures.showing(image)) or not all(image.size):
        return False
    (width, height), (across, up) = size, image.size
    return abs(width * up - height * across) <= 0.01 * width * up and (coarse is None or tuple(coarse.size) == tuple(size))


def _show_coarse(what, data, size):
    """Show a coarse picture where its image is seen in an image editor; the 3D view and the .blend keep the image."""
    image, coarse = bpy.data.images[IMAGES[what][0]], pictures.packed(_coarse(what), data)
    for window, area in pictures.showing(image):
        Studio.left[area.as_pointer()] = pictures.exchange(window, area, coarse, size)


def _put_back(what, size=None):
    """Show the image itself where its coarse picture is seen; `size` is that of a new picture in it."""
    image, coarse = bpy.data.images.get(IMAGES[what][0]), bpy.data.images.get(_coarse(what))
    if coarse is None:
        return
    if image is not None:
        for window, area in pictures.showing(coarse):
            pictures.exchange(window, area, image, size or image.size, Studio.left.get(area.as_pointer(), (0.0, 0.0)))
        coarse.user_remap(image)  # in editors that are out of sight
    bpy.data.images.remove(coarse)
    Studio.left = {}


def _plot(what, plot):
    if plot is not None:
        Studio.painted += 1
        Studio.plots[what] = (Studio.painted, plot)


def _take(context, what, data, size, facts, plot, then, show):
    if data is not None:
        name, place = IMAGES[what]
        image = pictures.packed(name, data)
        _put_back(what, size)
        if show or any(area.spaces.active.image == image for area in pictures.editors(context)):
            pictures.show(context, image, place, size)
    _plot(what, plot)
    if then:
        then(facts)


def painted_in(area) -> str | None:
    """What of `IMAGES` an image editor shows, be it a coarse picture."""
    image = area.spaces.active.image
    return next((what for what in IMAGES if image is not None and image.name in (IMAGES[what][0], _coarse(what))), None)


def shown(context, what: str) -> bool:
    """Whether an image editor shows what is painted."""
    return any(painted_in(area) == what for area in pictures.editors(context))


def end(wait: bool = False):
    """End the process; the next request starts another."""
    child, desk, Studio.child, Studio.desk = Studio.child, Studio.desk, None, None
    Studio.asked, Studio.then = {}, {}
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
    _leave()


def stop():
    """For unregistering."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    end(wait=True)
    Studio.plots, Studio.errors, Studio.in_place = {}, {}, None


@bpy.app.handlers.persistent
def _leave(*_):
    """No coarse picture is saved, nor left by undo, from the state to which it goes back or from that which it leaves."""
    for what in IMAGES:
        _put_back(what)


@bpy.app.handlers.persistent
def _another_file(*_):
    """What was asked for another file is not shown in this one, which may be one that Blender has saved on its own, coarse picture and all."""
    Studio.asked, Studio.then, Studio.plots, Studio.errors = {}, {}, {}, {}
    for what, (name, place) in IMAGES.items():
        if _coarse(what) in bpy.data.images:
            _put_back(what)
            if name in bpy.data.images:
                pictures.show(bpy.context, bpy.data.images[name], place)


HANDLERS = (
    ("load_pre", _leave),
    ("load_post", _another_file),
    ("save_pre", _leave),
    *((f"{kind}_{when}", _leave) for kind in ("undo", "redo") for when in ("pre", "post")),
)
