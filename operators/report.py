"""The report on a series of results, made by a button."""

from __future__ import annotations

import bpy

from . import jobs, results, state
from .base import RELATIVE, Action, warned_of_existing


class WriteReport(Action):
    bl_idname = "nanosynth.write_report"
    bl_label = "Write Report"
    bl_description = (
        "Write one page for reader and reviewer, .html or .pdf: all segmented images with numbered particles, size distributions with fits "
        "and intervals, settings and provenance. It tells what was segmented, not what the sliders find"
    )

    wait = True

    filepath: bpy.props.StringProperty(name="Report", description="File ending in .html or .pdf", subtype="FILE_PATH", options=RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.html;*.pdf", options={"HIDDEN"})
    check_existing: warned_of_existing()

    @classmethod
    def poll(cls, context):
        if not results.entries(state.home(context)):
            cls.poll_message_set("Segment a micrograph first")
            return False
        return not jobs.busy(cls, "report")

    def invoke(self, context, event):
        self.wait = bpy.app.background
        self.filepath = self.filepath or bpy.path.abspath("//report.html")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        out, result = state.absolute(self.filepath, "report"), state.absolute(scene.nanosynth.result, "results")
        results.relink(scene)
        more = []
        if not scene.nanosynth.model:  # the project's own network: the report tells how it was made
            dataset, run = state.place(scene, "dataset"), state.place(scene, "run")
            more += ["--dataset", dataset] if state.made_pairs(dataset) else []
            more += ["--run", run] if state.history(run) else []
        home = scene.name

        def then():
            found = bpy.data.scenes.get(home)
            if found is not None and state.place(found, "result") == result:  # another file may have been opened meanwhile
                found.nanosynth.reported = state.relative(out)

        return jobs.perform(self, "report", lambda desk: jobs.learn_command("report", result, *more, "--out", out), out, then=then)


OPERATORS = (WriteReport,)
