"""What all operators have in common: they act, and report what a user can mend."""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import Future, wait
from pathlib import Path

import bpy

from ..errors import NanosynthError

RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Option of a path property that may begin with `//`."""
TICK_S = 0.01
MOMENT_S = 0.01
"""How long a window is kept waiting by steps that are made in one go, if the last of them does not take longer."""


class Action(bpy.types.Operator):
    """An operator whose `act` may raise `NanosynthError`; what it returns, or FINISHED, is the operator's answer."""

    def execute(self, context):
        return self.attempt(self.act, context)

    def attempt(self, act, context):
        """Act, and report what goes wrong."""
        try:
            return act(context) or {"FINISHED"}
        except Exception as error:  # a fault of ours too is told in a line, with its place
            self.report({"ERROR"}, told(error))
            return {"CANCELLED"}


PACKAGE = Path(__file__).parents[1]


def told(error: Exception) -> str:
    """What is said of an error, in a line; of one that nobody has foreseen, its kind and place for whoever mends it."""
    if isinstance(error, NanosynthError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:  # the disk, the network
        return f"{error.filename}: {error.strerror}."
    traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if PACKAGE in Path(frame.filename).parents), frames[-1])
    what = " ".join(f"{type(error).__name__} {error}".split())
    return f"An unforeseen error: {what} ({Path(place.filename).name}, line {place.lineno}). Please report it."


def browse(operator, context) -> set[str]:
    """Open the file browser for a file that `operator` reads: in the project's folder, without the project's own name in its field."""
    if bpy.data.filepath:
        operator.filepath = bpy.path.abspath("//")
    context.window_manager.fileselect_add(operator)
    return {"RUNNING_MODAL"}


def warned_of_existing():
    """The property `check_existing`, by which Blender's file browser warns of a file that exists already."""
    return bpy.props.BoolProperty(name="Check Existing", description="Warn of a file that exists already", default=True, options={"HIDDEN"})


class Hint:
    """A text in the status bar of the workspace that is looked at now, until it is cleared, whichever is looked at then."""

    def __init__(self, context, text: str):
        self.workspace = context.workspace.name
        context.workspace.status_text_set(text)

    def clear(self, context):
        workspace = bpy.data.workspaces.get(self.workspace)
        if workspace is not None:
            with context.temp_override(workspace=workspace):  # Blender asks the context which one is meant
                workspace.status_text_set(None)


class Needy(Action):
    """An action whose button is grey, and whose panel says why, until it has what it needs."""

    @classmethod
    def needs(cls, context) -> str:
        """What has to be done before, in a sentence; nothing once it is done."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context):
        needs = cls.needs(context)
        if needs:
            cls.poll_message_set(needs)
        return not needs


class Gradual(Action):
    """An action in steps: in front of a window a few at a time, so that it goes on being drawn; all at once for a script.

    Whichever way, it is finished, and undone, as one.

    Attributes
    ----------
    alone : bool
        Whether the user's clicks and keys are kept back meanwhile. If not, `steps` must keep nothing of Blender's
        over a `yield`: an undo, or another file, may take it away.
    """

    alone = False
    work = awaited = timer = None

    def steps(self, context):
        """Yield after each step: None, or what has to be done before the next one, from `aside`."""
        raise NotImplementedError

    def act(self, context):
        for awaited in self.steps(context):
            if awaited is not None:
                wait([awaited])

    def invoke(self, context, event):
        if bpy.app.background or context.window is None:
            return self.execute(context)
        self.work = self.steps(context)
        self.timer = context.window_manager.event_timer_add(TICK_S, window=context.window)
        if self.alone:
            context.window.cursor_modal_set("WAIT")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.type == "TIMER":
            answer = {"CANCELLED"}
            try:
                answer = self.attempt(self.go_on, context)
            finally:
                if answer != {"RUNNING_MODAL"}:
                    self.cancel(context)
            if answer != {"RUNNING_MODAL"}:
                return answer
        return {"RUNNING_MODAL"} if self.alone and event.type != "TIMER" else {"PASS_THROUGH"}

    def go_on(self, context):
        """The steps of a moment."""
        ends = time.monotonic() + MOMENT_S
        while time.monotonic() < ends and (self.awaited is None or self.awaited.done()):
            try:
                self.awaited = next(self.work)
            except StopIteration:
                return {"FINISHED"}
        return {"RUNNING_MODAL"}

    def cancel(self, context):
        """It has ended, or Blender ends it because another file is opened; or the user has left what was asked before it began."""
        if self.work is None:
            return
        try:
            self.work.close()
        finally:
            context.window_manager.event_timer_remove(self.timer)
            if self.alone:
                context.window.cursor_modal_restore()


def aside(function, *arguments) -> Future:
    """Call what needs nothing of Blender in a thread of its own; the answer, or what it raises, is the future's."""
    future = Future()

    def call():
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=call, name=function.__name__, daemon=True).start()
    return future


class Work(Action):
    """An action that starts a job of `jobs.KINDS`.

    Attributes
    ----------
    kind : str
    wait : bool
        Whether `act` waits for the job's end: always, unless a user in front of the window has started it.
    """

    kind = ""
    wait = True

    detached: bpy.props.BoolProperty(
        name="Detached", description="The work goes on without Blender; the operator returns at once", default=False, options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context):
        from . import jobs

        return not jobs.busy(cls, cls.kind)

    def invoke(self, context, event):
        from . import state

        self.wait = bpy.app.background
        if not self.properties.is_property_set("detached"):
            self.detached = getattr(state.home(context).nanosynth, f"{self.kind}_detached")
        return self.execute(context)


def perhaps(function, *arguments) -> str:
    """Why a call cannot be made: the message of its `NanosynthError`, or nothing."""
    try:
        function(*arguments)
    except NanosynthError as error:
        return error.message
    return ""
