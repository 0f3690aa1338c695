"""What all operators have in common: they act, and report what a user can mend."""

from __future__ import annotations

import bpy

from ..errors import NanosynthError

RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Option of a path property that may begin with `//`."""


class Action(bpy.types.Operator):
    """An operator whose `act` may raise `NanosynthError`; what it returns, or FINISHED, is the operator's answer."""

    wait = True
    """Whether `act` waits for the work it starts: always, unless a user in front of the window has started it."""

    def execute(self, context):
        try:
            return self.act(context) or {"FINISHED"}
        except NanosynthError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}


def perhaps(function, *arguments) -> str:
    """Why a call cannot be made: the message of its `NanosynthError`, or nothing."""
    try:
        function(*arguments)
    except NanosynthError as error:
        return error.message
    return ""
