"""What a button does: check, call, report."""

import bpy

from . import (
    dataset,
    environment,
    jobs,
    light,
    lines,
    match,
    painter,
    preview,
    profiles,
    recipe,
    references,
    report,
    results,
    scenes,
    templates,
    training,
    workspace,
)

OPERATORS = tuple(
    cls
    for module in (
        recipe,
        references,
        templates,
        scenes,
        light,
        lines,
        preview,
        profiles,
        match,
        dataset,
        training,
        results,
        report,
        workspace,
        environment,
        jobs,
    )
    for cls in module.OPERATORS
)
HANDLERS = tuple(pair for module in (light, preview, templates, match, jobs, painter, results) for pair in module.HANDLERS)
"""(name of the list in `bpy.app.handlers`, function) pairs."""
POINTERS = (*light.POINTERS, *lines.POINTERS, *match.POINTERS)
"""(name, property group) pairs of what a scene has besides `state`."""


def begin():
    """Look for work of the project that is open, now and whenever a file is."""
    for name, group in POINTERS:
        setattr(bpy.types.Scene, name, bpy.props.PointerProperty(type=group))
    for event, function in HANDLERS:
        getattr(bpy.app.handlers, event).append(function)
    for module in (lines, training):
        module.begin()
    jobs.look_after()


def stop():
    """End what runs in the background."""
    for event, function in HANDLERS:
        if function in getattr(bpy.app.handlers, event):
            getattr(bpy.app.handlers, event).remove(function)
    for module in (preview, templates, lines, training, painter):
        module.stop()
    results.stop()
    jobs.end_all()
    for name, _ in POINTERS:
        if hasattr(bpy.types.Scene, name):
            delattr(bpy.types.Scene, name)
