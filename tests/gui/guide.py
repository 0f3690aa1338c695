"""The window as the guide's pictures show it (tools/guide.py): one micrograph of silica, from loading it to its sizes.

Run by Blender with a window, as the walk is, whose steps it takes.
"""

import shutil
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from driver import (  # noqa: E402
    alone,
    click,
    clicked,
    drop,
    ended,
    home,
    invoke,
    key,
    main,
    module,
    painted,
    pause,
    press,
    shot,
    sidebar,
    unfolded,
    until,
    well,
    window,
)

MICROGRAPH = Path(__file__).parents[2] / "examples" / "silica" / "spheres" / "A01-1.png"
BAR_NM = 1000.0
LIGHT = 356
"""How far below the window's upper edge the header of the panel Light is, with the panels about the preview open [px]."""
PAIRS, PAIR_PX, EPOCHS = 16, 1024, 6


def loaded(folder):
    ops = bpy.ops.nanosynth
    invoke(ops.open_workspace)
    yield from until(lambda: window().workspace.name == "Nanosynth", "the workspace", 60)
    yield from until(lambda: sidebar().width > 1 and sidebar().active_panel_category == "Nanosynth", "the sidebar tab", 60)
    yield from pause(1.5)
    shot("guide-02-workspace")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
    shutil.copyfile(MICROGRAPH, folder / MICROGRAPH.name)
    yield from alone("references")
    yield from drop(folder / MICROGRAPH.name)
    yield from until(lambda: len(home().nanosynth.references) == 1, "the micrograph", 20)
    yield from pause(1)
    invoke(ops.find_scale_bar)
    yield from until(lambda: module("operators.lines").drawn(home(), "scale"), "the scale bar", 30)
    yield from pause(1)
    shot("guide-03-scale")
    key("Escape")
    yield from pause(1)
    ops.set_scale(length_nm=BAR_NM)
    yield from alone("templates")
    yield from pause(1)
    shot("guide-04-templates")


def tuned(folder):
    ops, preview = bpy.ops.nanosynth, module("operators.preview")
    yield from alone("look")
    side = sidebar()
    click(side.x + side.width * 0.35, window().height - LIGHT)
    yield from pause(1)
    invoke(ops.start_preview)
    yield from until(preview.Live.finished, "the preview")
    yield from pause(1)
    shot("guide-05-look")
    invoke(ops.stop_preview)
    yield from pause(0.5)
    click(side.x + side.width * 0.35, window().height - LIGHT)
    yield from pause(1)


def matched(folder):
    yield from unfolded("NANOSYNTH_PT_match")
    yield from press(lambda: module("operators.jobs").running("match"), "matching", last=True)
    yield from until(ended("match"), "the matched recipe", 600)
    well("match")
    yield from pause(2)
    shot("guide-06-match")
    invoke(bpy.ops.nanosynth.undo_match)
    yield from unfolded("NANOSYNTH_PT_match", False)


def generated(folder):
    jobs, recipe = module("operators.jobs"), home().nanosynth_recipe
    recipe.count, recipe.camera.image_px = PAIRS, PAIR_PX
    yield from alone("generate")
    yield from press(lambda: jobs.running("generate"), "generation")
    yield from until(lambda: len(jobs.RUNNING["generate"].recent) == 4 or ended("generate")(), "pairs")
    invoke(bpy.ops.nanosynth.show_pair, index=0)
    yield from pause(2)
    shot("guide-07-generate")
    yield from until(ended("generate"), "the data set", 600)
    well("generate")


def trained(folder):
    ops, jobs = bpy.ops.nanosynth, module("operators.jobs")
    home().nanosynth.epochs = EPOCHS
    yield from alone("train")
    yield from press(lambda: jobs.running("train"), "training")
    yield from until(ended("train"), "the training", 1500)
    well("train")
    yield from until(painted("training"), "the picture")
    yield from pause(1)
    shot("guide-09-train")
    yield from alone("select")
    invoke(ops.show_epoch, step=0)
    invoke(ops.mark_epoch)
    yield from until(painted("epoch", "gallery"), "the epochs")
    yield from pause(1)
    shot("guide-10-select")


def analysed(folder):
    ops, jobs = bpy.ops.nanosynth, module("operators.jobs")
    home().nanosynth.model = "sio2"  # of so short a training nobody would want to see more
    yield from alone("segment")
    yield from press(lambda: "segment" in jobs.RUNNING, "segmentation")
    yield from until(ended("segment"), "the segmentation")
    well("segment")
    yield from until(painted("result"), "the picture")
    yield from alone("analyse")
    yield from clicked(0.49, 0.47, "guide-11-analyse")
    ops.pick_particle(x=0, y=0)
    home().nanosynth.shown = "histogram"
    yield from until(painted("result"), "the histogram")
    yield from pause(1)
    shot("guide-12-sizes")


main((loaded, tuned, matched, generated, trained, analysed))
