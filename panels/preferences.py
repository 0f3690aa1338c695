"""The extension's page in the preferences: the training environment."""

from __future__ import annotations

import bpy

from ..doctor import learn_python, made_environment
from ..operators import environment, jobs
from .common import ending, note, progress


def draw(layout, page):
    """Choose it, check it, or have it made by one click."""
    column = layout.column()
    column.label(text="Training environment: the Python with TensorFlow that trains and segments")
    column.prop(page, "learn_python", text="Python")
    python = learn_python()
    if python is None:
        note(column, "None is set. Create one, or name the Python of your own.", "INFO", wide=True)
    elif not python.is_file():
        note(column, f"{python}: there is no such Python.", "ERROR", wide=True)
    elif not page.learn_python:
        note(column, f"In use: {python}", "CHECKMARK", wide=True)
    job = jobs.RUNNING.get("environment")
    if progress(layout, job):
        return
    row = layout.row()
    row.scale_y = 1.3
    row.operator("nanosynth.create_environment", icon="IMPORT")
    part = row.row()
    part.enabled = python is not None and python.is_file()
    part.operator("nanosynth.check_environment", text="Check", icon="CHECKMARK")
    if not bpy.app.online_access:
        note(
            layout,
            "Creating it needs the network, and Blender's online access is off: allow it under Preferences, System, Network.",
            "INTERNET_OFFLINE",
            wide=True,
        )
    else:
        note(layout, f"It is made in {made_environment()}.", "BLANK1", wide=True)
    if job is not None and "versions" in job.result:
        box = layout.box()
        ready = job.result["ok"]
        box.label(text="Ready to train and to segment" if ready else "Not ready", icon="CHECKMARK" if ready else "ERROR")
        for line in environment.summary(job.result):
            box.label(text=line, icon="BLANK1")
        for problem in job.result["problems"]:
            note(box, f"{problem['message']} {problem['remedy']}", "ERROR", wide=True)
    elif job is not None and job.state == "done":
        layout.label(text="The training environment is made.", icon="CHECKMARK")
    if job is None or not job.result:
        ending(layout, job, "Nothing was left behind; try again when you like.")
