"""What a button does: check, call, report."""

import bpy

from . import dataset, environment, jobs, light, preview, recipe, references, results, scenes, training, workspace

OPERATORS = tuple(
    cls
    for module in (recipe, references, scenes, light, preview, dataset, training, results, workspace, environment, jobs)
    for cls in module.OPERATORS
)
HANDLERS = tuple(pair for module in (light, preview, jobs) for pair in module.HANDLERS)
"""(name of the list in `bpy.app.handlers`, function) pairs."""


def begin():
    """Look for work of the project that is open, now and whenever a file is."""
    bpy.types.Scene.nanosynth_tuning = bpy.props.PointerProperty(type=light.Tuning)
    for event, function in HANDLERS:
        getattr(bpy.app.handlers, event).append(function)
    jobs.look_after()


def stop():
    """End what runs in the background."""
    for event, function in HANDLERS:
        if function in getattr(bpy.app.handlers, event):
            getattr(bpy.app.handlers, event).remove(function)
    preview.stop()
    results.stop()
    jobs.end_all()
    if hasattr(bpy.types.Scene, "nanosynth_tuning"):
        del bpy.types.Scene.nanosynth_tuning
