"""A user in front of the window: walks the whole workflow with clicks and keys, and takes a screenshot at each step.

Run by Blender with a window; ends it when done. Screenshots go to the folder
NANOSYNTH_SHOTS. Generators of steps: each `yield` lets Blender draw and work.
What Nanosynth itself does meanwhile is timed (`record.py`) and written beside them.
"""

import importlib
import io
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from headless import NAME, content, module, tiny_recipe  # noqa: E402
from record import Recorder  # noqa: E402

SHOTS = Path(os.environ["NANOSYNTH_SHOTS"])
TICK_S = 0.1
SLOWEST_S = 200.0
PATIENCE = float(os.environ.get("NANOSYNTH_PATIENCE", 1.0))
"""Times as long as on a machine that is free."""
CANCEL_S, FIRST_S, FULL_S = 2.0, 1.0, 4.0
"""How soon a cancelled job has ended, and a first picture and the full one are there, on a machine that is free."""
F3 = "69"
"""The key's number on a keyboard of Xvfb's: of its name a newer xdotool makes Alt F3."""
BUTTON = (84, 84, 84)
CHOSEN = (71, 114, 179)
"""Colours of a button that can be pressed, and of the one that Return presses, in Blender's own theme."""


def screen():
    return subprocess.run(["import", "-window", "root", "png:-"], check=True, capture_output=True).stdout


def shot(name):
    (SHOTS / f"{name}.png").write_bytes(screen())
    print(name, flush=True)


def seen(of):
    """What the screen shows in an area, (H, W, 3)."""
    from PIL import Image

    picture, top = np.asarray(Image.open(io.BytesIO(screen())).convert("RGB")), window().height - of.y - of.height
    return picture[top : top + of.height, of.x : of.x + of.width].astype(int)


def pause(seconds):
    end = time.monotonic() + seconds * min(PATIENCE, 2)
    while time.monotonic() < end:
        yield


def until(condition, what, seconds=SLOWEST_S):
    end = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        yield


def within(seconds, limit, what, slack=1.0):
    """Note how long something took, and fail where it took far longer than the limit of a machine that is free.

    What keeps both cores busy is given `slack` besides: beside other work it takes several times as long.
    """
    print(f"{what}: {seconds:.2f} s (limit {limit:g} s; fails above {limit * slack * PATIENCE:g} s)", flush=True)
    assert seconds <= limit * slack * PATIENCE, f"{what}: {seconds:.2f} s"


class Drawn:
    """When Blender last drew an image editor."""

    at = 0.0

    @classmethod
    def note(cls):
        cls.at = time.monotonic()


def seen_after(begun):
    """Let Blender draw; how long after `begun` it has drawn an image editor, s."""
    yield
    return Drawn.at - begun


def window():
    return bpy.context.window_manager.windows[0]


def area(kind, which=0):
    found = [area for area in window().screen.areas if area.type == kind]
    return sorted(found, key=lambda area: (-area.y, area.x))[which]


def region(kind, of):
    return next(region for region in of.regions if region.type == kind)


def sidebar():
    return region("UI", area("VIEW_3D"))


def pointer(x, y, *then):
    """Move the mouse to a place counted from the lower left, as Blender does, and do something there."""
    subprocess.run(["xdotool", "mousemove", str(int(x)), str(int(window().height - y)), "sleep", "0.2", *then], check=True)


def click(x, y):
    pointer(x, y, "click", "1")


def key(*names):
    subprocess.run(["xdotool", "key", *names], check=True)


def typed(number):
    """A number typed into the only field of a question, and the question answered."""
    key(*number, "Return")
    yield from pause(0.5)
    key("Return")


def invoke(operator, kind="VIEW_3D", **values):
    """Invoke an operator as the window does when a key is pressed in an area, or something dropped there."""
    place = area(kind)
    with bpy.context.temp_override(window=window(), area=place, region=region("WINDOW", place)):
        return operator("INVOKE_DEFAULT", True, **values)  # with an undo step


def checkbox():
    """The place of the last checkbox in the question that is open."""
    place = area("VIEW_3D")
    picture = seen(place)
    (answers,) = map(int, rows(coloured(picture, CHOSEN).mean(1) > 0.15))
    margin = np.flatnonzero(coloured(picture[answers], BUTTON))[0]  # of Cancel, which the checkbox stands above
    boxes = rows(coloured(picture[: answers - 15, margin : margin + 14], BUTTON).mean(1) > 0.6)
    return place.x + margin + 7, place.y + place.height - boxes[-1]


def main_buttons():
    """The places of the large buttons in the sidebar that can be pressed, from the top."""
    return buttons((23, 32), 0.3)


def plain_buttons():
    """The places of the buttons of usual height that take a whole row of the sidebar, or two of which do."""
    return buttons((17, 22), 0.5)


def preference_buttons():
    """The places of the buttons that take a whole row of the preferences, a window of their own; how high it is, Blender does not know."""
    other = bpy.context.window_manager.windows[-1]
    return buttons((17, 22), 0.5, SimpleNamespace(x=other.x, y=0, width=other.width, height=window().height))


def buttons(heights, share, side=None):
    """The places of buttons in the sidebar, or another place, from the top: rows of these heights [px] of which so much has their colour."""
    side = side or sidebar()
    return [(side.x + side.width * 0.4, side.y + side.height - middle) for middle in rows(coloured(seen(side), BUTTON).mean(1) > share, heights)]


def coloured(picture, colour):
    return (np.abs(picture - colour) <= 3).all(-1)


def rows(column, heights=(10, 40)):
    """The middles of the runs of such lengths in which a column of pixels is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], column, [False]]).astype(int)))
    return [(first + last) / 2 for first, last in zip(edges[::2], edges[1::2]) if heights[0] <= last - first <= heights[1]]


def mouse_aside():
    """Out of the sidebar: what is under the mouse has another colour."""
    pointer(window().width / 4, window().height / 2)
    yield from pause(0.3)


def press(answered, what, last=False, among=main_buttons):
    """Click a panel's main button, or its last one, with the mouse; again if the click was lost on a machine that is busy."""
    for _ in range(4):
        yield from mouse_aside()
        found = among()
        if found:
            click(*found[-1 if last else 0])
        end = time.monotonic() + 10 * PATIENCE
        while time.monotonic() < end:
            yield
            if answered():
                yield from pause(0.6)
                return
        print(f"no answer to the button for {what}: {found}", flush=True)
    raise AssertionError(f"waited in vain for: {what}")


def ended(kind):
    jobs = module("operators.jobs")
    return lambda: jobs.RUNNING[kind].state != "running"


def painted(*what):
    studio = module("operators.painter").Studio
    return lambda: not any(studio.busy(one) for one in what)


def well(kind):
    job = module("operators.jobs").RUNNING[kind]
    assert job.state == "done", (job.state, job.error)


def home():
    return module("operators.state").home(bpy.context)


def begun(folder):
    """The workspace, in a file that is not saved yet."""
    ops = bpy.ops.nanosynth
    yield from pause(1)
    shot("00_start")
    invoke(ops.open_workspace)
    yield from until(lambda: window().workspace.name == "Nanosynth", "the workspace", 60)
    yield from until(lambda: len([a for a in window().screen.areas if a.type == "IMAGE_EDITOR"]) == 2, "two image editors", 60)
    yield from until(lambda: sidebar().width > 1 and sidebar().active_panel_category == "Nanosynth", "the sidebar tab", 60)
    yield from pause(1.5)
    shot("01_workspace_unsaved")
    marks = {name: mark(name) for name in STEPS}
    assert "CHECKMARK" not in marks.values(), marks  # nothing was done yet
    for name in STEPS:
        yield from alone(name)
        shot(f"02_before_{name}")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
    yield from alone("project")


def at_once(folder):
    """Six clicks from a new file to a segmented micrograph: the workspace, Save As and its OK, what is dropped, the panel, the button."""
    jobs = module("operators.jobs")
    yield from drop(folder / "spheres.png")
    yield from until(lambda: len(home().nanosynth.references) == 1, "the dropped micrograph", 20)
    yield from scale_found()
    yield from unequipped()
    yield from alone("segment")
    shot("02_at_once")
    yield from press(lambda: "segment" in jobs.RUNNING, "segmentation")
    yield from until(ended("segment"), "the segmentation")
    well("segment")
    yield from until(painted("result"), "the picture of the result")
    yield from pause(1)
    shot("02_at_once_segmented")
    (entry,) = module("operators.results").entries(home())
    assert entry["particles"] > 5, entry
    bpy.ops.nanosynth.remove_reference()
    yield from pause(0.5)
    assert area("IMAGE_EDITOR").spaces.active.image is None, "a micrograph that was removed is still shown"
    yield from alone("project")
    shot("02_removed")


def unequipped():
    """The panels that need a training environment, where there is none."""
    known = os.environ.pop("NANOSYNTH_LEARN_PYTHON")
    for name in ("train", "segment"):
        yield from alone(name)
        assert mark(name) == "RADIOBUT_OFF", mark(name)
        shot(f"02_without_environment_{name}")
    os.environ["NANOSYNTH_LEARN_PYTHON"] = known
    assert mark("segment") == "RADIOBUT_ON", mark("segment")


def scale_found():
    """The scale bar that Nanosynth finds, and the length that is typed."""
    lines = module("operators.lines")
    yield from pause(1)
    invoke(bpy.ops.nanosynth.find_scale_bar)
    yield from until(lambda: lines.drawn(home(), "scale"), "the scale bar", 30)
    yield from pause(1)
    shot("02_at_once_scale")
    yield from typed("1000")
    yield from until(lambda: home().nanosynth.references[0].scale_source.startswith("scale bar"), "the scale of the bar", 20)


def dropped(folder):
    """Files dropped on the 3D view, whose file handlers find their operators."""
    invoke(bpy.ops.wm.drop_import_file, directory=str(folder), files=[{"name": "tiny.toml"}])
    yield from until(lambda: home().nanosynth_recipe.name == "tiny", "the dropped recipe", 20)
    yield from alone("references")
    shot("03_references_empty")
    yield from press(browser, "the file browser")
    yield from pause(1)
    shot("04_file_browser")
    key("Escape")
    yield from until(lambda: window().screen.areas[0].type != "FILE_BROWSER", "the way back", 20)
    yield from press(browser, "the file browser")
    browsed(folder, "real.png")
    yield from until(lambda: len(home().nanosynth.references) == 1, "the chosen micrograph", 20)
    invoke(bpy.ops.nanosynth.remove_reference)
    yield from pause(0.5)
    yield from several(folder)
    yield from drop(folder / "real.png", name="05_dropped")
    yield from until(lambda: len(home().nanosynth.references) == 1, "the dropped micrograph", 20)
    yield from pause(1)
    shot("06_reference")
    yield from measured()


def browsed(folder, name=""):
    """A folder, or a file in it, chosen in the file browser that is open."""
    browser = window().screen.areas[0]
    browser.spaces.active.params.directory = os.fsencode(f"{folder}/")
    if name:
        browser.spaces.active.params.filename = name
    with bpy.context.temp_override(window=window(), area=browser, region=region("WINDOW", browser)):
        bpy.ops.file.execute()


def several(folder):
    """Micrographs dropped together: all arrive, one after another, and one undo takes them back."""
    work = module("operators.references").LoadReferences
    source = Path(__file__).parents[2] / "examples" / "silica" / "spheres"
    names = [path.name for path in sorted(source.glob("*.png"))]
    for name in names:
        shutil.copyfile(source / name, folder / name)
    yield from drop(*(folder / name for name in names))
    yield from until(lambda: work.at_work or home().nanosynth.references, "the first of the dropped micrographs", 20)
    yield from until(lambda: not work.at_work and len(home().nanosynth.references) == len(names), "all the dropped micrographs", 60)
    assert [reference.name for reference in home().nanosynth.references] == names
    yield from pause(1)
    shot("05_several")
    invoke(bpy.ops.nanosynth.find_scale_bar)
    yield from until(lambda: module("operators.lines").drawn(home(), "scale"), "the scale bar", 30)
    yield from pause(1)
    shot("05_several_scale")
    key(*"1000", "Return")
    yield from pause(0.5)
    click(*checkbox())
    yield from pause(0.5)
    shot("05_several_others")
    key("Return")
    yield from until(lambda: all(reference.nm_per_px for reference in home().nanosynth.references), "the scale of all", 20)
    assert len({reference.nm_per_px for reference in home().nanosynth.references}) == 1 and mark("references") == "CHECKMARK"
    yield from pause(0.5)
    shot("05_several_with_scale")
    for _ in range(5):  # the scales, the line and the loading
        if home().nanosynth.references:
            with bpy.context.temp_override(window=window(), area=area("VIEW_3D"), region=sidebar()):
                bpy.ops.ed.undo()
            yield from pause(0.5)
    assert not home().nanosynth.references, "undo"
    yield from pause(0.5)


def measured():
    """A line drawn over the scale bar, and the length that is typed beside it."""
    reference = home().nanosynth.references[0]
    known, source = reference.nm_per_px, reference.scale_source
    yield from stroke("scale", area("IMAGE_EDITOR"))
    yield from pause(1)
    shot("06_scale")
    yield from typed("100")
    yield from until(lambda: home().nanosynth.references[0].scale_source.startswith("scale bar"), "the scale that was drawn", 20)
    reference = home().nanosynth.references[0]
    assert abs(reference.nm_per_px * 0.6 * reference.image.size[0] - 100) < 3, reference.nm_per_px
    reference.nm_per_px, reference.scale_source = known, source
    invoke(bpy.ops.nanosynth.show_reference)


def matched(folder):
    """The look estimated from the micrograph, and taken back."""
    ops, jobs = bpy.ops.nanosynth, module("operators.jobs")
    yield from alone("look")
    yield from unfolded("NANOSYNTH_PT_match")
    before = module("fields").to_dict(module("operators.state").recipe_of(home()))
    shot("08_before_matching")
    yield from press(lambda: jobs.running("match"), "matching", last=True)
    yield from until(lambda: jobs.RUNNING["match"].share > 0 or ended("match")(), "its first word")
    shot("08_matching")
    yield from cancel("match")
    shot("08_matching_cancelled")
    assert module("fields").to_dict(module("operators.state").recipe_of(home())) == before
    yield from press(lambda: jobs.running("match"), "matching again", last=True)
    yield from until(ended("match"), "the matched recipe")
    well("match")
    yield from pause(1.5)
    shot("08_matched")
    assert home().nanosynth_recipe.looks
    invoke(ops.undo_match)
    assert module("fields").to_dict(module("operators.state").recipe_of(home())) == before
    yield from unfolded("NANOSYNTH_PT_match", False)


def tuned(folder):
    """Templates, the look and the light."""
    ops = bpy.ops.nanosynth
    yield from alone("templates")
    shot("07_templates")
    yield from own_template(ops)
    yield from alone("look")
    preview = module("operators.preview")
    yield from press(lambda: preview.Live.on, "the live preview")
    yield from until(preview.Live.finished, "the preview")
    yield from pause(1)
    shot("08_preview")
    yield from tuned_look(ops, preview)
    yield from first_usable(preview)
    invoke(ops.stop_preview)
    assert not preview.Live.on
    yield from alone("scene")
    shot("09_scene")


def first_usable(preview):
    """How soon the preview follows a slider, with the recipe that users begin with, at 256 px."""
    state, scene = module("operators.state"), home()
    tiny, asked = state.recipe_of(scene), preview.Live.number
    state.put_recipe(scene, module("synth.recipe").read_recipe("sio2"))
    assert scene.nanosynth.preview_px == 256
    yield from until(lambda: preview.Live.number > asked and preview.Live.finished(), "the preview of the preset")
    for number, base in enumerate(((0.3, 0.4), (0.7, 0.8), (0.5, 0.6))):
        begun, asked = time.monotonic(), preview.Live.number
        scene.nanosynth_recipe.shader.base = base
        yield from until(lambda asked=asked: preview.Live.number > asked and preview.Live.picture["number"] == preview.Live.number, "its first picture")
        seconds = yield from seen_after(begun)
        if not number:
            shot("08_preview_first")
        within(seconds, FIRST_S, "first usable picture at 256 px", slack=3.0)
        yield from until(preview.Live.finished, "its last picture")
    yield from pause(0.5)
    shot("08_preview_preset")
    asked = preview.Live.number
    state.put_recipe(scene, tiny)
    yield from until(lambda: preview.Live.number > asked and preview.Live.finished(), "the preview as before")
    yield from pause(0.5)


def generated(folder):
    """A job that is cancelled, and one that goes on while another file is open."""
    jobs = module("operators.jobs")
    state = module("operators.state")
    yield from alone("generate")
    home().nanosynth_recipe.count = 500  # more than are made before the job is cancelled
    yield from press(lambda: jobs.running("generate"), "generation")
    yield from until(lambda: jobs.RUNNING["generate"].recent or ended("generate")(), "the first pair")
    yield from pause(2)
    shot("10_generating")
    yield from cancel("generate")
    shot("11_cancelled")
    assert mark("generate") == "RADIOBUT_ON" and mark("templates") == "CHECKMARK"
    scene = home()
    scene.nanosynth_recipe.count = pairs = state.made_pairs(state.place(scene, "dataset")) + 20
    scene.nanosynth.generate_detached = True
    yield from press(lambda: jobs.running("generate") and jobs.RUNNING["generate"].detached, "the detached job")
    yield from until(lambda: jobs.RUNNING["generate"].share > 0, "its first word")
    shot("12_detached")
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_splash=False)  # another file: the job goes on without being seen
    yield from pause(1)
    assert "generate" not in jobs.RUNNING
    bpy.ops.wm.open_mainfile(filepath=str(folder / "project.blend"))
    yield from until(lambda: "generate" in jobs.RUNNING or state.made_pairs(state.place(home(), "dataset")) == pairs, "the job found again", 60)
    yield from pause(1)
    if "generate" in jobs.RUNNING:
        shot("13_found_again")
        yield from until(ended("generate"), "the data set")
        well("generate")
    assert state.made_pairs(state.place(home(), "dataset")) == pairs
    home().nanosynth.generate_detached = False
    yield from pause(1)
    shot("14_generated")


def trained(folder):
    """A training is cancelled; the extension is disabled at work, and the run goes on."""
    jobs, painter = module("operators.jobs"), module("operators.painter")
    yield from alone("train")
    scene = home()
    scene.nanosynth.training, scene.nanosynth.training_file, scene.nanosynth.epochs = "file", "//training.toml", 40
    scene.nanosynth.annotations = "//annotations"
    yield from press(lambda: jobs.running("train"), "training")
    yield from until(lambda: "training" in painter.Studio.plots or ended("train")(), "the picture of its first epoch")
    assert jobs.running("train"), jobs.RUNNING["train"].error
    assert painter.shown(bpy.context, "training"), "the picture of the training is not in the editor"
    yield from pause(0.5)
    shot("20_training")
    yield from cancel("train")
    shot("20_training_cancelled")
    assert module("operators.state").history(module("operators.state").place(home(), "run")) and mark("train") == "RADIOBUT_ON"
    yield from press(lambda: jobs.running("train"), "the training going on")
    yield from until(lambda: jobs.RUNNING["train"].share > 0 or ended("train")(), "the first step")
    pointer(window().width / 4, window().height / 2)
    bpy.ops.preferences.addon_disable(module=NAME)  # at work
    yield from pause(1)
    shot("20_disabled")
    assert "train" not in jobs.RUNNING and not hasattr(bpy.types, "NANOSYNTH_PT_train")
    bpy.ops.preferences.addon_enable(module=NAME)
    jobs = module("operators.jobs")
    yield from until(lambda: sidebar().active_panel_category == "Nanosynth", "the sidebar tab", 60)
    yield from pause(1)
    yield from press(lambda: "train" in jobs.RUNNING, "the training again")
    yield from until(ended("train"), "the training")
    well("train")
    yield from until(painted("training"), "the picture of the training")
    yield from pause(1)
    shot("21_trained")
    lines = module("operators.state").history(module("operators.state").place(home(), "run"))
    assert len(lines) == 40 and all(line["f1"] is not None for line in lines) and mark("train") == "CHECKMARK"


def selected(folder):
    """The pictures of the epochs, keys and search."""
    ops = bpy.ops.nanosynth
    state = module("operators.state")
    painter = module("operators.painter")
    yield from alone("select")
    invoke(ops.show_epoch, step=0)
    yield from until(painted("epoch", "gallery"), "the pictures of the epochs")
    yield from pause(1)
    shot("22_epoch")
    place = area("IMAGE_EDITOR", 1)
    pointer(place.x + place.width / 2, place.y + place.height / 2)
    before = home().nanosynth.epoch
    key("Left")
    yield from until(lambda: home().nanosynth.epoch == before - 1, "the arrow key", 20)
    home().nanosynth.epoch_opacity = 0.5
    invoke(ops.mark_epoch)
    assert state.favourites(state.place(home(), "run")) == [before - 1]
    yield from until(painted("epoch", "gallery"), "the pictures of the epochs")
    yield from pause(1)
    shot("23_epoch_before")
    place = area("VIEW_3D")
    pointer(place.x + 200, place.y + 200)
    key(F3)
    yield from pause(1)
    subprocess.run(["xdotool", "type", "--delay", "80", "Show Training"], check=True)
    yield from pause(1)
    shot("24_search")
    key("Return")
    yield from until(lambda: painter.shown(bpy.context, "training"), "the operator that the search has found", 60)
    yield from press(lambda: state.selected(state.place(home(), "run")) == before - 1, "the epoch in use")
    yield from pause(1)
    shot("25_selected")


def segmented(folder):
    """Micrographs through the network: cancelled, done, and looked at one after another."""
    jobs, results = module("operators.jobs"), module("operators.results")
    for number in (1, 2):
        pair = module("synth.render").make_pair(module("operators.state").recipe_of(home()), 1000 + number)
        module("learn.images").write_grey(folder / f"more {number}.png", pair.image, nm_per_px=1500 / 96)
    yield from drop(*(folder / f"more {number}.png" for number in (1, 2)))
    yield from until(lambda: len(home().nanosynth.references) == 3, "the dropped micrographs", 20)
    yield from alone("segment")
    yield from press(lambda: "segment" in jobs.RUNNING, "segmentation")
    yield from pause(1.5)
    shot("30_segmenting")
    yield from cancel("segment")
    shot("30_segmenting_cancelled")
    yield from press(lambda: jobs.running("segment"), "segmentation going on")
    yield from until(ended("segment"), "the segmentation")
    well("segment")
    yield from until(painted("result"), "the picture of the result")
    yield from pause(1)
    shot("31_segmented")
    assert mark("segment") == "CHECKMARK" and mark("analyse") == "RADIOBUT_ON"
    yield from alone("analyse")
    names = [entry["name"] for entry in results.entries(home())]
    assert sorted(names) == ["more 1", "more 2", "real"], names
    for number, name in enumerate(names):
        home().nanosynth.shown_name = str(number)
        yield from until(painted("result"), name)
        yield from pause(0.6)
        shot(f"31_stepped_{number}")
        assert results.Shown.request["name"] == name
        assert area("IMAGE_EDITOR").spaces.active.image.name.startswith(name), "the micrograph stands above its result"
    yield from reported(folder)


def corners(of):
    """Where the lower left and the upper right corner of an image editor's picture lie in it, px."""
    return np.array([region("WINDOW", of).view2d.view_to_region(at, at, clip=False) for at in (0, 1)])


def clicked(x, y, name):
    """Pick the particle at a place of the result, its width and height being 1, and take a screenshot of it."""
    results = module("operators.results")
    invoke(bpy.ops.nanosynth.click_particles)
    yield from pause(0.5)
    inner = region("WINDOW", area("IMAGE_EDITOR", 1))
    across, up = inner.view2d.view_to_region(x, y, clip=False)
    click(inner.x + across, inner.y + up)
    yield from until(lambda: results.facts_of(home()).get("particle"), "the clicked particle")
    yield from until(painted("result"), "its picture")
    yield from pause(1)
    shot(name)
    key("Escape")
    yield from until(lambda: not results.Clicking.now, "the end of the clicking", 20)


def analysed(folder):
    """A result as large as a micrograph, in which there is something to tune and to click."""
    painter = module("operators.painter")
    results = module("operators.results")
    large_result(folder)
    home().nanosynth.result = "//large/result"
    before = len(home().nanosynth.references)
    yield from drop(folder / "large" / "large.png")
    yield from until(lambda: len(home().nanosynth.references) == before + 1, "the dropped micrograph", 20)
    yield from alone("analyse")
    for kind in ("probability", "mask", "instances", "outlines", "histogram", "overlay"):
        home().nanosynth.shown = kind
        yield from until(painted("result"), kind)
        yield from pause(0.6)
        shot(f"32_shown_{kind}")
    answers = []
    for number, value in enumerate((0.3, 0.7, 0.45)):
        begun, counted = time.monotonic(), painter.Studio.painted
        home().nanosynth.threshold = value
        yield from until(lambda counted=counted: painter.Studio.painted > counted, "the first answer")
        first = yield from seen_after(begun)
        yield from until(painted("result"), "the full answer")
        answers.append((first, (yield from seen_after(begun))))
        if not number:
            yield from pause(0.6)
            shot("33_tuned")
    counted, home().nanosynth.threshold = painter.Studio.painted, 0.46
    yield from until(lambda: painter.Studio.painted > counted, "the first answer")
    yield
    shot("33_coarse")
    editor = area("IMAGE_EDITOR", 1)
    assert editor.spaces.active.image.name == "Nanosynth result, coarse" and painter.painted_in(editor) == "result"
    coarse, place = seen(editor), corners(editor)
    yield from until(painted("result"), "the full answer")
    yield from pause(0.6)
    assert editor.spaces.active.image.name == "Nanosynth result" and "Nanosynth result, coarse" not in bpy.data.images
    off = np.abs(corners(editor) - place).max()
    assert off <= 3, f"the coarse picture lay {off} px elsewhere"
    off = abs(seen(editor).mean() - coarse.mean())
    assert off < 8, f"the coarse picture is {off:.0f} of 255 brighter or darker"
    home().nanosynth.threshold = 0.45
    yield from until(painted("result"), "the full answer")
    for first, full in answers:
        within(first, FIRST_S, "first answer at 2048 px", slack=3.0)
        within(full, FULL_S, "full answer at 2048 px", slack=3.0)
    bpy.ops.ed.undo_push(message="tuned")
    counted, home().nanosynth.threshold = painter.Studio.painted, 0.9
    bpy.ops.ed.undo_push(message="tuned too far")
    yield from until(lambda: painter.Studio.painted > counted, "the first answer")  # undone while that is shown
    assert "Nanosynth result, coarse" in bpy.data.images
    with bpy.context.temp_override(window=window(), area=area("VIEW_3D"), region=sidebar()):
        bpy.ops.ed.undo()
    yield from until(lambda: abs(home().nanosynth.threshold - 0.45) < 1e-5, "undo", 20)
    yield from until(painted("result"), "the answer after undo")
    assert results.Shown.request["values"]["threshold"] == home().nanosynth.threshold
    yield
    assert np.abs(corners(editor) - place).max() <= 3, "undo has changed the view"
    yield from clicked(0.5, 0.5, "34_clicked")
    home().nanosynth.opacity = 0.3
    yield from until(painted("result"), "the answer")
    yield from pause(0.6)
    shot("35_opacity")
    yield from exported(folder)


def browser():
    return window().screen.areas[0].type == "FILE_BROWSER"


def exported(folder):
    """Export, by its button."""
    assert mark("analyse") == "RADIOBUT_ON"
    (folder / "taken").mkdir(exist_ok=True)
    yield from wheel(5)
    yield from press(browser, "the folder of the export")
    browsed(folder / "taken")
    yield from until(lambda: (folder / "taken" / "large.csv").is_file(), "the export")
    yield from until(painted("export"), "the export")
    yield from pause(1)
    yield from wheel(5)
    shot("36_exported")
    assert mark("analyse") == "CHECKMARK"
    yield from wheel(4)


def reported(folder):
    """Write Report, by its button: cancelled, and written."""
    jobs = module("operators.jobs")
    yield from wheel(5)
    yield from press(browser, "the file of the report", last=True, among=plain_buttons)
    browsed(folder, "report.html")
    yield from until(lambda: jobs.running("report"), "the report", 20)
    yield from wheel(5, 0.2)  # it takes but a few seconds
    yield from cancel("report")
    yield from wheel(5)
    shot("37_reporting_cancelled")
    assert not (folder / "report.html").exists()
    bpy.ops.nanosynth.forget_job(kind="report")
    yield from pause(1)
    yield from wheel(5)
    yield from press(browser, "the file of the report", last=True, among=plain_buttons)
    browsed(folder, "report.html")
    yield from until(lambda: jobs.running("report"), "the report", 20)
    yield from wheel(5, 0.2)
    shot("37_reporting")
    yield from until(ended("report"), "the report")
    well("report")
    yield from pause(1)
    yield from wheel(5)
    shot("38_reported")
    assert (folder / "report.html").is_file() and home().nanosynth.reported == "//report.html" and mark("analyse") == "CHECKMARK"
    yield from wheel(4)


def drawn(folder):
    """A drawn scene, presets, undo, preferences."""
    ops = bpy.ops.nanosynth
    yield from alone("scene")
    before = content()
    invoke(ops.open_scene)
    yield from until(lambda: window().scene.nanosynth_home, "the drawn scene", 30)
    yield from pause(1.5)
    shot("40_drawn_scene")
    yield from alone("project")
    shot("41_drawn_scene_project")
    invoke(ops.close_scene)
    yield from pause(0.5)
    assert window().scene == home()
    left = {name: set(names) - set(before[name]) for name, names in content().items()}
    assert not any(left.values()), left
    invoke(ops.use_preset, preset="sio2")
    yield from pause(0.5)
    assert home().nanosynth_recipe.name != "tiny"
    with bpy.context.temp_override(window=window(), area=area("VIEW_3D"), region=sidebar()):
        bpy.ops.ed.undo()
    yield from pause(0.5)
    assert home().nanosynth_recipe.name == "tiny", "undo"


def environment(_):
    """The preferences: the training environment is checked; one is begun and cancelled, or refused in plain words."""
    jobs, folder = module("operators.jobs"), Path(tempfile.mkdtemp(prefix="nanosynth-gui-"))
    bpy.ops.nanosynth.show_preferences("INVOKE_DEFAULT")
    yield from pause(2)
    shot("51_preferences")
    system, ops = bpy.context.preferences.system, bpy.ops.nanosynth
    ops.check_environment("INVOKE_DEFAULT")
    yield from until(ended("environment"), "the check")
    well("environment")
    yield from pause(1)
    shot("51_preferences_checked")
    system.use_online_access = False
    assert not ops.create_environment.poll()
    system.use_online_access = True
    ops.create_environment("INVOKE_DEFAULT", directory=str(folder / "environment"))
    job = jobs.RUNNING["environment"]
    yield from until(lambda: job.text.startswith("fetching") or job.state != "running", "its first package")
    yield from pause(3)
    shot("52_environment")
    if job.state == "running":
        yield from cancel("environment", preference_buttons, jobs.CANCEL_S["environment"])
    assert job.state == "cancelled" or job.error, (job.state, job.error)
    shot("53_environment_ended")
    assert not list(folder.iterdir()), list(folder.iterdir())


def moved(folder):
    """The project's folder somewhere else: everything is found there."""
    state = module("operators.state")
    bpy.ops.wm.save_mainfile()
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    bpy.ops.wm.open_mainfile(filepath=str(elsewhere / "project.blend"))
    yield from pause(2)
    for reference in home().nanosynth.references:
        assert state.absolute(reference.path).is_relative_to(elsewhere) and min(reference.image.size) > 0, reference.path
    for name in ("dataset", "run", "result"):
        assert state.place(home(), name).is_relative_to(elsewhere) and state.place(home(), name).is_dir(), name
    assert state.model_of(home()) == state.place(home(), "run")
    yield from alone("analyse")
    invoke(bpy.ops.nanosynth.show_result)
    yield from until(painted("result"), "the picture of the result")
    assert not module("operators.painter").Studio.errors
    yield from pause(1)
    shot("50_moved")


PARTS = (begun, at_once, dropped, tuned, matched, generated, trained, selected, segmented, analysed, drawn, moved, environment)


def wheel(button, rest=1.0):
    """Turn the mouse wheel over the sidebar, to its end (5) or its beginning (4), and let it rest."""
    side = sidebar()
    pointer(side.x + side.width / 2, side.y + side.height / 2, "click", "--repeat", "30", "--delay", "20", str(button))
    yield from pause(rest)


def drop(*paths, name=None):
    """Drop images on the 3D view: Blender's own handler takes images too, so a menu asks which is meant."""
    place = area("VIEW_3D")
    pointer(place.x + place.width * 0.3, place.y + place.height * 0.6)
    invoke(bpy.ops.wm.drop_import_file, directory=str(paths[0].parent), files=[{"name": path.name} for path in paths])
    yield from pause(1)
    if name:
        shot(name)
    key("l")  # Load Micrographs


def cancel(kind, among=plain_buttons, limit=CANCEL_S):
    """Click Cancel, the last button in the panel at work, and wait for the answer."""
    job = module("operators.jobs").RUNNING[kind]
    for _ in range(4):
        yield from mouse_aside()
        click(*among()[-1])
        begun = time.monotonic()
        while not job.cancelling and time.monotonic() < begun + 2 * PATIENCE:
            yield
        if job.cancelling:
            break
    assert job.cancelling, f"no answer to Cancel: {job.state}"
    yield from until(lambda: job.state != "running", "the end of a cancelled job", 60)
    assert job.state == "cancelled", job.state
    within(time.monotonic() - begun, limit, f"{kind} cancelled")
    yield from pause(0.7)


def mark(step):
    """What the header of a step says: the icon's name."""
    panel = getattr(bpy.types, f"NANOSYNTH_PT_{step}")
    return panel.mark(None, home())


def large_result(folder, side=2048):
    """What `segment` would write of a micrograph of 2048 px with touching discs."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    probability = np.full((side, side), 0.04, np.float32)
    for cy, cx, radius in zip(*rng.uniform(0, side, (2, 260)), rng.lognormal(np.log(48), 0.2, 260)):
        at = np.s_[max(int(cy - radius) - 12, 0) : int(cy + radius) + 12, max(int(cx - radius) - 12, 0) : int(cx + radius) + 12]
        probability[at] = np.maximum(probability[at], np.clip(0.5 + (radius - np.hypot(y[at] - cy, x[at] - cx)) / 20, 0, 0.97))
    images, files = module("learn.images"), module("files")
    grey = np.clip(40 + 150 * probability + rng.normal(0, 12, probability.shape), 0, 255).astype(np.uint8)
    out = folder / "large" / "result"
    images.write_grey(folder / "large" / "large.png", grey, nm_per_px=2.0)
    images.write_grey(out / "probability" / "large.png", np.round(probability * 255).astype(np.uint8))
    record = {"training": {"settings": module("fields").to_dict(module("learn.settings").read_settings("compact"))}, "images": []}
    files.write_json(out / "segmentation.json", record)
    entry = {
        "name": "large", "image": str(folder / "large" / "large.png"), "nm_per_px": 2.0, "nm_per_px_source": "metadata", "banner_px": 0, "warnings": [],
        "scale": {"zoom": 0.375, "diameter_px": 96.0}, "files": {"probability": "probability/large.png", "instances": "instances/large.png"},
    }  # fmt: skip
    stored = module("learn.tuning").open_stored(out, entry)
    labels = stored.separate(threshold=0.5, min_area=0.04, dynamic_share=0.1, dynamic=0.03)
    images.write_labels(out / "instances" / "large.png", labels, nm_per_px=2.0)
    files.write_json(out / "segmentation.json", {**record, "images": [{**entry, "particles": int(labels.max())}]})


def own_template(ops):
    """A built-in particle as a mesh whose changes go into the recipe."""
    invoke(ops.add_template, shape="grain", as_object=True)
    item = bpy.context.view_layer.objects.active
    copy = module("operators.state").absolute(item["nanosynth_template"])
    yield from pause(1)
    shot("07_template_as_mesh")
    stamp = copy.stat().st_mtime_ns
    for vertex in item.data.vertices:
        vertex.co.x *= 1.5
    item.data.update()
    yield from until(lambda: copy.stat().st_mtime_ns > stamp, "the template's copy", 60)
    invoke(ops.remove_template)
    bpy.data.objects.remove(item)


def stroke(target, editor):
    """Draw a line over an image with the mouse."""
    invoke(bpy.ops.nanosynth.draw_line, target=target)
    yield from pause(1)
    inside = region("WINDOW", editor)
    for share, then in ((0.2, ("mousedown", "1")), (0.5, ()), (0.8, ("mouseup", "1"))):
        x, y = inside.view2d.view_to_region(share, 0.5, clip=False)
        pointer(inside.x + x, inside.y + y, *then)
        yield from pause(1)
    lines = module("operators.lines")
    yield from until(lambda: lines.drawn(home(), target), f"the line over the {target}", 30)


def turned_by_mouse(ops):
    """The lamp is turned with the mouse, and turned back by undo."""
    tuning, place = home().nanosynth_tuning, area("VIEW_3D")
    invoke(ops.show_light)
    before = tuning.light()
    x, y = place.x + place.width * 0.3, place.y + place.height * 0.7
    pointer(x, y)
    yield from pause(0.5)
    key("r")
    for step in range(1, 4):
        pointer(x + 40 * step, y - 30 * step)
        yield from pause(0.3)
    click(x + 120, y - 90)
    yield from until(lambda: abs(tuning.azimuth - before["azimuth"]) > 1, "the light that the mouse has turned", 30)
    yield from pause(0.5)
    key("ctrl+z")
    yield from until(lambda: abs(home().nanosynth_tuning.azimuth - before["azimuth"]) < 0.1, "the light before it", 30)
    lamp = home().nanosynth_tuning.lamp
    light = module("operators.light")
    assert (light.facing(lamp) - light.direction(before["azimuth"], before["elevation"])).length < 1e-3


def tuned_look(ops, preview):
    """The preview follows a slider and the lamp; intensities along lines."""
    for change in (
        lambda: setattr(home().nanosynth_recipe.shader, "base", (0.8, 0.9)),
        lambda: setattr(home().nanosynth_tuning.lamp, "rotation_euler", (0.0, 1.0, 2.0)),
    ):
        invoke(ops.show_light)
        yield from until(preview.Live.finished, "the preview")
        number = preview.Live.number
        change()
        yield from until(lambda number=number: preview.Live.number > number and preview.Live.finished(), "the preview of the change")
        assert not preview.Live.error, preview.Live.error
    assert home().nanosynth_tuning.own_light
    yield from pause(1)
    shot("08_preview_lamp")
    yield from turned_by_mouse(ops)
    for number, target in enumerate(("reference", "preview")):
        yield from stroke(target, area("IMAGE_EDITOR", number))
    shot("08_lines")
    invoke(ops.plot_profile)
    yield from pause(1.5)
    shot("08_profile")
    invoke(ops.show_preview)
    invoke(ops.release_light)
    bpy.data.objects.remove(home().nanosynth_tuning.lamp)
    yield from until(preview.Live.finished, "the preview")
    yield from pause(0.5)


STEPS = ("project", "references", "templates", "look", "scene", "generate", "train", "select", "segment", "analyse")
TOP, PITCH = 97, 28
"""Where the first panel's header is on the screen, and the distance to the next while all are closed [px]."""
LAST = 434
"""Where the header of the last panel within Shader & Light is while the preview is off [px]."""


class Panels:
    """The sidebar, whose panels are opened and closed by clicks on their headers."""

    opened = "project"
    recorder = None

    @classmethod
    def press(cls, step):
        side = sidebar()
        click(side.x + side.width * 0.35, window().height - TOP - PITCH * STEPS.index(step))

    @classmethod
    def drawn(cls, step):
        return len(cls.recorder.calls[f"NANOSYNTH_PT_{step}.draw"])


def toggle(step, opened):
    """Click a panel's header; once more if the click was lost on a machine that is busy."""
    for _ in range(5):
        Panels.press(step)
        yield from pause(0.8)
        before = Panels.drawn(step)
        sidebar().tag_redraw()
        yield from pause(0.6)
        if (Panels.drawn(step) > before) == opened:
            return
    raise AssertionError(f"the panel {step} is not {'opened' if opened else 'closed'}")


def unfolded(panel, opened=True):
    """Click the header of the last panel within the step Shader & Light, the others within it being closed."""
    side = sidebar()
    for _ in range(5):
        before = len(Panels.recorder.calls[f"{panel}.draw"])
        sidebar().tag_redraw()
        yield from pause(0.6)
        if (len(Panels.recorder.calls[f"{panel}.draw"]) > before) == opened:
            return
        click(side.x + side.width * 0.35, window().height - LAST)
        yield from pause(0.8)
    raise AssertionError(f"the panel {panel} is not {'opened' if opened else 'closed'}")


def alone(step):
    """Show one step opened and the others closed."""
    if Panels.opened:
        yield from toggle(Panels.opened, False)  # those above it are closed, so its header is where it would be with all closed
    yield from toggle(step, True)
    Panels.opened = step
    yield from pause(0.5)


def main(parts=None):
    preferences = bpy.context.preferences
    preferences.view.show_splash = False
    preferences.view.filebrowser_display_type = "SCREEN"
    preferences.view.ui_scale = 1.0
    preferences.system.viewport_aa = "OFF"  # without a graphics card the 3D view would be drawn eight times after each change
    assert NAME in preferences.addons, "the extension is not installed"
    importlib.import_module(NAME)
    folder = Path(tempfile.mkdtemp(prefix="nanosynth-gui-"), "größe 1")
    folder.mkdir()
    tiny_recipe(folder)
    shutil.copyfile(Path(__file__).parents[2] / "examples" / "silica" / "spheres" / "A01-1.png", folder / "spheres.png")
    bpy.types.SpaceImageEditor.draw_handler_add(Drawn.note, (), "WINDOW", "POST_PIXEL")
    recorder = Recorder(NAME)
    recorder.begin()
    Panels.recorder = recorder
    # To mend the walk: some parts alone, in the project of an earlier walk.
    parts = parts or [part for part in PARTS if part.__name__ in os.environ.get("NANOSYNTH_WALK", part.__name__).split()]
    if "NANOSYNTH_PROJECT" in os.environ:
        folder = Path(os.environ["NANOSYNTH_PROJECT"])
        bpy.ops.wm.open_mainfile(filepath=str(folder / "project.blend"))
        Panels.opened = "generate"  # as when the file was saved
    steps = itertools.chain.from_iterable(part(folder) for part in parts)

    def step():
        try:
            next(steps)
        except StopIteration:
            slow = recorder.report(SHOTS / "durations.txt")
            sys.modules[NAME].unregister()
            print("walked", flush=True)
            os._exit(1 if slow else 0)
        except BaseException:
            traceback.print_exc()
            recorder.report(SHOTS / "durations.txt")
            shot("failed")
            sys.modules[NAME].unregister()
            os._exit(1)
        return TICK_S

    bpy.app.timers.register(step, first_interval=1.0, persistent=True)


if __name__ == "__main__":
    main()
