"""A user in front of the window: walks the whole workflow with clicks and keys, and takes a screenshot at each step.

Run by Blender with a window; ends it when done. Screenshots go to the folder
NANOSYNTH_SHOTS. A generator of steps: each `yield` lets Blender draw and work.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from headless import NAME, module, tiny_recipe  # noqa: E402

SHOTS = Path(os.environ["NANOSYNTH_SHOTS"])
TICK_S = 0.1
SLOWEST_S = 300.0


def shot(name):
    subprocess.run(["import", "-window", "root", str(SHOTS / f"{name}.png")], check=True)


def pause(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def until(condition, what, seconds=SLOWEST_S):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        yield


def window():
    return bpy.context.window_manager.windows[0]


def view():
    return next(area for area in window().screen.areas if area.type == "VIEW_3D")


def sidebar():
    return next(region for region in view().regions if region.type == "UI")


def click(x, y):
    """Click at a place counted from the lower left, as Blender does."""
    place = [str(int(x)), str(int(window().height - y))]
    subprocess.run(["xdotool", "mousemove", *place, "sleep", "0.2", "click", "1"], check=True)




def invoke(operator, **values):
    """Invoke an operator as a button in the sidebar does."""
    area = view()
    with bpy.context.temp_override(window=window(), area=area, region=sidebar()):
        return operator("INVOKE_DEFAULT", True, **values)  # with an undo step


def ended(kind):
    jobs = module("operators.jobs")
    return lambda: jobs.RUNNING[kind].state != "running"


def walk(folder):
    ops, state, jobs = bpy.ops.nanosynth, module("operators.state"), module("operators.jobs")
    yield from pause(1)
    shot("00_start")
    invoke(ops.open_workspace)
    yield from until(lambda: window().workspace.name == "Nanosynth", "the workspace", 20)
    yield from until(lambda: len([a for a in window().screen.areas if a.type == "IMAGE_EDITOR"]) == 2, "two image editors", 20)
    yield from until(lambda: sidebar().width > 1 and sidebar().active_panel_category == "Nanosynth", "the sidebar tab", 20)
    yield from pause(1)
    shot("01_workspace_unsaved")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
    scene = state.home(bpy.context)
    invoke(ops.load_recipe, filepath=str(folder / "tiny.toml"))
    invoke(ops.load_references, directory=str(folder), files=[{"name": "real.png"}])
    yield from pause(1)
    shot("02_reference")
    invoke(ops.preview_scene)
    yield from pause(1)
    shot("03_preview")
    for name in STEPS:
        yield from alone(name)
        shot(f"04_panel_{name}_before")
    yield from alone("generate")
    scene.nanosynth_recipe.count = 6
    invoke(ops.generate_dataset)
    yield from until(lambda: jobs.RUNNING["generate"].share > 0.1 or ended("generate")(), "the first pair")
    yield from pause(0.4)
    shot("05_generating")
    jobs.RUNNING["generate"].cancel()
    begun = time.monotonic()
    yield from until(ended("generate"), "the end of a cancelled job", 20)
    print(f"cancelled after {time.monotonic() - begun:.1f} s", flush=True)
    yield from pause(0.5)
    shot("06_cancelled")
    invoke(ops.generate_dataset)
    yield from until(ended("generate"), "the data set")
    assert jobs.RUNNING["generate"].state == "done", jobs.RUNNING["generate"].error
    yield from pause(0.5)
    shot("07_generated")
    yield from alone("train")
    scene.nanosynth.training, scene.nanosynth.training_file = "file", "//training.toml"
    invoke(ops.train_network)
    yield from until(lambda: jobs.RUNNING["train"].share > 0 or ended("train")(), "the first step")
    yield from pause(0.4)
    shot("08_training")
    yield from until(ended("train"), "the training")
    assert jobs.RUNNING["train"].state == "done", jobs.RUNNING["train"].error
    yield from pause(0.5)
    shot("09_trained")
    yield from alone("select")
    invoke(ops.show_epoch, step=0)
    yield from pause(0.7)
    shot("10_epoch")
    invoke(ops.select_epoch)
    yield from pause(0.5)
    shot("11_selected")
    yield from alone("segment")
    invoke(ops.segment_images)
    yield from pause(1.5)
    shot("12_segmenting")
    yield from until(ended("segment"), "the segmentation")
    assert jobs.RUNNING["segment"].state == "done", jobs.RUNNING["segment"].error
    yield from pause(0.7)
    shot("13_segmented")
    yield from alone("analyse")
    for kind in ("probability", "mask", "instances", "histogram", "overlay"):
        scene.nanosynth.shown = kind
        yield from pause(0.7)
        shot(f"14_shown_{kind}")
    scene.nanosynth.threshold = 0.3
    yield from pause(1.5)
    shot("15_tuned")
    invoke(ops.open_scene)
    yield from pause(1.5)
    shot("16_drawn_scene")
    yield from alone("project")
    shot("17_drawn_scene_project")
    invoke(ops.close_scene)
    yield from pause(0.5)
    assert window().scene == scene
    invoke(ops.use_preset, preset="sio2")
    yield from pause(0.5)
    assert scene.nanosynth_recipe.name != "tiny"
    with bpy.context.temp_override(window=window(), area=view(), region=sidebar()):
        bpy.ops.ed.undo()
    yield from pause(0.5)
    assert state.home(bpy.context).nanosynth_recipe.name == "tiny", "undo"
    shot("18_end")


STEPS = ("project", "references", "templates", "look", "scene", "generate", "train", "select", "segment", "analyse")
TOP, PITCH = 97, 28
"""Where the first panel's header is on the screen, and the distance to the next while all are closed [px]."""


class Panels:
    """The sidebar, whose panels are opened and closed by clicks on their headers."""

    opened = "project"

    @classmethod
    def press(cls, step):
        click(sidebar().x + sidebar().width * 0.35, window().height - TOP - PITCH * STEPS.index(step))


def alone(step):
    """Show one step opened and the others closed."""
    if Panels.opened:
        Panels.press(Panels.opened)  # those above it are closed, so its header is where it would be with all closed
        yield from pause(1.2)
    Panels.press(step)
    Panels.opened = step
    yield from pause(1.0)


def main():
    preferences = bpy.context.preferences
    preferences.view.show_splash = False
    preferences.view.ui_scale = 1.0
    assert NAME in preferences.addons, "the extension is not installed"
    importlib.import_module(NAME)
    folder = Path(tempfile.mkdtemp(prefix="nanosynth-gui-"), "größe 1")
    folder.mkdir()
    tiny_recipe(folder)
    steps = walk(folder)

    def step():
        try:
            next(steps)
        except StopIteration:
            print("walked", flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            shot("failed")
            os._exit(1)
        return TICK_S

    bpy.app.timers.register(step, first_interval=1.0, persistent=True)


main()
