"""The training environment: made by a click, checked, named in the preferences."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..doctor import learn_python, made_environment
from ..errors import NanosynthError
from ..jobs.environment import SIZE_GB, interpreter
from ..jobs.process import plain_command
from . import jobs, state
from .base import RELATIVE, Action


class _EnvironmentJob(Action):
    """Both are jobs of the kind "environment", so only one is at work at a time."""

    wait = True

    def invoke(self, context, event):
        self.wait = bpy.app.background
        return self.execute(context)

    def perform(self, command, then=None):
        jobs.RUNNING.pop("environment", None)
        return jobs.perform(self, "environment", command, None, then=then)


class CreateEnvironment(_EnvironmentJob):
    bl_idname = "nanosynth.create_environment"
    bl_label = "Create Training Environment"
    bl_description = f"Fetch TensorFlow and what belongs to it into a folder of its own in your user folder (about {SIZE_GB} GB); nothing else is touched"

    directory: bpy.props.StringProperty(
        name="Folder", description="Where it is made; empty: in the user folder", subtype="DIR_PATH", options=RELATIVE
    )

    @classmethod
    def poll(cls, context):
        if not bpy.app.online_access:
            cls.poll_message_set("Blender's online access is off: allow it under Preferences, System, Network")
            return False
        return not jobs.busy(cls, "environment")

    def act(self, context):
        folder = state.absolute(self.directory, "training environment") if self.directory else made_environment()
        return self.perform(lambda desk: plain_command("environment", "--out", folder), lambda: use(interpreter(folder)))


class CheckEnvironment(_EnvironmentJob):
    bl_idname = "nanosynth.check_environment"
    bl_label = "Check Training Environment"
    bl_description = "Start the training environment's Python and tell its versions and devices, or what is missing"

    @classmethod
    def poll(cls, context):
        return not jobs.busy(cls, "environment")

    def act(self, context):
        def then():
            findings = jobs.RUNNING["environment"].result
            if not findings["ok"]:
                raise NanosynthError(" ".join(p["message"] for p in findings["problems"]), findings["problems"][0]["remedy"])

        answer = self.perform(lambda desk: jobs.learn_command("doctor"), then)
        if self.wait and answer == {"FINISHED"}:
            self.report({"INFO"}, "; ".join(summary(jobs.RUNNING["environment"].result)))
        return answer


class ShowPreferences(Action):
    bl_idname = "nanosynth.show_preferences"
    bl_label = "Preferences of Nanosynth"
    bl_description = "Open the preferences of this extension, where the training environment is made, chosen and checked"

    @classmethod
    def poll(cls, context):
        if bpy.app.background:
            cls.poll_message_set("There is no window")
            return False
        return True

    def act(self, context):
        from ..registration import PACKAGE

        bpy.ops.preferences.addon_show(module=PACKAGE)


def use(python: Path):
    """Name it in the preferences; where it is found without that, nothing need be said."""
    from ..registration import preferences

    known = preferences()
    if known is not None and learn_python() != python:
        known.learn_python = str(python)


def summary(findings: dict) -> list[str]:
    """What a check has found, in a few lines."""
    versions = findings["versions"]
    lines = [f"Python {findings['python'].split()[0]}"]
    lines += [f"{name} {versions[key]}" for name, key in (("TensorFlow", "tensorflow"), ("Keras", "keras")) if versions.get(key)]
    lines += [f"{name}: {', '.join(found) or 'no device'}" for name, found in findings["devices"].items()]
    return lines


OPERATORS = (CreateEnvironment, CheckEnvironment, ShowPreferences)
