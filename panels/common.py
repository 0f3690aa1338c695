"""How every step of the workflow is drawn: what is done, what runs, what comes next."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import typing

import bpy

from ..fields import Range, specs
from ..operators import jobs, state
from ..properties import title
from ..reporting import human_time

DONE, READY, WAITING, BUSY = "CHECKMARK", "RADIOBUT_ON", "RADIOBUT_OFF", "SORTTIME"
"""How far a step is. DONE: what it makes is there, and whole. READY: it can be done, or go on, now.
WAITING: an earlier step, or the training environment, is missing. BUSY: it is at work.
The steps that describe the particles and their look make nothing of their own: they are DONE once there is a data set of them."""


class Step(bpy.types.Panel):
    """A panel of the sidebar."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}
    number = 0

    def draw_header(self, context):
        self.layout.label(text="", icon=self.mark(state.home(context)))

    def mark(self, scene) -> str:
        """The icon that says how far this step is."""
        return READY

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        self.body(context, layout, state.home(context))


LETTER_PX, MARGIN_PX = 6.8, 75
"""Mean width of a letter, and what frame and icon take, at scale 1."""


def note(layout, text: str, icon: str = "NONE", wide: bool = False):
    """A text of several lines, wrapped to the sidebar's width (or the preferences'), because labels are not."""
    region = bpy.context.region
    width = (region.width / bpy.context.preferences.system.ui_scale if region else 280) - MARGIN_PX
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, 90 if wide else max(16, int(width / LETTER_PX)))):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def wanting(layout, context, *operators):
    """What the grey ones of these `Needy` operators wait for, each reason once."""
    for needs in dict.fromkeys(operator.needs(context) for operator in operators):
        if needs:
            note(layout, needs, "INFO")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def spoken(text: str) -> str:
    """A message of the command line in the window's words: what a flag sets is a value under Options."""
    return re.sub(r"--([a-z][a-z-]*[a-z])( search)?", lambda flag: f"'{title(flag[1].replace('-', '_'))}{flag[2] or ''}' under Options", text)


LABEL = 0.5
"""Share of a row that a value's name takes; the longest need it."""
UNITS = {"degrees": "°"}
"""Units that the sidebar has a shorter sign for."""


def fields(layout, group, kind, skip=()):
    """Every value of a section of the settings; names, bounds and tooltips come with them."""
    for name, hint, spec in specs(kind):
        if name in skip or dataclasses.is_dataclass(hint) or typing.get_origin(hint) is list:
            continue
        unit = f" ({UNITS.get(spec.unit, spec.unit)})" if spec.unit else ""
        field(layout, group, name, title(name) + unit, hint)


def field(layout, group, name: str, label: str, hint=None):
    """A value beside its name; of a range the least and the largest in one row."""
    row = layout.split(factor=LABEL, align=True)
    row.use_property_split = False
    words, values = row.row(), row.row(align=True)
    words.alignment = "RIGHT"
    words.label(text="" if hint is bool else label)
    if hint == Range:
        for index in range(2):
            values.prop(group, name, index=index, text="")
    else:
        values.prop(group, name, text=label if hint is bool else "")


def work(layout, scene, kind: str, button: str, text: str, reason: str = "", icon: str = "PLAY"):
    """The main button of a step while nothing runs; else progress and Cancel, and how the last job ended.

    What comes of it is drawn below: it grows meanwhile, and Blender mistakes a new row for the bar under the mouse above it.

    Parameters
    ----------
    reason : str
        Why the step is not possible yet; the button is greyed out then.
    """
    job = jobs.RUNNING.get(kind)
    if progress(layout, job):
        if job.out != state.place(scene, jobs.KINDS[kind][1]):
            note(layout, f"For another file: {job.out}", "FILE_BLEND")
        if job.detached:
            note(layout, "Goes on when Blender is closed.", "UNLINKED")
        return
    row = layout.row()
    row.use_property_split = False  # beside an empty half its name would be cut off
    row.prop(scene.nanosynth, f"{kind}_detached")
    row = layout.row()
    row.scale_y = 1.4
    row.enabled = not reason
    row.operator(button, text=text, icon=icon)
    if reason:
        note(layout, reason, "INFO")
    ending(layout, job, "What was finished is kept; start again to go on.")


def progress(layout, job) -> bool:
    """How far a job is, with Cancel; False if it is not at work."""
    if job is None or job.state != "running":
        return False
    column = layout.column(align=True)
    left = f"  {human_time(job.seconds_left)} left" if job.seconds_left else ""
    column.progress(factor=job.share, text=f"{job.share:.0%}{left}")
    note(column, sentence(job.text))
    row = layout.row()
    row.enabled = not job.cancelling
    row.operator("nanosynth.cancel_job", icon="CANCEL", text="Cancelling…" if job.cancelling else "Cancel").kind = job.kind
    for warning in job.warnings[-2:]:
        note(layout, spoken(warning), "INFO")
    return True


def ending(layout, job, remains=""):
    """How a job has ended, where there is something to say of it."""
    if job is None or job.state == "running" or not (job.state in {"failed", "cancelled"} or job.error or job.warnings):
        return
    box = layout.box()
    if job.error:
        note(box, job.error, "ERROR")
    if job.state in {"failed", "cancelled"}:
        note(box, f"{'Cancelled. ' if job.state == 'cancelled' else ''}{remains}", "INFO")
    for warning in job.warnings[-3:]:
        note(box, spoken(warning), "INFO")
    box.operator("nanosynth.forget_job", text="Dismiss", icon="X").kind = job.kind
