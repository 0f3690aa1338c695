"""What all operators have in common: they act, and report what a user can mend."""

from __future__ import annotations

import bpy

from ..errors import NanosynthError

RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Option of a path property that may begin with `//`."""


class Action(bpy.types.Operator):
    """An operator whose `act` may raise `NanosynthError`; what it returns, or FINISHED, is the operator's answer."""

    def execute(self, context):
        try:
            return self.act(context) or {"FINISHED"}
        except NanosynthError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except OSError as error:  # the disk, the network: nothing that a traceback would explain better
            if error.filename is None:
                raise
            self.report({"ERROR"}, f"{error.filename}: {error.strerror}.")
            return {"CANCELLED"}


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
        self.detached = getattr(state.home(context).nanosynth, f"{self.kind}_detached")
        return self.execute(context)


def perhaps(function, *arguments) -> str:
    """Why a call cannot be made: the message of its `NanosynthError`, or nothing."""
    try:
        function(*arguments)
    except NanosynthError as error:
        return error.message
    return ""
